"""Counts of purchases per user and category up to a day: how often, how recently, when first and last."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.arrays.array_types import Array, Flags, Floats
from features.arrays.group_by import distinct
from features.training_data.purchases import Purchases

WINDOWS = (28, 90)
NEVER = -1


@dataclass(frozen=True)
class TasteCounts:
    """Days on which users bought of categories before a `cut` (days since 1970), shapes (users, categories).

    `ever`, `recent` (28 days) and `quarter` (90) count them, `first` and `last` are the first and last of them, in
    days since 1970. `visits`, `visits_recent` and `visits_quarter` count days with any purchase, shape (users, 1).
    """

    cut: int
    ever: Array
    recent: Array
    quarter: Array
    first: Array
    last: Array
    visits: Floats
    visits_recent: Floats
    visits_quarter: Floats

    @property
    def has_had(self) -> Flags:
        """Whether the user ever bought of the category."""
        return self.ever > 0


def counts_before(purchases: Purchases, users: int, cut: int) -> TasteCounts:
    """Count what had happened and was known before a day.

    Examples
    --------
    >>> days = np.array([10, 17, 17, 30])
    >>> found = Purchases(np.zeros(4, np.intp), np.array([0, 0, 1, 0]), days, days, ("bread", "milk"))
    >>> counts = counts_before(found, users=1, cut=24)
    >>> counts.ever.tolist(), counts.last.tolist(), counts.visits.tolist()
    ([[2.0, 1.0]], [[17, 17]], [[2.0]])
    """
    kinds, is_known = len(purchases.categories), (purchases.day < cut) & (purchases.known_on < cut)
    user, category, day = purchases.user[is_known], purchases.category[is_known], purchases.day[is_known]
    place = user * kinds + category
    shape = (users, kinds)
    first, last = np.full(users * kinds, cut, np.int32), np.full(users * kinds, NEVER, np.int32)
    np.minimum.at(first, place, day)
    np.maximum.at(last, place, day)

    def counted(days: int | None) -> Array:
        rows = slice(None) if days is None else day >= cut - days
        return np.bincount(place[rows], minlength=users * kinds).astype(np.float32).reshape(shape)

    visits = distinct(user * (cut + 1) + day)
    visitor, visited = np.divmod(visits, cut + 1)

    def visited_in(days: int | None) -> Floats:
        rows = slice(None) if days is None else visited >= cut - days
        return np.bincount(visitor[rows], minlength=users).astype(np.float64)[:, None]

    recent, quarter = WINDOWS
    return TasteCounts(
        cut, counted(None), counted(recent), counted(quarter), first.reshape(shape), last.reshape(shape),
        visited_in(None), visited_in(recent), visited_in(quarter),
    )  # fmt: skip


def bought_within(purchases: Purchases, users: int, cut: int, days: int) -> Flags:
    """Tell what each user bought of each category from a day on, shape (users, categories)."""
    kinds = len(purchases.categories)
    rows = (purchases.day >= cut) & (purchases.day < cut + days)
    place = purchases.user[rows] * kinds + purchases.category[rows]
    return np.bincount(place, minlength=users * kinds).reshape(users, kinds) > 0
