"""The redemption model: P(redeem) for every offer and discount, learnt from earlier offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd

from configs.offers import Option
from configs.settings import Settings
from features.arrays.array_types import Floats
from features.arrays.calendar_days import start_of
from features.definitions.registry import VIEWS, Feature
from models.estimator_families.estimators import Estimator
from models.estimator_families.linear_estimators import LinearEstimator, fit_constant, fit_linear
from models.estimator_families.tree_estimators import fit_lightgbm
from models.forest.boosters import Constant
from models.learn.candidate_choice import Measures, choose_candidate
from models.learn.churn import MEASURES
from models.learn.listening import CHANNEL_SHARE, Listening, own_channels, with_channel_share
from models.learn.redeemed_spend import TARGET, redeemed_spend
from models.learn.training import (
    Trained,
    TrainedCandidate,
    honest_split,
    rows_of,
    train_candidates,
    usable_columns,
    varied,
)
from models.learn.trial import Trial
from models.metrics.evaluation import auc
from models.metrics.leakage import find_leaks
from models.metrics.splits import out_of_time_and_user

OPTION = ("offer_id", "discount")
RISING = ("discount", CHANNEL_SHARE)  # a higher one is never redeemed less
LEAST_LEAVES, REDEMPTIONS_PER_LEAF = 4, 120
# no sums over a year: while the history is shorter than that they grow with the calendar, and the model drifts
SIMPLE = (
    "redemption_share_365d",
    "redemptions_count_90d",
    "days_since_last_redemption",
    "active_days_count_90d",
    "spend_sum_90d",
    "items_count_90d",
    "discount_sum_90d",
)


def train_redemption(
    frame: pd.DataFrame, features: list[Feature], settings: Settings, as_of: date,
    channels: Mapping[str, str] | None = None,
) -> Trained:  # fmt: skip
    """Train, judge and choose the redemption model.

    Parameters
    ----------
    frame
        From `features.training_data.frames.redemption_frame`: closed treatments with their label.
    as_of
        Day of training. Treatments closed ``response.holdout_days`` before it train, those decided later test.
    channels
        Channel of each offer: where the app counts its messages, the model reads how a user listens to it.

    Returns
    -------
    Trained
        In both candidates P(redeem) never falls as the discount rises; `spend` says what a redemption costs,
        `listening` how users listen to each offer's channel.

    Raises
    ------
    NotTrainableError
        There are too few users, or all of them redeemed, or none.
    """
    listening = own_channels(channels or {}, settings, frame)
    frame = with_channel_share(frame, listening)
    cut = pd.Timestamp(start_of(as_of - timedelta(days=settings.response.holdout_days), settings.time_zone))
    folds = settings.training.folds
    in_time = out_of_time_and_user(frame["user_id"], frame["decided_at"], frame["closed_at"], cut, folds)
    split = honest_split("redemption", frame, in_time, TARGET, settings)
    known = usable_columns(frame, features, VIEWS["redemption"], split.train)
    options = varied(frame[split.train], (*OPTION, *([CHANNEL_SHARE] if listening else [])))
    simple = [*options, *(name for name in SIMPLE if name in known)]

    def logistic(rows: pd.DataFrame) -> Estimator:
        fitted = fit_linear(rows, TARGET, simple)
        return fitted if _rises(fitted) else fit_linear(rows, TARGET, [name for name in simple if name != "discount"])

    def base_rate(rows: pd.DataFrame) -> Estimator:
        return fit_constant(rows, TARGET, SIMPLE[0])

    def lightgbm(rows: pd.DataFrame) -> Estimator:
        return fit_lightgbm(rows, TARGET, [*options, *known], shallow(frame, settings), rising=RISING)

    fits = {"logistic": logistic} if simple else {"base_rate": base_rate}
    fits |= {"lightgbm": lightgbm} if options or known else {}
    candidates = train_candidates(frame, split, TARGET, fits, np.ones(len(frame), dtype=bool))
    test = rows_of(frame, split.test)
    used_before = test["redemptions_count_365d"].fillna(0).to_numpy(dtype=np.float64)
    trial = Trial(
        "redemption", test, TARGET, test["decided_at"], np.ones(len(test), dtype=bool), MEASURES, "log_loss",
        cut if split.is_out_of_time else None, {"past_redemptions": used_before},
    )  # fmt: skip

    def more_measures(_: TrainedCandidate) -> Measures:
        scores = {"past_redemptions": used_before} | {name: each.test_score for name, each in candidates.items()}
        return {f"redemption.auc_{name}": (auc, score) for name, score in scores.items()}

    trained = choose_candidate(candidates, trial, frame, settings, more_measures)
    leaks = find_leaks(frame[split.train], test, TARGET, known)
    return replace(trained, spend=redeemed_spend(frame), leaks=leaks, listening=listening)


def shallow(frame: pd.DataFrame, settings: Settings) -> Settings:
    """Allow trees as many leaves as redemptions support: these are few, and more leaves learn the noise of costs.

    Measured by `tests/benchmarks/bench_effects.py`: with 500 redemptions trees of 5 leaves beat those of 15.
    """
    most = max(LEAST_LEAVES, int(frame[TARGET].sum()) // REDEMPTIONS_PER_LEAF)
    leaves = min(settings.training.leaves, most)
    return settings.model_copy(update={"training": settings.training.model_copy(update={"leaves": leaves})})


def p_redeem_each(
    model: Estimator, frame: pd.DataFrame, options: Sequence[Option], listening: Mapping[str, Listening] | None = None
) -> Floats:
    """Predict for every user whether each option would be used; shape (users, options).

    `listening` is that to each offer's channel, if the model was taught it.
    """
    each: list[dict[str, Constant]] = [dict(zip(OPTION, option, strict=True)) for option in options]
    if listening:
        unknown = np.full(len(frame), np.nan)
        shares = {offer_id: own.share(frame) for offer_id, own in listening.items()}
        for given, (offer_id, _) in zip(each, options, strict=True):
            given[CHANNEL_SHARE] = shares.get(offer_id, unknown)
    return model.predict_given(frame, each)


def _rises(estimator: LinearEstimator) -> bool:
    """Whether the score does not fall with the discount."""
    if "discount" not in estimator.columns:
        return True
    return estimator.coefficient("discount") >= 0
