"""What a user is worth if they stay: expected gross margin over the value horizon."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd

from configs.settings import Settings
from features.arrays.calendar_days import start_of
from features.definitions.registry import VIEWS, Feature
from models.learn.churn import split_outcomes
from models.learn.estimators import Estimator
from models.learn.linear_estimators import fit_proportional
from models.learn.training import (
    Trained,
    check_enough,
    generator,
    judge,
    newest,
    rows_of,
    score_all,
    train_candidates,
    usable_columns,
)
from models.learn.tree_estimators import fit_lightgbm
from models.metrics.evaluation import bias_ratio, mean_absolute_error, mean_label, r_squared

TARGET = "margin"
PACE = "spend_sum_90d"


def train_value(frame: pd.DataFrame, features: list[Feature], settings: Settings, as_of: date) -> Trained:
    """Train, judge and choose the value model.

    Two candidates: the user's pace of the last 90 days goes on (in proportion to `PACE`), and LightGBM with a
    Tweedie loss, which suits amounts that are often zero. Only users who stayed teach it.

    Parameters
    ----------
    frame
        From `features.training_data.frames.outcome_frame`: rows whose value horizon is closed.
    as_of
        Day of training; the test cut lies ``training.holdout_days`` before it.
    """
    stayed = frame[frame["is_churned"] == 0].reset_index(drop=True)
    stayed = stayed.assign(margin=stayed[TARGET].clip(lower=0.0))
    cut = start_of(as_of - timedelta(days=settings.training.holdout_days), settings.time_zone)
    split = split_outcomes(stayed, settings.value.horizon_days, pd.Timestamp(cut), settings)
    check_enough("value", stayed, split, TARGET, settings)
    columns = usable_columns(stayed, features, VIEWS["value"], split.train)

    def pace(rows: pd.DataFrame) -> Estimator:
        return fit_proportional(rows, TARGET, PACE)

    def lightgbm(rows: pd.DataFrame) -> Estimator:
        return fit_lightgbm(rows, TARGET, columns, settings, link="log")

    everything = np.ones(len(stayed), dtype=bool)
    candidates = train_candidates(stayed, split, TARGET, {"pace": pace, "lightgbm": lightgbm}, everything)
    rng = generator(settings, "value")
    test = rows_of(stayed, split.test)
    verdict = judge(candidates, test, TARGET, r_squared, "R²", settings, rng)
    label = test[TARGET].to_numpy(dtype=np.float64)
    score = candidates[verdict.winner].test_score
    measures = {
        "value.r_squared": (r_squared, score),
        "value.mean_absolute_error": (mean_absolute_error, score),
        "value.bias_ratio": (bias_ratio, score),
        "value.mean": (mean_label, score),
        **{f"value.r_squared_{name}": (r_squared, candidate.test_score) for name, candidate in candidates.items()},
    }
    metrics = score_all(measures, label, test["user_id"], settings, rng)
    if verdict.gain is not None:
        metrics["value.r_squared_gain"] = verdict.gain
    return Trained("value", candidates, verdict, metrics, label, score, newest(stayed))
