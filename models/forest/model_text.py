"""The parser of LightGBM's model text, with the checks that make a text from a file safe to use.

LightGBM believes what it reads: a child that points back at an earlier split makes a prediction that never ends, one
beyond the last leaf reads foreign memory. So every text that comes from a file is checked first, as bytes, before any
library sees it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from configs.errors import InputError, first_line
from features.arrays.array_types import Array, Floats

CATEGORICAL = 1  # bit of LightGBM's decision_type
OF_SPLITS = (
    *("split_feature", "split_gain", "threshold", "decision_type", "left_child", "right_child"),
    *("internal_value", "internal_weight", "internal_count"),
)
OF_LEAVES = ("leaf_value", "leaf_weight", "leaf_count")
FIELDS = {*OF_SPLITS, *OF_LEAVES, "num_leaves", "num_cat", "cat_boundaries", "cat_threshold", "is_linear", "shrinkage"}
NUMBER = r"(?:-?\d+(?:\.\d+)?(?:e[+-]\d+)?|-?inf|-?nan)"
NUMBERS = re.compile(rf"(?:{NUMBER}(?: {NUMBER})*)?", re.ASCII)
ENDS, CATEGORIES = "\nend of trees", "\npandas_categorical:"


class DoesNotFit(Exception):  # noqa: N818
    """A model that only LightGBM itself can compute."""


class ModelTextError(InputError):
    """A model text that must not be used; it says what is wrong with it."""


@dataclass(frozen=True)
class Tree:
    """A tree of LightGBM's model text: arrays by split or, of leaves, by leaf; child ``-k - 1`` is leaf k."""

    text: dict[str, str]

    def numbers(self, name: str, dtype: type = np.int64) -> Array:
        """Read one line of numbers."""
        return np.array(self.text.get(name, "").split(), dtype=dtype)

    @cached_property
    def column(self) -> Array:
        """Column that each split asks."""
        return self.numbers("split_feature")

    @cached_property
    def kind(self) -> Array:
        """Decision type of each split, in bits."""
        return self.numbers("decision_type")

    @cached_property
    def threshold(self) -> Floats:
        """Number up to which values go left; of a categorical split the place of its list of categories."""
        return self.numbers("threshold", np.float64)

    @cached_property
    def left(self) -> Array:
        """Child of each split for what goes left."""
        return self.numbers("left_child")

    @cached_property
    def right(self) -> Array:
        """Child of each split for all else."""
        return self.numbers("right_child")

    @cached_property
    def values(self) -> Floats:
        """Value of each leaf."""
        return self.numbers("leaf_value", np.float64)

    def categories(self, split: np.intp | int) -> Array:
        """Codes that go left at a categorical split."""
        start, stop = self.numbers("cat_boundaries")[int(self.threshold[split]) :][:2]
        words = self.numbers("cat_threshold", np.uint32)[start:stop].astype("<u4")
        return np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little"))


def read_trees(text: str) -> list[Tree]:
    """Read the trees of a model text.

    Raises
    ------
    DoesNotFit
        Several outputs, averaged trees, or linear leaves.
    """
    head, *blocks = text.split(ENDS)[0].split("\nTree=")
    if "num_tree_per_iteration=1\n" not in head or "\naverage_output" in head:
        raise DoesNotFit("several outputs, or a random forest")
    trees = [Tree(dict(line.split("=", 1) for line in block.split("\n")[1:] if "=" in line)) for block in blocks]
    if any(tree.text.get("is_linear", "0") != "0" for tree in trees):
        raise DoesNotFit("linear leaves")
    return trees


def checked_model_text(text: str) -> str:
    """Ask whether a model text can be used: every walk down its trees ends in a leaf, and nothing points outside.

    Returns
    -------
    The text without the parameters of the training: no prediction needs them, and a damaged line of them ends the
    process that reads it.

    Raises
    ------
    ModelTextError
        It cannot, or is none.
    """
    try:
        fault = next(_faults(text), "")
    except (DoesNotFit, ValueError, OverflowError, KeyError, IndexError) as error:
        fault = first_line(error)
    if fault:
        raise ModelTextError(fault)
    return f"{text.split(ENDS)[0]}{ENDS}\n\n{text[text.rindex(CATEGORIES) :]}"


