"""Decisions: one for everybody, under the budget, the same every time, written whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import AS_OF, DRAWN_OPTIONS, behaviour, offer, randomised_treatments, said, small_policy, small_settings
from test_explanations import personal_effects
from test_publication import killed_at

from configs.errors import InputError
from configs.offers import Catalogue, Offer
from features.storage.lake import Lake
from models.effects.effect_model import Chances
from models.metrics.splits import hash_share
from models.policy_value.policy_verdict import CONSTANT, NOBODY, RULE, Deployed
from models.send_time.hour_weights import nobody_known
from serving.arms.assignment import Spending, base_rate
from serving.arms.exploration import AS_USUAL_SALT, CONTROL_SALT
from serving.decide import decisions as day_of_decisions
from serving.decide.decision_columns import SCHEMA, predictions_table, risk_band
from serving.decide.decisions import decide, tables_of
from serving.decide.executors import LocalExecutor
from serving.decide.scoring import Policy
from serving.preferences.user_preferences import UserPreferences
from serving.segments.stages import stages_of
from serving.stored_days.day_tables import day_folder
from serving.stored_days.ledger import entries, files_of
from serving.wording.reason_lists import REASONS

DESIGN = (
    "decision_id, user_id, as_of, trigger, arm, offer_id, play, channel, discount, benefit, benefit_level, "
    "featured_category, featured_kind, featured_item, subject, message, language, written_for, send_at, "
    "send_hour_propensity, valid_until, p_churn, risk_band, stage, persona, retained_value, remaining_value, "
    "incremental_retention, incremental_margin, p_redeem, expected_cost, expected_value, propensity, reasons, why, "
    "suppressed_because, evidence, model_versions, fallback, experiment, variant"
)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return small_policy()


@pytest.fixture(scope="module")
def users() -> pd.DataFrame:
    """200 users: some failed to pay, some lapsed, one never came."""
    frame = behaviour(200, np.random.default_rng(71))
    frame.loc[frame.index % 17 == 0, "payment_failures_count_28d"] = 1.0
    frame.loc[frame.index % 13 == 0, "days_since_last_activity"] = 57.0
    frame.loc[5, "days_since_last_activity"] = np.nan
    return frame


def batches(frame: pd.DataFrame, size: int = 1000) -> LocalExecutor:
    """Scoring frames as they are read from the store: each with the categories it holds, and no other."""
    texts = ["trait_plan", "favourite_category_90d"]

    def scoring_frame(start: int) -> pd.DataFrame:
        part = frame.iloc[start : start + size].reset_index(drop=True)
        return part.astype(dict.fromkeys(texts, object)).astype(dict.fromkeys(texts, "category"))

    return LocalExecutor([partial(scoring_frame, start) for start in range(0, len(frame), size)])


def read(lake: Lake, table: str = "decisions", as_of: date = AS_OF) -> pd.DataFrame:
    return said(pq.ParquetFile(day_folder(lake, as_of) / f"{table}.parquet").read())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def decided(policy, users, tmp_path_factory) -> tuple[Lake, Spending]:
    lake = Lake(tmp_path_factory.mktemp("decided"))
    return lake, decide(policy, lake, AS_OF, batches(users))


@pytest.fixture(scope="module")
def decisions(decided) -> pd.DataFrame:
    return read(decided[0])


@pytest.fixture(scope="module")
def options(decided) -> pd.DataFrame:
    return read(decided[0], "options")


def run(policy: Policy, folder: Path, users: pd.DataFrame, **scoring: object) -> tuple[pd.DataFrame, Spending]:
    settings = small_settings(scoring=scoring) if scoring else policy.settings
    lake = Lake(folder)
    found = decide(replace(policy, settings=settings), lake, AS_OF, batches(users))
    return read(lake), found


def replace_offers(policy: Policy, offers: tuple[Offer, ...]) -> Catalogue:
    return policy.catalogue.model_copy(update={"offers": offers})


def test_the_table_is_that_of_the_design(decided):
    schema = pq.read_schema(day_folder(decided[0], AS_OF) / "decisions.parquet")
    assert schema.names == DESIGN.split(", ")
    assert schema.equals(SCHEMA)
    texts = {field.name for field in schema if field.type == pa.string()}
    instants = {field.name for field in schema if field.type == pa.timestamp("us", "UTC")}
    assert instants == {"as_of", "send_at", "valid_until"}
    reasons = {field.name for field in schema if field.type == REASONS}
    assert reasons == {"reasons", "why", "suppressed_because"}
    assert {field.name for field in schema if field.type == pa.float64()} == set(
        schema.names
    ) - texts - instants - reasons


def test_everybody_has_one_decision_nothing_included(users, decisions):
    assert decisions["user_id"].tolist() == users["user_id"].tolist()
    assert set(decisions["offer_id"]) >= {"none", "bundle"}
    whole = ["decision_id", "as_of", "arm", "offer_id", "discount", "risk_band", "stage", "expected_cost"]
    whole += ["expected_value", "propensity", "why", "evidence", "model_versions"]
    assert not decisions[whole].isna().any().any()


def test_there_is_a_prediction_for_everybody_and_a_row_for_every_option(decided, policy, users, options):
    predictions = read(decided[0], "predictions")
    told = ["p_churn", "retained_value", "remaining_value", "p_return", "value_if_back", "persona"]
    assert predictions.columns.tolist() == ["user_id", "as_of", *told]
    assert predictions["user_id"].tolist() == users["user_id"].tolist()
    active = users["days_since_last_activity"] <= 56
    expected = policy.churn.estimator.predict(users[active])
    assert predictions.loc[active, "p_churn"].tolist() == expected.tolist()
    assert predictions.loc[active, "remaining_value"].tolist() == policy.value.estimator.predict(users[active]).tolist()
    assert len(options) == 200 * 6


def test_what_frames_are_read_from_is_let_go_before_anything_is_told(policy, users, tmp_path, monkeypatch):
    happened = []

    def reading(frame: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        happened.append("read")
        return frame()

    def telling(*args: object) -> dict[str, pa.Table]:
        happened.append("told")
        return tables_of(*args)

    monkeypatch.setattr(day_of_decisions, "tables_of", telling)
    frames = [partial(reading, frame) for frame in batches(users, 60).frames]
    decide(policy, Lake(tmp_path), AS_OF, LocalExecutor(frames, done=lambda: happened.append("done")))
    assert happened == ["read"] * len(frames) + ["done"] + ["told"] * len(frames)


def test_two_runs_write_the_same_bytes(decided, policy, users, tmp_path):
    again = Lake(tmp_path)
    assert decide(policy, again, AS_OF, batches(users)) == decided[1]
    assert contents(day_folder(again, AS_OF)) == contents(day_folder(decided[0], AS_OF))


@pytest.mark.parametrize("size", [1, 60, 199])
def test_batches_of_any_size_give_the_same_rows(decided, policy, users, tmp_path, size):
    part = users.head(12) if size == 1 else users
    lake, one = Lake(tmp_path / "several"), Lake(tmp_path / "one")
    found, whole = decide(policy, lake, AS_OF, batches(part, size)), decide(policy, one, AS_OF, batches(part))
    for table in ("decisions", "predictions", "options"):
        paths = [day_folder(each, AS_OF) / f"{table}.parquet" for each in (lake, one)]
        several, single = (pq.ParquetFile(path).read().combine_chunks() for path in paths)
        assert several.equals(single), table
    assert found.spent == pytest.approx(whole.spent)
    assert found.value == pytest.approx(whole.value)
    assert found.shadow_price == whole.shadow_price


def test_the_budget_is_held_and_the_allocation_says_what_was_decided(decided, decisions):
    found = decided[1]
    assert found.budget == 30.0
    assert decisions["expected_cost"].sum() <= found.budget + 1e-9
    assert decisions["expected_cost"].sum() == pytest.approx(found.spent)
    assert decisions["expected_value"].sum() == pytest.approx(found.value)
    assert found.spent > 0.8 * found.budget
    assert 0 <= found.gap < 0.05
    assert found.shadow_price > 0


def test_the_day_keeps_what_its_budget_was_spent_on(explored):
    lake, spending = explored
    (kept,) = read(lake, "spending").to_dict("records")
    assert kept == {name: getattr(spending, name) for name in kept}
    assert {"budget", "spent", "shadow_price", "exploration_share"} <= set(kept)


@pytest.mark.parametrize("budget", [0.0, 1.0, 10.0, 1e6])
def test_any_budget_is_held(policy, users, tmp_path, budget):
    found, allocation = run(policy, tmp_path, users, budget=budget)
    assert found["expected_cost"].sum() <= budget + 1e-9
    assert (found["offer_id"] != "none").any() == (budget > 0)
    assert (allocation.shadow_price == 0) == (budget == 1e6)


def test_a_decision_repeats_the_numbers_of_its_option(decisions, options):
    given = decisions[decisions["offer_id"] != "none"].merge(
        options, on=["user_id", "offer_id", "discount"], suffixes=("", "_option")
    )
    assert len(given) == (decisions["offer_id"] != "none").sum() > 10
    for name in ("channel", "p_redeem", "incremental_retention", "incremental_margin", "expected_cost"):
        assert (given[name] == given[f"{name}_option"]).all(), name
    assert (given["expected_value"] == given["value"]).all()
    assert given["eligible"].all()
    assert (given["value"] > 0).all()
    by_hand = (
        given["incremental_margin"] + given["incremental_retention"] * given["remaining_value"] - given["expected_cost"]
    )
    assert given["expected_value"].tolist() == pytest.approx(by_hand.tolist())


def test_nothing_costs_nothing_and_says_nothing(decisions):
    nothing = decisions[decisions["offer_id"] == "none"]
    zeros = [
        "discount",
        "benefit_level",
        "expected_cost",
        "expected_value",
        "p_redeem",
        "incremental_margin",
        "incremental_retention",
    ]
    assert (nothing[zeros] == 0).all().all()
    assert (
        nothing[["play", "channel", "message", "featured_category", "send_at", "send_hour_propensity", "valid_until"]]
        .isna()
        .all()
        .all()
    )
    assert set(nothing["evidence"]) == {"none"}


def test_a_message_is_filled_in_for_its_user(users, decisions):
    rows = decisions.merge(users, on="user_id")
    rows = rows[rows["offer_id"] == "bundle"]
    for row in rows.itertuples():
        category = {"bread": "bread"}.get(row.favourite_category_90d)  # wine is not spoken of
        assert row.featured_category == category
        assert row.message == f"Bundle: {row.discount:.0%} off {category or 'selected items'} until 7 July 2024."
        assert (row.play, row.channel) == ("mail", "email")
        assert row.send_at == pd.Timestamp("2024-07-01 12:00", tz="UTC")  # nobody's hours are known
        assert row.send_hour_propensity == 1.0
        assert row.valid_until == pd.Timestamp("2024-07-08", tz="UTC")
    assert rows["favourite_category_90d"].isna().any()


def test_a_message_is_sent_at_the_user_s_hour_of_the_app_s_time_zone(policy, users, tmp_path):
    spring = date(2024, 3, 31)  # clocks in Berlin go forward at two
    settings = policy.settings.model_copy(update={"time_zone": "Europe/Berlin"})
    asked = []

    def likes(given: np.ndarray) -> UserPreferences:
        asked.append(given)
        ids = pd.Index(users["user_id"][::2], dtype=object)
        at_15 = replace(nobody_known(), hours=np.eye(1, 24, 15)).taken(np.zeros(len(ids), np.intp))
        return UserPreferences(ids, at_15)

    lake = Lake(tmp_path)
    decide(replace(policy, settings=settings), lake, spring, batches(users, 60), preferences_of=likes)
    found = read(lake, as_of=spring)
    assert set(found["as_of"]) == {pd.Timestamp("2024-03-30 23:00", tz="UTC")}
    given = found["offer_id"] != "none"
    assert (asked[0] >= 0).tolist() == given.tolist()
    hours = found["send_at"].dt.tz_convert("Europe/Berlin").dt.hour
    assert set(hours[given & (found.index % 2 == 0)]) == {15}
    assert set(hours[given & (found.index % 2 == 1)]) == {12}  # nobody knows: noon


def test_control_users_are_never_treated_and_stay_the_same(policy, users, decisions, tmp_path):
    control = hash_share(users["user_id"], f"{CONTROL_SALT}:{policy.settings.seed}") < 0.1
    ineligible = decisions["suppressed_because"].notna()
    assert (decisions["arm"] == np.where(ineligible, "suppressed", np.where(control, "control", "policy"))).all()
    assert (decisions.loc[control, "offer_id"] == "none").all()
    assert (control & ~ineligible).sum() > 10
    lake, later = Lake(tmp_path), AS_OF + timedelta(days=1)
    decide(policy, lake, later, batches(users.iloc[::-1], 60))
    other = read(lake, as_of=later).set_index("user_id").loc[users["user_id"], "arm"]
    assert other.tolist() == decisions["arm"].tolist()


def test_another_seed_draws_another_control_group(policy, users, decisions, tmp_path):
    settings = policy.settings.model_copy(update={"seed": 1})
    lake = Lake(tmp_path)
    decide(replace(policy, settings=settings), lake, AS_OF, batches(users))
    assert (read(lake)["arm"] == "control").tolist() != (decisions["arm"] == "control").tolist()


def test_what_was_not_left_to_chance_has_propensity_one(decisions):
    assert set(decisions["propensity"]) == {1.0}
    assert set(decisions["arm"]) == {"policy", "control", "suppressed"}


EXPLORING = {
    "budget": 1e6, "control_share": 0.1, "business_as_usual_share": 0.1,
    "exploration": {"share": 0.4, "method": "uniform"},
}  # fmt: skip


@pytest.fixture(scope="module")
def explored(policy, users, tmp_path_factory) -> tuple[Lake, Spending]:
    """A day on which many explore and money is no object."""
    lake = Lake(tmp_path_factory.mktemp("explored"))
    settings = small_settings(scoring=EXPLORING)
    return lake, decide(replace(policy, settings=settings), lake, AS_OF, batches(users))


def test_every_arm_is_given_what_it_may_be_given(users, explored):
    found = read(explored[0]).set_index("arm")
    assert set(found.index) == {"policy", "explore", "control", "business_as_usual", "suppressed"}
    assert set(found.loc[["control", "business_as_usual", "suppressed"], "offer_id"]) == {"none"}
    # explorers draw from everything that may be tried, of unknown effect too, and nothing
    assert set(found.loc["explore", "offer_id"]) == {"none", "bundle", "come_back", "unproven"}
    assert set(found.loc["policy", "offer_id"]) <= {"none", "bundle", "come_back"}
    assert found.loc["suppressed", "suppressed_because"].notna().all()
    stable = {"control": CONTROL_SALT, "business_as_usual": AS_USUAL_SALT}
    for arm, salt in stable.items():
        share = hash_share(found.loc[arm, "user_id"], f"{salt}:{small_settings().seed}")
        assert (share < 0.12).all(), arm


def test_a_logged_propensity_by_hand(explored):
    # six options and nothing, each drawn by one in seven of the 40% who explore; the others get the policy's
    found = read(explored[0])
    ledger = entries(explored[0], AS_OF, AS_OF).to_pandas()
    is_intended = (ledger["offer_id"] == ledger["intended_offer_id"]) & (
        ledger["discount"] == ledger["intended_discount"]
    )
    at_random = 0.4 / 7
    expected = np.where(is_intended, 0.6 + at_random, at_random)
    expected[~found["arm"].isin(["policy", "explore"])] = 1.0
    assert found["propensity"].tolist() == pytest.approx(expected.tolist())
    assert is_intended[found["arm"] == "policy"].all()
    assert not is_intended[found["arm"] == "explore"].all()


def test_a_logged_propensity_can_be_computed_from_the_options(policy, users, tmp_path):
    # an option of unknown effect counts like nothing, which is worth nothing
    scoring = {"budget": 1e6, "exploration": {"share": 0.4, "temperature": 2.0, "floor": 0.02}}
    run(policy, tmp_path, users, **scoring)
    lake = Lake(tmp_path)
    options = read(lake, "options")
    weight = np.exp(np.where(options["eligible"], options["value"], 0.0) / 2.0)
    whole = pd.Series(weight).groupby(options["user_id"]).transform("sum") + 1.0
    options["chance"] = 0.02 + (1 - 7 * 0.02) * weight / whole
    ledger = entries(lake, AS_OF, AS_OF).to_pandas().merge(options, on=["user_id", "offer_id", "discount"])
    open_ = ledger[ledger["arm"].isin(["policy", "explore"])]
    is_intended = (open_["offer_id"] == open_["intended_offer_id"]) & (open_["discount"] == open_["intended_discount"])
    expected = 0.4 * open_["chance"] + 0.6 * is_intended
    assert open_["propensity"].tolist() == pytest.approx(expected.tolist())
    assert set(open_["offer_id"]) == {"bundle", "come_back", "unproven"}


def test_a_propensity_is_a_probability_above_zero(policy, users, tmp_path):
    for method in ("softmax", "thompson"):
        scoring = {
            "exploration": {"share": 0.3, "method": method, "temperature": 0.1},
            "channel_capacity": {"email": 9},
        }
        found, _ = run(policy, tmp_path / method, users, **scoring)
        assert found["propensity"].between(0, 1, inclusive="right").all()
        assert (found["propensity"] < 1).any()


def test_the_intended_option_is_the_one_the_policy_would_give(policy, users, explored, tmp_path):
    everyone, _ = run(policy, tmp_path, users, budget=1e6, control_share=0.0)
    ledger = entries(explored[0], AS_OF, AS_OF).to_pandas()
    for name in ("offer_id", "discount", "channel"):
        assert ledger[f"intended_{name}"].fillna("").tolist() == everyone[name].fillna("").tolist(), name
    assert (ledger.loc[ledger["arm"] == "control", "intended_offer_id"] != "none").any()


def test_explorers_are_drawn_anew_and_groups_stay(policy, users, explored, tmp_path):
    lake, later = Lake(tmp_path), AS_OF + timedelta(days=1)
    decide(replace(policy, settings=small_settings(scoring=EXPLORING)), lake, later, batches(users))
    today, tomorrow = read(explored[0])["arm"], read(lake, as_of=later)["arm"]
    for arm in ("control", "business_as_usual", "suppressed"):
        assert ((today == arm) == (tomorrow == arm)).all()
    assert ((today == "explore") & (tomorrow == "policy")).any()


def test_exploring_is_paid_first_and_no_limit_is_broken(policy, users, tmp_path):
    offers = (offer("bundle", stock=6), offer("come_back", channel="push"), offer("unproven"))
    limited = replace(policy, catalogue=replace_offers(policy, offers))
    scoring = {"budget": 12.0, "channel_capacity": {"email": 9, "push": 4}, "exploration": {"share": 0.5}}
    for day in range(5):
        lake, as_of = Lake(tmp_path / str(day)), AS_OF + timedelta(days=day)
        spending = decide(replace(limited, settings=small_settings(scoring=scoring)), lake, as_of, batches(users, 60))
        found = read(lake, as_of=as_of)
        assert found["expected_cost"].sum() == pytest.approx(spending.spent)
        assert spending.spent <= 12.0 + 1e-9
        assert spending.exploration_spent <= 0.25 * 12.0 + 1e-9  # exploration.budget_share
        at_random = found[found["arm"] == "explore"]
        assert at_random["expected_cost"].sum() == pytest.approx(spending.exploration_spent)
        assert spending.exploration_share < 0.5  # the budget pays for no more
        channels, offered = found["channel"].value_counts(), found["offer_id"].value_counts()
        assert channels.get("email", 0) == spending.used["channel email"] <= 9
        assert channels.get("push", 0) == spending.used["channel push"] <= 4
        assert offered.get("bundle", 0) == spending.used["stock of bundle"] <= 6


def test_an_option_without_a_place_is_not_tried(policy, users, tmp_path):
    sold_out = replace(policy, catalogue=replace_offers(policy, (offer("bundle", stock=0), offer("come_back"))))
    settings = small_settings(scoring=EXPLORING)
    lake = Lake(tmp_path)
    decide(replace(sold_out, settings=settings), lake, AS_OF, batches(users))
    found = read(lake)
    assert "bundle" not in set(found["offer_id"])
    is_none = (found["arm"] == "explore") & (found["offer_id"] == "none")
    assert set(found.loc[is_none, "propensity"].round(9)) <= {round(0.4 / 3, 9), round(0.6 + 0.4 / 3, 9)}


@pytest.mark.parametrize("size", [7, 60])
def test_batches_of_any_size_explore_alike(policy, users, tmp_path, size):
    part, mails = users.head(11 * size), {7: 8, 60: 20}[size]
    scoring = {"exploration": {"share": 0.4, "method": "thompson"}, "channel_capacity": {"email": mails}}
    limited = replace(policy, settings=small_settings(scoring=scoring))
    lake, one = Lake(tmp_path / "several"), Lake(tmp_path / "one")
    found, whole = decide(limited, lake, AS_OF, batches(part, size)), decide(limited, one, AS_OF, batches(part))
    assert found == whole
    assert read(lake).equals(read(one))
    assert entries(lake, AS_OF, AS_OF).equals(entries(one, AS_OF, AS_OF))


def test_where_nothing_is_known_some_explore_and_the_others_get_nothing(policy, users, tmp_path):
    cold = replace(policy, response=None, settings=small_settings(scoring=EXPLORING))
    lake = Lake(tmp_path)
    spending = decide(cold, lake, AS_OF, batches(users))
    found = read(lake)
    drawn = found[(found["arm"] == "explore") & (found["offer_id"] != "none")]
    assert set(found.loc[found["arm"] != "explore", "offer_id"]) == {"none"}
    assert len(drawn) > 20
    assert set(drawn["why"]) == {
        "drawn at random to learn what works: an option whose effect on this user is not known"
    }
    assert set(drawn["propensity"].round(9)) == {round(0.4 / 7, 9)}
    assert spending.spent == spending.exploration_spent == pytest.approx(drawn["expected_cost"].sum())
    assert spending.value == pytest.approx(drawn["expected_value"].sum())


def test_a_floor_too_high_for_the_catalogue_is_refused(policy, users, tmp_path):
    with pytest.raises(InputError, match=r"lower it to 0\.1429 or less"):
        run(policy, tmp_path, users, exploration={"share": 0.1, "floor": 0.2})
    with pytest.raises(InputError, match="no offer goes through channel 'pusch'"):
        run(policy, tmp_path, users, channel_capacity={"pusch": 1})


@pytest.mark.parametrize("capacity", [{}, {"email": 12}])
def test_the_budget_curve_rises_and_meets_the_day(policy, users, tmp_path, capacity):
    _, spending = run(policy, tmp_path, users, channel_capacity=capacity)
    curve = read(Lake(tmp_path), "budget_curve")
    assert curve.columns.tolist() == ["budget", "value", "spent", "shadow_price"]
    assert curve["budget"].tolist() == pytest.approx(np.linspace(0, 60, 21).tolist())
    assert (curve["spent"] <= curve["budget"] + 1e-9).all()
    assert (np.diff(curve["value"]) >= -0.02 * curve["value"].max()).all()
    assert curve["value"].iloc[0] == 0
    assert curve["value"].iloc[10] == pytest.approx(spending.value, rel=0.02)


def test_the_budget_curve_of_many_users_is_drawn_from_some(policy, users, tmp_path, monkeypatch):
    run(policy, tmp_path / "all", users, channel_capacity={"email": 60})
    whole = read(Lake(tmp_path / "all"), "budget_curve")
    monkeypatch.setattr("serving.arms.assignment.CURVE_USERS", 100)
    run(policy, tmp_path / "some", users, channel_capacity={"email": 60})
    some = read(Lake(tmp_path / "some"), "budget_curve")
    assert some["budget"].tolist() == pytest.approx(whole["budget"].tolist())
    assert some["value"].tolist()[10] == pytest.approx(whole["value"].tolist()[10], rel=0.25)


@pytest.mark.parametrize("budget", [0.0, 1e9])
def test_the_budget_curve_of_an_odd_budget(policy, users, tmp_path, budget):
    run(policy, tmp_path, users, budget=budget)
    curve = read(Lake(tmp_path), "budget_curve")
    assert len(curve) == (1 if budget == 0 else 21)
    assert np.isfinite(curve).all().all()


def test_a_control_group_of_everybody_is_given_nothing(policy, users, tmp_path):
    found, allocation = run(policy, tmp_path, users, control_share=1.0)
    assert set(found["offer_id"]) == {"none"}
    assert set(found["propensity"]) == {1.0}
    assert (allocation.spent, allocation.value, allocation.gap) == (0.0, 0.0, 0.0)


def test_who_failed_to_pay_gets_no_discount(users, decisions, options):
    failed = users["payment_failures_count_28d"] > 0
    rows = decisions[failed.to_numpy()]
    assert set(rows["arm"]) == {"suppressed"}
    assert set(rows["offer_id"]) == {"none"}
    because = "a payment failed: payment recovery comes first, never a discount"
    assert set(rows["suppressed_because"]) == set(rows["why"]) == {because}
    listed = options[options["user_id"].isin(users.loc[failed, "user_id"])]
    assert not listed["eligible"].any()
    assert set(listed["why_not"]) == {because}


def test_lapsed_users_are_suppressed_and_nobody_guesses_their_risk(users, decisions):
    lapsed = ~(users["days_since_last_activity"] <= 56)
    assert lapsed[5]  # never seen at all
    rows = decisions[lapsed.to_numpy()]
    assert rows[["p_churn", "remaining_value", "reasons"]].isna().all().all()
    assert set(rows["risk_band"]) == {"unknown"}
    assert set(rows["arm"]) == {"suppressed"}
    paid = rows[users.loc[lapsed, "payment_failures_count_28d"].to_numpy() == 0]
    assert set(paid["suppressed_because"]) == {"not active for 56 days: the models do not speak of lapsed users"}
    known = decisions[~lapsed.to_numpy()]
    assert known["p_churn"].between(0, 1).all()
    assert known["reasons"].str.contains("the risk\\)").all()
    assert set(known["risk_band"]) == {"high", "medium", "low"}


def test_a_batch_of_lapsed_users_is_no_error(policy, users, tmp_path):
    found, _ = run(policy, tmp_path, users.assign(days_since_last_activity=np.nan))
    assert set(found["arm"]) == {"suppressed"}
    assert found["p_churn"].isna().all()


def test_why_nothing_is_given_is_said(policy, users, decisions, tmp_path):
    words = decisions.groupby("arm")["why"].unique().to_dict()
    assert words["control"].tolist() == [
        "in the control group, which is never treated, so that effects can be measured"
    ]
    nothing = decisions[(decisions["arm"] == "policy") & (decisions["offer_id"] == "none")]
    assert set(nothing["why"]) == {"the budget earns more with other users"}
    given = decisions[decisions["offer_id"] != "none"]
    assert given["why"].str.fullmatch(r"worth \+\d+\.\d\d USD = .* contact").all()
    rich, _ = run(policy, tmp_path, users, budget=1e6)
    assert not (rich["why"] == "the budget earns more with other users").any()
    useless = {name: replace(effect, margin=0.0, retention=0.0) for name, effect in policy.response.effects.items()}
    idle = replace(policy, response=replace(policy.response, effects=useless))
    poor, _ = run(idle, tmp_path / "useless", users)
    assert set(poor.loc[poor["arm"] == "policy", "why"]) == {
        "nothing pays: every option whose effect is known would cost more than it brings"
    }


@pytest.fixture(scope="module")
def personal(policy) -> Policy:
    """Policy that decides by effects of randomised treatments, with enough money for all and some who explore."""
    effects = personal_effects(randomised_treatments(400, np.random.default_rng(72))[0])
    settings = small_settings(scoring={"budget": 1e6, "exploration": {"share": 0.3}})
    return replace(policy, settings=settings, response=replace(policy.response, effects={}, personal=effects))


def deployed(personal: Policy, policy: Deployed) -> Policy:
    effects = replace(personal.response.personal, deployed=policy)
    return replace(personal, response=replace(personal.response, personal=effects))


WORTH = r"worth [+-]\d+\.\d\d USD = .* contact"
UNKNOWN = "an option whose effect on this user is not known"


def test_a_personal_decision_says_its_worth_and_what_makes_the_offer_work(personal, users, tmp_path):
    lake = Lake(tmp_path)
    decide(personal, lake, AS_OF, batches(users))
    found = read(lake)
    given = found[found["offer_id"] != "none"]
    differs = r"works (better|less well) on them than on most, by \d+\.\d\d, because: .+ \([+-]\d+\.\d\d\)"
    by_policy = given.loc[given["arm"] == "policy", "why"]
    assert len(by_policy) > 20
    assert by_policy.str.fullmatch(f"{WORTH}; {differs}").all()
    lead = "drawn at random to learn what works: "
    at_random = given.loc[given["arm"] == "explore", "why"].str.removeprefix(lead)
    assert set(at_random.str.fullmatch(f"{WORTH}; {differs}|{UNKNOWN}")) == {True}
    assert at_random.str.fullmatch(UNKNOWN).any()
    again = Lake(tmp_path / "batches")
    decide(personal, again, AS_OF, batches(users, 33))
    assert read(again)["why"].tolist() == found["why"].tolist()


def test_what_is_said_to_work_better_is_the_effect_against_that_on_the_average_user(personal, users, tmp_path):
    found = run(replace(personal, settings=small_settings()), tmp_path, users, budget=1e6)[0]
    given = found[found["offer_id"] != "none"]
    assert len(given) > 20
    effects = personal.response.personal
    rows, worth = users.iloc[given.index], given["remaining_value"].to_numpy()
    places = [DRAWN_OPTIONS.index(option) for option in zip(given["offer_id"], given["discount"], strict=True)]
    p_redeem = np.tile(given["p_redeem"].to_numpy()[:, None], len(DRAWN_OPTIONS))  # of the own option alone
    chances = Chances(p_redeem, given["p_churn"].to_numpy())
    base = [
        each.contributions(rows, DRAWN_OPTIONS, np.array(places), chances)[:, -1]
        for each in (effects.margin, effects.retention)
    ]
    changes = given["incremental_margin"] + given["incremental_retention"] * worth
    told = given["why"].str.extract(r"works (?P<how>.*) on them than on most, by (?P<amount>[\d.]+)")
    signed = told["amount"].astype(float) * np.where(told["how"] == "better", 1.0, -1.0)
    assert signed.tolist() == pytest.approx((changes - base[0] - base[1] * worth).tolist(), abs=0.006)


def test_a_simple_policy_says_its_rule_to_those_it_gives_to_and_to_the_others(personal, users, tmp_path):
    rule = deployed(personal, Deployed(RULE, ("come_back", 0.3), "spend_sum_90d", 50.0))
    found = run(rule, tmp_path, users)[0].assign(spend=users["spend_sum_90d"])
    words = "Come_Back, 30% off, for users whose “money spent, last 90 days” is above 50 USD"
    by_policy = found[found["arm"] == "policy"]
    given, nothing = by_policy[by_policy["offer_id"] != "none"], by_policy[by_policy["spend"] <= 50.0]
    assert len(given) > 10
    assert set(given["discount"]) == {0.3}
    for row in given.itertuples():
        assert row.why.endswith(f" contact; by one rule for all: {words} (theirs: {plain(row.spend)} USD)")
    assert set(nothing["why"]) == {f"past offers speak for another rule: {words}"}
    explored_only, _ = run(rule, tmp_path / "explored", users, budget=1e6, exploration={"share": 0.5})
    drawn = explored_only[(explored_only["arm"] == "explore") & (explored_only["offer_id"] != "none")]
    assert drawn["why"].str.fullmatch(f"drawn at random to learn what works: ({WORTH}|{UNKNOWN})").all()


def test_who_waits_for_a_turn_is_told_that_chance_decides_and_not_that_others_are_worth_more(personal, users, tmp_path):
    constant = deployed(personal, Deployed(CONSTANT, ("come_back", 0.3)))
    everybody, rich = run(constant, tmp_path / "rich", users, budget=1e6)
    found, poor = run(constant, tmp_path, users, budget=rich.spent / 2)
    waits = "not drawn today: the {} is not enough for all it is meant for, and who gets it is drawn anew every day"
    assert reasons_for_nothing(found) - reasons_for_nothing(everybody) == {waits.format("budget")}
    assert 0 < (found["offer_id"] != "none").sum() < (everybody["offer_id"] != "none").sum()
    assert 0 < poor.spent <= poor.budget
    full, _ = run(constant, tmp_path / "full", users, budget=1e6, channel_capacity={"email": 5})
    assert reasons_for_nothing(full) - reasons_for_nothing(everybody) == {waits.format("channel email")}
    assert (full["offer_id"] != "none").sum() == 5
    empty, _ = run(constant, tmp_path / "empty", users, budget=0.0)
    assert reasons_for_nothing(empty) - reasons_for_nothing(everybody) == {waits.format("budget")}


def plain(number: float) -> str:
    return f"{number:.0f}" if number == round(number) else f"{number:.2f}"


def test_a_policy_that_gives_nobody_anything_says_so(personal, users, tmp_path):
    found = run(deployed(personal, Deployed(NOBODY)), tmp_path, users)[0]
    assert reasons_for_nothing(found) == {"past offers speak for another rule: nobody gets an offer"}


def reasons_for_nothing(found: pd.DataFrame, arm: str = "policy") -> set[str]:
    return set(found.loc[(found["arm"] == arm) & (found["offer_id"] == "none"), "why"])


def with_effects(policy: Policy, **changes: float) -> Policy:
    effects = {name: replace(effect, **changes) for name, effect in policy.response.effects.items()}
    return replace(policy, response=replace(policy.response, effects=effects))


def test_who_would_be_driven_away_is_left_alone(policy, users, tmp_path):
    found, _ = run(with_effects(policy, margin=-1.0, retention=-0.05), tmp_path, users)
    assert reasons_for_nothing(found) == {"better left alone: every known option would drive this user away"}
    # that an option loses margin but keeps the user, or brings less than it costs, does no harm
    for name, margin, retention in (("keeps", -1.0, 1e-6), ("dear", 0.01, -1e-6)):
        dear, _ = run(with_effects(policy, margin=margin, retention=retention), tmp_path / name, users)
        assert reasons_for_nothing(dear) == {
            "nothing pays: every option whose effect is known would cost more than it brings"
        }


def test_a_full_channel_or_an_empty_stock_is_the_reason_when_the_budget_would_pay(policy, users, tmp_path):
    found, spending = run(policy, tmp_path, users, budget=1e6, channel_capacity={"email": 10})
    assert spending.limit_prices["channel email"] > 0
    assert spending.used == {"channel email": 10}
    full = "no place left: the channel email earns more with other users"
    assert reasons_for_nothing(found) == {full}
    both, _ = run(policy, tmp_path / "both", users, budget=2.0, channel_capacity={"email": 10})
    assert reasons_for_nothing(both) == {full, "the budget earns more with other users"}
    stocked = replace(policy, catalogue=replace_offers(policy, (offer("bundle", stock=3),)))
    short, _ = run(stocked, tmp_path / "stock", users, budget=1e6)
    assert reasons_for_nothing(short) == {"no place left: the stock of bundle earns more with other users"}


def test_who_draws_nothing_or_something_at_random_is_told_so(explored):
    found = read(explored[0])
    assert reasons_for_nothing(found, "explore") == {"drawn at random to learn what works: nothing"}
    given = found[(found["arm"] == "explore") & (found["offer_id"] != "none")]
    worth = r"worth [+-]\d+\.\d\d USD = .* contact|an option whose effect .* not known"
    words = f"drawn at random to learn what works: ({worth})"
    assert given["why"].str.fullmatch(words).all()
    assert reasons_for_nothing(found, "business_as_usual") == {
        "left to business as usual, which winback is compared with"
    }


def test_evidence_travels_with_the_offer(decisions, policy, users, tmp_path):
    assert set(decisions.loc[decisions["offer_id"] == "bundle", "evidence"]) == {"observational"}
    other = replace(policy, catalogue=small_policy(offers=(offer("come_back", discounts=(0.05,)),)).catalogue)
    found, _ = run(other, tmp_path, users)
    assert set(found.loc[found["offer_id"] == "come_back", "evidence"]) == {"randomised"}


def test_an_offer_without_a_known_effect_is_never_given(decisions, options):
    assert "unproven" not in set(decisions["offer_id"])
    assert not options.loc[options["offer_id"] == "unproven", "eligible"].any()


def test_where_nothing_is_known_about_offers_everybody_gets_nothing(policy, users, tmp_path):
    found, allocation = run(replace(policy, response=None), tmp_path, users)
    assert set(found["offer_id"]) == {"none"}
    open_ = found[found["arm"] == "policy"]
    assert set(open_["why"]) == {"no option whose effect on this user is known"}
    assert set(found["model_versions"]) == {"churn-lightgbm-churn012, value-proportional-value012"}
    assert allocation.bound == 0.0


def test_every_decision_names_its_models(decisions):
    names = "churn-lightgbm-churn012, value-proportional-value012, redemption-lightgbm-x"
    assert set(decisions["model_versions"]) == {names}


def test_a_decision_has_a_name_of_its_own_that_a_rerun_keeps(policy, users, decisions, tmp_path):
    assert decisions["decision_id"].is_unique
    assert decisions["decision_id"].str.fullmatch("[0-9a-f]{32}").all()
    assert decisions["decision_id"][0] == "a98db962d8c823a7ace0216b381f1f26"  # in every version, as ledgers go on
    lake, later = Lake(tmp_path), AS_OF + timedelta(days=1)
    decide(policy, lake, later, batches(users))
    assert not set(read(lake, as_of=later)["decision_id"]) & set(decisions["decision_id"])
    other_app = replace(policy, settings=policy.settings.model_copy(update={"app": "other"}))
    decide(other_app, lake, AS_OF, batches(users))
    assert not set(read(lake)["decision_id"]) & set(decisions["decision_id"])


def test_a_day_that_is_superseded_is_replaced_whole(policy, users, tmp_path):
    lake = Lake(tmp_path)
    decide(policy, lake, AS_OF, batches(users, 50))
    decide(policy, lake, AS_OF, batches(users.head(20), 7), supersede="a test")
    assert len(read(lake)) == len(read(lake, "predictions")) == 20
    assert sorted(path.name for path in lake.path("decisions").iterdir()) == [f"day={AS_OF}", "manifest.json"]


@pytest.mark.parametrize("breaks_at", [0, 2, 4])
def test_a_crash_in_the_middle_leaves_the_day_as_it_was_and_the_next_run_goes_on_there(
    policy, users, tmp_path, breaks_at
):
    lake, whole = Lake(tmp_path / "lake"), Lake(tmp_path / "whole")
    decide(policy, lake, AS_OF, batches(users.head(30)))
    decide(policy, whole, AS_OF, batches(users, 40))
    before, read_again = contents(day_folder(lake, AS_OF)), []

    def crash() -> pd.DataFrame:
        raise RuntimeError("the power went out")

    def noted(number: int, frame: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        read_again.append(number)
        return frame()

    frames = batches(users, 40).frames
    broken = [crash if number == breaks_at else frame for number, frame in enumerate(frames)]
    with pytest.raises(RuntimeError, match="the power went out"):
        decide(policy, lake, AS_OF, LocalExecutor(broken))
    assert contents(day_folder(lake, AS_OF)) == before
    assert sorted(path.name for path in lake.path("decisions").iterdir()) == [f"day={AS_OF}", "manifest.json"]
    again = LocalExecutor([partial(noted, number, frame) for number, frame in enumerate(frames)])
    decide(policy, lake, AS_OF, again, supersede="a test")
    assert min(read_again) == breaks_at
    assert contents(day_folder(lake, AS_OF)) == contents(day_folder(whole, AS_OF))
    assert not lake.path("scoring", f"day={AS_OF}").exists()


@pytest.mark.parametrize("changed", ["policy", "inputs", "size"])
def test_what_a_failed_run_left_is_not_used_for_another(policy, users, tmp_path, changed):
    lake, other = Lake(tmp_path), small_settings(scoring={"high_risk": 0.9})
    executor = batches(users, 40)

    def crash() -> pd.DataFrame:
        raise RuntimeError("the power went out")

    with pytest.raises(RuntimeError, match="the power went out"):
        decide(
            policy, lake, AS_OF, LocalExecutor([*executor.frames[:3], crash, executor.frames[4]]), inputs="yesterday"
        )
    left = sorted(path.name for path in lake.path("scoring", f"day={AS_OF}").glob("batch-*"))
    assert left[:3] == ["batch-00000.arrow", "batch-00001.arrow", "batch-00002.arrow"]
    stale = lake.path("scoring", f"day={AS_OF}", left[0])
    stale.write_bytes(b"must not be read")
    changes = {
        "policy": lambda: decide(replace(policy, settings=other), lake, AS_OF, executor, inputs="yesterday"),
        "inputs": lambda: decide(policy, lake, AS_OF, executor, inputs="today"),
        "size": lambda: decide(policy, lake, AS_OF, batches(users, 50), inputs="yesterday"),
    }
    changes[changed]()
    assert len(read(lake)) == len(users)


def test_a_crash_while_decisions_are_written_leaves_the_day_as_it_was(policy, users, tmp_path, monkeypatch):
    lake = Lake(tmp_path)
    decide(policy, lake, AS_OF, batches(users))
    before, entered = contents(day_folder(lake, AS_OF)), entries(lake, AS_OF, AS_OF)
    written = []

    def crash(*_: object) -> pa.Table:
        written.append(1)
        if len(written) == 3:
            raise RuntimeError("the disk is full")
        return predictions_table(*_)

    monkeypatch.setattr("serving.decide.decisions.predictions_table", crash)
    with pytest.raises(RuntimeError, match="the disk is full"):
        decide(policy, lake, AS_OF, batches(users.head(120), 30))
    assert contents(day_folder(lake, AS_OF)) == before
    assert entries(lake, AS_OF, AS_OF).equals(entered)
    assert sorted(path.name for path in lake.path("decisions").iterdir()) == [f"day={AS_OF}", "manifest.json"]


def test_decisions_ledger_and_treatments_appear_together_wherever_the_run_is_killed(
    policy, users, tmp_path, monkeypatch, full
):
    def states(lake: Lake) -> tuple[int, int, int]:
        """Count the users of the decisions, of the ledger, and of the treatments with those who may get nothing."""
        landed = pq.ParquetFile(lake.partition("treatments", AS_OF)).read()["user_id"].to_pylist()
        (ledger,) = files_of(lake, AS_OF)
        decisions = read(lake)
        barred = decisions.loc[decisions["arm"] == "suppressed", "user_id"]
        return len(decisions), pq.read_metadata(ledger).num_rows, len({*landed, *barred})

    old, new, found, nth = 30, 40, [], 1
    pristine = Lake(tmp_path / "pristine")
    decide(policy, pristine, AS_OF, batches(users.head(old)))
    while True:
        lake = Lake(tmp_path / str(nth))
        shutil.copytree(pristine.root, lake.root)
        run = partial(decide, policy, lake, AS_OF, batches(users.head(new)), supersede="a test")
        was_killed = killed_at(monkeypatch, nth, run, ("replace", "unlink"))
        with lake.files.lock("the next run"):
            assert states(lake) in [(old,) * 3, (new,) * 3], nth
        found.append(states(lake)[0])
        assert not list(lake.root.rglob("*.part")), nth
        assert not lake.path(".publish").exists(), nth
        run()
        assert states(lake) == (new,) * 3
        if not was_killed:
            break
        nth += 1 if full else 4
    assert found == sorted(found)
    assert {*found} == {old, new}
    assert found.count(new) > 2  # a kill after it was published changes nothing any more


def test_a_day_without_users_is_refused_and_earlier_results_stay(policy, users, tmp_path):
    lake = Lake(tmp_path)
    decide(policy, lake, AS_OF, batches(users))
    before = contents(day_folder(lake, AS_OF))
    with pytest.raises(InputError, match="there is nobody to decide about on 2024-07-01; ingest users"):
        decide(policy, lake, AS_OF, batches(users.head(0)))
    assert contents(day_folder(lake, AS_OF)) == before


def test_the_users_who_decide_nothing_are_left_unchanged(policy, users, tmp_path):
    before = users.copy(deep=True)
    decide(policy, Lake(tmp_path), AS_OF, LocalExecutor([lambda: users]))
    pd.testing.assert_frame_equal(users, before)


def test_a_user_whose_name_is_strange_gets_a_decision(policy, users, tmp_path):
    strange = users.head(4).assign(user_id=["", "ü;'\"", "<script>", "a\nb"])
    found, _ = run(policy, tmp_path, strange)
    assert found["user_id"].tolist() == strange["user_id"].tolist()
    assert json.dumps(found["decision_id"].tolist())


def test_risk_bands_by_hand():
    settings = small_settings(scoring={"high_risk": 0.5, "medium_risk": 0.2})
    p_churn = np.array([0.5, 0.49, 0.2, 0.19, 0.0, np.nan])
    bands = {
        0.0: ["high", "medium", "medium", "low", "low", "unknown"],
        0.3: ["high", "medium", "low", "low", "low", "unknown"],
        0.49: ["high", "low", "low", "low", "low", "unknown"],
        0.5: ["low"] * 5 + ["unknown"],
    }
    for average, expected in bands.items():
        assert risk_band(p_churn, settings, average).tolist() == expected


@given(st.lists(st.one_of(st.floats(0, 1), st.just(float("nan"))), min_size=1, max_size=30), st.integers(1, 29))
def test_nobody_is_at_risk_whose_risk_is_not_above_the_average(p_churn, cut):
    risks = np.array(p_churn)
    parts = [SimpleNamespace(p_churn=part) for part in np.split(risks, [min(cut, len(risks))])]
    average = base_rate(parts)
    bands = risk_band(risks, small_settings(), average)
    at_risk = np.isin(bands, ["high", "medium"])
    assert (risks[at_risk] > average).all()
    assert (np.isnan(risks) == (bands == "unknown")).all()
    assert average == base_rate([SimpleNamespace(p_churn=risks)])  # however the users were cut


def test_stages_by_hand():
    frame = pd.DataFrame(
        {
            "days_since_last_activity": [1.0, 28.0, 29.0, 56.0, 57.0, np.nan, np.nan, 2.0],
            "tenure_days": [28.0, 29.0, 300.0, 300.0, 300.0, 300.0, 3.0, 20.0],
            "active_days_count_365d": [1.0, 9.0, 9.0, 9.0, 9.0, 0.0, 0.0, 2.0],
        }
    )
    found = stages_of(small_settings()).of(frame).tolist()
    assert found == ["new", "engaged", "dormant", "dormant", "lapsed", "lapsed", "new", "activated"]


def test_as_of_is_the_start_of_the_day(decisions):
    assert set(decisions["as_of"]) == {pd.Timestamp(datetime(2024, 7, 1, tzinfo=UTC))}
