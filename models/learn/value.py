"""The value model: the expected gross margin of a user who stays, over the value horizon."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd

from configs.settings import Settings
from features.arrays.calendar_days import start_of
from features.definitions.labels import effect_days
from features.definitions.registry import VIEWS, Feature
from models.estimator_families.estimators import Estimator
from models.estimator_families.linear_estimators import fit_constant, fit_proportional
from models.estimator_families.tree_estimators import fit_lightgbm
from models.learn.candidate_choice import Measures, choose_candidate
from models.learn.churn import split_outcomes
from models.learn.training import (
    NotTrainableError,
    Trained,
    TrainedCandidate,
    honest_split,
    newest,
    rows_of,
    train_candidates,
    usable_columns,
)
from models.learn.trial import Trial
from models.metrics.evaluation import bias_ratio, mean_absolute_error, mean_label, r_squared

TARGET = "margin"
PACE = "spend_sum_90d"
MEASURES = {
    "r_squared": r_squared,
    "mean_absolute_error": mean_absolute_error,
    "bias_ratio": bias_ratio,
    "mean": mean_label,
}


def train_value(frame: pd.DataFrame, features: list[Feature], settings: Settings, as_of: date) -> Trained:
    """Train, judge and choose the value model.

    Three candidates: the user's pace of the last 90 days goes on (in proportion to `PACE`), the mean, which wins where
    the pace explains less, as with a subscription of one price, and LightGBM with a Tweedie loss, which suits amounts
    that are often zero. Where nobody had spent anything, or everybody is worth the same, there is no pace. Only users
    who stayed teach it.

    Parameters
    ----------
    frame
        From `features.training_data.frames.outcome_frame`: rows whose value horizon is closed.
    as_of
        Day of training; the test cut lies ``training.holdout_days`` before it.

    Raises
    ------
    NotTrainableError
        Too few users stayed, or nothing that they did brought money.
    """
    stayed = frame[frame["is_churned"] == 0].reset_index(drop=True)
    stayed = stayed.assign(margin=stayed[TARGET].clip(lower=0.0))
    if len(stayed) and not stayed[TARGET].any():  # before too few users are asked for more, which would bring no money
        raise NotTrainableError(
            f"no money is known: the margin of all {len(stayed):,} rows of users who stayed is 0; "
            "see that the events of roles.value carry an amount"
        )
    cut = start_of(as_of - timedelta(days=settings.training.holdout_days), settings.time_zone)
    in_time = split_outcomes(stayed, settings.value.horizon_days, pd.Timestamp(cut), settings)
    split = honest_split("value", stayed, in_time, TARGET, settings, is_class=False)
    columns = usable_columns(stayed, features, VIEWS["value"], split.train)

    def pace(rows: pd.DataFrame) -> Estimator:
        return fit_proportional(rows, TARGET, PACE)

    def mean(rows: pd.DataFrame) -> Estimator:
        return fit_constant(rows, TARGET, PACE, link="identity")

    def lightgbm(rows: pd.DataFrame) -> Estimator:
        return fit_lightgbm(rows, TARGET, columns, settings, link="log")

    varies = len(stayed.loc[split.train, TARGET].unique()) > 1
    fits = {"pace": pace} if varies and PACE in columns else {}
    fits |= {"mean": mean}
    fits |= {"lightgbm": lightgbm} if varies and columns else {}
    candidates = train_candidates(stayed, split, TARGET, fits, np.ones(len(stayed), dtype=bool))
    test = rows_of(stayed, split.test)
    trial = Trial(
        "value", test, TARGET, test["event_timestamp"], np.ones(len(test), dtype=bool), MEASURES, "r_squared",
        pd.Timestamp(cut) if split.is_out_of_time else None, {},
    )  # fmt: skip

    def more_measures(_: TrainedCandidate) -> Measures:
        return {f"value.r_squared_{name}": (r_squared, each.test_score) for name, each in candidates.items()}

    return choose_candidate(candidates, trial, newest(stayed), settings, more_measures)


def later_share(frame: pd.DataFrame, settings: Settings) -> float:
    """Share of the margin of users who stayed that comes after the days in which effects on margin are measured.

    Of a user's value this share is the remaining value: it begins where the measured margin ends, so that no money is
    counted twice, ends with ``value.horizon_days`` for every option alike, and counts less for coming later. It is 0
    where nobody who stayed came back later.

    Parameters
    ----------
    frame
        As of `train_value`, with ``margin_later``.
    """
    stayed = frame[frame["is_churned"] == 0]
    whole = stayed[TARGET].clip(lower=0.0).sum()
    share = float(np.clip(stayed["margin_later"].clip(lower=0.0).sum() / whole, 0.0, 1.0)) if whole else 0.0
    return share * present_value(settings)


def present_value(settings: Settings) -> float:
    """Say what one in account currency counts today that comes between the measured margin and the horizon.

    It is taken to come in the middle of these days, at ``value.yearly_discount_rate``.

    Examples
    --------
    >>> from configs.settings import load_settings
    >>> months = {"churn": {"horizon_days": 30}, "value": {"horizon_days": 700, "yearly_discount_rate": 0.1}}
    >>> round(present_value(load_settings(response={"retained_from_day": 30}, **months)), 6)  # 1.1 ** -1
    0.909091
    """
    middle = (effect_days(settings) + settings.value.horizon_days) / 2
    return float((1.0 + settings.value.yearly_discount_rate) ** (-middle / 365.0))
