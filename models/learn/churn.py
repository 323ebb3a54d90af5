"""The churn model: a calibrated P(churn), logistic regression unless trees beat it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd

from configs.settings import Settings
from features.arrays.array_types import Flags
from features.arrays.calendar_days import days_later, start_of
from features.definitions.registry import VIEWS, Feature
from models.estimator_families.estimators import Estimator
from models.estimator_families.linear_estimators import fit_constant, fit_linear
from models.estimator_families.tree_estimators import fit_lightgbm
from models.learn.candidate_choice import Measures, choose_candidate
from models.learn.training import (
    Fit,
    Trained,
    TrainedCandidate,
    cross_fit,
    generator,
    honest_split,
    newest,
    rows_of,
    train_candidates,
    usable_columns,
)
from models.learn.trial import Trial
from models.metrics.evaluation import (
    auc,
    average_precision,
    brier,
    expected_calibration_error,
    gain_metric,
    log_loss,
    mean_label,
)
from models.metrics.leakage import auc_alone, find_leaks
from models.metrics.metric import Leak
from models.metrics.splits import Split, out_of_time_and_user

TARGET = "is_churned"
TELLING_SHARE = 0.1  # of what moves the scores
RFM = (
    "days_since_last_activity",
    "active_days_count_28d",
    "active_days_count_90d",
    "active_days_count_365d",
    "spend_sum_28d",
    "spend_sum_90d",
    "spend_sum_365d",
    "tenure_days",
)
MEASURES = {
    "auc": auc,
    "average_precision": average_precision,
    "brier": brier,
    "log_loss": log_loss,
    "ece": expected_calibration_error,
    "rate": mean_label,
}


def classifier_fits(
    target: str, simple: list[str], columns: list[str], base: str, settings: Settings
) -> dict[str, Fit]:
    """Name the candidates for a yes or no, the simplest first: a logistic, else the base rate, and LightGBM.

    Parameters
    ----------
    target
        Column of the label, 0 or 1.
    simple, columns
        Columns of the logistic and of LightGBM; where there are none, so is the candidate.
    base
        Column that the base rate is kept with.
    """

    def logistic(rows: pd.DataFrame) -> Estimator:
        return fit_linear(rows, target, simple)

    def base_rate(rows: pd.DataFrame) -> Estimator:
        return fit_constant(rows, target, base)

    def lightgbm(rows: pd.DataFrame) -> Estimator:
        return fit_lightgbm(rows, target, columns, settings)

    first: dict[str, Fit] = {"logistic": logistic} if simple else {"base_rate": base_rate}
    return first | ({"lightgbm": lightgbm} if columns else {})


def train_churn(frame: pd.DataFrame, features: list[Feature], settings: Settings, as_of: date) -> Trained:
    """Train, judge and choose the churn model.

    Parameters
    ----------
    frame
        From `features.training_data.frames.outcome_frame`: rows with a closed churn label.
    features
        The data catalogue.
    as_of
        Day of training; the test cut lies ``training.holdout_days`` before it.

    Returns
    -------
    Trained
        Metrics named ``churn.…`` are those of the chosen model on the first test snapshot, out of time and of
        users; the gate compares the candidates on all test snapshots. Where no simple column varies, the base rate
        is the simplest model; where the history cannot be cut in time, users alone are.

    Raises
    ------
    NotTrainableError
        There are too few users, or all of them left, or none.
    """
    cut = start_of(as_of - timedelta(days=settings.training.holdout_days), settings.time_zone)
    in_time = split_outcomes(frame, settings.churn.horizon_days, pd.Timestamp(cut), settings)
    split = honest_split("churn", frame, in_time, TARGET, settings)
    columns = usable_columns(frame, features, VIEWS["churn"], split.train)
    simple = [name for name in RFM if name in columns]

    fits = classifier_fits(TARGET, simple, columns, RFM[0], settings)
    candidates = train_candidates(frame, split, TARGET, fits, np.ones(len(frame), dtype=bool))
    test = rows_of(frame, split.test)
    headline = _headline(test, split)
    recency = test["days_since_last_activity"].to_numpy(dtype=np.float64)
    trial = Trial(
        "churn", test, TARGET, test["event_timestamp"], headline, MEASURES, "log_loss",
        pd.Timestamp(cut) if split.is_out_of_time else None, {"recency": recency},
    )  # fmt: skip

    def more_measures(chosen: TrainedCandidate) -> Measures:
        strength = _strength(frame, split, chosen.estimator)
        top = max(strength, key=lambda name: strength[name])
        without = _without(top, frame, split, chosen.estimator, settings)
        scores = {"recency": recency, "without_top_column": without}
        scores |= {name: candidate.test_score for name, candidate in candidates.items()}
        return {f"churn.auc_{name}": (auc, score[headline]) for name, score in scores.items()}

    trained = choose_candidate(candidates, trial, newest(frame), settings, more_measures)
    leaks = find_leaks(frame[split.train], test[headline], TARGET, columns)
    if trained.verdict.winner == "lightgbm" and not leaks:
        leaks = _telling_trait(frame, split, candidates, features, settings)
    return replace(trained, leaks=leaks)


def split_outcomes(frame: pd.DataFrame, horizon_days: int, cut: pd.Timestamp, settings: Settings) -> Split:
    """Split snapshot rows at a cut, with a gap as long as the horizon, which counts days and not hours."""
    starts = frame["event_timestamp"]
    ends_of = {each: days_later(each, horizon_days, settings.time_zone) for each in starts.unique()}
    ends = pd.to_datetime(starts.map(ends_of), utc=True)
    return out_of_time_and_user(frame["user_id"], starts, ends, cut, settings.training.folds)


def _headline(test: pd.DataFrame, split: Split) -> Flags:
    """Rows of the first test snapshot, or all of them where it has one class or they are not out of time."""
    first = (test["event_timestamp"] == test["event_timestamp"].min()).to_numpy()
    is_telling = split.is_out_of_time and len(test.loc[first, TARGET].unique()) > 1
    return first if is_telling else np.ones(len(test), dtype=bool)


def _telling_trait(
    frame: pd.DataFrame, split: Split, candidates: Mapping[str, TrainedCandidate], features: list[Feature],
    settings: Settings,
) -> tuple[Leak, ...]:  # fmt: skip
    """Find the trait without which trees are no better than the simplest model: it may be of after the fact.

    Columns of events are counted as of their day; a trait is as old as its source says.
    """
    trees, simplest = candidates["lightgbm"], next(iter(candidates.values()))
    strength = _strength(frame, split, trees.estimator)
    traits = {each.name: strength[each.name] for each in features if each.view == "traits" and each.name in strength}
    top = max(traits, key=lambda name: traits[name], default=None)
    if top is None or traits[top] < TELLING_SHARE * sum(strength.values()):
        return ()
    test = rows_of(frame, split.test)
    score = _without(top, frame, split, trees.estimator, settings)
    gain = gain_metric(
        lambda *rows: -log_loss(*rows), test[TARGET].to_numpy(dtype=np.float64), score, simplest.test_score,
        test["user_id"], samples=settings.training.bootstrap_samples, rng=generator(settings, "churn leaks"),
    )  # fmt: skip
    return (Leak(top, auc_alone(frame[split.train], test, TARGET, top), gain.rounded()),) if gain.low <= 0 else ()


def _strength(frame: pd.DataFrame, split: Split, chosen: Estimator) -> dict[str, float]:
    """Measure how far each column moves the scores of the test, on average."""
    moved = np.abs(chosen.contributions(rows_of(frame, split.test))[:, :-1]).mean(axis=0)
    return dict(zip(chosen.columns, moved.tolist(), strict=True))


def _without(top: str, frame: pd.DataFrame, split: Split, chosen: Estimator, settings: Settings) -> np.ndarray:
    """Score the test by the chosen kind of model without its strongest column, to unmask a leak."""
    columns = [name for name in chosen.columns if name != top]
    if not columns:
        return np.zeros(int(split.test.sum()))

    def fit(rows: pd.DataFrame) -> Estimator:
        return chosen.fit(rows, TARGET, columns, settings)

    return cross_fit(frame, split, TARGET, fit)[0]
