"""The interface of all estimators: fit, predict, contributions, and a form that the registry can store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from configs.errors import InputError
from configs.settings import Settings
from features.arrays.array_types import Floats
from models.forest.boosters import Constant, with_constants

Link = Literal["logit", "log", "identity", "signed"]


@dataclass(frozen=True)
class Estimator(ABC):
    """A fitted model of one target; each family of models is a class of its own, registered in `model_families`.

    `core` is an object of a library, which alone is stored. `slope` and `intercept` calibrate it on the scale of
    `link`. `columns` are read by name, so their order has no effect.
    """

    target: str
    link: Link
    columns: tuple[str, ...]
    core: Any = field(repr=False)
    slope: float = 1.0
    intercept: float = 0.0

    family: ClassVar[str]  # its name in the registry
    flavour: ClassVar[str]  # of MLflow: who saves and loads the core
    save_options: ClassVar[Mapping[str, object]] = {}

    @classmethod
    @abstractmethod
    def fit(
        cls, frame: pd.DataFrame, target: str, columns: list[str], settings: Settings, *, link: Link = "logit",
        rising: tuple[str, ...] = (),
    ) -> Self:  # fmt: skip
        """Fit on some rows; the same rows, settings and seed give the same model.

        Parameters
        ----------
        rising
            Columns in which the prediction must never fall; a family may leave that to whoever chooses its columns.
        """

    @abstractmethod
    def raw_score(self, frame: pd.DataFrame) -> Floats:
        """Score rows on the scale of the link, before calibration; shape (rows,)."""

    @abstractmethod
    def raw_contributions(self, inputs: pd.DataFrame) -> Floats:
        """Split each raw score exactly into its columns' Shapley values; (rows, columns + 1), the base value last."""

    def raw_scores_given(self, frame: pd.DataFrame, constants: Sequence[Mapping[str, Constant]]) -> Floats:
        """Score rows once under each of several sets of constants; shape (rows, sets of constants)."""
        each = [self.raw_score(with_constants(frame, given)) for given in constants]
        return np.stack(each, axis=1) if each else np.empty((len(frame), 0))

    def predict(self, frame: pd.DataFrame) -> Floats:
        """Predict rows on the scale of the target: a probability or an amount; shape (rows,)."""
        return inverse_link(self.link, self.slope * self.raw_score(frame) + self.intercept)

    def predict_given(self, frame: pd.DataFrame, constants: Sequence[Mapping[str, Constant]]) -> Floats:
        """Predict rows once under each of several sets of constants, such as the options of a catalogue.

        Parameters
        ----------
        constants
            Values that some columns take on all rows; each set names the same columns.

        Returns
        -------
        Shape (rows, sets of constants); each column as `predict` would give it.
        """
        own_columns = [name for name in self.columns if name in frame.columns]
        raw = self.raw_scores_given(frame[own_columns], constants)
        return inverse_link(self.link, self.slope * raw + self.intercept)

    def contributions(self, frame: pd.DataFrame) -> Floats:
        """Split each prediction exactly into its columns' Shapley values on the scale of the link.

        Returns
        -------
        Shape (rows, columns + 1); the last column is the base value, and each row sums to the calibrated score.
        """
        parts = self.raw_contributions(self.inputs(frame))
        parts *= self.slope
        parts[:, -1] += self.intercept
        return parts

    def refit(self, frame: pd.DataFrame, settings: Settings, *, rising: tuple[str, ...] = ()) -> Self:
        """Fit another model of the same family, columns and calibration on other rows; `rising` as in `fit`."""
        again = self.fit(frame, self.target, list(self.columns), settings, link=self.link, rising=rising)
        return replace(again, slope=self.slope, intercept=self.intercept)

    @classmethod
    def parameters(cls, settings: Settings) -> dict[str, object]:  # noqa: ARG003 - a family may have none
        """Name the settings that a run of this family is logged with."""
        return {}

    def inputs(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Pick the model's columns.

        Raises
        ------
        InputError
            The frame lacks one of them.
        """
        missing = [name for name in self.columns if name not in frame.columns]
        if missing:
            raise InputError(
                f"the {self.target} model reads the column {missing[0]!r}, which the frame lacks; "
                "run winback build-features and train again"
            )
        return frame[list(self.columns)]


def inverse_link(link: Link, score: Floats) -> Floats:
    """Turn a score into a probability (logit), a positive amount (log, identity) or itself (signed)."""
    if link == "signed":
        return score
    if link == "logit":
        return 1.0 / (1.0 + np.exp(-score))
    return np.exp(score) if link == "log" else np.maximum(score, 0.0)


def check_finite(what: str, coefficients: Floats, columns: Sequence[str]) -> None:
    """Stop a training by which a column would make every score infinite or no number at all.

    Parameters
    ----------
    coefficients
        Shape (columns,) or (outputs, columns).

    Raises
    ------
    InputError
        One of them is not finite; its column is named.
    """
    broken = np.flatnonzero(~np.isfinite(np.atleast_2d(coefficients)).all(axis=0))
    if len(broken):
        raise InputError(
            f"the {what} has no finite coefficient of the column {columns[broken[0]]!r}; look for absurd values of it "
            "in the source, mend them there and train again"
        )


def calibrated(estimator: Estimator, raw_score: Floats, label: Floats) -> Estimator:
    """Fit slope and intercept on scores of rows the model did not see (Platt 1999).

    A model of an amount is only rescaled, so that its predictions sum to the truth.
    """
    if estimator.link == "logit":
        platt = LogisticRegression(C=1e6).fit(raw_score[:, None], label)
        slope, intercept = float(platt.coef_[0, 0]), float(platt.intercept_[0])
        return replace(estimator, slope=slope, intercept=intercept) if slope > 0 else estimator
    ratio = float(label.sum() / max(inverse_link(estimator.link, raw_score).sum(), 1e-9))
    if estimator.link == "log":
        return replace(estimator, intercept=float(np.log(max(ratio, 1e-9))))
    return replace(estimator, slope=ratio)
