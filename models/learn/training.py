"""Training as every model does it: cross-fit, calibrate, measure out of time and of users, let the gate decide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from configs.errors import InputError
from configs.settings import Settings
from features.arrays.array_types import Flags, Floats
from features.definitions.registry import Feature
from models.learn.estimators import Estimator, calibrated, inverse_link
from models.learn.redeemed_spend import RedeemedSpend
from models.metrics.evaluation import Measure, gain_metric, score_metric
from models.metrics.metric import Metric
from models.metrics.splits import Split, hash_share

Fit = Callable[[pd.DataFrame], Estimator]
Calibrate = Callable[[Estimator], Estimator]


@dataclass(frozen=True)
class TrainedCandidate:
    """A model fitted on everything, and what its cross-fitted models predict for the test rows."""

    name: str
    estimator: Estimator
    test_score: Floats


@dataclass(frozen=True)
class GateVerdict:
    """What the gate decided, with the arithmetic."""

    winner: str
    reason: str
    gain: Metric | None


@dataclass(frozen=True)
class Trained:
    """Everything a training run says about one subject.

    `label` and `score` are those of the chosen model on the headline test rows; `latest` are the newest rows, on
    which explanations are drawn; `spend`, of the redemption model alone, says what a redemption costs.
    """

    subject: str
    candidates: dict[str, TrainedCandidate]
    verdict: GateVerdict
    metrics: dict[str, Metric]
    label: Floats
    score: Floats
    latest: pd.DataFrame
    spend: RedeemedSpend | None = None

    @property
    def winner(self) -> TrainedCandidate:
        """The candidate that the gate chose."""
        return self.candidates[self.verdict.winner]


def check_enough(subject: str, frame: pd.DataFrame, split: Split, target: str, settings: Settings) -> None:
    """Refuse to train where no honest number could come out.

    Raises
    ------
    InputError
        Too few users, no test rows, or one class only.
    """
    users = int(frame.loc[split.train, "user_id"].nunique())
    if users < settings.training.min_users:
        raise InputError(
            f"not enough data for the {subject} model: {users} users have a closed label before the test cut, "
            f"training.min_users = {settings.training.min_users}; ingest more history or lower the setting"
        )
    if not split.test.any():
        raise InputError(
            f"not enough data for the {subject} model: no label is closed between the test cut and as_of; "
            "choose a later as_of or a longer training.holdout_days"
        )
    others = [(f"training (fold {fold} left out)", split.train & (split.fold != fold)) for fold in split.folds]
    for part, mask in [("training", split.train), ("test", split.test), *others]:
        values = frame.loc[mask, target].unique()
        if len(values) < 2:
            found = "".join(f"{target} = {value:g} for " for value in values)
            raise InputError(
                f"the {subject} model has one class only: {found}all {mask.sum():,} {part} rows; "
                "check the roles and horizons, or choose another as_of"
            )


def usable_columns(frame: pd.DataFrame, features: list[Feature], views: tuple[str, ...], train: Flags) -> list[str]:
    """Name the features of some views that vary among the training rows, in catalogue order."""
    names = tuple(feature.name for feature in features if feature.view in views and feature.name in frame.columns)
    return varied(frame[train], names)


def varied(frame: pd.DataFrame, names: tuple[str, ...]) -> list[str]:
    """Name the columns that hold more than one value."""
    values = frame[list(names)].nunique()
    return [name for name in names if values[name] > 1]


def cross_fit(frame: pd.DataFrame, split: Split, target: str, fit: Fit) -> tuple[Floats, Calibrate]:
    """Predict every test row by a model that saw neither its time nor its user.

    Returns
    -------
    scores
        Calibrated predictions of the test rows, shape (test rows,).
    calibrate
        Applies the calibration learnt on the held-out training rows to another fit of the same kind.
    """
    held_out = np.full(len(frame), np.nan)
    for fold in split.folds:
        outside, inside = split.train & (split.fold != fold), (split.train | split.test) & (split.fold == fold)
        if inside.any():
            fold_model = fit(frame[outside])
            held_out[inside] = fold_model.raw_score(frame[inside])
    known = split.train & ~np.isnan(held_out)
    label = frame.loc[known, target].to_numpy(dtype=np.float64)

    def calibrate(estimator: Estimator) -> Estimator:
        return calibrated(estimator, held_out[known], label)

    scale = calibrate(fold_model)
    scores = inverse_link(scale.link, scale.slope * held_out[split.test] + scale.intercept)
    return scores, calibrate


def cross_fitted_models(
    estimator: Estimator, frame: pd.DataFrame, settings: Settings, *, rising: tuple[str, ...] = ()
) -> dict[int, Estimator]:
    """Fit the same kind of model once per fold of users, on the rows of the others: it may judge that fold honestly."""
    fold = user_fold(frame["user_id"], settings)
    folds = range(settings.training.folds)
    return {k: estimator.refit(rows_of(frame, fold != k), settings, rising=rising) for k in folds}


def user_fold(user_ids: pd.Series, settings: Settings) -> npt.NDArray[np.intp]:
    """Fold of each row's user, shape (rows,); the same for every model."""
    return (hash_share(user_ids, "folds") * settings.training.folds).astype(np.intp)


