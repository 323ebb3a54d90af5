"""News: the daily rows that make the states of one morning into those of the next, for a slice of users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.carried import Slice
from features.columns import WINDOWED
from features.daily_reader import Part
from features.declarations import LONGEST
from features.grouped import Array
from features.lake import days_since_1970
from features.snapshots import TASTE_DAYS
from features.states import NEVER, Change, DailyRows, States
from features.tallies import Peaks, Tastes
from features.words import as_words, in_order, joined

Parts = Sequence[tuple[Change, Part]]
LARGEST = [declared for declared in WINDOWED.values() if declared.kind == "max"]


class News:
    """Rows of a slice of users that became known, grew older or left a window, and what was carried so far.

    `ids` are the users of the slice in order: those carried, those of the rows, and those who only signed up.
    """

    def __init__(self, day: date, rows: Parts, facets: Parts, signed_up: pa.Array, carried: Slice | None) -> None:
        self.day, self.rows, self.facets, self.carried = day, rows, facets, carried
        columns = [[as_words(signed_up)], *(part.user_id for _, part in [*rows, *facets])]
        if carried:
            self._kept = np.flatnonzero(carried.states["first_day"] != NEVER)
            columns.append([as_words(carried.users.take(pa.array(self._kept)))])
        self.ids, (_, *places) = in_order(columns)
        self._users_of_rows, self._users_of_facets = places[: len(rows)], places[len(rows) :]
        if carried:
            self._place = np.full(len(carried.users), -1)
            self._place[self._kept] = self._users_of_facets.pop()

    def told(self) -> Slice:
        """Carry everything on to the morning."""
        return Slice(self.ids, self._states(), self._tastes(), self._peaks())

    def _states(self) -> Mapping[str, Array]:
        states = States(len(self.ids))
        if self.carried:
            before = {name: values[self._kept] for name, values in self.carried.states.items()}
            states.put(self._place[self._kept], before)
        for (change, part), users in zip(self.rows, self._users_of_rows, strict=True):
            states.apply(change, DailyRows(users, part.numbers))
        states.settle(self.day)
        return states.columns

    def _peaks(self) -> dict[str, Peaks]:
        oldest = days_since_1970(self.day) - LONGEST
        found = {}
        for declared in LARGEST:
            rows = [
                (users, np.full(len(users), change.number), declared.of(DailyRows(users, part.numbers)))
                for (change, part), users in zip(self.rows, self._users_of_rows, strict=True)
                if change.before is None and change.number >= oldest
            ]
            if self.carried:
                before = self.carried.peaks[declared.name]
                rows.append((self._place[before.user], before.day, before.value))
            user, day, value = (joined([row[column] for row in rows]) for column in range(3))
            found[declared.name] = Peaks.of(user, day, value, oldest)
        return found

    def _tastes(self) -> Tastes:
        labels = [_labels(part) for _, part in self.facets]
        rows = []
        for (change, part), users in zip(self.facets, self._users_of_facets, strict=True):
            sign = 1 if change.bands((TASTE_DAYS,))[1] else -1
            rows.append((users, sign * part.numbers("events_count"), sign * part.numbers("spend_cents")))
        if self.carried:
            before = self.carried.tastes
            labels.append([pa.DictionaryArray.from_arrays(before.label, before.words)])
            rows.append((self._place[before.user], before.events, before.spend))
        words, places = in_order(labels)
        user, events, spend = (joined([row[column] for row in rows]) for column in range(3))
        return Tastes.of(user, joined(places), events, spend, words)


def _labels(part: Part) -> list[pa.DictionaryArray]:
    """Name each row's facet and label by one text."""
    texts = []
    for facet, label in zip(part.words("facet"), part.words("label"), strict=True):
        facets, labels = facet.dictionary, label.dictionary
        pairs = np.divmod(np.arange(len(facets) * len(labels)), len(labels))
        words = pc.binary_join_element_wise(facets.take(pa.array(pairs[0])), labels.take(pa.array(pairs[1])), ":")
        codes = facet.indices.to_numpy().astype(np.int32) * len(labels) + label.indices.to_numpy()
        texts.append(pa.DictionaryArray.from_arrays(codes, words))
    return texts
