"""Experiments without events: their treatments alone bring features, effects and the worth of policies."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from apps import NOW, App, Row, at, small_app, treatment
from drawn_apps import experiment_app

from configs.errors import InputError
from configs.offers import load_catalogue
from features.materialise.as_of_view import open_as_of, snapshot_days
from features.training_data.experiments import stated_treatments, training_treatments
from features.training_data.feature_store import open_store
from models.training_run.outcome_models import NO_EVENTS, fit_outcomes
from models.training_run.training_frames import TrainingFrames, collect_frames
from serving.policy_evaluation.policy_evaluation import Evaluation, Wanted, evaluate

USERS, DRAWN, AS_OF = 900, "2024-03-20", date(2024, 4, 5)
KNOWN = at("2024-01-01 00:00")


def customers() -> Iterator[tuple[Row, Row]]:
    """A user and a treatment each: mail brings 4 to who bought of late, a phone call nothing; half is kept out."""
    rng = np.random.default_rng(3)
    for number in range(USERS):
        user, recency, drawn = f"c{number:03d}", int(rng.integers(1, 13)), ("none", "mail", "call")[rng.integers(3)]
        outcome = 10 - recency / 2 + (4.0 if drawn == "mail" and recency <= 6 else 0.0) + rng.normal()
        assigned = treatment(
            user, f"{DRAWN} 00:00", drawn, 0.0, channel="email", propensity=1 / 3, cost=0.0 if drawn == "none" else 0.5,
            outcome=outcome, outcome_at=at("2024-04-03 00:00"), is_holdout=number % 2 == 0,
        )  # fmt: skip
        yield {"user_id": user, "known_from": KNOWN, "recency": recency, "plan": "ab"[number % 2]}, assigned


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> App:
    """The experiment in a data folder with its snapshots, nothing trained."""
    users, assigned = zip(*customers(), strict=True)
    folder = tmp_path_factory.mktemp("experiment")
    overrides = {"offers": "treatments", "training": {"min_leaf_rows": 20, "min_users": 100}}
    return experiment_app(folder, overrides, users, assigned, AS_OF)


@pytest.fixture(scope="module")
def frames(app: App) -> TrainingFrames:
    return collect_frames(app.settings, app.lake, AS_OF)


@pytest.fixture(scope="module")
def evaluation(app: App, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    policy = tmp_path_factory.mktemp("policy") / "mine.csv"
    policy.write_text("user_id,offer_id\n" + "".join(f"c{number:03d},mail\n" for number in range(0, USERS, 4)))
    wanted = Wanted(rules=("trait_recency <= 6: mail",), files=(policy,))
    return evaluate(app.settings, app.lake, AS_OF, wanted)


def test_the_day_of_the_draws_has_a_snapshot_with_the_traits_and_nothing_else_is_needed(app):
    assert app.lake.days("events") == []
    assert snapshot_days(app.settings, app.lake, AS_OF, holdouts=(91,)) == [date(2024, 3, 20), AS_OF]
    snapshot = pd.read_parquet(app.lake.partition("snapshots", date(2024, 3, 20)))
    assert len(snapshot) == USERS
    assert snapshot["trait_recency"].between(1, 12).all()


def test_the_catalogue_is_what_the_treatments_gave(app):
    catalogue = load_catalogue(app.settings.offers)
    assert [(offer.offer_id, offer.channel, offer.discounts, offer.contact_cost) for offer in catalogue.offers] == [
        ("call", "email", (0.0,), 0.5),
        ("mail", "email", (0.0,), 0.5),
    ]


def test_holdout_rows_teach_nothing_and_nothing_but_effects_is_taught(app, frames):
    assert frames.outcomes.empty
    assert frames.held_out == USERS // 2
    assert len(frames.experiment) == USERS // 2
    assert not {f"c{number:03d}" for number in range(0, USERS, 2)} & set(frames.experiment["user_id"])
    assert frames.offers_given == (frames.experiment["offer_id"] != "none").sum()
    reasons = [lack.reason for lack in fit_outcomes(app.settings, app.lake, AS_OF, frames).untrained]
    assert reasons == [NO_EVENTS, NO_EVENTS]


def test_an_outcome_is_not_seen_before_it_was_known(app):
    for as_of, rows in ((date(2024, 4, 2), 0), (date(2024, 4, 3), USERS)):
        with open_as_of(app.settings, app.lake, as_of) as history:
            assert len(stated_treatments(history, open_store(app.lake, history.features))) == rows


def test_what_is_taught_is_the_outcome_as_stated(app):
    with open_as_of(app.settings, app.lake, AS_OF) as history:
        stated = stated_treatments(history, open_store(app.lake, history.features))
    taught = training_treatments(stated)
    told = stated[~stated["is_holdout"]].set_index("user_id")["outcome"]
    assert taught.set_index("user_id")["margin_soon"].to_dict() == told.to_dict()
    assert taught["is_net"].all()


def test_the_holdout_judges_and_the_rule_that_is_true_wins(evaluation):
    metrics = evaluation.metrics
    assert any("they are the holdout" in note for note in evaluation.notes)
    assert metrics["policy.nobody.value_ips"].n == USERS // 2
    rule = "policy.trait_recency_6_mail"
    for estimator in ("ips", "snips", "dr"):
        value = metrics[f"{rule}.value_{estimator}"]
        assert value.low < 10 - 6.5 / 2 + 0.5 * (4 - 0.5) < value.high
    assert metrics[f"{rule}.over_nobody_dr"].low > 1.0
    assert metrics[f"{rule}.over_best_constant_dr"].low > 0
    assert metrics["policy.mine.given_share"].value == pytest.approx(0.5)
    assert [row["policy"] for row in evaluation.table][:3] == ["nobody", "call", "mail"]
    assert all(Path(place).is_file() for place in evaluation.outputs.values())


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        (Wanted(rules=("recency > 6: mail",)), "'recency' of the rule .* is no column"),
        (Wanted(rules=("trait_recency > 6: male",)), "no random draw gave the offer 'male'.*did you mean 'mail'"),
        (Wanted(rules=("trait_recency > 6: mail@0.5",)), "no random draw gave 'mail' at 0.5"),
        (Wanted(rules=("mail to everybody",)), "is no rule"),
        (Wanted(rules=("trait_recency > 6: none@0.5",)), "'none' gives nothing, and so no discount of 0.5; write 0"),
        (Wanted(files=(Path("nowhere.csv"),)), "nowhere.csv cannot be read"),
        (Wanted(files=(Path("policy.xlsx"),)), "no CSV or Parquet file"),
        (Wanted(which="holdouts"), "did you mean 'holdout'"),
        (Wanted(first=AS_OF), "0 users have a closed treatment"),
    ],
)
def test_what_cannot_be_judged_is_one_sentence(app, wanted, sentence):
    with pytest.raises(InputError, match=sentence):
        evaluate(app.settings, app.lake, AS_OF, wanted)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("", "mine.csv names nobody; write a row of user_id, offer_id and, if wanted, discount per user"),
        ("c001,none,0.5\n", "'none' gives nothing, and so no discount of 0.5; write 0, or leave it empty"),
    ],
)
def test_a_file_that_gives_nobody_anything_it_could_mean_is_one_sentence(app, tmp_path, rows, sentence):
    path = tmp_path / "mine.csv"
    path.write_text("user_id,offer_id,discount\n" + rows)
    with pytest.raises(InputError, match=sentence):
        evaluate(app.settings, app.lake, AS_OF, Wanted(files=(path,)))


def test_treatments_without_outcomes_need_events(tmp_path):
    app = small_app(tmp_path, treatments=[treatment("a", f"{DRAWN} 00:00", "mail", 0.0)])
    with pytest.raises(InputError, match=r"no view 'events'.*outcome"):
        app.ingest(NOW)


def test_an_outcome_before_its_decision_is_refused(tmp_path):
    early = at(f"{DRAWN} 00:00") - timedelta(days=1)
    rows = [treatment(f"u{number}", f"{DRAWN} 00:00", "mail", 0.0, outcome=1.0) for number in range(200)]
    rows[7] |= {"outcome_at": early}
    app = small_app(tmp_path, treatments=rows)
    assert app.ingest(NOW)["treatments"].reasons == {"outcome_at lies before decided_at": 1}
