"""Scores and Shapley values of LightGBM's boosters, by the kernels of `forest_scores` and `forest_shap`.

They are made for a booster when they are first needed and kept for as long as it lives. LightGBM computes where a
model does not fit them, and scores of few rows, for which they need not be loaded: those have the same bits either
way. So no number ever depends on how many rows come together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import lightgbm as lgb
import numpy as np
import pandas as pd

from features.arrays.array_types import Floats
from models.forest.model_text import DoesNotFit

if TYPE_CHECKING:  # numba takes its time to come, so only many rows are worth it
    from models.forest.forest_scores import ForestScores
    from models.forest.forest_shap import ForestShap
    from models.forest.parsed_forest import Forest

Constant = float | str | Floats  # an array has a value per row
MANY_SCORES = 50_000  # fewer take LightGBM less than the half second in which a process loads the kernels
# below this many rows LightGBM's threads cost more than they bring: 2,500 x 16 took 0.04 s on one, 0.54 s on two
PARALLEL_ROWS = 200_000


def raw_scores(booster: lgb.Booster, inputs: pd.DataFrame) -> Floats:
    """Score rows before any link; shape (rows,)."""
    ready = _ready(booster) if len(inputs) >= MANY_SCORES else None
    if ready is not None:
        return ready.scores.scores(ready.forest.atoms(inputs))
    if not len(inputs):
        return np.empty(0)  # LightGBM would complain
    raw = booster.predict(inputs, raw_score=True, num_threads=threads_for(len(inputs)))
    return np.asarray(raw, dtype=np.float64)


def raw_scores_given(booster: lgb.Booster, inputs: pd.DataFrame, constants: Sequence[Mapping[str, Constant]]) -> Floats:
    """Score rows once under each of several sets of constants.

    Parameters
    ----------
    inputs
        The booster's columns, in its order; those that `constants` name may hold anything of their type.
    constants
        Values that some columns take on all rows, or an array with one per row; each set names the same columns.

    Returns
    -------
    Shape (rows, sets of constants).
    """
    scores = np.empty((len(constants), len(inputs)))
    ready = _ready(booster) if scores.size >= MANY_SCORES else None
    if ready is None:
        scores[:] = [raw_scores(booster, with_constants(inputs, given)) for given in constants]
        return np.ascontiguousarray(scores.T)
    atoms = ready.forest.atoms(inputs)  # of all columns that do not change from set to set, once
    for place, given in enumerate(constants):
        for of_rows in (False, True):
            part = {name: value for name, value in given.items() if isinstance(value, np.ndarray) == of_rows}
            own = [list(inputs.columns).index(name) for name in part]
            told = with_constants(inputs if of_rows else inputs.head(1), part)
            atoms[own] = ready.forest.atoms(told, only=own)[own] if own else atoms[own]
        scores[place] = ready.scores.scores(atoms)
    return np.ascontiguousarray(scores.T)


def contributions(booster: lgb.Booster, inputs: pd.DataFrame) -> Floats:
    """Split each raw score exactly into its columns' Shapley values; shape (rows, columns + 1), the base value last."""
    ready = _ready(booster)
    if ready is not None and ready.shap is not None:
        return ready.shap.contributions(ready.forest.atoms(inputs))
    parts = booster.predict(inputs, pred_contrib=True, num_threads=threads_for(len(inputs)))
    return np.asarray(parts, dtype=np.float64)


def with_constants(frame: pd.DataFrame, constants: Mapping[str, Constant]) -> pd.DataFrame:
    """Set columns to one value on all rows; a text becomes a category."""
    return frame.assign(
        **{
            name: pd.Categorical([value]).repeat(len(frame)) if isinstance(value, str) else value
            for name, value in constants.items()
        }
    )


def threads_for(rows: int) -> int:
    """Threads that LightGBM should take for so many rows; 0 is one per core."""
    return 1 if rows < PARALLEL_ROWS else 0


class _Ready:
    """What is kept for a booster; nothing in it holds the booster."""

    def __init__(self, forest: Forest) -> None:
        self.forest = forest

    @cached_property
    def scores(self) -> ForestScores:
        from models.forest.forest_scores import ForestScores

        return ForestScores.of(self.forest)

    @cached_property
    def shap(self) -> ForestShap | None:
        from models.forest.forest_shap import ForestShap

        try:
            return ForestShap.of(self.forest)
        except DoesNotFit:
            return None


_KEPT: WeakKeyDictionary[lgb.Booster, _Ready | None] = WeakKeyDictionary()


def _ready(booster: lgb.Booster) -> _Ready | None:
    """Read a booster, once; None where only LightGBM can compute it."""
    from models.forest.parsed_forest import Forest

    if booster not in _KEPT:
        try:
            _KEPT[booster] = _Ready(Forest.of(booster))
        except DoesNotFit:
            _KEPT[booster] = None
    return _KEPT[booster]
