"""Causes of churn for contracts: the probability that a contract that ends does so by failed payments.

With the chance to leave it gives two competing outcomes that exclude each other, whose sum is the chance to leave by
construction: ``p_involuntary = p_churn * share`` and ``p_voluntary = p_churn * (1 - share)``. Each can be calibrated
only as well as its two factors are, and each is learnt where it has rows: the share from those who left alone
(the hazard and the conditional cause of competing risks; Larson & Dinse 1985, the mixture formulation).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd

from configs.settings import Settings
from features.arrays.array_types import Flags, Floats
from features.arrays.calendar_days import start_of
from features.definitions.registry import VIEWS, Feature
from models.learn.candidate_choice import choose_candidate, score_all
from models.learn.churn import TARGET as LEAVES
from models.learn.churn import classifier_fits, split_outcomes
from models.learn.training import (
    Trained,
    generator,
    honest_split,
    newest,
    rows_of,
    train_candidates,
    usable_columns,
    user_fold,
)
from models.learn.trial import Trial
from models.metrics.evaluation import auc, brier, expected_calibration_error, gain_metric, log_loss, mean_label
from models.metrics.metric import Metric

SUBJECT, TARGET = "churn_cause", "is_involuntary"
RECENCY = "days_since_last_activity"
SIMPLE = (
    "payment_failures_count_28d",
    "payment_failures_count_90d",
    "days_since_last_payment_failure",
    "days_since_last_renewal",
    "contract_renewals_count_365d",
)
MEASURES = {"auc": auc, "brier": brier, "log_loss": log_loss, "ece": expected_calibration_error, "rate": mean_label}


def train_causes(
    frame: pd.DataFrame, features: list[Feature], settings: Settings, as_of: date, churn: Trained
) -> Trained:
    """Train, judge and choose the model of why contracts end.

    Parameters
    ----------
    frame
        As of `models.learn.churn.train_churn`, with ``is_involuntary``.
    churn
        The model of leaving that was trained on the same rows: both together give the probabilities of leaving by
        choice and by failed payments, which are measured on its test rows beside recency.

    Raises
    ------
    NotTrainableError
        Too few users left, or all of them for the same cause.
    """
    left = frame[frame[LEAVES] == 1].reset_index(drop=True)
    cut = start_of(as_of - timedelta(days=settings.training.holdout_days), settings.time_zone)
    in_time = split_outcomes(left, settings.churn.horizon_days, pd.Timestamp(cut), settings)
    split = honest_split(SUBJECT, left, in_time, TARGET, settings)
    columns = usable_columns(left, features, VIEWS["churn"], split.train)
    simple = [name for name in SIMPLE if name in columns]

    fits = classifier_fits(TARGET, simple, columns, SIMPLE[0], settings)
    candidates = train_candidates(left, split, TARGET, fits, np.ones(len(left), dtype=bool))
    test = rows_of(left, split.test)
    trial = Trial(
        SUBJECT, test, TARGET, test["event_timestamp"], np.ones(len(test), dtype=bool), MEASURES, "log_loss",
        pd.Timestamp(cut) if split.is_out_of_time else None, {},
    )  # fmt: skip
    trained = choose_candidate(candidates, trial, newest(left), settings, reports_gain=False)
    return replace(trained, metrics={**trained.metrics, **outcome_metrics(churn, trained, settings)})


def causes_of(p_churn: Floats, share: Floats) -> tuple[Floats, Floats]:
    """Split chances to leave into those of leaving by choice and by failed payments; each of shape (users,).

    Examples
    --------
    >>> voluntary, involuntary = causes_of(np.array([0.4]), np.array([0.25]))
    >>> float(voluntary[0]), float(involuntary[0])
    (0.30000000000000004, 0.1)
    """
    involuntary = p_churn * share
    return p_churn - involuntary, involuntary


def outcome_metrics(churn: Trained, causes: Trained, settings: Settings) -> dict[str, Metric]:
    """Measure both outcomes on the first test snapshot of the churn model, beside recency, each model out of users.

    ``churn.auc_voluntary_gain`` is the AUC above that of recency, on the same resampled users.
    """
    rows = rows_of(churn.trial.rows, churn.trial.headline)
    is_fit, share = _shares(rows, causes, settings)
    rows, p_churn = rows_of(rows, is_fit), churn.score[is_fit]
    voluntary, involuntary = causes_of(p_churn, share[is_fit])
    failed = rows[TARGET].to_numpy(dtype=np.float64)
    labels = {"voluntary": rows[LEAVES].to_numpy(dtype=np.float64) - failed, "involuntary": failed}
    recency, rng = rows[RECENCY].to_numpy(dtype=np.float64), generator(settings, "competing outcomes")
    metrics: dict[str, Metric] = {}
    for (name, label), score in zip(labels.items(), (voluntary, involuntary), strict=True):
        if len(np.unique(label)) < 2:
            continue
        measures = {
            f"churn.auc_{name}": (auc, score),
            f"churn.auc_{name}_recency": (auc, recency),
            f"churn.ece_{name}": (expected_calibration_error, score),
            f"churn.rate_{name}": (mean_label, score),
        }
        metrics |= score_all(measures, label, rows["user_id"], settings, rng)
        samples = settings.training.bootstrap_samples
        gain = gain_metric(auc, label, score, recency, rows["user_id"], samples=samples, rng=rng)
        metrics[f"churn.auc_{name}_gain"] = gain
    return metrics


def _shares(rows: pd.DataFrame, causes: Trained, settings: Settings) -> tuple[Flags, Floats]:
    """Ask of each row the model that saw nobody of its fold; which rows have one, and the shares, shape (rows,)."""
    fold, share = user_fold(rows["user_id"], settings), np.full(len(rows), np.nan)
    for number, model in causes.winner.by_fold.items():
        inside = fold == number
        if inside.any():
            share[inside] = model.predict(rows_of(rows, inside))
    return ~np.isnan(share), share