def train_candidates(
    frame: pd.DataFrame, split: Split, target: str, fits: Mapping[str, Fit], final: Flags
) -> dict[str, TrainedCandidate]:
    """Cross-fit each candidate for the test, then fit it once more on all `final` rows for use."""
    candidates = {}
    for name, fit in fits.items():
        scores, calibrate = cross_fit(frame, split, target, fit)
        candidates[name] = TrainedCandidate(name, calibrate(fit(frame[final])), scores)
    return candidates


def judge(
    candidates: dict[str, TrainedCandidate], test: pd.DataFrame, target: str, measure: Measure, measure_name: str,
    settings: Settings, rng: np.random.Generator, *, lower_is_better: bool = False,
) -> GateVerdict:  # fmt: skip
    """Keep the first candidate, the simplest, unless a later one beats it with its whole 95% interval.

    The comparison is paired: both are measured on the same resampled users.
    """
    simplest, *others = candidates
    winner, reason, best = simplest, f"{simplest} is the only candidate", None
    label = test[target].to_numpy(dtype=np.float64)
    sign = -1.0 if lower_is_better else 1.0

    def signed(label: Floats, score: Floats, weight: Floats) -> float:
        return sign * measure(label, score, weight)

    for name in others:
        new, old = candidates[name].test_score, candidates[winner].test_score
        gain = gain_metric(
            signed, label, new, old, test["user_id"], samples=settings.training.bootstrap_samples, rng=rng
        )
        interval = (
            f"{measure_name} gain {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] over {gain.n:,} test rows"
        )
        best = gain
        if gain.low > 0:
            reason = f"{name} beats {winner}: {interval} lies above 0"
            winner = name
        else:
            reason = f"{winner} stays: {interval} of {name} does not lie above 0"
    return GateVerdict(winner, reason, best)


def score_all(
    measures: Mapping[str, tuple[Measure, Floats]], label: Floats, user_ids: pd.Series, settings: Settings,
    rng: np.random.Generator,
) -> dict[str, Metric]:  # fmt: skip
    """Bootstrap several measures of the same rows; the keys become metric names."""
    samples = settings.training.bootstrap_samples
    return {
        name: score_metric(measure, label, score, user_ids, samples=samples, rng=rng)
        for name, (measure, score) in measures.items()
    }


def generator(settings: Settings, subject: str) -> np.random.Generator:
    """Random draws of one subject; the same seed gives the same draws whatever else runs."""
    return np.random.default_rng([settings.seed, *subject.encode()])


def rows_of(frame: pd.DataFrame, mask: npt.NDArray[np.bool_]) -> pd.DataFrame:
    """Rows under a mask, renumbered."""
    return frame[mask].reset_index(drop=True)


def newest(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of the newest snapshot."""
    return rows_of(frame, (frame["event_timestamp"] == frame["event_timestamp"].max()).to_numpy())
