"""A parsed LightGBM model: its trees, and for each column the cells between which no split distinguishes.

All that the trees can ask of a value is on which side of their thresholds it lies. The thresholds of all trees cut a
column into *atoms*; a batch is turned into the numbers of its atoms once, one byte per value, and everything else
reads those.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeVar

import lightgbm as lgb
import numba
import numpy as np
import pandas as pd

from configs.errors import InputError
from features.arrays.array_types import Array, Floats
from models.forest.model_text import CATEGORICAL, DoesNotFit, Tree, read_trees

Function = TypeVar("Function", bound=Callable[..., Any])

NEAR_ZERO = float(np.float32(1e-35))  # LightGBM reads numbers up to this size as zero
DEFAULT_LEFT, MISSING_IS_ZERO, MISSING_IS_NAN = 2, 4, 8  # bits of LightGBM's decision_type, beside `CATEGORICAL`
THREAD_ROWS = 4096  # fewer rows are not worth a thread
BLOCK = 2048  # values whose atoms are looked for together, in a core's first cache


def compiled(function: Function) -> Function:
    """Compile a kernel; it releases the interpreter's lock and is kept beside the module for the next process."""
    compiler: Any = numba.njit
    try:
        return compiler(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # there is no folder to keep it in
        return compiler(nogil=True, error_model="numpy")(function)


def for_rows(kernel: Callable[[int, int], object], rows: int, threads: int = 0) -> None:
    """Call a kernel with the first and the last of the rows of each thread; 0 threads are all cores."""
    workers = min(threads or os.cpu_count() or 1, rows // THREAD_ROWS)
    if workers <= 1:
        kernel(0, rows)
        return
    edges = np.linspace(0, rows, workers + 1).astype(int).tolist()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda edge: kernel(*edge), pairwise(edges)))


@dataclass(frozen=True)
class SplitColumn:
    """How a column's values fall into atoms.

    `cuts` are the model's thresholds, ascending; atom k lies above k cuts, and the last one holds missing values.
    Of a category the cuts are the codes 0, 1, ... and the last atom is every other value.
    """

    cuts: Floats
    categorical: bool

    @cached_property
    def examples(self) -> Floats:
        """One value of each atom; infinity lies above all cuts."""
        return np.r_[self.cuts, np.nan] if self.categorical else np.r_[self.cuts, np.inf, np.nan]


@dataclass(frozen=True)
class Forest:
    """Trees of a booster, the columns they ask, and how many columns and which categories its rows have."""

    trees: list[Tree]
    columns: dict[int, SplitColumn]
    width: int
    categories: list[list[Any]]

    @classmethod
    def of(cls, booster: lgb.Booster) -> Forest:
        """Read a booster.

        Raises
        ------
        DoesNotFit
            Several outputs, averaged trees, linear leaves, or a column that cannot be cut.
        """
        trees = read_trees(booster.model_to_string())
        return cls(trees, _read_columns(trees), booster.num_feature(), booster.pandas_categorical or [])

    @cached_property
    def examples(self) -> Floats:
        """One value of each atom of each column, filled up with NaN; shape (columns, most atoms)."""
        most = max((len(column.examples) for column in self.columns.values()), default=1)
        examples = np.full((self.width, most), np.nan)
        for place, column in self.columns.items():
            examples[place, : len(column.examples)] = column.examples
        return examples

    def goes_left(self, tree: Tree) -> Array:
        """Tell for each split of a tree which atoms go left, as LightGBM decides; shape (splits, most atoms)."""
        values, kind = self.examples[tree.column], tree.kind[:, None]
        keeps_nan = (kind & MISSING_IS_NAN) > 0
        missing = np.isnan(values) & keeps_nan
        values = np.where(np.isnan(values) & ~keeps_nan, 0.0, values)
        missing |= (np.abs(values) <= NEAR_ZERO) & ((kind & MISSING_IS_ZERO) > 0)
        left = np.where(missing, (kind & DEFAULT_LEFT) > 0, values <= tree.threshold[:, None])
        for split in np.flatnonzero(tree.kind & CATEGORICAL):
            left[split] = np.isin(self.examples[tree.column[split]], tree.categories(split))
        return left

    def atoms(self, inputs: pd.DataFrame | Array, *, only: Collection[int] | None = None, threads: int = 0) -> Array:
        """Find the atom of every value.

        Parameters
        ----------
        inputs
            The booster's columns, in its order.
        only
            Places of the columns that matter; None are all.
        threads
            Cores to use; 0 is all of them.

        Returns
        -------
        Shape (columns, rows); 0 in columns that do not matter or that no split asks.

        Raises
        ------
        InputError
            The rows have other columns than the model.
        """
        if inputs.shape[1] != self.width:
            raise InputError(
                f"the model reads {self.width} columns, the rows have {inputs.shape[1]}; pass the model's own"
            )
        atoms = np.zeros((self.width, len(inputs)), np.uint8 if self.examples.shape[1] <= 256 else np.uint16)
        for place, values in self._values(
            inputs, sorted(self.columns.keys() & (self.columns if only is None else only))
        ):
            column, found = self.columns[place], atoms[place]
            cut = _category_atoms if column.categorical else _number_atoms
            for_rows(lambda first, last: cut(values[first:last], column.cuts, found[first:last]), len(values), threads)  # noqa: B023
        return atoms

    def _values(self, inputs: pd.DataFrame | Array, places: list[int]) -> Iterator[tuple[int, Floats]]:
        """Give columns as the numbers LightGBM sees: a category is its place among those of the training."""
        if not isinstance(inputs, pd.DataFrame):
            yield from ((place, np.ascontiguousarray(inputs[:, place], dtype=np.float64)) for place in places)
            return
        texts = [place for place, kind in enumerate(inputs.dtypes) if isinstance(kind, pd.CategoricalDtype)]
        if len(texts) != len(self.categories):
            raise InputError(
                f"the model reads {len(self.categories)} categories, the rows have {len(texts)}; "
                "give texts the type 'category' as in the training"
            )
        categories = dict(zip(texts, self.categories, strict=True))
        for place in places:
            column = inputs.iloc[:, place]
            if place in categories:
                codes = column.cat.set_categories(categories[place]).cat.codes
                yield place, np.asarray(codes, dtype=np.float64)
            else:
                yield place, np.ascontiguousarray(column.to_numpy(dtype=np.float64, na_value=np.nan))


