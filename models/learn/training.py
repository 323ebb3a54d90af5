"""Training steps that all models share: honest splits, cross-fitting, calibration; `candidate_choice` then chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from configs.errors import InputError
from configs.settings import Settings
from features.arrays.array_types import Flags, Floats
from features.definitions.registry import Feature
from models.estimator_families.estimators import Estimator, calibrated, inverse_link
from models.learn.listening import Listening
from models.learn.redeemed_spend import RedeemedSpend
from models.learn.trial import DECIDES, Trial
from models.metrics.metric import Leak, Metric
from models.metrics.splits import Split, hash_share, out_of_user

Fit = Callable[[pd.DataFrame], Estimator]
Calibrate = Callable[[Estimator], Estimator]


@dataclass(frozen=True)
class TrainedCandidate:
    """A model fitted on everything, and what its cross-fitted models predict for the test rows.

    `by_fold` are the latter, by the fold of users that each did not see.
    """

    name: str
    estimator: Estimator
    test_score: Floats
    by_fold: Mapping[int, Estimator] = field(default_factory=dict)


@dataclass(frozen=True)
class GateVerdict:
    """What the gate decided, with the arithmetic; with a `shortfall` no candidate is good enough to be promoted."""

    winner: str
    reason: str
    gain: Metric | None
    shortfall: str = ""


@dataclass(frozen=True)
class Trained:
    """Everything a training run says about one subject.

    `label` and `score` are those of the chosen model on the headline test rows; `latest` are the newest rows, on
    which explanations are drawn; `own_metrics` has the same measures of every candidate, by its name; `trial` is where
    the champion is met; `spend`, of the redemption model alone, says what a redemption costs, and `listening` how users
    listen to each offer's channel, where it was taught that; `leaks` are columns that tell the label by themselves.
    """

    subject: str
    candidates: dict[str, TrainedCandidate]
    verdict: GateVerdict
    metrics: dict[str, Metric]
    label: Floats
    score: Floats
    latest: pd.DataFrame
    own_metrics: dict[str, dict[str, Metric]]
    trial: Trial
    spend: RedeemedSpend | None = None
    leaks: tuple[Leak, ...] = ()
    listening: Mapping[str, Listening] = field(default_factory=dict)

    @property
    def winner(self) -> TrainedCandidate:
        """The candidate that the gate chose."""
        return self.candidates[self.verdict.winner]

    def best_of(self, names: Sequence[str]) -> str:
        """Name the candidate with the best decisive measure; of equals the first, which is the simplest."""
        sign = DECIDES[self.trial.decisive][1]
        measure = f"{self.subject}.{self.trial.decisive}"
        return max(names, key=lambda name: sign * self.own_metrics[name][measure].value)


class NotTrainableError(InputError):
    """These data cannot teach one model; the others are trained without it."""


def honest_split(
    subject: str, frame: pd.DataFrame, in_time: Split, target: str, settings: Settings, *, is_class: bool = True
) -> Split:
    """Take the split in time and users where it leaves enough of both sides, else the one by users alone.

    Parameters
    ----------
    is_class
        Whether the target is a class, so that both must be seen on both sides.

    Raises
    ------
    NotTrainableError
        Neither would give an honest number: too few users, or one class only.
    """
    by_users = out_of_user(frame["user_id"], settings.training.folds)
    for split in (in_time, by_users):
        found = _shortfall(subject, frame, split, target, settings, is_class=is_class)
        if found is None:
            return split
    raise NotTrainableError(found)


def _shortfall(
    subject: str, frame: pd.DataFrame, split: Split, target: str, settings: Settings, *, is_class: bool
) -> str | None:
    """Say what a split lacks for an honest number; None when it lacks nothing."""
    users = int(frame.loc[split.train, "user_id"].nunique())
    if users < settings.training.min_users:
        least = f", training.min_users = {settings.training.min_users}; ingest more history or lower the setting"
        remedy = least if users else "; choose a later as_of or a shorter horizon"
        return f"not enough data for the {subject} model: {users:,} users have a closed label{remedy}"
    if not split.test.any():
        return f"not enough data for the {subject} model: no label is closed between the test cut and as_of"
    others = [(f"training (fold {fold} left out)", split.train & (split.fold != fold)) for fold in split.folds]
    for part, mask in [("training", split.train), ("test", split.test), *others]:
        values = frame.loc[mask, target].unique()
        if len(values) < 2 and (is_class or not len(values)):
            found = "".join(f"{target} = {value:g} for " for value in values)
            return (
                f"the {subject} model has one class only: {found}all {mask.sum():,} {part} rows; "
                "check the roles and horizons, or choose another as_of"
            )
    return None


def usable_columns(frame: pd.DataFrame, features: list[Feature], views: tuple[str, ...], train: Flags) -> list[str]:
    """Name the features of some views that vary among the training rows, in catalogue order."""
    names = tuple(feature.name for feature in features if feature.view in views and feature.name in frame.columns)
    return varied(frame[train], names)


def varied(frame: pd.DataFrame, names: tuple[str, ...]) -> list[str]:
    """Name the columns that hold more than one value.

    Raises
    ------
    InputError
        A number of one of them is infinite.
    """
    columns = frame[list(names)]
    for name in columns.select_dtypes("number"):
        endless = int(np.isinf(columns[name]).sum())
        if endless:
            raise InputError(
                f"the column {name!r} is infinite in {endless:,} of {len(frame):,} rows; mend it in the source and "
                "train again"
            )
    values = columns.nunique()
    return [name for name in names if values[name] > 1]


def within_inputs(frame: pd.DataFrame, names: list[str], most: int) -> list[str]:
    """Pick columns that are so many inputs of a linear model at most: a text has one per value, missing ones included.

    The first come first, whatever they tell of an outcome; one that would be too many is passed over.

    Examples
    --------
    >>> frame = pd.DataFrame({"age": [1, 2], "plan": pd.Categorical(["a", "b"]), "size": [3, 4]})
    >>> within_inputs(frame, ["age", "plan", "size"], 2)
    ['age', 'size']
    """
    picked = []
    for name in names:
        is_text = isinstance(frame[name].dtype, pd.CategoricalDtype)
        inputs = frame[name].nunique(dropna=False) if is_text else 1
        if inputs <= most:
            picked.append(name)
            most -= inputs
    return picked


def cross_fit(frame: pd.DataFrame, split: Split, target: str, fit: Fit) -> tuple[Floats, Calibrate]:
    """Predict every test row by a model that saw neither its time nor its user.

    Returns
    -------
    scores
        Calibrated predictions of the test rows, shape (test rows,).
    calibrate
        Applies the calibration learnt on the held-out training rows to another fit of the same kind.

    Raises
    ------
    InputError
        A score is not finite.
    """
    scores, calibrate, _ = _cross_fitted(frame, split, target, fit)
    return scores, calibrate


def _cross_fitted(
    frame: pd.DataFrame, split: Split, target: str, fit: Fit
) -> tuple[Floats, Calibrate, dict[int, Estimator]]:
    """Cross-fit, and keep the calibrated model of each fold."""
    held_out, models = np.full(len(frame), np.nan), {}
    for fold in split.folds:
        outside, inside = split.train & (split.fold != fold), (split.train | split.test) & (split.fold == fold)
        if inside.any():
            models[fold] = fit(frame[outside])
            held_out[inside] = models[fold].raw_score(frame[inside])
    if not np.isfinite(held_out[split.test]).all():
        columns = ", ".join(models[fold].columns)
        raise InputError(
            f"a score of the {target} model is not finite; look for absurd values of its columns: {columns}"
        )
    known = split.train & ~np.isnan(held_out)
    label = frame[target].to_numpy(dtype=np.float64)

    def calibrate(estimator: Estimator, among: Flags = known) -> Estimator:
        return calibrated(estimator, held_out[among], label[among])

    # a row that tests may not calibrate itself either, which no row of the training does where it is out of time
    others = {fold: known if split.is_out_of_time else known & (split.fold != fold) for fold in models}
    models = {fold: calibrate(model, others[fold]) for fold, model in models.items()}
    scores = np.zeros(len(frame))
    for fold, model in models.items():
        inside = split.fold == fold
        scores[inside] = _on_scale(model, held_out[inside])
    return scores[split.test], calibrate, models


def _on_scale(scale: Estimator, raw_score: Floats) -> Floats:
    return inverse_link(scale.link, scale.slope * raw_score + scale.intercept)


def cross_fitted_models(
    estimator: Estimator, frame: pd.DataFrame, settings: Settings, *, rising: tuple[str, ...] = ()
) -> dict[int, Estimator]:
    """Fit the same kind of model once per fold of users, on the rows of the other folds; it may judge that fold."""
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
        scores, calibrate, by_fold = _cross_fitted(frame, split, target, fit)
        candidates[name] = TrainedCandidate(name, calibrate(fit(frame[final])), scores, by_fold)
    return candidates


def generator(settings: Settings, subject: str) -> np.random.Generator:
    """Random draws of one subject; the same seed gives the same draws whatever else runs."""
    return np.random.default_rng([settings.seed, *subject.encode()])


def rows_of(frame: pd.DataFrame, mask: npt.NDArray[np.bool_]) -> pd.DataFrame:
    """Rows under a mask, renumbered."""
    return frame[mask].reset_index(drop=True)


def newest(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of the newest snapshot."""
    return rows_of(frame, (frame["event_timestamp"] == frame["event_timestamp"].max()).to_numpy())
