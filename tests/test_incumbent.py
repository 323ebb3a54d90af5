"""The champion meets every training's winner on the same test rows: a worse one never replaces a better one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from synthetic import AS_OF, outcomes, small_settings

from configs.settings import Settings
from features.storage.lake import Lake
from models.champion_gate.champions import choose, name_version, promote, unpin, withhold
from models.champion_gate.incumbent import Succession, meet_champion
from models.champion_gate.promotion import fold_models_of
from models.estimator_families.linear_estimators import fit_linear
from models.estimator_families.tree_estimators import fit_lightgbm
from models.learn.candidate_choice import judge, own_metrics, score_all
from models.learn.churn import MEASURES, split_outcomes
from models.learn.training import Trained, generator, rows_of, train_candidates
from models.learn.trial import Trial
from models.registry.fold_models import what_is_predicted, write_folds
from models.registry.model_reader import ModelLineage, load, read_folds
from models.registry.registry_state import NEWEST, registered_model
from models.registry.tracking import register

SETTINGS = small_settings()
TARGET = "is_churned"
SIMPLE = ["days_since_last_activity", "active_days_count_90d"]
CUT = pd.Timestamp(AS_OF, tz="UTC") - pd.Timedelta(days=56)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return outcomes(150, np.random.default_rng(61))


def spoilt(frame: pd.DataFrame, share: float) -> pd.DataFrame:
    """Turn a share of the labels before the test, as a damaged delivery would; the test rows stay as they are."""
    turned = (frame["event_timestamp"] < CUT) & (np.random.default_rng(0).random(len(frame)) < share)
    return frame.assign(**{TARGET: frame[TARGET].where(~turned, 1 - frame[TARGET])})


def train(frame: pd.DataFrame, subject: str, *, cut: pd.Timestamp = CUT, trees: bool = True) -> Trained:
    """Train one candidate as every model is trained."""
    split = split_outcomes(frame, SETTINGS.churn.horizon_days, cut, SETTINGS)
    if trees:
        fits = {"lightgbm": lambda rows: fit_lightgbm(rows, TARGET, [*SIMPLE, "trait_plan"], SETTINGS)}
    else:
        fits = {"logistic": lambda rows: fit_linear(rows, TARGET, SIMPLE)}
    candidates = train_candidates(frame, split, TARGET, fits, np.ones(len(frame), bool))
    test = rows_of(frame, split.test)
    everyone = np.ones(len(test), bool)
    trial = Trial(subject, test, TARGET, test["event_timestamp"], everyone, MEASURES, "log_loss", cut, {})
    verdict = judge(candidates, trial, SETTINGS, generator(SETTINGS, subject))
    score = candidates[verdict.winner].test_score
    measures = {f"{subject}.{name}": (measure, score) for name, measure in MEASURES.items()}
    metrics = score_all(measures, trial.label, test["user_id"], SETTINGS, generator(SETTINGS, subject))
    own = own_metrics(candidates, verdict.winner, metrics, trial, SETTINGS)
    return Trained(subject, candidates, verdict, metrics, trial.label, score, test, own, trial)


def enrol(
    lake: Lake, trained: Trained, mark: str, settings: Settings = SETTINGS, notes: dict[str, float] | None = None
) -> int:
    """Register the winner of a training."""
    folds = fold_models_of(trained, trained.verdict.winner, settings, AS_OF)
    return register(
        lake, ModelLineage(trained.subject, trained.verdict.winner, AS_OF, AS_OF, AS_OF, mark * 16),
        trained.winner.estimator, trained.latest.head(9), parameters={}, metrics={}, pictures={}, notes=notes or {},
        verdict=trained.verdict.reason, tags=folds.tags, folders={"folds": partial(write_folds, folds)},
    )  # fmt: skip


def publish(lake: Lake, trained: Trained, mark: str, settings: Settings = SETTINGS) -> Succession:
    """Register the winner of a training and let it meet the champion."""
    found = meet_champion(lake, trained, enrol(lake, trained, mark, settings), settings)
    promote(lake, trained.subject, found.version, found.reason)
    return found


def log_loss_of(trained: Trained) -> float:
    return trained.metrics[f"{trained.subject}.log_loss"].value


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_a_worse_model_never_replaces_a_better_one(registry: Lake, frame: pd.DataFrame, share: float) -> None:
    subject = f"worse {share}"
    good, bad = train(frame, subject), train(spoilt(frame, share), subject)
    first = publish(registry, good, "a")
    found = publish(registry, bad, "b")
    assert log_loss_of(bad) > log_loss_of(good)
    assert load(registry, subject).version == found.version == first.version
    gain = found.trained.metrics[f"{subject}.log_loss_gain_over_champion"]
    assert gain.value == pytest.approx(log_loss_of(good) - log_loss_of(bad))
    assert found.reason == (
        f"{first.name} stays champion, lightgbm is worse: log loss gain {gain.value:+.4f} [{gain.low:+.4f}, "
        f"{gain.high:+.4f}] over {gain.n:,} test rows"
    )
    assert log_loss_of(found.trained) == log_loss_of(good)  # what is told of the champion was measured on the same rows
    assert (found.trained.score == good.score).all()
    again = publish(registry, bad, "b")
    assert (again.version, again.reason, again.trained.metrics) == (found.version, found.reason, found.trained.metrics)


def test_a_model_that_is_no_worse_takes_the_place_and_a_rerun_says_so(registry: Lake, frame: pd.DataFrame) -> None:
    bad, good = train(spoilt(frame, 0.3), "better"), train(frame, "better")
    first, found = publish(registry, bad, "a"), publish(registry, good, "b")
    assert load(registry, "better").version == found.version != first.version
    assert found.reason.startswith(
        f"lightgbm is the only candidate; no worse than the champion before, {first.name}: log"
    )
    assert found.trained.metrics["better.log_loss_gain_over_champion"].low > 0
    again = publish(registry, good, "b")
    assert (again.version, again.reason, again.trained.metrics) == (found.version, found.reason, found.trained.metrics)


def test_a_pinned_champion_stays_whatever_the_gain_until_it_is_unpinned(registry: Lake, frame: pd.DataFrame) -> None:
    good, bad = train(frame, "kept"), train(spoilt(frame, 0.3), "kept")
    old = enrol(registry, bad, "a")
    pin = choose(registry, "kept", old, "complaints", by="ana")
    found = publish(registry, good, "b")
    assert load(registry, "kept").version == found.version == old
    assert found.reason.startswith(
        f"{pin.name} stays champion, pinned by ana since {pin.since}: complaints (lightgbm ag"
    )
    assert found.trained.metrics["kept.log_loss_gain_over_champion"].value > 0
    unpin(registry, "kept")
    assert publish(registry, good, "b").version != old


def test_a_pinned_champion_whose_alias_was_moved_comes_back(registry: Lake, frame: pd.DataFrame) -> None:
    trained = train(frame, "moved")
    old = publish(registry, trained, "a").version
    choose(registry, "moved", old, "I know it", by="ana")
    new = enrol(registry, trained, "b")
    promote(registry, "moved", new, "by hand, in MLflow's own page")
    assert publish(registry, trained, "c").version == load(registry, "moved").version == old


def test_the_choice_of_the_gate_may_be_pinned_too(registry: Lake, frame: pd.DataFrame) -> None:
    trained = train(frame, "same")
    version = publish(registry, trained, "a").version
    choose(registry, "same", version, "I know it", by="ana")
    again = publish(registry, trained, "a")
    assert again.version == version
    assert again.reason.startswith("lightgbm is the only candidate; pinned by ana since ")


INCOMPARABLE = {
    "another label": (
        small_settings(churn={"horizon_days": 14}),
        CUT,
        f"it predicts something else: churn.horizon_days was 14 and is {SETTINGS.churn.horizon_days}",
    ),
    "no row after what it learnt from": (SETTINGS, CUT + pd.Timedelta(days=90), "no test row begins after"),
}


@pytest.mark.parametrize("case", INCOMPARABLE)
def test_a_champion_that_cannot_be_judged_is_replaced_with_the_reason(
    registry: Lake, frame: pd.DataFrame, case: str
) -> None:
    settings, honest_from, words = INCOMPARABLE[case]
    good, bad = train(frame, case), train(spoilt(frame, 0.3), case)
    later = replace(good, trial=replace(good.trial, honest_from=honest_from))
    first = publish(registry, later, "a", settings)
    found = publish(registry, bad, "b")
    assert found.version != first.version
    assert f"the champion before, {first.name}, gives way: it could not be compared, as {words}" in found.reason


def test_what_does_not_change_a_label_makes_no_other_one_of_it() -> None:
    others = small_settings(value={"horizon_days": 14}, response={"min_treatments": 7})
    assert what_is_predicted(others, "churn") == what_is_predicted(SETTINGS, "churn")
    assert what_is_predicted(others, "value") != what_is_predicted(SETTINGS, "value")


def test_a_champion_without_fold_models_or_with_a_lost_column_is_replaced(registry: Lake, frame: pd.DataFrame) -> None:
    trained = train(frame, "lost")
    bare = register(
        registry, ModelLineage("lost", "logistic", AS_OF, AS_OF, AS_OF, "a" * 16), trained.winner.estimator,
        trained.latest.head(9), parameters={}, metrics={}, pictures={}, notes={}, verdict="",
    )  # fmt: skip
    promote(registry, "lost", bare, "of an older winback")
    found = publish(registry, trained, "b")
    assert "registered without the models that could judge it" in found.reason
    less = replace(trained, trial=replace(trained.trial, rows=trained.trial.rows.drop(columns=SIMPLE[1])))
    last = publish(registry, less, "c")
    assert last.version != found.version
    assert f"reads the column '{SIMPLE[1]}', which the frame lacks" in last.reason


def test_only_rows_after_what_the_champion_learnt_from_count(registry: Lake, frame: pd.DataFrame) -> None:
    later = CUT + pd.Timedelta(days=20)
    first = publish(registry, train(frame, "rows", cut=later), "a")
    found = publish(registry, train(spoilt(frame, 0.3), "rows"), "b")
    assert found.version == first.version
    rows = frame["event_timestamp"] >= later
    assert (
        found.trained.metrics["rows.log_loss_gain_over_champion"].n
        == rows.sum()
        < (frame["event_timestamp"] >= CUT).sum()
    )


def test_below_the_floor_nobody_takes_the_place_of_a_champion(registry: Lake, frame: pd.DataFrame) -> None:
    bad, good = train(spoilt(frame, 0.3), "floor"), train(frame, "floor")
    first = publish(registry, bad, "a")
    short = replace(good, verdict=replace(good.verdict, shortfall="its R² of -0.2 is below 0"))
    found = publish(registry, short, "b")
    assert found.version == first.version
    assert "stays champion, lightgbm is not good enough, its R² of -0.2 is below 0" in found.reason


@pytest.mark.parametrize("is_winner_good", [True, False])
def test_a_champion_that_fell_below_the_floor_is_taken_down(
    registry: Lake, frame: pd.DataFrame, is_winner_good: bool
) -> None:
    """Its trees rank worse than a plain column on the new rows: the winner takes its place, or nobody does."""
    subject = f"fallen {is_winner_good}"
    bad, good = train(spoilt(frame, 0.6), subject), train(frame, subject, trees=False)
    first = publish(registry, bad, "a")
    short = "" if is_winner_good else "its AUC is below that of recency"
    recency = good.trial.rows["days_since_last_activity"].to_numpy(dtype=np.float64)
    judged = replace(good, trial=replace(good.trial, baselines={"recency": recency}))
    judged = replace(judged, verdict=replace(good.verdict, shortfall=short))
    found = meet_champion(registry, judged, enrol(registry, judged, "b"), SETTINGS)
    said = f"the champion before, {first.name}, is not good enough any more, its AUC of"
    assert found.version != first.version
    assert said in found.reason
    assert (said in found.trained.verdict.shortfall) == (not is_winner_good)
    if not is_winner_good:
        withhold(registry, subject, found.trained.verdict.shortfall)
        left = registered_model(registry, subject)
        assert (left.state, left.number, left.is_none) == ("not promoted", None, True)


@pytest.mark.parametrize("trees", [False, True])
def test_the_models_of_the_folds_survive_the_registry(registry: Lake, frame: pd.DataFrame, trees: bool) -> None:
    subject = f"folds {trees}"
    trained = train(frame, subject, trees=trees)
    number = enrol(registry, trained, "a")
    found = read_folds(registry, registered_model(registry, subject).versions[number])
    assert sorted(found) == sorted(trained.winner.by_fold)
    for fold, model in trained.winner.by_fold.items():
        assert (found[fold].predict(frame) == model.predict(frame)).all()


def test_a_champion_that_stays_knows_what_was_learnt_beside_the_newest_model_unless_it_is_pinned(
    registry: Lake, frame: pd.DataFrame
) -> None:
    subject, good = "noted", train(frame, "noted")
    old, new = enrol(registry, good, "a", notes={"cost": 1.0}), enrol(registry, good, "b", notes={"cost": 2.0})
    promote(registry, subject, old, "it stays")
    assert (load(registry, subject).notes, load(registry, subject).notes_of) == ({"cost": 1.0}, "")
    name_version(registry, subject, NEWEST, new)
    found = load(registry, subject)
    assert (found.version, found.notes, found.notes_of) == (old, {"cost": 2.0}, f"noted-lightgbm-{'b' * 8}")
    choose(registry, subject, old, "as it was", by="ana")
    assert (load(registry, subject).notes, load(registry, subject).notes_of) == ({"cost": 1.0}, "")