def _faults(text: str) -> Iterator[str]:
    head, ends, _ = text.partition(ENDS)
    head, *blocks = head.split("\nTree=")
    if not text.startswith("tree\nversion=v4\n") or not ends or CATEGORIES not in text:
        yield "it does not begin and end as a model text of LightGBM"
    named = dict(line.split("=", 1) for line in head.split("\n") if "=" in line)
    if named["num_class"] != "1":
        yield f"it is one of {named['num_class']} classes"
    width = int(named["max_feature_idx"]) + 1
    if width != len(named["feature_names"].split()) or width != len(named["feature_infos"].split()):
        yield f"it has {len(named['feature_names'].split())} names of {width} columns"
    sizes = [len(f"Tree={block}\n".encode()) for block in blocks]
    if [int(size) for size in named["tree_sizes"].split()] != sizes:
        yield "its trees are not as long as tree_sizes says"
    for place, block in enumerate(blocks):
        number, *lines = block.rstrip("\n").split("\n")
        fields = dict(line.split("=", 1) for line in lines)
        if number != str(place) or len(fields) < len(lines) or not fields.keys() <= FIELDS:
            yield f"tree {place} has a field twice or one that is none"
        if not all(map(NUMBERS.fullmatch, fields.values())):
            yield f"tree {place} holds something that is no number"
    for place, tree in enumerate(read_trees(text)):
        if fault := _fault_of(tree, width):
            yield f"tree {place} {fault}"


def _fault_of(tree: Tree, width: int) -> str:
    """Say what is wrong with a tree whose rows have so many columns; nothing where it is whole."""
    splits, leaves = len(tree.left), len(tree.values)
    of_splits = {len(tree.text[name].split()) for name in OF_SPLITS}
    of_leaves = {len(tree.text[name].split()) for name in OF_LEAVES} if splits else {leaves}
    if (of_splits, of_leaves) != ({splits}, {splits + 1}) or tree.numbers("num_leaves").tolist() != [leaves]:
        return "has lists of different lengths"
    if any((abs(tree.numbers(name)) >= 2**31).any() for name in ("internal_count", "leaf_count")):
        return "counts more rows than there can be"
    child, own = np.concatenate([tree.left, tree.right]), np.tile(np.arange(splits), 2)
    if (child >= splits).any() or (child < -leaves).any() or ((child >= 0) & (child <= own)).any():
        return "has a child that is no later split and no leaf, so that a prediction might never end"
    parents = np.bincount(child + leaves, minlength=splits + leaves)
    if splits and (np.delete(parents, leaves) != 1).any():  # the root has none
        return "has a split or a leaf with no parent or with two"
    if (tree.column < 0).any() or (tree.column >= width).any() or (tree.kind >> 4).any():
        return f"asks a column that is none of {width}, or in no way that is known"
    if not np.isfinite(tree.values).all() or np.isnan(tree.threshold).any():
        return "has a leaf or a threshold that is no finite number"
    return "" if _has_whole_categories(tree) else "has lists of categories that point outside"


def _has_whole_categories(tree: Tree) -> bool:
    asked = tree.threshold[(tree.kind & CATEGORICAL) > 0]
    count = int(tree.numbers("num_cat").sum())
    if not count:
        return not len(asked)
    edges, words = tree.numbers("cat_boundaries"), tree.numbers("cat_threshold", np.uint32)
    is_list = (asked == np.floor(asked)) & (asked >= 0) & (asked < count)
    return bool(
        is_list.all() and len(edges) == count + 1 and edges[0] == 0 and edges[-1] == len(words)
        and (np.diff(edges) >= 0).all()
    )  # fmt: skip
