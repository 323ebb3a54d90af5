r"""Tables of Shapley values: the sum over the leaves of a group, for each combination of cells.

What a leaf adds to the path-dependent Shapley values of a row (Lundberg et al. 2020) depends only on which of the
leaf's conditions the row meets. A leaf of value :math:`v` with covers :math:`z_j` and conditions :math:`o_j` (1 if
met) on its columns gives column :math:`i`

.. math:: v\,(o_i - z_i) \int_0^1 \prod_{j \ne i} \bigl(z_j (1 - t) + o_j t\bigr)\,dt,

a polynomial that Gauss and Legendre's rule integrates exactly. The product without column :math:`i` is the product
over all columns times the column's *pull*, :math:`(o_i - z_i) / (z_i (1 - t) + o_i t)`: that is
:math:`(1 - z_i) / (z_i (1 - t) + t)` where the condition is met, :math:`-1 / (1 - t)` where it is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from features.arrays.array_types import Array, Floats
from models.forest.leaf_groups import LeafGroup
from models.forest.model_text import DoesNotFit
from models.forest.parsed_forest import compiled

DEEPEST = 15  # columns of one leaf that has a table of its own: it has 2 ** DEEPEST places
MOST_VALUES = 2**27  # in all tables together, 1 GiB: beyond, LightGBM computes


class Questions(NamedTuple):
    """What groups ask a row, end to end: group g asks the questions ``starts[g]`` to ``starts[g + 1]``.

    Question k is about the column ``asked[k]``. Its jumps, ``jump_at[k]`` to ``jump_at[k + 1]``, move the row's place
    in the group's table: by `adds` from atom `first` on, modulo 2 ** 16.
    """

    starts: Array
    asked: Array
    jump_at: Array
    first: Array
    adds: Array


class Tables(NamedTuple):
    """Vectors of all groups, end to end: those of group g stand in ``vectors[table_at[g] : table_at[g + 1]]``."""

    table_at: Array
    vectors: Array


class Rules(NamedTuple):
    """Points and weights on (0, 1); ``rule_at[n]`` to ``rule_at[n + 1]`` are exact for a leaf of n columns."""

    rule_at: Array
    points: Floats
    weights: Floats


class Deep(NamedTuple):
    """Leaves too deep for a table, computed for each row: questions whose place is 1 where the condition is met."""

    questions: Questions
    value: Floats
    cover: Floats


class GroupTables(NamedTuple):
    """All that is known before a row is seen: tables of groups, and the leaves that are too deep for one."""

    questions: Questions
    tables: Tables
    deep: Deep
    rules: Rules


def make_tables(groups: list[LeafGroup]) -> GroupTables:
    """Make the tables of groups of leaves.

    Raises
    ------
    DoesNotFit
        They would be larger than memory allows.
    """
    shallow = [group for group in groups if len(group.cells) <= DEEPEST]
    deep = [group for group in groups if len(group.cells) > DEEPEST]
    rules = _rules(max((len(group.cells) for group in groups), default=0))
    alone = Deep(
        _questions(deep, [[_met(group, column) for column in group.cells] for group in deep]),
        np.array([group.leaves[0].value for group in deep], dtype=np.float64),
        np.array([group.leaves[0].cover[column] for group in deep for column in group.cells], dtype=np.float64),
    )
    return GroupTables(_questions(shallow, [_steps(group) for group in shallow]), _tables(shallow, rules), alone, rules)


def _steps(group: LeafGroup) -> list[list[int]]:
    """How far each cell of each column moves a row's place; the first column's cells stand side by side."""
    steps = np.cumprod([1, *map(len, group.cells.values())]).tolist()
    return [
        [cell * step for cell in range(len(pieces))] for step, pieces in zip(steps, group.cells.values(), strict=False)
    ]


def _met(group: LeafGroup, column: int) -> list[int]:
    """Whether each cell of a column meets the condition of the group's only leaf."""
    return [int(bool(group.leaves[0].passes[column] & piece)) for piece in group.cells[column]]


def _questions(groups: list[LeafGroup], places: list[list[list[int]]]) -> Questions:
    """Ask each group's columns; `places` are what its columns' cells add to the place."""
    jumps = [
        _jumps(pieces, moves)
        for group, columns in zip(groups, places, strict=True)
        for pieces, moves in zip(group.cells.values(), columns, strict=True)
    ]
    return Questions(
        _ends(len(group.cells) for group in groups),
        np.array([column for group in groups for column in group.cells], dtype=np.int64),
        _ends(len(first) for first, _ in jumps),
        np.concatenate([np.zeros(0, np.uint16), *(first for first, _ in jumps)]).astype(np.uint16),
        np.concatenate([np.zeros(0, np.uint16), *(adds for _, adds in jumps)]).astype(np.uint16),
    )


