"""State per user and category: category counts with favourites, and rolling maxima."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.arrays.array_types import Array, Flags, Integers
from features.arrays.group_by import joined, order_of, run_numbers, run_starts, run_sums
from features.definitions.daily_measures import MICROS
from features.definitions.registry import NO_VALUE

DAYS = 2**20  # more than a day's number
LEAST_SHARE = 0.02  # of what somebody buys, from which on it is kept what of
SHARES = pa.struct([("category", pa.string()), ("share", pa.float32())])


class CategoryCounts(NamedTuple):
    """What activity was about, in rows of any order: places of the user and of the label, events and spend (micros).

    Spend is int64, all else is int32.
    """

    user: Array
    label: Array
    events: Array
    spend: Array

    @classmethod
    def of_any(cls, user: Array, label: Array, events: Array, spend: Array) -> Self:
        """Take whole numbers of any type."""
        user, label, events = (column.astype(np.int32, copy=False) for column in (user, label, events))
        return cls(user, label, events, spend.astype(np.int64, copy=False))

    @classmethod
    def joined(cls, parts: Iterable[CategoryCounts]) -> Self:
        """Put rows one after another."""
        return cls(*map(np.concatenate, zip(NO_COUNTS, *parts, strict=True)))

    def taken(self, rows: Integers | Flags | slice) -> Self:
        """Take some of the rows."""
        return type(self)(*(column[rows] for column in self))

    def keys(self, labels: int) -> Array:
        """Name the user and the label of each row by one number, which grows with both and is int32 if it fits."""
        number = np.int32 if (int(self.user.max(initial=0)) + 1) * labels < 2**31 else np.int64
        return np.multiply(self.user, labels, dtype=number) + self.label

    def summed(self, labels: int) -> Self:
        """Add up to one row per user and label, in order."""
        key = self.keys(labels)
        order = order_of(key)
        starts = run_starts(key[order])
        events, spend = (run_sums(values[order], starts) for values in (self.events, self.spend))
        rows = order[starts]
        return type(self)(self.user[rows], self.label[rows], events.astype(self.events.dtype), spend)

    def plus(self, others: CategoryCounts, labels: int) -> Self:
        """Add other rows up with these, of which there are some; either are one row per user and label, in order."""
        key, other_key = self.keys(labels), others.keys(labels)
        place = np.searchsorted(key, other_key)
        is_there = key[np.minimum(place, len(key) - 1)] == other_key
        events, spend = self.events.copy(), self.spend.copy()
        events[place[is_there]] += others.events[is_there]
        spend[place[is_there]] += others.spend[is_there]
        rows, new = self._replace(events=events, spend=spend), others.taken(~is_there)
        is_new = np.zeros(len(key) + len(new.user), bool)
        is_new[place[~is_there] + np.arange(len(new.user))] = True
        return type(self)(*(_merged(*columns, is_new) for columns in zip(rows, new, strict=True)))


NO_COUNTS = CategoryCounts(*(np.zeros(0, number) for number in (np.int32, np.int32, np.int32, np.int64)))


class Favourites(NamedTuple):
    """What most of each user's activity was about, shape (users,): the number of categories, and two labels.

    They are places of words, -1 of none: the category with the most spend, then events, then first by name, and the
    hour with the most events.
    """

    categories: Array
    category: Array
    hour: Array

    @classmethod
    def of(cls, rows: CategoryCounts, words: pa.Array, users: int) -> Self:
        """Find the favourites among one row per user and label, in order."""
        is_category = pc.starts_with(words, "category:").to_numpy(zero_copy_only=False)[rows.label]
        categories, hours = rows.taken(is_category), rows.taken(~is_category)
        return cls(
            np.bincount(categories.user, minlength=users).astype(np.int32),
            _best(categories, (categories.spend, categories.events), users),
            _best(hours, (hours.events,), users),
        )

    @classmethod
    def nothing(cls, users: int) -> Self:
        """Know nothing about anybody."""
        return cls(np.zeros(users, np.int32), np.full(users, -1, np.int32), np.full(users, -1, np.int32))

    def placed(self, place: Integers, users: int, label: Integers) -> Self:
        """Give users and labels other places, -1 of none."""
        kept = np.flatnonzero(place >= 0)
        found = self.nothing(users)
        found.categories[place[kept]] = self.categories[kept]
        found.category[place[kept]] = np.append(label, -1)[self.category[kept]]
        found.hour[place[kept]] = np.append(label, -1)[self.hour[kept]]
        return found

    def where(self, is_other: Flags, other: Favourites) -> Self:
        """Take those of some users from elsewhere."""
        return type(self)(*(np.where(is_other, *both) for both in zip(other, self, strict=True)))

    def cut(self, first: int, last: int) -> Self:
        """Take the users from `first` to before `last`."""
        return type(self)(*(values[first:last] for values in self))


@dataclass(frozen=True)
class CategoryState:
    """How much of what each user's activity was about in a window, and what most of it was about.

    `rows` are one per user and label, in order; labels are places in `words`, which are in order: a dimension, a
    colon and a label of the dimension.
    """

    rows: CategoryCounts
    words: pa.Array
    favourites: Favourites

    @classmethod
    def of(cls, users: int, about: CategoryCounts, words: pa.Array) -> Self:
        """Add up rows in any order."""
        return cls(NO_COUNTS, words, Favourites.nothing(users)).plus(about)

    def placed(self, place: Integers, users: int, label: Integers, words: pa.Array) -> Self:
        """Give users and labels other places, in the same order; users who get none have no rows."""
        rows = self.rows._replace(
            user=place[self.rows.user].astype(np.int32), label=label[self.rows.label].astype(np.int32)
        )
        return type(self)(rows, words, self.favourites.placed(place, users, label))

    def plus(self, update: CategoryCounts) -> Self:
        """Add rows, in any order; what adds up to no events is left out, users without any are left as they are."""
        users, labels = len(self.favourites.hour), len(self.words)
        update = update.summed(labels)
        rows = self.rows.plus(update, labels) if len(self.rows.user) else update
        if not rows.events.all():
            rows = rows.taken(rows.events != 0)
        is_updated = np.zeros(users, bool)
        is_updated[update.user] = True
        changed = Favourites.of(rows.taken(is_updated[rows.user]), self.words, users)
        return type(self)(rows, self.words, self.favourites.where(is_updated, changed))

    def cut(self, first: int, last: int) -> Self:
        """Take the users from `first` to before `last`, counted anew."""
        rows = self.rows.taken(slice(*np.searchsorted(self.rows.user, (first, last))))
        return type(self)(rows._replace(user=rows.user - first), self.words, self.favourites.cut(first, last))

    def columns(self) -> dict[str, Array | pa.Array]:
        """Name the favourites: columns of a snapshot, shape (users,)."""
        names = pc.replace_substring_regex(self.words, "^[a-z]+:", "")
        categories, category, hour = self.favourites
        return {
            "categories_count_90d": categories.astype(float),
            "favourite_category_90d": names.take(pa.array(category, mask=category < 0)),
            "favourite_category_spend_90d": pa.array(self._spend_of(category) / MICROS, mask=category < 0),
            "favourite_hour_90d": names.take(pa.array(hour, mask=hour < 0)).cast(pa.float64()),
        }

    def shares(self) -> pa.ListArray:
        """List the categories of each user with their shares of the money spent, or of the events where none was spent.

        Shares below `LEAST_SHARE` are left out. Shape (users,), of `SHARES`; categories are in order.
        """
        users = len(self.favourites.hour)
        is_category = pc.starts_with(self.words, "category:").to_numpy(zero_copy_only=False)
        rows = self.rows.taken(is_category[self.rows.label])
        spend, events = (np.bincount(rows.user, values, users) for values in (rows.spend, rows.events))  # exact
        has_paid = spend > 0
        share = np.where(has_paid[rows.user], rows.spend, rows.events) / np.where(has_paid, spend, events)[rows.user]
        kept = np.flatnonzero(share >= LEAST_SHARE)
        ends = np.cumsum(np.bincount(rows.user[kept], minlength=users), dtype=np.int32)
        names = pc.replace_substring_regex(self.words, "^[a-z]+:", "").take(pa.array(rows.label[kept]))
        found = pa.StructArray.from_arrays([names, pa.array(share[kept].astype(np.float32))], fields=list(SHARES))
        return pa.ListArray.from_arrays(pa.array(np.append(np.int32(0), ends)), found)

    def _spend_of(self, label: Array) -> Array:
        """Spend of each user on one label of theirs, whole millionths, shape (users,); 0 where the label is -1."""
        has_label = np.flatnonzero(label >= 0)
        wanted = self.rows._replace(user=has_label, label=label[has_label]).keys(len(self.words))
        spend = np.zeros(len(label), np.int64)
        spend[has_label] = self.rows.spend[np.searchsorted(self.rows.keys(len(self.words)), wanted)]
        return spend


def _best(about: CategoryCounts, ranks: Iterable[Array], users: int) -> Array:
    """Label of the first row of each user with the most by every rank, shape (users,); -1 of no row."""
    rows = np.arange(len(about.user))
    for values in ranks:
        starts = run_starts(about.user[rows])
        most = np.maximum.reduceat(values[rows], starts) if len(starts) else values[:0]
        rows = rows[values[rows] == most[run_numbers(starts, len(rows))]]
    rows = rows[run_starts(about.user[rows])]
    best = np.full(users, -1, np.int32)
    best[about.user[rows]] = about.label[rows]
    return best


@dataclass(frozen=True)
class RollingMaximum:
    """Rolling maxima by a monotonic queue: days of users that no later day of theirs reaches.

    The largest value of every window is one of them.

    Rows are in the order of users and days, so that a user's values fall from row to row.
    """

    user: Integers
    day: Integers
    value: Integers

    @classmethod
    def of(cls, parts: Sequence[RollingMaximum], oldest: int) -> Self:
        """Leave out what lies before the day `oldest` and what a later day reaches; rows come in any order."""
        user, day, value = (joined([getattr(part, name) for part in parts]) for name in ("user", "day", "value"))
        recent = np.flatnonzero(day >= oldest)
        order = recent[order_of(user[recent] * DAYS + day[recent])[::-1]]
        user, day, value = user[order], day[order], value[order]
        # one growing number per row, later days first: the largest so far starts anew with each user
        height = value - value.min(initial=0)
        if int(height.max(initial=0)) >= 2**62 // (int(user.max(initial=0)) + 1):
            height = np.unique(value, return_inverse=True)[1]  # places of the values instead, which are few
        floor = (user.max(initial=0) - user) * (height.max(initial=0) + 1)
        so_far = np.maximum.accumulate(floor + height) if len(user) else floor
        is_maximum = np.ones(len(user), bool)
        is_maximum[1:] = floor[1:] + height[1:] > so_far[:-1]
        rows = np.flatnonzero(is_maximum)[::-1]
        return cls(user[rows], day[rows], value[rows])

    def cut(self, first: int, last: int) -> Self:
        """Take the users from `first` to before `last`, counted anew."""
        rows = slice(*np.searchsorted(self.user, (first, last)))
        return type(self)(self.user[rows] - first, self.day[rows], self.value[rows])

    def largest(self, oldest: int, users: int) -> Array:
        """Find the largest value of each user from the day `oldest` on, shape (users,), NaN of no day."""
        rows = np.flatnonzero(self.day >= oldest)
        rows = rows[run_starts(self.user[rows])]
        found = np.full(users, np.nan)
        found[self.user[rows]] = self.value[rows]
        return found


class MonotonicQueue:
    """Gathers what may be rolling maxima of some users: those of a checkpoint, and days that come latest first."""

    def __init__(self, users: int) -> None:
        self._parts: list[RollingMaximum] = []
        self._highest = np.full(users, int(NO_VALUE))

    def restore(self, found: RollingMaximum) -> None:
        """Take in the maxima of a checkpoint, days in any order."""
        self._parts.append(found)

    def push(self, users: Integers, day: int, values: Integers) -> None:
        """Take in a day's values; a user occurs once."""
        higher = np.flatnonzero(values > self._highest[users])
        users, values = users[higher], values[higher]
        self._highest[users] = values
        self._parts.append(RollingMaximum(users, np.full(len(users), day), values))

    def maxima(self, oldest: int) -> RollingMaximum:
        """Find the rolling maxima from the day `oldest` on."""
        return RollingMaximum.of(self._parts, oldest)


def _merged(values: Array, new: Array, is_new: Flags) -> Array:
    merged = np.empty(len(is_new), values.dtype)
    merged[is_new], merged[~is_new] = new, values
    return merged
