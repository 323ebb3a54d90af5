"""Frames: every example with its label and what was known at its moment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta

import ibis
import ibis.expr.types as ir
import pandas as pd
import pytest
from apps import TINY_AS_OF, App, event, small_app, treatment

from configs.errors import InputError
from configs.offers import NO_OFFER, load_catalogue
from features.arrays.calendar_days import start_of
from features.definitions.labels import outcome_labels
from features.materialise.as_of_view import AsOfView
from features.materialise.build_snapshots import build_snapshots
from features.storage.lake import Lake
from features.tables.parquet_files import count_rows
from features.training_data.experiments import treatment_days
from features.training_data.feature_store import EVENT_TIMESTAMP, open_store
from features.training_data.frames import (
    experiment_frame,
    given_offers,
    outcome_frame,
    redemption_counts,
    redemption_frame,
)
from features.training_data.scoring_frames import count_users, known_users, scoring_batch, scoring_frame
from features.training_data.snapshot_run import require_snapshots
from models.training_run.training_frames import learning_share

AS_OF = date(2024, 6, 15)
DAYS = [date(2024, 4, 1), date(2024, 5, 1), date(2024, 6, 1)]


@pytest.fixture(scope="module")
def past(copy_tiny, tmp_path_factory) -> Iterator[tuple[App, AsOfView]]:
    """History of the tiny app at AS_OF with the snapshots of DAYS, of AS_OF and of the treated days."""
    app = copy_tiny(tmp_path_factory.mktemp("frames"))
    with app.history(AS_OF) as history:
        build_snapshots(history, sorted({*DAYS, AS_OF, *(day for day in app.lake.days("treatments") if day < AS_OF)}))
        yield app, history


@pytest.fixture(scope="module")
def store(past):
    """Store of that history."""
    app, history = past
    return open_store(app.lake, history.features)


def test_outcomes_are_the_labels_of_closed_days_with_the_features_of_those_days(past, store):
    app, history = past
    frame = outcome_frame(history, store, DAYS, horizon_days=28)
    labels = outcome_labels(history.aggregates, history.spine(DAYS[:2]), app.settings).to_pandas()
    assert sorted(set(frame.day)) == DAYS[:2]  # June 1 + 28 days lies after as_of
    assert len(frame) == len(labels)
    assert list(frame[["day", "user_id"]].itertuples(index=False)) == sorted(zip(frame.day, frame.user_id, strict=True))
    known = pd.concat(
        pd.read_parquet(app.lake.partition("snapshots", day), partitioning=None).assign(day=day) for day in DAYS[:2]
    ).set_index(["user_id", "day"])
    of_rows = known.loc[pd.MultiIndex.from_frame(frame[["user_id", "day"]]), "tenure_days"]
    assert frame.tenure_days.tolist() == of_rows.tolist()
    assert 0 < frame.is_churned.mean() < 1


def test_only_those_who_are_kept_are_learnt_from(past, store):
    app, history = past
    whole = outcome_frame(history, store, DAYS, horizon_days=28)
    part = outcome_frame(history, store, DAYS, horizon_days=28, user_filter=lambda ids: (ids.str[-1] < "5").to_numpy())
    expected = whole[whole.user_id.str[-1] < "5"].reset_index(drop=True)
    assert 0 < len(part) < len(whole)
    pd.testing.assert_frame_equal(
        part[["user_id", "day", "is_churned", "tenure_days"]], expected[["user_id", "day", "is_churned", "tenure_days"]]
    )
    catalogue = load_catalogue(app.settings.offers)
    redeemed = redemption_frame(history, store, catalogue, user_filter=lambda ids: (ids.str[-1] < "5").to_numpy())
    all_users = redemption_frame(history, store, catalogue)
    assert redeemed.decision_id.tolist() == all_users[all_users.user_id.str[-1] < "5"].decision_id.tolist()


def test_models_learn_from_a_stable_part_of_many_users(past):
    app, _ = past
    few = app.settings.model_copy(update={"training": app.settings.training.model_copy(update={"max_users": 20})})
    users = max(count_rows(app.lake.partition("snapshots", day)) for day in app.lake.days("snapshots") if day <= AS_OF)
    assert learning_share(app.settings, app.lake, AS_OF) == 1.0
    assert learning_share(few, app.lake, AS_OF) == 20 / users
    assert learning_share(few, Lake(app.lake.root / "nothing"), AS_OF) == 1.0


def test_outcomes_without_a_closed_day_say_so(past, store):
    _, history = past
    with pytest.raises(
        InputError, match="no snapshot before as_of = 2024-06-15 has a label whose 90 days are over; choose"
    ):
        outcome_frame(history, store, DAYS, horizon_days=90)


def test_redemptions_are_the_closed_treatments_with_what_was_known_at_their_decision(past, store):
    app, history = past
    frame = redemption_frame(history, store, load_catalogue(app.settings.offers))
    assert frame.closed_at.max() <= pd.Timestamp(AS_OF, tz="UTC")
    assert "none" not in set(frame.offer_id)
    assert frame.decision_id.is_unique and frame.decided_at.is_monotonic_increasing
    assert 0 < frame.is_redeemed.mean() < 1
    assert (frame[EVENT_TIMESTAMP] == frame.decided_at.dt.normalize()).all() and frame.tenure_days.notna().all()
    assert {str(frame[name].dtype) for name in ("offer_id", "trait_plan")} == {"category"}


def test_a_treatment_still_open_has_no_answer_yet(past, store):
    app, history = past
    closed = redemption_frame(history, store, load_catalogue(app.settings.offers))
    given = given_offers(history, closed)
    everything = pd.read_parquet(f"{app.settings.ingest.raw}/treatments.parquet")
    offered = everything[(everything.offer_id != "none") & (everything.decided_at < pd.Timestamp(AS_OF, tz="UTC"))]
    assert sorted(given.decision_id) == sorted(offered.decision_id)
    assert given.is_redeemed.notna().sum() == len(closed) < len(given)


def test_an_experiment_frame_has_the_treatments_of_known_chance_with_what_came_of_them(past, store):
    app, history = past
    around = outcome_frame(history, store, treatment_days(app.lake, AS_OF), horizon_days=28)
    closed = redemption_frame(history, store, load_catalogue(app.settings.offers))
    found = experiment_frame(history, around, closed)
    given = pd.read_parquet(f"{app.settings.ingest.raw}/treatments.parquet")
    given = given.assign(day=given.decided_at.dt.date).set_index(["user_id", "day"])
    keys = pd.MultiIndex.from_frame(found[["user_id", "day"]])
    told = given.loc[keys]
    assert keys.is_unique and set(keys) == set(given.index) & set(pd.MultiIndex.from_frame(around[["user_id", "day"]]))
    for name in ("offer_id", "discount", "propensity"):
        assert found[name].tolist() == told[name].tolist()
    assert (found.offer_id == "none").any()
    used = closed.set_index("decision_id").reindex(told.decision_id)
    unused = used.is_redeemed.mask((told.offer_id == "none").to_numpy(), 0.0)
    assert found.is_redeemed.fillna(-1).tolist() == unused.fillna(-1).tolist()  # who still may has not yet refused
    assert (found.discount_given >= used.discount_given.fillna(0.0).to_numpy()).all() and found.discount_given.any()
    assert 0 < found.is_redeemed.mean() < 1 and not found.loc[found.offer_id == "none", "is_redeemed"].any()
    kept = around.set_index(["user_id", "day"]).loc[keys]
    assert found.margin_soon.tolist() == kept.margin_soon.tolist()
    assert list(found[["day", "user_id"]].itertuples(index=False)) == sorted(zip(found.day, found.user_id, strict=True))


def test_only_a_draw_of_known_chance_counts_and_the_first_of_a_day(tmp_path):
    given = [
        treatment("a", "2024-03-02", "come_back", 0.1, propensity=0.5),
        treatment("b", "2024-03-02", "none", 0.0, propensity=0.5),
        treatment("certain", "2024-03-02", "come_back", 0.1, propensity=1.0),
        treatment("chosen", "2024-03-02", "come_back", 0.1),
        treatment("twice", "2024-03-02", "come_back", 0.1, propensity=0.5),
        treatment("twice", "2024-03-02", "bundle", 0.1, propensity=0.5),
        treatment("noon too", "2024-03-02 12:00", "bundle", 0.1, propensity=0.5),
        treatment("noon too", "2024-03-02", "come_back", 0.2, propensity=0.5),
        treatment("no draw at noon", "2024-03-02", "come_back", 0.1, propensity=0.5),
        treatment("no draw at noon", "2024-03-02 12:00", "bundle", 0.1, propensity=1.0),
    ]
    app = small_app(tmp_path, events=[event("a", "2024-03-01 09:00", "purchase")], treatments=given)
    app.ingest()
    app.aggregate()
    users = ["a", "b", "certain", "chosen", "twice", "noon too", "no draw at noon", "untreated"]
    around = pd.DataFrame({"user_id": users, "day": date(2024, 3, 2), "offer_id": "old", "is_retained": 1})
    around["discount_soon"] = 2.0
    with app.history(date(2024, 3, 20)) as history:
        found = experiment_frame(history, around, pd.DataFrame()).set_index("user_id")
    assert found.fillna({"is_redeemed": -1}).to_dict("index") == {
        user: {
            "day": date(2024, 3, 2), "is_retained": 1, "offer_id": offer_id, "discount": discount, "propensity": 0.5,
            "is_redeemed": 0.0 if offer_id == "none" else -1, "discount_given": 2.0,
        }
        for user, offer_id, discount in (
            ("a", "come_back", 0.1), ("b", "none", 0.0), ("noon too", "come_back", 0.2),
            ("no draw at noon", "come_back", 0.1),
        )
    }  # fmt: skip


def test_what_draws_gave_away_is_charged_once_and_also_of_offers_that_are_open(tmp_path):
    drawn = [("week", "2024-03-10"), ("open", "2024-06-01"), ("again", "2024-03-10"), ("nobody", "2024-03-10")]
    given = [treatment(user, "2024-03-02", "come_back", 0.1, valid_until=end, propensity=0.5) for user, end in drawn]
    given += [treatment("again", "2024-03-09", "come_back", 0.1, valid_until="2024-03-20")]  # the one that is used
    given += [treatment("control", "2024-03-02", "none", 0.0, propensity=0.5)]
    uses = [("week", 4), ("week", 9), ("open", 4), ("again", 9), ("control", 4), ("control", 9)]
    events = [event(user, "2024-03-01 09:00", "session_start") for user, *_ in [*drawn, ("control",)]]
    events += [
        event(user, f"2024-03-{day:02d} 12:00", name, amount=9.0, discount=discount, offer_id="come_back")
        for user, day in uses
        for name, discount in (("purchase", None), ("offer_redeem", 1.0))
    ]
    overrides = {"churn": {"lookback_days": 10, "horizon_days": 14}, "value": {"gross_margin": 0.5}}
    for first, paid in {7: (2.0, 1.0, 0.0, 1.0), 0: (2.0, 1.0, 1.0, 2.0)}.items():
        own = overrides | {"response": {"retained_from_day": first}}
        app = small_app(tmp_path / str(first), overrides=own, events=events, treatments=given)
        app.ingest()
        app.aggregate()
        app.snapshots(date(2024, 3, 2))
        with app.history(date(2024, 3, 31)) as history:
            store = open_store(app.lake, history.features)
            around = outcome_frame(history, store, [date(2024, 3, 2)], horizon_days=14)
            closed = redemption_frame(history, store, load_catalogue(app.settings.offers))
            found = experiment_frame(history, around, closed).set_index("user_id")
        charged = dict(zip(("week", "open", "again", "control"), paid, strict=True)) | {"nobody": 0.0}
        assert found.discount_given.to_dict() == charged
        held = {user: 0.5 * 10.0 * sum(4 <= day < (9 if first else 15) for one, day in uses if one == user)
                for user in found.index}  # fmt: skip
        assert found.margin_soon.to_dict() == held  # of each receipt of 9, and the 1 that was given away


def test_an_app_without_treatments_has_empty_frames(tmp_path):
    app = small_app(tmp_path, events=[event("a", "2024-03-01 09:00", "purchase")])
    app.ingest()
    app.aggregate()
    with app.history(date(2024, 3, 5)) as history:
        store = open_store(app.lake, history.features)
        assert redemption_frame(history, store, load_catalogue(NO_OFFER)).empty
        assert given_offers(history, pd.DataFrame()).empty
        assert experiment_frame(history, pd.DataFrame(), pd.DataFrame()).empty


def test_treatments_that_are_all_open_give_no_redemption_yet(tmp_path):
    rows = [treatment("a", "2024-03-02", "come_back", 0.1, valid_until="2024-04-01")]
    app = small_app(tmp_path, events=[event("a", "2024-03-01 09:00", "purchase")], treatments=rows)
    app.ingest()
    app.aggregate()
    with app.history(date(2024, 3, 5)) as history:
        store = open_store(app.lake, history.features)
        assert redemption_frame(history, store, load_catalogue(NO_OFFER)).empty


def test_treatment_days_are_those_before_as_of_with_a_snapshot(past):
    app, _ = past
    days = treatment_days(app.lake, AS_OF)
    assert days and all(day < AS_OF for day in days)
    assert set(days) == {day for day in app.lake.days("treatments") if day < AS_OF}
    assert treatment_days(app.lake, TINY_AS_OF + timedelta(days=1)) == days  # the later ones have no snapshot


def test_scoring_reads_each_user_once_in_the_order_asked_for(past, store):
    _, history = past
    users = known_users(history.lake, history.as_of)
    assert users.is_unique and users.is_monotonic_increasing
    asked = users.sample(frac=1, random_state=1).reset_index(drop=True)
    frame = scoring_frame(store, start_of(history.as_of, history.settings.time_zone), asked)
    assert frame.user_id.tolist() == asked.tolist()
    assert frame.tenure_days.notna().all() and str(frame.favourite_category_90d.dtype) == "category"


def test_a_batch_of_the_scoring_frame_is_cut_out_by_places(past, store):
    _, history = past
    users = known_users(history.lake, history.as_of)
    assert count_users(history.lake, history.as_of) == len(users) > 20
    batch = scoring_batch(store, history.lake, history.as_of, history.settings.time_zone, range(7, 20))
    assert batch["user_id"].tolist() == users[7:20].tolist()
    frame = scoring_frame(store, start_of(history.as_of, history.settings.time_zone), users[7:20])
    pd.testing.assert_frame_equal(batch[[*frame.columns]], frame)  # consents and time zones stand beside it


def test_scoring_a_day_without_a_snapshot_says_what_to_run(past):
    with (
        past[0].history(date(2024, 6, 14)) as history,
        pytest.raises(InputError, match="no snapshot of 2024-06-14; run winback build-features --as-of 2024-06-14"),
    ):
        count_users(history.lake, history.as_of)


def test_training_asks_for_every_snapshot_instead_of_joining_an_older_one(past):
    app, history = past
    require_snapshots(app.lake, DAYS, history.features, AS_OF)
    with pytest.raises(
        InputError,
        match="1 of 4 snapshots are missing, the first of them that of 2024-05-02; "
        "run winback build-features --as-of 2024-06-15",
    ):
        require_snapshots(app.lake, [*DAYS, date(2024, 5, 2)], history.features, AS_OF)


def test_training_names_a_column_that_was_declared_after_the_snapshot_was_built(past):
    app, history = past
    new = replace(history.features[0], name="songs_count_14d")
    with pytest.raises(InputError, match="the snapshot of 2024-04-01 lacks songs_count_14d, declared after it was"):
        require_snapshots(app.lake, DAYS, [*history.features, new], AS_OF)


def test_no_query_of_the_training_frames_compares_all_rows_with_all_rows(past, store, monkeypatch):
    app, history = past
    catalogue, plans = load_catalogue(app.settings.offers), []

    def explained(history: AsOfView, rows: ir.Table) -> pd.DataFrame:
        plans.append(history.engine.con.sql(f"EXPLAIN {ibis.to_sql(rows)}").fetchall()[0][1])
        return rows.to_pandas()

    monkeypatch.setattr(AsOfView, "collect", explained)
    outcomes = outcome_frame(history, store, DAYS, horizon_days=28)
    closed = redemption_frame(history, store, catalogue)
    redemption_counts(history, catalogue)
    given_offers(history, closed)
    experiment_frame(history, outcomes, closed)
    assert len(plans) == 5
    assert [plan for plan in plans if re.search("BLOCKWISE_NL_JOIN|CROSS_PRODUCT", plan)] == []
