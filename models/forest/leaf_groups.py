"""Groups of leaves that depend on the same few columns, so that one table can hold their Shapley values.

Each column of a group is cut into *cells*, the sets of atoms that the group's leaves cannot tell apart; a table has
one place for each combination of cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np

from features.arrays.array_types import Array, Floats
from models.forest.model_text import DoesNotFit, Tree
from models.forest.parsed_forest import Forest

PLACES = 4096  # of a group of several leaves, at most: its table stays in a core's second cache
COLUMNS = 12  # of a group of several leaves, at most
Sizes = dict[int, int]  # number of atoms of each column


class Leaf(NamedTuple):
    """A leaf: by column, which atoms of it pass all conditions on the path, as bits, and the path's share of rows."""

    value: float
    passes: dict[int, int]
    cover: dict[int, float]


@dataclass(frozen=True)
class LeafGroup:
    """Leaves that share a table: by column its cells, each the atoms in it as bits."""

    leaves: list[Leaf]
    cells: dict[int, list[int]]

    @classmethod
    def of(cls, leaves: list[Leaf], sizes: Sizes) -> LeafGroup:
        """Cut each column that the leaves ask into cells."""
        cells = {}
        for column in sorted({column for leaf in leaves for column in leaf.passes}):
            found = [(1 << sizes[column]) - 1]
            for passes in {leaf.passes.get(column, -1) for leaf in leaves}:
                found = [piece for part in found for piece in (part & passes, part & ~passes) if piece]
            cells[column] = found
        return cls(leaves, cells)

    @property
    def places(self) -> int:
        """How many combinations of cells there are."""
        return prod(map(len, self.cells.values()))

    @property
    def fits(self) -> bool:
        """Whether its leaves may share a table."""
        return len(self.cells) <= COLUMNS and self.places <= PLACES


def leaf_groups(forest: Forest) -> list[LeafGroup]:
    """Cut each tree of a forest into groups; a leaf that is too deep to share a table stays alone.

    Raises
    ------
    DoesNotFit
        The booster does not know how many rows its splits had.
    """
    sizes = {place: len(column.examples) for place, column in forest.columns.items()}
    return [
        group for tree in forest.trees if len(tree.column) for group in _packed(_subtrees(forest, tree, sizes), sizes)
    ]


def _subtrees(forest: Forest, tree: Tree, sizes: Sizes) -> list[LeafGroup]:
    """Cut a tree into its largest subtrees that fit a table."""
    column, left, right = tree.column.tolist(), tree.left.tolist(), tree.right.tolist()
    goes_left = [_as_bits(goes[: sizes[at]]) for at, goes in zip(column, forest.goes_left(tree), strict=True)]
    counts, leaf_counts = tree.numbers("internal_count").tolist(), tree.numbers("leaf_count").tolist()
    if min(counts) <= 0:
        raise DoesNotFit("a split without rows")

    def below(node: int, path: Leaf) -> tuple[list[LeafGroup], bool]:
        if node < 0:
            return [LeafGroup.of([path._replace(value=float(tree.values[-node - 1]))], sizes)], True
        at, goes = column[node], goes_left[node]
        groups: list[LeafGroup] = []
        whole = True
        for child, atoms in ((left[node], goes), (right[node], ~goes)):
            share = (counts[child] if child >= 0 else leaf_counts[-child - 1]) / counts[node]
            passes = path.passes | {at: path.passes.get(at, -1) & atoms}
            found, is_one = below(child, Leaf(0.0, passes, path.cover | {at: path.cover.get(at, 1.0) * share}))
            groups, whole = groups + found, whole and is_one
        if whole:
            together = LeafGroup.of([leaf for group in groups for leaf in group.leaves], sizes)
            if together.fits:
                return [together], True
        return groups, False

    return below(0, Leaf(0.0, {}, {}))[0]


def _packed(groups: list[LeafGroup], sizes: Sizes) -> list[LeafGroup]:
    """Let groups share a table where they fit, each with the group that asks most of the same columns."""
    packed: list[LeafGroup] = []
    for group in sorted(groups, key=lambda group: len(group.leaves), reverse=True):
        common = [len(group.cells.keys() & shared.cells.keys()) for shared in packed]
        for place in np.argsort([-number for number in common], kind="stable").tolist():
            if common[place] == 0 or len(group.cells.keys() | packed[place].cells.keys()) > COLUMNS:
                continue
            together = LeafGroup.of(packed[place].leaves + group.leaves, sizes)
            if together.fits:
                packed[place] = together
                break
        else:
            packed.append(group)
    return packed


def mean_score(forest: Forest) -> float:
    """Mean raw score over the rows that the forest was grown on."""
    return sum(_mean(tree.values, tree.numbers("leaf_count", np.float64)) for tree in forest.trees)


def _mean(values: Floats, counts: Floats) -> float:
    return float(values[0]) if len(values) == 1 else float(values @ counts / counts.sum())


def _as_bits(flags: Array) -> int:
    return int.from_bytes(np.packbits(flags, bitorder="little").tobytes(), "little")
