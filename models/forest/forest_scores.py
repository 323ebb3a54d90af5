"""Raw scores of a forest, the same bits as LightGBM's ``predict`` in a small part of its time.

LightGBM walks each row down each tree, and the processor waits at every split for what the last one said. Here each
tree is grown again over a block of rows at once: all start in leaf 0, and one *step* per split moves those rows of one
leaf whose atom lies in a range to a new leaf. A step is three comparisons of bytes, so the processor takes dozens of
rows with each instruction. The leaves' values are added in the order of the trees, as LightGBM adds them; therefore a
row has the same score to the last bit, whoever computes it and whichever rows come with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from features.arrays.array_types import Array, Floats
from models.forest.model_text import Tree
from models.forest.parsed_forest import Forest, compiled, for_rows

BLOCK = 2048  # rows whose leaves, and atoms of one column, stay in a core's first cache


class Steps(NamedTuple):
    """Steps of all trees: rows of leaf `source` whose atom of `column` is `low` to `high` move to leaf `target`."""

    column: Array
    source: Array
    low: Array
    high: Array
    target: Array


class Growth(NamedTuple):
    """Trees end to end: tree t has the steps from ``step_at[t]`` and the leaves from ``value_at[t]`` on."""

    step_at: Array
    steps: Steps
    value_at: Array
    values: Floats


@dataclass(frozen=True)
class ForestScores:
    """A forest made ready to score.

    Examples
    --------
    >>> import lightgbm as lgb
    >>> inputs = np.arange(40.0).reshape(20, 2)
    >>> booster = lgb.train({"min_data_in_leaf": 5, "verbosity": -1}, lgb.Dataset(inputs, inputs[:, 0] > 9), 3)
    >>> forest = Forest.of(booster)
    >>> scores = ForestScores.of(forest).scores(forest.atoms(inputs))
    >>> bool((scores == booster.predict(inputs, raw_score=True)).all())
    True
    """

    growth: Growth

    @classmethod
    def of(cls, forest: Forest) -> ForestScores:
        """Turn each tree into steps."""
        grown = [_steps(forest, tree) for tree in forest.trees]
        steps = np.concatenate([np.zeros((0, 5), np.int64), *(steps for steps, _ in grown)])
        leaves = [len(values) for _, values in grown]
        atom = np.uint8 if forest.examples.shape[1] <= 256 else np.uint16
        leaf = np.uint8 if max(leaves, default=0) <= 256 else np.uint32
        kinds = (np.int64, leaf, atom, atom, leaf)
        return cls(
            Growth(
                np.cumsum([0, *(len(steps) for steps, _ in grown)]),
                Steps(*(np.ascontiguousarray(part, dtype=kind) for part, kind in zip(steps.T, kinds, strict=True))),
                np.cumsum([0, *leaves]),
                np.concatenate([np.zeros(0), *(values for _, values in grown)]),
            )
        )

    def scores(self, atoms: Array, threads: int = 0) -> Floats:
        """Score rows by their atoms, as `Forest.atoms` finds them, before any link; shape (rows,)."""
        scores = np.zeros(atoms.shape[1])
        for_rows(
            lambda first, last: _add_trees(atoms[:, first:last], self.growth, scores[first:last]), len(scores), threads
        )
        return scores


def _steps(forest: Forest, tree: Tree) -> tuple[Array, Floats]:
    """Turn a tree into steps, shape (steps, 5), and values of its leaves in the order in which the steps make them.

    What goes left at split s stays in its leaf, all else moves to leaf s + 1; atoms that do not stand together take
    several steps.
    """
    leaf_of, values = np.zeros(len(tree.values), np.int64), np.array(tree.values)
    for split, (left, right) in enumerate(zip(tree.left.tolist(), tree.right.tolist(), strict=True)):
        for child, leaf in ((left, leaf_of[split]), (right, split + 1)):
            if child >= 0:
                leaf_of[child] = leaf
            else:
                values[leaf] = tree.values[-child - 1]
    moves = np.pad(~forest.goes_left(tree), ((0, 0), (1, 1)))
    at, edge = np.nonzero(moves[:, 1:] != moves[:, :-1])
    at, low, high = at[::2], edge[::2], edge[1::2] - 1
    return np.stack([tree.column[at], leaf_of[at], low, high, at + 1], axis=1), values


@compiled
def _add_trees(atoms: Array, growth: Growth, scores: Floats) -> None:
    """Add every tree's value for each row, block by block."""
    steps, leaf = growth.steps, np.empty(BLOCK, growth.steps.source.dtype)
    for begin in range(0, len(scores), BLOCK):
        score = scores[begin : begin + BLOCK]
        for tree in range(len(growth.step_at) - 1):
            leaf[:] = 0
            for step in range(growth.step_at[tree], growth.step_at[tree + 1]):
                atom = atoms[steps.column[step], begin : begin + BLOCK]
                source, low, high, target = steps.source[step], steps.low[step], steps.high[step], steps.target[step]
                for row in range(len(score)):
                    moves = (leaf[row] == source) & (low <= atom[row]) & (atom[row] <= high)
                    leaf[row] = target if moves else leaf[row]
            value = growth.values[growth.value_at[tree] : growth.value_at[tree + 1]]
            for row in range(len(score)):
                score[row] += value[leaf[row]]
