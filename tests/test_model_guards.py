"""Model guards: who decides where a champion may not, said always; drift that was planted is found, none is not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from synthetic import AS_OF, behaviour, outcomes, redemptions

from configs.errors import InputError
from configs.guard_settings import Guard, Guards
from configs.settings import load_settings
from features.storage.lake import Lake
from features.tables.parquet_files import write_parquet
from models.champion_gate.champions import promote
from models.champion_gate.drift_reference import drift_reference
from models.estimator_families.linear_estimators import fit_linear
from models.learn.recency_rule import recency_table
from models.metrics.drift import Reference, bins_of, expected_auc
from models.metrics.metric import Metric
from models.registry.model_reader import ModelLineage, Registered, load
from models.registry.registry_state import registered_model
from models.registry.tracking import connect, register, registered_name
from serving.guards.guard_findings import FIRED, Finding, guard_words
from serving.guards.model_guards import asked_of_models, choose_model, model_findings
from serving.guards.realised_calibration import realised_calibration
from serving.lookups.data_verification import verify

SUBJECT, TARGET = "guarded", "is_churned"
COLUMNS = ["days_since_last_activity", "spend_sum_90d", "trait_plan"]
GUARDS = load_settings().guards


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return outcomes(400, np.random.default_rng(11), snapshots=2)


@pytest.fixture(scope="module")
def stored(registry: Lake, frame: pd.DataFrame) -> Lake:
    """Two versions, each of which was champion; the second is."""
    model, rows = fit_linear(frame, TARGET, COLUMNS), frame.tail(400).reset_index(drop=True)
    earlier = frame.head(400).reset_index(drop=True)
    score = pd.Series(model.predict(rows))
    inputs = {name: bins_of(rows[name], earlier[name]) for name in COLUMNS}
    known = Reference(inputs, bins_of(score, pd.Series(model.predict(earlier))), expected_auc(score.to_numpy()))
    for mark in "ab":
        version = register(
            registry, ModelLineage(SUBJECT, "logistic", AS_OF, AS_OF, AS_OF, mark * 16), model, frame.head(9),
            parameters={}, metrics={"auc": Metric(0.8, 0.7, 0.9, 9)}, pictures={}, notes={}, verdict="",
            reference=known,
        )  # fmt: skip
        promote(registry, SUBJECT, version, "it won")
    return registry


@pytest.fixture
def lake(stored: Lake, tmp_path: Path) -> Lake:
    """Copy of the registry that a test may damage."""
    shutil.copytree(stored.root, tmp_path / "lake")
    return Lake(tmp_path / "lake")


def sample(seed: int = 1, users: int = 600) -> pd.DataFrame:
    return behaviour(users, np.random.default_rng(seed)).astype({"trait_plan": "category"})


def damage(lake: Lake, number: int) -> None:
    version = registered_model(lake, SUBJECT).versions[number]
    lake.path(str(version.model), "MLmodel").write_bytes(b"garbage")


def fired(findings: tuple[Finding, ...] | list[Finding]) -> list[tuple[str, str]]:
    return [(each.guard, each.code) for each in findings if each.state == FIRED]


def test_a_champion_that_is_good_decides_and_nothing_is_said(stored: Lake) -> None:
    chosen = choose_model(stored, SUBJECT, sample(), GUARDS)
    assert (chosen.model.version, chosen.fallback, guard_words(chosen.findings, AS_OF)) == (2, "", [])


def test_a_damaged_champion_gives_way_to_the_one_before_it_then_to_the_rule_then_to_none(
    lake: Lake, frame: pd.DataFrame
) -> None:
    damage(lake, 2)
    chosen = choose_model(lake, SUBJECT, sample(), GUARDS)
    assert (chosen.model.version, chosen.fallback) == (1, "guarded: version 1")
    (words,) = guard_words(chosen.findings, AS_OF)
    assert words.startswith(
        "guarded is predicted by version 1, the last good champion: the champion of the guarded model"
    )
    assert str(lake.root) not in words
    damage(lake, 1)
    ruled = choose_model(lake, SUBJECT, sample(), GUARDS, recency_table(frame, TARGET))
    assert (ruled.model.version, ruled.fallback) == (0, "guarded: rule of recency")
    assert ruled.model.lineage.name.startswith("guarded-recency_rule-")
    assert 0 < ruled.model.estimator.predict(sample()).min() < ruled.model.estimator.predict(sample()).max() < 1
    without = choose_model(lake, SUBJECT, sample(), GUARDS)
    assert (without.model, without.fallback, fired(without.findings)) == (
        None,
        "guarded: none",
        [("champion", "without")],
    )
    with pytest.raises(InputError, match=r"the champion of guarded may not decide: .* set guards\.fall_back = true"):
        choose_model(lake, SUBJECT, sample(), GUARDS.model_copy(update={"fall_back": False}))


def test_a_champion_whose_alias_is_gone_is_a_matter_for_people(lake: Lake, frame: pd.DataFrame) -> None:
    connect(lake).delete_registered_model_alias(registered_name(SUBJECT), "champion")
    with pytest.raises(InputError, match="there is no champion of the guarded model"):
        choose_model(lake, SUBJECT, sample(), GUARDS, recency_table(frame, TARGET))
    connect(lake).set_registered_model_alias(registered_name(SUBJECT), "champion", "2")
    assert choose_model(lake, "never trained", sample(), GUARDS).findings == ()


SICK: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "everybody is alike": (
        lambda rows: rows.iloc[np.zeros(len(rows), dtype=int)].reset_index(drop=True), "predicts .* of everybody",
    ),
    "a column is gone": (lambda rows: rows.drop(columns="spend_sum_90d"), "the frame lacks"),
}  # fmt: skip


@pytest.mark.parametrize("case", SICK)
def test_a_model_that_cannot_tell_users_apart_or_lacks_a_column_decides_nobody(
    stored: Lake, frame: pd.DataFrame, case: str
) -> None:
    spoil, words = SICK[case]
    chosen = choose_model(stored, SUBJECT, spoil(sample()), GUARDS, recency_table(frame, TARGET))
    assert chosen.fallback == "guarded: rule of recency"
    (said,) = (each for each in chosen.findings if each.code == "by_rule")
    assert pd.Series(said.because).str.contains(words).all()


def test_realised_calibration_that_stops_takes_the_model_that_it_speaks_of(stored: Lake) -> None:
    def realised(model: Registered) -> list[Finding]:
        state = FIRED if model.version == 2 else "passed"
        return [Finding("calibration", state, "stop", 0.1, "calibration", model.lineage.name, 0.5, 0.1)]

    chosen = choose_model(stored, SUBJECT, sample(), GUARDS, realised=realised)
    assert chosen.model.version == 1
    assert ("champion", "by_version") in fired(chosen.findings)


PLANTED = {
    "money in another unit": {"spend_sum_90d": lambda rows: rows["spend_sum_90d"] * 100},
    "plans are lost": {"trait_plan": lambda rows: rows["trait_plan"].where(rows["user_id"] == "", None)},
    "nobody was seen for long": {"days_since_last_activity": lambda rows: rows["days_since_last_activity"] + 40},
}


@pytest.mark.parametrize("case", PLANTED)
def test_drift_that_was_planted_is_found_and_warns(stored: Lake, case: str) -> None:
    chosen = choose_model(stored, SUBJECT, sample().assign(**PLANTED[case]), GUARDS)
    (column,) = PLANTED[case]
    assert column in {each.subject for each in chosen.findings if each.guard == "input_drift" and each.state == FIRED}
    assert chosen.fallback == ""
    if column == "days_since_last_activity":
        assert ("score_drift", "score_drift") in fired(chosen.findings)


def test_without_drift_no_guard_fires_on_any_of_20_days(stored: Lake) -> None:
    model = load(stored, SUBJECT)
    days = [fired(model_findings(model, sample(seed), GUARDS)) for seed in range(20)]
    assert sum(map(len, days)) == 0, days


def test_a_guard_that_is_off_says_nothing_and_one_without_a_reference_that_it_cannot_tell(stored: Lake) -> None:
    off = Guards(**{
        name: value.model_copy(update={"mode": "off"}) if isinstance(value, Guard) else value for name, value in GUARDS
    })  # fmt: skip
    model = load(stored, SUBJECT)
    assert model_findings(model, sample(), off) == []
    bare = Registered(model.estimator, 1, model.lineage, {})
    said = guard_words(model_findings(bare, sample(), GUARDS), AS_OF)
    assert said == [
        f"too little is known to judge expected_auc, input_drift, score_drift: {model.lineage.name} was registered "
        "without what it was taught on; train again"
    ]
    few = guard_words(model_findings(model, sample(users=20), GUARDS), AS_OF)
    assert few[0].endswith("2024-06-30 has 20 rows to tell by, guards.min_rows = 100")


@pytest.mark.parametrize(("share_left", "is_fired"), [(0.2, False), (0.28, False), (0.6, True)])
def test_realised_calibration_holds_risk_against_who_left(tmp_path: Path, share_left: float, is_fired: bool) -> None:
    """1,000 users of risk 0.2 without an offer, and 1,000 with one, who all stay: of those nothing is asked."""
    lake, settings = Lake(tmp_path), load_settings(data_dir=tmp_path)
    day, users = AS_OF - timedelta(days=settings.churn.horizon_days), [f"u{place}" for place in range(2_000)]
    decided = {
        "user_id": users, "p_churn": [0.2] * 2_000, "offer_id": ["none"] * 1_000 + ["bundle"] * 1_000,
        "model_versions": ["churn-logistic-1, value-mean-1"] * 2_000,
    }  # fmt: skip
    write_parquet(pa.table(decided), lake.partition("decisions", day))
    stayed = users[round(1_000 * share_left) :]
    rows = pa.table({"user_id": stayed, "active_days": [1] * len(stayed)})
    write_parquet(rows, lake.partition("aggregates", day + timedelta(days=3)))
    lineage = ModelLineage("churn", "logistic", day, day, day, "1")
    model = Registered(None, 1, lineage, {})  # type: ignore[arg-type]
    found = realised_calibration(settings, lake, AS_OF, model)
    assert [each.state for each in found] == [FIRED if is_fired else "passed"]
    assert (found[0].value, found[0].usual) == pytest.approx((share_left, 0.2))
    other = Registered(None, 1, ModelLineage("churn", "lightgbm", day, day, day, "1"), {})  # type: ignore[arg-type]
    assert [each.code for each in realised_calibration(settings, lake, AS_OF, other)] == ["no_labels"]
    assert [each.code for each in realised_calibration(settings, lake, date(2024, 6, 20), model)] == ["no_labels"]
    taught_later = Registered(None, 1, replace(lineage, as_of=day + timedelta(days=1)), {})  # type: ignore[arg-type]
    assert [each.code for each in realised_calibration(settings, lake, AS_OF, taught_later)] == ["no_labels"]


def test_a_day_before_that_of_the_training_is_decided_in_hindsight_which_is_told_and_not_judged(stored: Lake) -> None:
    def realised(model: Registered) -> list[Finding]:
        return [Finding("calibration", FIRED, "stop", 0.1, "calibration", model.lineage.name, 0.5, 0.1)]

    far = sample().assign(spend_sum_90d=lambda rows: rows["spend_sum_90d"] * 100)
    before = AS_OF - timedelta(days=1)
    chosen = choose_model(stored, SUBJECT, far, GUARDS, realised=realised, as_of=before)
    assert chosen.model.version == 2
    assert guard_words(chosen.findings, before) == [
        f"{chosen.model.lineage.name} was taught what came after this day, up to {AS_OF}: it decides in hindsight, "
        "which no guard counts"
    ]
    assert "hindsight" not in {each.code for each in choose_model(stored, SUBJECT, far, GUARDS, as_of=AS_OF).findings}


def option_model(family: str, everybody: pd.DataFrame) -> tuple[Registered, Reference]:
    """Model of redemption that was taught people who redeem a lot, and what everybody was like then."""
    rows = redemptions(400, np.random.default_rng(3))
    fitted = fit_linear(rows, "is_redeemed", ["offer_id", "discount", *(["redemption_share_365d"] if family else [])])
    trained = SimpleNamespace(subject="redemption", candidates={"logistic": SimpleNamespace(estimator=fitted)})
    known = drift_reference(trained, "logistic", rows, pd.Timestamp("2024-07-01", tz="UTC"), everybody)
    assert known is not None
    lineage = ModelLineage("redemption", "logistic", AS_OF, AS_OF, AS_OF, "1")
    return Registered(fitted, 1, lineage, {}, reference=known), known


def test_a_model_of_options_is_asked_about_everybody_and_the_option_that_it_was_taught_most() -> None:
    everybody = outcomes(600, np.random.default_rng(5), snapshots=2)
    model, known = option_model("of users", everybody)
    taught = redemptions(400, np.random.default_rng(3)).groupby(["offer_id", "discount"], observed=True).size()
    assert (set(known.inputs), known.option) == ({"redemption_share_365d"}, taught.idxmax())
    asked = asked_of_models(GUARDS)
    quiet = [model_findings(model, sample(seed), GUARDS) for seed in range(10)]
    assert {each.guard for each in quiet[0]} >= {"score_drift", "input_drift", "expected_auc"} <= set(asked)
    assert sum(len(fired(found)) for found in quiet) == 0
    keener = sample().assign(redemption_share_365d=lambda rows: rows["redemption_share_365d"] ** 0.3)
    codes = dict(fired(model_findings(model, keener, GUARDS)))
    assert {"score_drift", "input_drift"} <= set(codes)


def test_a_model_that_rests_on_the_option_alone_may_say_the_same_of_everybody() -> None:
    model, _ = option_model("", outcomes(600, np.random.default_rng(5), snapshots=2))
    assert fired(model_findings(model, sample(), GUARDS)) == []


def test_a_model_of_options_that_was_registered_without_a_reference_goes_on_and_it_is_told() -> None:
    model, _ = option_model("of users", outcomes(600, np.random.default_rng(5), snapshots=2))
    said = guard_words(model_findings(replace(model, reference=None), sample(), GUARDS), AS_OF)
    assert len(said) == 1 and said[0].endswith("was registered without what it was taught on; train again")


def test_verify_names_a_version_that_is_damaged_also_where_it_is_not_champion(lake: Lake) -> None:
    def told() -> list[str]:
        return [fault for fault in verify(lake).faults if "of guarded" in fault]  # others share the registry

    assert told() == []
    damage(lake, 1)
    (fault,) = told()
    assert "(version 1 of guarded) cannot become champion any more: model/MLmodel is 7 bytes with digest" in fault