def _jumps(pieces: Sequence[int], moves: Sequence[int]) -> tuple[Array, Array]:
    """At which atoms the place changes, and by how much."""
    size = sum(pieces).bit_length()
    place = np.zeros(size, np.int64)
    for piece, move in zip(pieces, moves, strict=True):
        bits = np.frombuffer(piece.to_bytes(size // 8 + 1, "little"), np.uint8)
        place += move * np.unpackbits(bits, bitorder="little")[:size].astype(np.int64)
    change = np.diff(place, prepend=0)
    first = np.flatnonzero(change)
    return first, change[first] % 2**16


def _tables(groups: list[LeafGroup], rules: Rules) -> Tables:
    table_at = _ends(group.places * len(group.cells) for group in groups)
    if table_at[-1] > MOST_VALUES:
        raise DoesNotFit("tables larger than memory allows")
    vectors = np.zeros(table_at[-1])
    for group, start, stop in zip(groups, table_at[:-1], table_at[1:], strict=True):
        _fill(*_conditions(group), rules, vectors[start:stop].reshape(group.places, -1))
    return Tables(table_at, vectors)


def _conditions(group: LeafGroup) -> tuple[Floats, Floats, Array, Array]:
    """Values, covers (NaN: not asked) and met conditions of the leaves, and how many cells each column has."""
    sizes = np.array([len(pieces) for pieces in group.cells.values()])
    met = np.zeros((len(group.leaves), len(sizes), sizes.max()), np.bool_)
    cover = np.full((len(group.leaves), len(sizes)), np.nan)
    for place, leaf in enumerate(group.leaves):
        for k, (column, pieces) in enumerate(group.cells.items()):
            if column in leaf.passes:
                passes = leaf.passes[column]
                cover[place, k] = leaf.cover[column]
                met[place, k, : len(pieces)] = [passes & piece != 0 for piece in pieces]
    return np.array([leaf.value for leaf in group.leaves]), cover, met, sizes


def _rules(most: int) -> Rules:
    """Gauss-Legendre rules; n columns give a product of n - 1 linear factors."""
    rules = [np.polynomial.legendre.leggauss(max((columns + 1) // 2, 1)) for columns in range(most + 1)]
    return Rules(
        _ends(len(points) for points, _ in rules),
        np.concatenate([(points + 1) / 2 for points, _ in rules]),
        np.concatenate([weights / 2 for _, weights in rules]),
    )


def _ends(sizes: Iterable[int]) -> Array:
    return np.cumsum([0, *sizes])


@compiled
def _fill(value: Floats, cover: Floats, met: Array, sizes: Array, rules: Rules, table: Array) -> None:
    """Add up what a group's leaves give, for each combination of cells; shape of the table (places, columns)."""
    pattern = np.empty(len(table), np.int64)
    for leaf in range(len(value)):
        own = np.flatnonzero(~np.isnan(cover[leaf]))
        shares = _shares(value[leaf], cover[leaf][own], rules)
        filled, bit = 1, 1
        pattern[0] = 0
        for k in range(len(sizes)):  # which of the leaf's conditions each place meets, as bits
            for cell in range(sizes[k] - 1, -1, -1):
                adds = bit if met[leaf, k, cell] else 0
                for place in range(filled):
                    pattern[cell * filled + place] = pattern[place] + adds
            filled *= sizes[k]
            bit *= 1 if np.isnan(cover[leaf, k]) else 2
        for place in range(len(table)):
            for i in range(len(own)):
                table[place, own[i]] += shares[pattern[place], i]


@compiled
def _shares(value: float, cover: Floats, rules: Rules) -> Floats:
    """Shapley values of one leaf's columns for each set of met conditions, as bits; shape (sets, columns)."""
    width = len(cover)
    product, shares = np.empty(2**width), np.zeros((2**width, width))
    for rule in range(rules.rule_at[width], rules.rule_at[width + 1]):
        point = rules.points[rule]
        pull = (1 - cover) / (cover * (1 - point) + point)
        product[0] = value * rules.weights[rule]
        for k in range(width):
            unmet, half = cover[k] * (1 - point), 2**k
            for bits in range(half):
                product[half + bits] = product[bits] * (unmet + point)
                product[bits] *= unmet
        for bits in range(2**width):
            for k in range(width):
                shares[bits, k] += product[bits] * (pull[k] if (bits >> k) & 1 else -1 / (1 - point))
    return shares
