r"""Exact SHAP values of boosted trees for everybody: looked up in tables instead of computed for each row.

What a leaf adds to the path-dependent Shapley values of a row (Lundberg et al. 2020) depends only on which of the
leaf's conditions the row meets. Leaves that ask about the same few columns therefore form a group. Each of its
columns is cut into cells, the sets of values that the group's leaves cannot tell apart; for every combination of
cells the Shapley values of all the group's leaves together are computed once. A row then costs, for each group, one
place in a table and one short vector to add.

A leaf of value :math:`v` with covers :math:`z_j` and conditions :math:`o_j` (1 if met) on its columns gives
column :math:`i`

.. math:: v\,(o_i - z_i) \int_0^1 \prod_{j \ne i} \bigl(z_j (1 - t) + o_j t\bigr)\,dt,

a polynomial that Gauss and Legendre's rule integrates exactly.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import lightgbm as lgb
import numba
import numpy as np
import numpy.typing as npt
import pandas as pd

from configs.errors import InputError

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Function = TypeVar("Function", bound=Callable[..., Any])
Parts = dict[int, list[int]]

CELLS = 4096  # combinations of cells in a group of several leaves, at most: its table stays in a core's second cache
COLUMNS = 12  # of a group of several leaves, at most
DEEPEST = 14  # columns on the path to one leaf that has a table of its own: it has 2 ** DEEPEST rows
MOST_VALUES = 2**28  # in all tables together, 1 GiB: beyond, LightGBM computes
BLOCK = 2048  # rows whose sums stay in a core's second cache
THREAD_ROWS = 4096  # fewer rows are not worth a thread
NEAR_ZERO = float(np.float32(1e-35))  # LightGBM takes numbers up to this size for zero
CATEGORICAL, DEFAULT_LEFT, MISSING_IS_ZERO, MISSING_IS_NAN = 1, 2, 4, 8  # bits of LightGBM's decision_type


class DoesNotFit(Exception):  # noqa: N818
    """A model for which no tables can be made; LightGBM must compute its contributions."""


def compiled(function: Function) -> Function:
    """Compile a kernel; it releases the interpreter's lock and is kept beside the module for the next process."""
    compiler: Any = numba.njit(nogil=True, cache=True, error_model="numpy")
    return compiler(function)


class Leaf(NamedTuple):
    """A leaf: by column, which atoms of it pass all conditions on the path, as bits, and the path's share of rows."""

    value: float
    passes: dict[int, int]
    cover: dict[int, float]


@dataclass(frozen=True)
class Column:
    """How a column's values fall into atoms, which no condition of the model tells apart.

    `cuts` are the model's thresholds, ascending; atom k lies above k cuts, and the last one holds missing values.
    Of a category the cuts are the codes 0, 1, ... and the last atom is every other value.
    """

    cuts: Floats
    categorical: bool

    @property
    def examples(self) -> Floats:
        """One value of each atom; infinity lies above all cuts."""
        return np.r_[self.cuts, np.nan] if self.categorical else np.r_[self.cuts, np.inf, np.nan]

    def atoms(self, values: Floats, out: Array) -> None:
        """Write each value's atom."""
        (_category_atoms if self.categorical else _number_atoms)(values, self.cuts, out)


