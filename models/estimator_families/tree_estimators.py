"""Gradient-boosted trees of LightGBM, scored and explained by the kernels of `models.forest`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import lightgbm as lgb
import pandas as pd

from configs.settings import Settings
from features.arrays.array_types import Floats
from models.estimator_families.estimators import Estimator, Link
from models.forest import boosters
from models.forest.boosters import Constant, threads_for, with_constants


@dataclass(frozen=True)
class LightgbmEstimator(Estimator):
    """Trees of LightGBM; `core` is a booster, Shapley values are path-dependent TreeSHAP (Lundberg et al. 2020)."""

    family: ClassVar[str] = "lightgbm"
    flavour: ClassVar[str] = "lightgbm"

    @classmethod
    def fit(
        cls, frame: pd.DataFrame, target: str, columns: list[str], settings: Settings, *, link: Link = "logit",
        rising: tuple[str, ...] = (),
    ) -> Self:  # fmt: skip
        """Fit the trees; the same rows, settings and seed give the same ones.

        Parameters
        ----------
        rising
            Columns in which the prediction must never fall (a higher discount is never redeemed less).
        """
        training = settings.training
        parameters = {
            "objective": {"logit": "binary", "log": "tweedie", "identity": "regression"}[link],
            "num_leaves": training.leaves,
            "learning_rate": training.learning_rate,
            "min_data_in_leaf": training.min_leaf_rows,
            "feature_fraction": training.column_share,
            "monotone_constraints": [int(name in rising) for name in columns],
            "num_threads": settings.threads or threads_for(len(frame)),
            "seed": settings.seed,
            "deterministic": True,
            "force_col_wise": True,
            "verbosity": -1,
        }
        rows = lgb.Dataset(frame[columns], frame[target], free_raw_data=True)
        return cls(target, link, tuple(columns), lgb.train(parameters, rows, training.trees))

    def raw_score(self, frame: pd.DataFrame) -> Floats:
        """Score rows on the scale of the link, before calibration; shape (rows,)."""
        return boosters.raw_scores(self.core, self.inputs(frame))

    def raw_contributions(self, inputs: pd.DataFrame) -> Floats:
        """Split each raw score exactly into its columns' Shapley values; (rows, columns + 1), the base value last."""
        return boosters.contributions(self.core, inputs)

    def raw_scores_given(self, frame: pd.DataFrame, constants: Sequence[Mapping[str, Constant]]) -> Floats:
        """Score rows once under each of several sets of constants; shape (rows, sets of constants)."""
        if not constants:
            return super().raw_scores_given(frame, constants)
        inputs = self.inputs(with_constants(frame, constants[0]))
        own = [{name: given[name] for name in given if name in self.columns} for given in constants]
        return boosters.raw_scores_given(self.core, inputs, own)

    @classmethod
    def parameters(cls, settings: Settings) -> dict[str, object]:
        """Name the settings that a run of this family is logged with."""
        return settings.training.model_dump(include={"trees", "leaves", "learning_rate", "min_leaf_rows"})


def fit_lightgbm(
    frame: pd.DataFrame, target: str, columns: list[str], settings: Settings, *, link: Link = "logit",
    rising: tuple[str, ...] = (),
) -> LightgbmEstimator:  # fmt: skip
    """Fit gradient-boosted trees, as `LightgbmEstimator.fit`."""
    return LightgbmEstimator.fit(frame, target, columns, settings, link=link, rising=rising)
