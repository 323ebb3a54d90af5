"""State update: the daily rows that make the state of one snapshot into that of the next, for a shard of users."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.arrays.calendar_days import days_since_1970
from features.arrays.dictionaries import encoded_together, merged_sorted
from features.definitions.registry import LONGEST, Declarations
from features.definitions.snapshot_features import TASTE_DAYS
from features.engine.category_state import NO_COUNTS, CategoryCounts, CategoryState, MonotonicQueue, RollingMaximum
from features.engine.state_store import StateShard
from features.engine.window_state import NEVER, Change, DailyRows, WindowState
from features.tables.row_group_reader import RowSelection

Parts = Mapping[Change, RowSelection]


class StateUpdate:
    """Rows of a shard of users that became known, grew older or left a window, and its state in the checkpoint.

    `ids` are the users of the shard in order: those of the checkpoint, those of the rows, and who only signed up.
    """

    def __init__(
        self,
        day: date,
        rows: Parts,
        counts: Parts,
        signed_up: pa.Array,
        checkpoint: StateShard | None,
        declared: Declarations,
    ) -> None:
        self.day, self.rows, self.counts, self.checkpoint, self.declared = day, rows, counts, checkpoint, declared
        columns = [signed_up, *(part.keys for part in rows.values())]
        if checkpoint:
            self._kept = checkpoint.states["first_day"] != NEVER
            columns.append(checkpoint.users.filter(pa.array(self._kept)))
        self.ids, (_, *places) = merged_sorted(columns)
        self._place = np.full(len(checkpoint.users) if checkpoint else 0, -1)
        if checkpoint:
            self._place[self._kept] = places.pop()
        self._users = dict(zip(rows, places, strict=True))

    def apply(self) -> StateShard:
        """Bring the state to the start of the day."""
        states, maxima = (
            WindowState(len(self.ids), self.declared),
            {each.name: MonotonicQueue(len(self.ids)) for each in self.declared.of_kind("max")},
        )
        if self.checkpoint:
            states.restore(self._place[self._kept], self.checkpoint.states, self._kept)
            for name, found in self.checkpoint.maxima.items():
                maxima[name].restore(RollingMaximum(self._place[found.user], found.day, found.value))
        for change, part in self.rows.items():
            users, moves = self._users[change], change.moves(self.declared)
            columns = part.columns({name for move in moves for name in move.columns})
            rows = DailyRows(users, {name: column.to_numpy() for name, column in columns.items()})
            states.apply(change, moves, rows)
            for move in moves:
                if move.kind == "max":
                    maxima[move.declared.name].push(users, change.number, move.declared.of(rows))
        states.finalise(self.day)
        oldest = days_since_1970(self.day) - LONGEST
        largest = {name: found.maxima(oldest) for name, found in maxima.items()}
        return StateShard(self.ids, states.columns, self._category_state(), largest)

    def _category_state(self) -> CategoryState:
        labels, columns = [], []
        for change, part in self.counts.items():
            sign = 1 if change.bands((TASTE_DAYS,))[1] else -1
            found = part.columns(("row", "dimension", "label", "events_count", "spend_micros"))
            users = self._users[change][found["row"].to_numpy() - self.rows[change].first]
            labels.append(_labels(found["dimension"], found["label"]))
            columns.append((users, *(sign * found[name].to_numpy() for name in ("events_count", "spend_micros"))))
        before = (
            self.checkpoint.categories if self.checkpoint else CategoryState.of(0, NO_COUNTS, pa.array([], pa.string()))
        )
        words, (place, *places) = encoded_together([before.words.dictionary_encode(), *labels])
        update = CategoryCounts.joined(
            CategoryCounts.of_any(users, label, events, spend)
            for (users, events, spend), label in zip(columns, places, strict=True)
        )
        return before.placed(self._place, len(self.ids), place, words).plus(update)


def _labels(dimension: pa.DictionaryArray, label: pa.DictionaryArray) -> pa.DictionaryArray:
    """Name each row's dimension and label by one text."""
    dimensions, labels = dimension.dictionary, label.dictionary
    pairs = np.divmod(np.arange(len(dimensions) * len(labels)), len(labels))
    words = pc.binary_join_element_wise(dimensions.take(pa.array(pairs[0])), labels.take(pa.array(pairs[1])), ":")
    codes = dimension.indices.to_numpy() * len(labels) + label.indices.to_numpy()
    return pa.DictionaryArray.from_arrays(codes, words)