@dataclass(frozen=True)
class Tree:
    """A tree of LightGBM's model text: arrays by split or, of leaves, by leaf; child ``-k - 1`` is leaf k."""

    text: dict[str, str]

    def numbers(self, name: str, dtype: type = np.int64) -> Array:
        """Read one line of numbers."""
        return np.array(self.text.get(name, "").split(), dtype=dtype)

    def tests(self) -> Iterator[tuple[int, int, float]]:
        """Column, decision type and threshold of each split."""
        columns, kinds = self.numbers("split_feature").tolist(), self.numbers("decision_type").tolist()
        return zip(columns, kinds, self.numbers("threshold", np.float64).tolist(), strict=True)

    def categories(self, threshold: float) -> Array:
        """Codes that go left at a categorical split."""
        start, stop = self.numbers("cat_boundaries")[int(threshold) :][:2]
        return np.flatnonzero(_bits(self.numbers("cat_threshold", np.uint32)[start:stop].astype("<u4").tobytes()))

    @property
    def mean(self) -> float:
        """Mean over the rows it was grown on."""
        values, counts = self.numbers("leaf_value", np.float64), self.numbers("leaf_count", np.float64)
        return float(values[0]) if len(values) == 1 else float(values @ (counts / self.numbers("internal_count")[0]))

    def groups(self, columns: dict[int, Column]) -> Iterator[list[Leaf]]:
        """Cut the leaves into subtrees that fit a table."""
        left, right = self.numbers("left_child").tolist(), self.numbers("right_child").tolist()
        counts, leaf_counts = self.numbers("internal_count").tolist(), self.numbers("leaf_count").tolist()
        values = self.numbers("leaf_value", np.float64).tolist()
        tests = [(column, self._left(columns[column], kind, at)) for column, kind, at in self.tests()]
        if min(counts, default=1) <= 0:
            raise DoesNotFit("a split without rows")

        def below(node: int, path: Leaf) -> tuple[list[list[Leaf]], bool]:
            if node < 0:
                return [[path._replace(value=values[-node - 1])]], True
            column, goes_left = tests[node]
            found: list[list[Leaf]] = []
            whole = True
            for child, goes in ((left[node], goes_left), (right[node], ~goes_left)):
                share = (counts[child] if child >= 0 else leaf_counts[-child - 1]) / counts[node]
                passes = path.passes | {column: path.passes.get(column, -1) & goes}
                cover = path.cover | {column: path.cover.get(column, 1.0) * share}
                groups, one = below(child, Leaf(0.0, passes, cover))
                found, whole = found + groups, whole and one
            together = [leaf for group in found for leaf in group]
            return ([together], True) if whole and fits(together, columns) else (found, False)

        return iter(packed(below(0, Leaf(0.0, {}, {}))[0], columns) if tests else ())

    def _left(self, column: Column, kind: int, threshold: float) -> int:
        """Which atoms go left at a split, as bits: LightGBM's decision for an example of each."""
        values = column.examples
        if kind & CATEGORICAL:
            return _as_bits(np.isin(values, self.categories(threshold)))
        missing = np.isnan(values)
        values = np.where(missing & (not kind & MISSING_IS_NAN), 0.0, values)
        if kind & MISSING_IS_ZERO:
            missing = np.abs(values) <= NEAR_ZERO
        elif not kind & MISSING_IS_NAN:
            missing = np.zeros(len(values), dtype=bool)
        return _as_bits(np.where(missing, bool(kind & DEFAULT_LEFT), values <= threshold))


def packed(groups: list[list[Leaf]], columns: dict[int, Column]) -> list[list[Leaf]]:
    """Let groups share a table where they fit, each with the group that asks most of the same columns."""
    tables: list[tuple[set[int], list[Leaf]]] = []
    for group in sorted(groups, key=len, reverse=True):
        asked = {column for leaf in group for column in leaf.passes}
        for shared, leaves in sorted(tables, key=lambda table: -len(asked & table[0])):
            if len(asked & shared) > 0 and len(asked | shared) <= COLUMNS and fits(leaves + group, columns):
                leaves += group
                shared |= asked
                break
        else:
            tables.append((asked, list(group)))
    return [leaves for _, leaves in tables]


def fits(leaves: list[Leaf], columns: dict[int, Column]) -> bool:
    """Tell whether leaves may share a table."""
    asked = {column for leaf in leaves for column in leaf.passes}
    return len(asked) <= COLUMNS and _combinations(cells(leaves, columns)) <= CELLS


def cells(leaves: list[Leaf], columns: dict[int, Column]) -> Parts:
    """Cut each column into the sets of atoms that the leaves cannot tell apart, as bits."""
    parts: Parts = {}
    for column in sorted({column for leaf in leaves for column in leaf.passes}):
        found = [(1 << len(columns[column].examples)) - 1]
        for passes in {leaf.passes.get(column, -1) for leaf in leaves}:
            found = [piece for part in found for piece in (part & passes, part & ~passes) if piece]
        parts[column] = found
    return parts


