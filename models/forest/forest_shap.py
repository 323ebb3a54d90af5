"""Exact SHAP values of a forest for all users: looked up in tables instead of computed for each row.

For leaves that ask about the same few columns, the Shapley values of all of them together are known for every
combination of cells of these columns. A row then costs, for each group of leaves, one place in a table and one short
vector to add. How a place is found resembles `forest_scores`: each comparison of bytes serves dozens of rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.arrays.array_types import Array, Floats
from models.forest.group_tables import Deep, GroupTables, Questions, Rules, Tables, make_tables
from models.forest.leaf_groups import leaf_groups, mean_score
from models.forest.parsed_forest import Forest, compiled, for_rows

BLOCK = 8192  # rows that share a table while it is in a core's second cache
PART = 1024  # rows whose conditions of a deep leaf stay there


@dataclass(frozen=True)
class ForestShap:
    """A forest made ready to explain.

    Examples
    --------
    >>> import lightgbm as lgb
    >>> inputs = np.arange(40.0).reshape(20, 2)
    >>> booster = lgb.train({"min_data_in_leaf": 5, "verbosity": -1}, lgb.Dataset(inputs, inputs[:, 0] > 9), 3)
    >>> forest = Forest.of(booster)
    >>> parts = ForestShap.of(forest).contributions(forest.atoms(inputs))
    >>> bool(np.allclose(parts.sum(axis=1), booster.predict(inputs, raw_score=True)))
    True
    """

    base: float
    tables: GroupTables

    @classmethod
    def of(cls, forest: Forest) -> ForestShap:
        """Make the tables of a forest; a second for hundreds of trees, so keep them for as long as the booster.

        Raises
        ------
        DoesNotFit
            The tables would be larger than memory allows, or the booster does not know how many rows its splits had.
        """
        return cls(mean_score(forest), make_tables(leaf_groups(forest)))

    def contributions(self, atoms: Array, *, threads: int = 0) -> Floats:
        """Split each raw score exactly into its columns' Shapley values.

        Parameters
        ----------
        atoms
            As `Forest.atoms` finds them, shape (columns, rows).
        threads
            Cores to use; 0 is all of them.

        Returns
        -------
        Shape (rows, columns + 1); the last column is the base value, and each row sums to the raw score.
        """
        width, rows = atoms.shape
        sums = np.empty((rows, width + 1))
        for_rows(lambda first, last: _add_groups(atoms[:, first:last], self.tables, sums[first:last]), rows, threads)
        sums[:, -1] = self.base
        return sums


@compiled
def _add_groups(atoms: Array, made: GroupTables, sums: Floats) -> None:
    """Add all groups' contributions to some rows, block by block."""
    total = np.empty((sums.shape[1], BLOCK))
    for begin in range(0, atoms.shape[1], BLOCK):
        block = atoms[:, begin : begin + BLOCK]
        total[:] = 0.0
        _look_up(block, made.questions, made.tables, total)
        for part in range(0, block.shape[1], PART):
            _compute(block[:, part : part + PART], made.deep, made.rules, total[:, part : part + PART])
        for row in range(block.shape[1]):
            for column in range(sums.shape[1]):
                sums[begin + row, column] = total[column, row]


@compiled
def _find_places(atoms: Array, questions: Questions, start: int, stop: int, place: Array) -> None:
    """Follow the jumps of some questions."""
    place[:] = 0
    for k in range(start, stop):
        atom = atoms[questions.asked[k]]
        for jump in range(questions.jump_at[k], questions.jump_at[k + 1]):
            first, adds = questions.first[jump], questions.adds[jump]
            for row in range(len(place)):
                place[row] += adds if atom[row] >= first else adds - adds


@compiled
def _look_up(atoms: Array, questions: Questions, tables: Tables, total: Floats) -> None:
    """Add the vectors that stand at the rows' places in the groups' tables."""
    rows = atoms.shape[1]
    place = np.empty(rows, np.uint16)
    for group in range(len(questions.starts) - 1):
        start, stop = questions.starts[group], questions.starts[group + 1]
        _find_places(atoms, questions, start, stop, place)
        width = np.uint64(stop - start)
        for k in range(start, stop):
            column, vectors = total[questions.asked[k]], tables.vectors[tables.table_at[group] + k - start :]
            for row in range(rows):
                column[row] += vectors[np.uint64(place[row]) * width]


@compiled
def _compute(atoms: Array, deep: Deep, rules: Rules, total: Floats) -> None:
    """Add what deep leaves give, all rows at once."""
    rows = atoms.shape[1]
    starts, asked = deep.questions.starts, deep.questions.asked
    most = np.diff(starts).max() if len(starts) > 1 else 0
    place, product = np.empty(rows, np.uint16), np.empty(rows)
    met, share = np.empty((most, rows)), np.empty((most, rows))
    for leaf in range(len(starts) - 1):
        start, width = starts[leaf], starts[leaf + 1] - starts[leaf]
        for k in range(width):
            _find_places(atoms, deep.questions, start + k, start + k + 1, place)
            met[k] = place
        share[:] = 0.0
        for rule in range(rules.rule_at[width], rules.rule_at[width + 1]):
            point = rules.points[rule]
            product[:] = deep.value[leaf] * rules.weights[rule]
            for k in range(width):
                _multiply(product, met[k], deep.cover[start + k] * (1 - point), point)
            for k in range(width):
                cover, unmet = deep.cover[start + k], -1 / (1 - point)
                pull = (1 - cover) / (cover * (1 - point) + point)
                _pull(share[k], product, met[k], unmet, pull - unmet)
        for k in range(width):
            column = total[asked[start + k]]
            for row in range(rows):
                column[row] += share[k, row]


@compiled
def _multiply(product: Array, met: Array, unmet: float, more: float) -> None:
    for row in range(len(product)):
        product[row] *= unmet + met[row] * more


@compiled
def _pull(share: Array, product: Array, met: Array, unmet: float, more: float) -> None:
    for row in range(len(product)):
        share[row] += product[row] * (unmet + met[row] * more)
