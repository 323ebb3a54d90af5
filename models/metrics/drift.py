"""Drift of a population from the one that a model was trained on, by the population stability index of bins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from pydantic import TypeAdapter, ValidationError
from scipy.special import chdtri

from features.arrays.array_types import Floats, Integers
from models.metrics.evaluation import auc

BINS = 10
MOST_LEVELS = 24  # of a text; the rarer ones are one bin
BY_CHANCE = 1e-4  # probability that a population which did not move exceeds the allowance for chance
HALF = 0.5  # of a row, which every bin has besides, so that an empty one is no infinite change


@dataclass(frozen=True)
class Bins:
    """How a column is distributed over bins; the last count is that of missing values.

    A number falls into the first bin whose edge (`edges`, the upper ends) it does not exceed, else into the one after
    them; a text into that of its level, else into the one after `levels`. `moves` is the PSI by which the column moved
    by itself between two snapshots that lie as far apart as training and use; NaN where there were no two.
    """

    counts: tuple[int, ...]
    edges: tuple[float, ...] = ()
    levels: tuple[str, ...] = ()
    moves: float = float("nan")

    def counted(self, column: pd.Series) -> Integers:
        """Count other values over these bins."""
        return np.bincount(self._places(column), minlength=len(self.counts))

    def moving(self, moves: float) -> Bins:
        """Estimate how far the column moves without drift."""
        return replace(self, moves=moves)

    def drift(self, column: pd.Series) -> Drift:
        """Say how far other values lie from these."""
        now = self.counted(column)
        return Drift(population_stability_index(np.array(self.counts), now), self.moves, self._chance(int(now.sum())))

    def _chance(self, rows: int) -> float:
        known = sum(self.counts)
        return float(chdtri(len(self.counts) - 1, BY_CHANCE)) * (1 / max(rows, 1) + 1 / max(known, 1))

    def _places(self, column: pd.Series) -> Integers:
        last = len(self.counts) - 1
        if self.levels:
            codes = pd.Categorical(column.astype("string"), categories=list(self.levels)).codes.astype(np.int64)
            return np.where(column.isna(), last, np.where(codes < 0, last - 1, codes))
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return np.where(np.isnan(numbers), last, np.searchsorted(np.array(self.edges), numbers, side="left"))


@dataclass(frozen=True)
class Drift:
    """A PSI, what the column moves by itself, and what chance alone may add."""

    index: float
    moves: float
    chance: float

    def exceeds(self, limit: float) -> bool:
        """Whether it is more than a limit on top of chance and of twice what the column moves by itself."""
        return bool(self.index > limit + self.chance + 2 * np.nan_to_num(self.moves))


def population_stability_index(before: Integers, now: Integers) -> float:
    """How far two populations differ over the same bins: ``sum((a - e) * ln(a / e))`` of their shares (PSI).

    Siddiqi (2006), *Credit Risk Scorecards*: below 0.1 little has changed, above 0.25 much. It is Jeffreys' divergence
    of the two; Yurdakul (2018, Western Michigan University) shows that without any change it is distributed as
    ``(1/n + 1/m)`` times chi-squared with ``bins - 1`` degrees of freedom. Each bin is given half a row.

    Parameters
    ----------
    before, now
        Rows by bin, shape (bins,).

    Examples
    --------
    >>> round(population_stability_index(np.array([500, 500]), np.array([250, 750])), 3)
    0.274
    """
    expected, actual = ((rows + HALF) / (rows.sum() + HALF * len(rows)) for rows in (before, now))
    return float(np.sum((actual - expected) * np.log(actual / expected)))


def bins_of(column: pd.Series, earlier: pd.Series | None = None) -> Bins:
    """Bin a column into deciles, or a text into its levels; `earlier` values of it tell how it moves by itself."""
    known, is_text = column.dropna(), isinstance(column.dtype, pd.CategoricalDtype) or column.dtype == object
    if is_text:
        levels = sorted(known.astype("string").value_counts().index[:MOST_LEVELS]) or [""]
        shape = Bins((0,) * (len(levels) + 2), levels=tuple(levels))
    else:
        numbers = known.to_numpy(dtype=np.float64)
        cuts = np.quantile(numbers, np.arange(1, BINS) / BINS, method="lower") if len(numbers) else np.zeros(1)
        below = np.nextafter(numbers.min(initial=cuts.min()), -np.inf)  # what is less than anything seen is a bin
        edges = np.unique([below, *cuts])
        shape = Bins((0,) * (len(edges) + 2), tuple(edges.tolist()))
    found = replace(shape, counts=tuple(shape.counted(column).tolist()))
    if earlier is None:
        return found
    return found.moving(population_stability_index(found.counted(earlier), np.array(found.counts)))


def expected_auc(p: Floats) -> float:
    """AUC that calibrated probabilities promise before any label is known (confidence-based performance estimation).

    Every row counts as a positive with weight p and as a negative with weight 1 - p (NannyML's CBPE; Kivimäki et al.
    2025, *Performance Estimation in Binary Classification Using Calibrated Confidence*). NaN where nothing varies.

    Examples
    --------
    >>> round(expected_auc(np.array([0.1, 0.9])), 2), expected_auc(np.array([0.5, 0.5]))
    (0.9, 0.5)
    """
    known = p[~np.isnan(p)]
    if not len(known):
        return float("nan")
    ones = np.ones(len(known))
    return auc(np.r_[ones, 0 * ones], np.r_[known, known], np.r_[known, 1 - known])


@dataclass(frozen=True)
class Reference:
    """What a model knew when it was trained: its inputs by column, and its scores, of the newest snapshot.

    `expected_auc` is that of these scores; NaN of a model of an amount. `option` is the offer and discount that the
    scores of a model of options are about; None of all others.
    """

    inputs: Mapping[str, Bins]
    score: Bins
    expected_auc: float
    option: tuple[str, float] | None = None


def read_reference(stored: object) -> Reference | None:
    """Read a reference back from plain values; None where there is none, or another version of winback wrote it."""
    try:
        return TypeAdapter(Reference).validate_python(stored) if stored else None
    except ValidationError:
        return None