def read_trees(booster: lgb.Booster) -> list[Tree]:
    """Read a booster's trees from its model text.

    Raises
    ------
    DoesNotFit
        Several outputs, averaged trees or linear leaves.
    """
    head, *blocks = booster.model_to_string().split("\nend of trees")[0].split("\nTree=")
    if "num_tree_per_iteration=1\n" not in head or "\naverage_output" in head:
        raise DoesNotFit("several outputs, or a random forest")
    trees = [Tree(dict(line.split("=", 1) for line in block.split("\n")[1:] if "=" in line)) for block in blocks]
    if any(tree.text.get("is_linear", "0") != "0" for tree in trees):
        raise DoesNotFit("linear leaves")
    return trees


def read_columns(trees: list[Tree]) -> dict[int, Column]:
    """Collect each column's thresholds over all trees."""
    cuts: dict[int, set[float]] = {}
    kinds: dict[int, int] = {}
    for tree in trees:
        for column, kind, threshold in tree.tests():
            if kinds.setdefault(column, kind & CATEGORICAL) != kind & CATEGORICAL:
                raise DoesNotFit("a column that is a number here and a category there")
            found = cuts.setdefault(column, set())
            if kind & CATEGORICAL:
                found.update(range(int(tree.categories(threshold).max(initial=-1)) + 1))
                continue
            found.update((threshold, 0.0))  # zero, for missing values that count as zero
            if kind & MISSING_IS_ZERO:
                found.update((float(np.nextafter(-NEAR_ZERO, -1)), NEAR_ZERO))
    if any(len(found) > np.iinfo(np.uint16).max - 2 for found in cuts.values()):
        raise DoesNotFit("too many thresholds on a column")
    return {column: Column(np.array(sorted(found)), bool(kinds[column])) for column, found in sorted(cuts.items())}


class Questions(NamedTuple):
    """What groups ask a row, end to end: group g asks the columns ``asked[starts[g] : starts[g + 1]]``.

    ``places[place_at[k] + atom]`` is what an atom of the k-th of them adds to the row's place in the group's table;
    for a deep leaf it is 1 where the atom meets its conditions.
    """

    starts: Array
    asked: Array
    place_at: Array
    places: Array


class Tables(NamedTuple):
    """Vectors of all groups, end to end: those of group g stand in ``vectors[table_at[g] : table_at[g + 1]]``."""

    table_at: Array
    vectors: Array


class Depths(NamedTuple):
    """Leaves too deep for a table, computed for each row: `value` by leaf, `cover` by question, and integration rules.

    Leaf g takes the `points` and `weights` from ``rule_at[g]`` to ``rule_at[g + 1]``.
    """

    value: Array
    cover: Array
    rule_at: Array
    points: Array
    weights: Array


class Plan(NamedTuple):
    """All that is known before a row is seen: groups with tables, and leaves that are too deep for one."""

    groups: Questions
    tables: Tables
    deep: Questions
    depths: Depths


