"""The taste model: two scores of every category, for buying it again and for trying it the first time.

*Again* starts from how often a user bought of a category, and weighs it with how lately, how regularly and how much
they buy at all. *New* starts from EASE, which predicts a category from all others a user has had by one linear model
whose weights have a closed form: with G the Gram matrix of users and categories, P = (G + ridge I)^-1 and
B = I - P / diag(P) (Steck 2019, *Embarrassingly shallow autoencoders for sparse data*). A logistic blends it with how
many take a category up at all, and how many of those alike. Either gives way to the plain rule it has to beat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from features.arrays.array_types import Array, Flags, Floats, Places
from models.tastes.taste_counts import TasteCounts

Cells = tuple[Places, Places]  # users and their categories
RIDGE_SHARE = 0.1  # of the users, in the Gram matrix of EASE
FEW = 20.0  # users who count for a rate before anybody is seen
QUARTILES = (0.25, 0.5, 0.75)
LONG = 400.0  # days


@dataclass(frozen=True)
class LinearScore:
    """Weights of some columns and an intercept: log odds."""

    weights: tuple[float, ...]
    intercept: float

    def of(self, columns: Sequence[Array], shape: tuple[int, ...]) -> Array:
        """Log odds of a shape to which the columns broadcast."""
        score = np.full(shape, self.intercept, np.float32)
        for weight, column in zip(self.weights, columns, strict=True):
            score += np.float32(weight) * column
        return score


@dataclass(frozen=True)
class TasteModel:
    """What is known of the categories, and how columns make scores; None where the plain rule was no worse.

    `ease` and `alike` have shape (categories, categories); `popular` is the share of users who have had each,
    `taken_up` the share of those without it who bought it within 28 days, `taken_up_alike` the same among users of each
    quarter of breadth, whose `edges` are numbers of categories, shape (4, categories).
    """

    categories: tuple[str, ...]
    ease: Array
    alike: Array
    popular: Floats
    taken_up: Floats
    edges: Floats
    taken_up_alike: Floats
    again: LinearScore | None = None
    new: LinearScore | None = None

    def again_scores(self, counts: TasteCounts) -> Array:
        """Score what users have had by how likely they buy it again, shape (users, categories); -inf elsewhere."""
        scores = np.full(counts.ever.shape, -np.inf, np.float32)
        cells = cells_of(counts.has_had)
        if self.again is None:
            scores[cells] = counts.ever[cells]
        else:  # of what users have had alone, which is little of all
            scores[cells] = self.again.of(again_columns(self, counts, cells), cells[0].shape)
        return scores

    def new_scores(self, counts: TasteCounts) -> Array:
        """Score what users have not had yet, shape (users, categories); -inf elsewhere."""
        if self.new is None:
            scores = np.tile(self.popular.astype(np.float32), (len(counts.ever), 1))
        else:
            scores = self.new.of(new_columns(self, counts), counts.ever.shape)
        scores[counts.has_had] = -np.inf
        return scores

    def quarter_of(self, counts: TasteCounts) -> Places:
        """Tell which quarter of breadth each user is in, shape (users,)."""
        return np.asarray(np.digitize(counts.has_had.sum(axis=1), self.edges))


def categories_known(categories: tuple[str, ...], counts: TasteCounts) -> TasteModel:
    """Compute the statistics of categories from purchases up to a day; without the weights of the scores."""
    had = counts.has_had.astype(np.float32)
    before = counts.ever > counts.recent
    took_up = counts.has_had & ~before
    edges = np.quantile(had.sum(axis=1), QUARTILES)
    quarter = np.digitize(had.sum(axis=1), edges)
    everybody = _rate(took_up, ~before, FEW, float(took_up.sum()) / max(float((~before).sum()), 1.0))
    alike = [_rate(took_up[quarter == one], ~before[quarter == one], FEW, everybody) for one in range(4)]
    gram = (had.T @ had).astype(np.float64)
    return TasteModel(
        categories, ease_weights(gram, RIDGE_SHARE * len(had)), _cosines(gram), had.mean(axis=0).astype(np.float64),
        everybody, edges, np.stack(alike),
    )  # fmt: skip


def cells_of(is_one: Flags) -> Cells:
    """List the users and categories that are marked."""
    user, category = np.nonzero(is_one)
    return user, category


def ease_weights(gram: Floats, ridge: float) -> Array:
    """Weights with which each category is predicted from the others, shape (categories, categories).

    Examples
    --------
    >>> users = np.array([[1.0, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 1]])
    >>> (100 * ease_weights(users.T @ users, ridge=1.0)).round().astype(int).tolist()  # the first goes with the second
    [[0, 67, 0], [67, 0, 0], [0, 0, 0]]
    """
    inverse = np.linalg.inv(gram + ridge * np.eye(len(gram)))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return weights.astype(np.float32)


def again_columns(model: TasteModel, counts: TasteCounts, cells: Cells) -> list[Array]:
    """Columns of what is bought again, of some users and categories: shape (cells,) each."""
    user, category = cells
    ever, quarter, recent = (of[cells] for of in (counts.ever, counts.quarter, counts.recent))
    visits, visits_recent, visits_quarter = (
        of[user, 0] for of in (counts.visits, counts.visits_recent, counts.visits_quarter)
    )
    since = np.clip(counts.cut - counts.last[cells], 1, LONG).astype(np.float32)
    gap = usual_gap(counts, cells)
    return [
        np.log1p(ever), np.log1p(quarter), np.log1p(recent), np.log(since),
        np.log(np.clip(since / gap, 0.05, 20.0)), np.log(gap), ever / np.maximum(visits, 1),
        np.log1p(visits_recent), np.log1p(visits_quarter), np.log(model.popular + 1e-4)[category],
    ]  # fmt: skip


def usual_gap(counts: TasteCounts, cells: Cells) -> Array:
    """Days that usually lie between two purchases of some users and categories; of who bought once, those since."""
    ever, first = counts.ever[cells], counts.first[cells]
    between = (counts.last[cells] - first) / np.maximum(ever - 1, 1)
    return np.clip(np.where(ever > 1, between, counts.cut - first), 1, LONG).astype(np.float32)


def new_columns(model: TasteModel, counts: TasteCounts) -> list[Array]:
    """Columns of what is bought for the first time, each of a shape that broadcasts to (users, categories)."""
    had = counts.has_had.astype(np.float32)
    breadth = had.sum(axis=1, keepdims=True)
    ease, recently = had @ model.ease, np.log1p(counts.visits_recent)
    return [
        ease, had @ model.alike / (breadth + 1), (counts.quarter > 0).astype(np.float32) @ model.ease,
        np.log(model.popular + 1e-4)[None], np.log(model.taken_up + 1e-4)[None],
        np.log(model.taken_up_alike + 1e-4).astype(np.float32)[model.quarter_of(counts)], recently,
        np.log1p(counts.visits_quarter), np.log1p(breadth), (ease * recently).astype(np.float32),
    ]  # fmt: skip


def best(scores: Array, wanted: int) -> Places:
    """Places of each user's best categories, best first, of equals the first by name; -1 where there are no more."""
    if not 0 < wanted < scores.shape[1]:
        order = np.argsort(-scores, axis=1, kind="stable")[:, :wanted]
    else:
        top = _top(scores, wanted)
        inside = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
        order = np.take_along_axis(top, inside, axis=1)
    return np.where(np.isfinite(np.take_along_axis(scores, order, axis=1)), order, -1)


def _top(scores: Array, wanted: int) -> Places:
    """Places of each user's `wanted` largest scores, in their own order; of those equal to the least the first."""
    least = np.partition(scores, -wanted, axis=1)[:, -wanted, None]
    is_top, is_least = scores > least, scores == least
    left = wanted - is_top.sum(axis=1, keepdims=True)
    is_top |= is_least & (np.cumsum(is_least, axis=1, dtype=np.int32) <= left)
    return np.nonzero(is_top)[1].reshape(len(scores), wanted)


def _rate(happened: Flags, could: Flags, few: float, usual: Floats | float) -> Floats:
    """Share of those who could for whom it happened, by category, pulled to the usual one where few could."""
    return np.asarray((happened.sum(axis=0) + few * usual) / (could.sum(axis=0) + few))


def _cosines(gram: Floats) -> Array:
    lengths = np.sqrt(np.maximum(np.diag(gram), 1.0))
    alike = gram / np.outer(lengths, lengths)
    np.fill_diagonal(alike, 0.0)
    return alike.astype(np.float32)