def _read_columns(trees: list[Tree]) -> dict[int, SplitColumn]:
    """Collect each column's thresholds over all trees."""
    cuts: dict[int, set[float]] = {}
    kinds: dict[int, int] = {}
    for tree in trees:
        asked = zip(tree.column.tolist(), tree.kind.tolist(), tree.threshold.tolist(), strict=True)
        for split, (column, kind, threshold) in enumerate(asked):
            if kinds.setdefault(column, kind & CATEGORICAL) != kind & CATEGORICAL:
                raise DoesNotFit("a column that is a number here and a category there")
            found = cuts.setdefault(column, set())
            if kind & CATEGORICAL:
                found.update(range(int(tree.categories(split).max(initial=-1)) + 1))
                continue
            found.update((threshold, 0.0))  # zero, for missing values that count as zero
            if kind & MISSING_IS_ZERO:
                found.add(float(np.nextafter(-NEAR_ZERO, -1)))
    if any(len(found) > np.iinfo(np.uint16).max - 2 for found in cuts.values()):
        raise DoesNotFit("too many thresholds on a column")
    return {column: SplitColumn(np.array(sorted(found)), bool(kinds[column])) for column, found in sorted(cuts.items())}


@compiled
def _number_atoms(values: Floats, cuts: Floats, out: Array) -> None:
    """Count the cuts below each value, by halving them for a block of values at a time."""
    size = 1
    while size <= len(cuts):
        size *= 2
    filled, below, block = np.full(size, np.inf), np.empty(BLOCK, np.int64), np.empty(BLOCK)
    filled[: len(cuts)] = cuts
    for begin in range(0, len(values), BLOCK):
        rows = min(BLOCK, len(values) - begin)
        for row in range(rows):
            value = values[begin + row]
            block[row] = 0.0 if abs(value) <= NEAR_ZERO else value
        below[:] = 0
        half = size // 2
        while half > 0:
            for row in range(rows):
                low = below[row]
                below[row] = low + half if filled[np.uint64(low + half - 1)] < block[row] else low
            half //= 2
        for row in range(rows):
            out[begin + row] = len(cuts) + 1 if np.isnan(block[row]) else below[row]


@compiled
def _category_atoms(values: Floats, cuts: Floats, out: Array) -> None:
    for row in range(len(values)):
        value = values[row]
        known = -1.0 < value < len(cuts)  # LightGBM cuts fractions off towards zero
        out[row] = int(value) if known else len(cuts)