@dataclass(frozen=True)
class GroupTables:
    """Tables of a booster; without a `plan` LightGBM computes, because the model does not fit.

    Examples
    --------
    >>> inputs = np.arange(40.0).reshape(20, 2)
    >>> booster = lgb.train({"min_data_in_leaf": 5, "verbosity": -1}, lgb.Dataset(inputs, inputs[:, 0] > 9), 3)
    >>> parts = GroupTables.of(booster).contributions(inputs)
    >>> bool(np.allclose(parts.sum(axis=1), booster.predict(inputs, raw_score=True)))
    True
    """

    booster: lgb.Booster
    columns: dict[int, Column]
    base: float
    plan: Plan | None
    reason: str = ""

    @classmethod
    def of(cls, booster: lgb.Booster) -> GroupTables:
        """Make the tables of a booster; seconds for hundreds of trees, so keep them for as long as the booster."""
        try:
            trees = read_trees(booster)
            columns = read_columns(trees)
            groups = [group for tree in trees for group in tree.groups(columns)]
            return cls(booster, columns, sum(tree.mean for tree in trees), _plan(groups, columns))
        except DoesNotFit as misfit:
            return cls(booster, {}, 0.0, None, str(misfit))

    def contributions(self, inputs: pd.DataFrame | Array, *, threads: int = 0) -> Floats:
        """Split each raw score exactly into its columns' Shapley values.

        Parameters
        ----------
        inputs
            The booster's columns, in its order.
        threads
            Cores to use; 0 is all of them.

        Returns
        -------
        Shape (rows, columns + 1); the last column is the base value, and each row sums to the raw score.
        """
        if self.plan is None:
            found = self.booster.predict(inputs, pred_contrib=True, num_threads=threads)
            return np.asarray(found, dtype=np.float64)
        width = self.booster.num_feature()
        if inputs.shape[1] != width:
            raise InputError(f"the model reads {width} columns, the rows have {inputs.shape[1]}; pass the model's own")
        atoms = self._atoms(inputs)
        sums = np.empty((len(inputs), width + 1))
        workers = min(threads or os.cpu_count() or 1, -(-len(inputs) // THREAD_ROWS))
        edges = np.linspace(0, len(inputs), max(workers, 1) + 1).astype(int)
        with ThreadPoolExecutor(max(workers, 1)) as pool:
            plan = self.plan
            list(pool.map(lambda edge: _add_groups(atoms, edge[0], edge[1], plan, sums), pairwise(edges.tolist())))
        sums[:, -1] = self.base
        return sums

    def _atoms(self, inputs: pd.DataFrame | Array) -> Array:
        most = max((len(column.examples) for column in self.columns.values()), default=1)
        atoms = np.zeros((inputs.shape[1], len(inputs)), dtype=np.uint8 if most <= 256 else np.uint16)
        codes = _Codes(inputs, self.booster.pandas_categorical)
        for place, column in self.columns.items():
            column.atoms(codes.column(place), atoms[place])
        return atoms


class _Codes:
    """Columns as the numbers that LightGBM sees: a category is its place among the categories of the training."""

    def __init__(self, inputs: pd.DataFrame | Array, categories: list[list[Any]] | None) -> None:
        self.inputs = inputs
        self.categories: dict[int, list[Any]] = {}
        if isinstance(inputs, pd.DataFrame):
            texts = [place for place, kind in enumerate(inputs.dtypes) if isinstance(kind, pd.CategoricalDtype)]
            if len(texts) != len(categories or []):
                raise InputError(
                    f"the model reads {len(categories or [])} categories, the rows have {len(texts)}; "
                    "give texts the type 'category' as in the training"
                )
            self.categories = dict(zip(texts, categories or [], strict=True))

    def column(self, place: int) -> Floats:
        if not isinstance(self.inputs, pd.DataFrame):
            return np.ascontiguousarray(self.inputs[:, place], dtype=np.float64)
        column = self.inputs.iloc[:, place]
        if place in self.categories:
            return np.asarray(column.cat.set_categories(self.categories[place]).cat.codes, dtype=np.float64)
        return np.ascontiguousarray(column.to_numpy(dtype=np.float64, na_value=np.nan))


def _plan(groups: list[list[Leaf]], columns: dict[int, Column]) -> Plan:
    parts = [(group, cells(group, columns)) for group in groups]
    shallow = [(group, part) for group, part in parts if len(part) <= DEEPEST]
    deep = [(group[0], part) for group, part in parts if len(part) > DEEPEST]
    rules = [_rule(len(part)) for _, part in deep]
    depths = Depths(
        np.array([leaf.value for leaf, _ in deep], dtype=np.float64),
        np.array([leaf.cover[column] for leaf, part in deep for column in part], dtype=np.float64),
        _ends(len(points) for points, _ in rules),
        np.concatenate([np.zeros(0), *(points for points, _ in rules)]),
        np.concatenate([np.zeros(0), *(weights for _, weights in rules)]),
    )
    met = [
        [{piece: int(bool(leaf.passes[column] & piece)) for piece in pieces} for column, pieces in part.items()]
        for leaf, part in deep
    ]
    asked = _questions([part for _, part in shallow], [_steps(part) for _, part in shallow], columns)
    return Plan(asked, _tables(shallow), _questions([part for _, part in deep], met, columns), depths)


def _steps(part: Parts) -> list[dict[int, int]]:
    """How far each cell moves a row's place in the table, by column."""
    steps = np.cumprod([len(part), *map(len, part.values())]).tolist()
    return [
        {piece: cell * step for cell, piece in enumerate(pieces)}
        for step, pieces in zip(steps, part.values(), strict=False)
    ]


def _questions(parts: list[Parts], adds: list[list[dict[int, int]]], columns: dict[int, Column]) -> Questions:
    asked = np.array([column for part in parts for column in part], dtype=np.int64)
    place_at = _ends(len(columns[column].examples) for column in asked.tolist())
    places = np.zeros(place_at[-1], np.uint32)
    each = (add for group in adds for add in group)
    for start, stop, add in zip(place_at[:-1], place_at[1:], each, strict=True):
        found = places[start:stop]
        for piece, place in add.items():
            if place:
                found[_bits(piece.to_bytes(len(found) // 8 + 1, "little"))[: len(found)] > 0] = place
    return Questions(_ends(map(len, parts)), asked, place_at, places)


def _tables(groups: list[tuple[list[Leaf], Parts]]) -> Tables:
    table_at = _ends(_combinations(part) * len(part) for _, part in groups)
    if table_at[-1] > MOST_VALUES:
        raise DoesNotFit("tables larger than memory allows")
    vectors = np.zeros(table_at[-1], np.float32)
    for (group, part), start, stop in zip(groups, table_at[:-1], table_at[1:], strict=True):
        _fill(*_conditions(group, part), *_rule(len(part)), vectors[start:stop].reshape(-1, len(part)))
    return Tables(table_at, vectors)


def _conditions(group: list[Leaf], part: Parts) -> tuple[Array, Array, Array, Array]:
    """Values, covers and met conditions of a group's leaves, and how many cells each column has."""
    sizes = np.array([len(pieces) for pieces in part.values()])
    met = np.zeros((len(group), len(part), sizes.max()))
    for place, leaf in enumerate(group):
        for k, (column, pieces) in enumerate(part.items()):
            met[place, k, : len(pieces)] = [bool(leaf.passes.get(column, -1) & piece) for piece in pieces]
    cover = np.array([[leaf.cover.get(column, 1.0) for column in part] for leaf in group])
    return np.array([leaf.value for leaf in group]), cover, met, sizes


def _rule(columns: int) -> tuple[Floats, Floats]:
    """Points and weights on (0, 1) that integrate a product of so many linear factors but one."""
    points, weights = np.polynomial.legendre.leggauss((columns + 1) // 2)
    return (points + 1) / 2, weights / 2


def _combinations(parts: Parts) -> int:
    return int(np.prod([float(len(pieces)) for pieces in parts.values()]))


def _ends(sizes: Any) -> Array:  # noqa: ANN401
    return np.cumsum([0, *sizes])


def _bits(packed: bytes) -> Array:
    return np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little")


def _as_bits(flags: Array) -> int:
    return int.from_bytes(np.packbits(flags, bitorder="little").tobytes(), "little")


@compiled
def _number_atoms(values: Floats, cuts: Floats, out: Array) -> None:
    for row in range(len(values)):
        value = values[row]
        low, size = 0, len(cuts)
        while size > 0:  # how many cuts lie below the value
            half = size // 2
            if cuts[low + half] < value:
                low += half + 1
                size -= half + 1
            else:
                size = half
        out[row] = len(cuts) + 1 if np.isnan(value) else low


@compiled
def _category_atoms(values: Floats, cuts: Floats, out: Array) -> None:
    for row in range(len(values)):
        value = values[row]
        known = -1.0 < value < len(cuts)  # LightGBM cuts fractions off towards zero
        out[row] = int(value) if known else len(cuts)


@compiled
def _fill(
    value: Floats, cover: Floats, met: Floats, sizes: Array, points: Floats, weights: Floats, table: Array
) -> None:
    """Compute the Shapley values of a group's leaves together for each combination of cells."""
    width = len(sizes)
    cell = np.zeros(width, np.int64)
    factor, total = np.empty(width), np.empty(width)
    for row in range(len(table)):
        total[:] = 0.0
        for leaf in range(len(value)):
            for point in range(len(points)):
                product = value[leaf] * weights[point]
                for k in range(width):  # what stands before each column ...
                    one = met[leaf, k, cell[k]]
                    factor[k] = product
                    product *= cover[leaf, k] * (1 - points[point]) + one * points[point]
                product = 1.0
                for k in range(width - 1, -1, -1):  # ... and behind it
                    one = met[leaf, k, cell[k]]
                    total[k] += factor[k] * product * (one - cover[leaf, k])
                    product *= cover[leaf, k] * (1 - points[point]) + one * points[point]
        for k in range(width):
            table[row, k] = total[k]
        for k in range(width):  # the next combination; the first column's cells change fastest
            cell[k] += 1
            if cell[k] < sizes[k]:
                break
            cell[k] = 0


@compiled
def _add_groups(atoms: Array, first: int, last: int, plan: Plan, sums: Floats) -> None:
    """Add all groups' contributions to some rows, block by block."""
    total = np.empty((sums.shape[1], BLOCK))
    for begin in range(first, last, BLOCK):
        block = atoms[:, begin : min(begin + BLOCK, last)]
        total[:] = 0.0
        _look_up(block, plan.groups, plan.tables, total)
        _compute(block, plan.deep, plan.depths, total)
        for row in range(block.shape[1]):
            for column in range(sums.shape[1]):
                sums[begin + row, column] = total[column, row]


@compiled
def _look_up(atoms: Array, groups: Questions, tables: Tables, total: Floats) -> None:
    """Add the vectors that stand at the rows' places in the groups' tables."""
    rows = atoms.shape[1]
    place = np.empty(BLOCK, np.uint32)
    for group in range(len(groups.starts) - 1):
        start, stop = groups.starts[group], groups.starts[group + 1]
        place[:] = 0
        for k in range(start, stop - 1, 2):  # two at a time take half the memory traffic
            atom, adds = atoms[groups.asked[k]], groups.places[groups.place_at[k] :]
            atom_2, adds_2 = atoms[groups.asked[k + 1]], groups.places[groups.place_at[k + 1] :]
            for row in range(rows):
                place[row] += adds[atom[row]] + adds_2[atom_2[row]]
        if (stop - start) % 2:
            atom, adds = atoms[groups.asked[stop - 1]], groups.places[groups.place_at[stop - 1] :]
            for row in range(rows):
                place[row] += adds[atom[row]]
        for k in range(start, stop):
            column, vectors = total[groups.asked[k]], tables.vectors[tables.table_at[group] + k - start :]
            for row in range(rows):
                column[row] += vectors[place[row]]


@compiled
def _compute(atoms: Array, leaves: Questions, depths: Depths, total: Floats) -> None:
    """Add what deep leaves give, all rows of the block at once."""
    rows = atoms.shape[1]
    most = np.diff(leaves.starts).max() if len(leaves.starts) > 1 else 0
    met, before, share = np.empty((most, rows)), np.empty((most, rows)), np.empty((most, rows))
    product = np.empty(rows)
    for leaf in range(len(leaves.starts) - 1):
        start, width = leaves.starts[leaf], leaves.starts[leaf + 1] - leaves.starts[leaf]
        for k in range(width):
            atom, passes, is_met = atoms[leaves.asked[start + k]], leaves.places[leaves.place_at[start + k] :], met[k]
            for row in range(rows):
                is_met[row] = passes[atom[row]]
        share[:] = 0.0
        cover = depths.cover[start : start + width]
        for rule in range(depths.rule_at[leaf], depths.rule_at[leaf + 1]):
            product[:] = depths.value[leaf] * depths.weights[rule]
            _integrate(depths.points[rule], cover, met, before, product, share)
        for k in range(width):
            column = total[leaves.asked[start + k]]
            for row in range(rows):
                column[row] += share[k, row] * (met[k, row] - cover[k])


@compiled
def _integrate(point: float, cover: Floats, met: Floats, before: Floats, product: Floats, share: Floats) -> None:
    """Add one point's part of the integral, for each column and row; `before` and `product` are scratch."""
    for k in range(len(cover)):  # what stands before each column ...
        left_out, is_met, ahead = cover[k] * (1 - point), met[k], before[k]
        for row in range(len(product)):
            ahead[row] = product[row]
            product[row] *= left_out + is_met[row] * point
    product[:] = 1.0
    for k in range(len(cover) - 1, -1, -1):  # ... and behind it
        left_out, is_met, ahead, part = cover[k] * (1 - point), met[k], before[k], share[k]
        for row in range(len(product)):
            part[row] += ahead[row] * product[row]
            product[row] *= left_out + is_met[row] * point
