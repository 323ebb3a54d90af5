"""What is carried about users in rows of their own: what their activity was about, and their largest days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.grouped import Array, Flags, Integers, joined, run_numbers, run_starts

DAYS = 2**20  # more than a day's number
LOWEST = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Tastes:
    """How much of what each user's activity was about in a window, by user and label.

    Labels are places in `words`, which are in order: a facet, a colon and a label of the facet.
    """

    user: Integers
    label: Integers
    events: Integers
    spend: Integers
    words: pa.Array

    @classmethod
    def of(cls, user: Integers, label: Integers, events: Integers, spend: Integers, words: pa.Array) -> Self:
        """Add up rows in any order; what adds up to no events is left out."""
        key = user * max(len(words), 1) + label
        order = np.argsort(key)
        key = key[order]
        starts = run_starts(key)
        events, spend = (_reduced(np.add, values[order], starts) for values in (events, spend))
        there = np.flatnonzero(events)
        user, label = np.divmod(key[starts[there]], max(len(words), 1))
        return cls(user, label, events[there], spend[there], words)

    def cut(self, first: int, last: int) -> Self:
        """Take the users from `first` to before `last`, counted anew."""
        rows = slice(*np.searchsorted(self.user, (first, last)))
        return type(self)(self.user[rows] - first, self.label[rows], self.events[rows], self.spend[rows], self.words)

    def favourites(self, users: int) -> dict[str, Array | pa.Array]:
        """Find the category with the most spend, then events, then first by name, and the hour with the most events."""
        is_category = pc.starts_with(self.words, "category:").to_numpy(zero_copy_only=False)[self.label]
        category = self._best(is_category, self.spend, users)
        hour = self._best(~is_category, np.zeros_like(self.spend), users)
        names = pc.replace_substring_regex(self.words, "^[a-z]+:", "")
        return {
            "categories_count_90d": np.bincount(self.user[is_category], minlength=users).astype(float),
            "favourite_category_90d": names.take(pa.array(category, mask=category < 0)),
            "favourite_hour_90d": names.take(pa.array(hour, mask=hour < 0)).cast(pa.float64()),
        }

    def _best(self, among: Flags, spend: Integers, users: int) -> Integers:
        """Label of the first row of each user with the most spend, then events, shape (users,); -1 of no row."""
        rows = np.flatnonzero(among)
        for values in (spend, self.events):
            starts = run_starts(self.user[rows])
            most = _reduced(np.maximum, values[rows], starts)
            rows = rows[values[rows] == most[run_numbers(starts, len(rows))]]
        rows = rows[run_starts(self.user[rows])]
        best = np.full(users, -1)
        best[self.user[rows]] = self.label[rows]
        return best


@dataclass(frozen=True)
class Peaks:
    """Days of users that no later day of theirs reaches: the largest of every window is one of them.

    Rows are in the order of users and days, so that a user's values fall from row to row.
    """

    user: Integers
    day: Integers
    value: Integers

    @classmethod
    def of(cls, parts: Sequence[Peaks], oldest: int) -> Self:
        """Leave out what lies before the day `oldest` and what a later day reaches; rows come in any order."""
        user, day, value = (joined([getattr(part, name) for part in parts]) for name in ("user", "day", "value"))
        recent = np.flatnonzero(day >= oldest)
        order = recent[np.argsort(user[recent] * DAYS + day[recent])[::-1]]
        user, day, value = user[order], day[order], value[order]
        # one growing number per row, later days first: the largest so far starts anew with each user
        height = value - value.min(initial=0)
        floor = (user.max(initial=0) - user) * (height.max(initial=0) + 1)
        so_far = np.maximum.accumulate(floor + height) if len(user) else floor
        is_peak = np.ones(len(user), bool)
        is_peak[1:] = floor[1:] + height[1:] > so_far[:-1]
        peaks = np.flatnonzero(is_peak)[::-1]
        return cls(user[peaks], day[peaks], value[peaks])

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


class Heights:
    """Gathers what may be peaks of some users: those so far, and of days that come latest first what none reaches."""

    def __init__(self, users: int) -> None:
        self._parts: list[Peaks] = []
        self._highest = np.full(users, LOWEST)

    def keep(self, peaks: Peaks) -> None:
        """Take in the peaks so far, days in any order."""
        self._parts.append(peaks)

    def climb(self, users: Integers, day: int, values: Integers) -> None:
        """Take in a day's values; a user occurs once."""
        higher = np.flatnonzero(values > self._highest[users])
        users, values = users[higher], values[higher]
        self._highest[users] = values
        self._parts.append(Peaks(users, np.full(len(users), day), values))

    def peaks(self, oldest: int) -> Peaks:
        """Find the peaks from the day `oldest` on."""
        return Peaks.of(self._parts, oldest)


def _reduced(function: np.ufunc, values: Integers, starts: Integers) -> Integers:
    """Reduce each run of values to one."""
    return function.reduceat(values, starts) if len(starts) else values[:0]
