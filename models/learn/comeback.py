"""The comeback model: the probability that a lapsed user returns, and their value then.

The simpler one, a table of ten bins of days since last active, decides unless the whole interval of the gain of a
logistic on recency, frequency, money and tenure lies above 0, out of time.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from features.arrays.array_types import Flags, Floats
from models.learn.recency_rule import RECENCY, RecencyRule, recency_table
from models.metrics.comeback_note import ComebackNote
from models.metrics.evaluation import auc, gain_metric, log_loss, score_metric
from models.metrics.metric import Metric

COLUMNS = (RECENCY, "active_days_count_365d", "spend_sum_365d", "tenure_days")
BACK, MARGIN = "is_back", "margin"
NEVER = 400.0  # days since last active of who was not for a year
RIDGE, STEPS = 1.0, 25


def predict_comeback(note: ComebackNote, frame: pd.DataFrame) -> Floats:
    """Chance of each user to be active again within the horizon, shape (users,)."""
    if note.logistic:
        return _chance(_design(frame, note.scale), np.array(note.logistic))
    return np.asarray(RecencyRule.of(note.table, BACK).predict(frame), dtype=np.float64)


def fit_comeback(frame: pd.DataFrame, is_test: Flags, *, samples: int, seed: int) -> ComebackNote:
    """Learn from closed snapshots of users who had lapsed, and judge on the newest.

    Parameters
    ----------
    frame
        ``user_id``, `COLUMNS`, ``is_back`` (0 or 1) and ``margin`` (account currency).
    is_test
        Rows of the newest snapshot, shape (rows,); the labels of the others were complete before it. Where either has
        none, or one outcome alone, nothing is judged and the table decides.
    """
    table = recency_table(frame, BACK)
    back = frame.loc[frame[BACK] == 1, MARGIN].to_numpy(dtype=np.float64)
    spread = 1.96 * back.std() / np.sqrt(len(back)) if len(back) else 0.0
    mean = float(back.mean()) if len(back) else 0.0
    margin = Metric(mean, mean - spread, mean + spread, len(back))
    metrics = {"comeback.rate": Metric.exact(float(frame[BACK].mean()), len(frame)), "comeback.margin": margin}
    train, test = frame[~is_test], frame[is_test]
    if min(part[BACK].nunique() for part in (train, test)) < 2:
        return ComebackNote(table, margin, metrics)
    simple, logistic, scale = recency_table(train, BACK), *_fit_logistic(train)
    label, users = test[BACK].to_numpy(dtype=np.float64), test["user_id"]
    by_table = np.asarray(RecencyRule.of(simple, BACK).predict(test), dtype=np.float64)
    by_logistic = _chance(_design(test, scale), logistic)
    rng = np.random.default_rng(seed)
    metrics |= {
        "comeback.auc_recency": score_metric(auc, label, by_table, users, samples=samples, rng=rng),
        "comeback.auc_logistic": score_metric(auc, label, by_logistic, users, samples=samples, rng=rng),
        "comeback.log_loss_gain": gain_metric(log_loss, label, by_table, by_logistic, users, samples=samples, rng=rng),
    }
    if not metrics["comeback.log_loss_gain"].low > 0:
        return ComebackNote(table, margin, metrics)
    whole, scale = _fit_logistic(frame)
    return ComebackNote(table, margin, metrics, tuple(whole.tolist()), scale)


def _fit_logistic(frame: pd.DataFrame) -> tuple[Floats, tuple[tuple[float, float], ...]]:
    """Fit by Newton's method with a ridge; returns numbers and the mean and spread of each column."""
    raw = _logs(frame)
    scale = tuple((float(mean), float(spread) or 1.0) for mean, spread in zip(raw.mean(0), raw.std(0), strict=True))
    design, label = _design(frame, scale), frame[BACK].to_numpy(dtype=np.float64)
    found, ridge = np.zeros(design.shape[1]), np.diag([1e-6, *[RIDGE] * len(COLUMNS)])
    for _ in range(STEPS):
        chance = _chance(design, found)
        slope = design.T @ (label - chance) - ridge @ found
        found = found + np.linalg.solve((design.T * (chance * (1 - chance))) @ design + ridge, slope)
    return found, scale


def _logs(frame: pd.DataFrame) -> Floats:
    columns = [frame[name].fillna(NEVER if name == RECENCY else 0.0).clip(lower=0.0) for name in COLUMNS]
    return np.log1p(np.stack([column.to_numpy(dtype=np.float64) for column in columns], axis=1))


def _design(frame: pd.DataFrame, scale: tuple[tuple[float, float], ...]) -> Floats:
    means, spreads = np.array(scale).T
    return np.c_[np.ones(len(frame)), (_logs(frame) - means) / spreads]


def _chance(design: Floats, numbers: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(design @ numbers, -30, 30))))
