"""Filters of events for an app's own columns, and what each measures, as columns of flags and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from configs.custom_features import AMOUNT, MOST, Condition
from features.arrays.array_types import Array
from features.arrays.json_values import finite_numbers, json_values

PROPERTIES = "properties"
COMPARE = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


@dataclass(frozen=True)
class EventFilter:
    """Events by name that fulfil all conditions, and what is measured of each: nothing, the amount or a JSON path."""

    name: str
    event_names: tuple[str, ...]
    conditions: tuple[Condition, ...]
    value: str | None

    @property
    def flag(self) -> str:
        """Name of the column that says which events are meant."""
        return f"matches_{self.name}"

    @property
    def number(self) -> str:
        """Name of the column with the number of each event that is meant, missing for all others."""
        return f"value_{self.name}"

    @property
    def paths(self) -> list[str]:
        """JSON paths that it asks for."""
        asked = [*(condition.of for condition in self.conditions), *([self.value] if self.value else [])]
        return sorted({each for each in asked if each.startswith("$")})

    @property
    def columns(self) -> set[str]:
        """Columns of events that it reads, all of them texts but for the amount."""
        plain = {condition.of for condition in self.conditions} - {*self.paths}
        return plain | ({PROPERTIES} if self.paths else set())

    def marks(self, events: pa.Table) -> dict[str, Array]:
        """Find the events that are meant, and their numbers; shape (events,) each."""
        is_named = pc.is_in(_plain(events["event_name"]), value_set=pa.array(self.event_names, pa.string()))
        at = np.flatnonzero(is_named.to_numpy(zero_copy_only=False))
        named = events.take(pa.array(at))
        texts = {name: _plain(named[name]) for name in self.columns - {PROPERTIES}}
        if self.paths:
            texts |= json_values(_one_piece(named[PROPERTIES]), self.paths)
        meant = at
        if self.conditions:
            held = [_holds(condition, texts[condition.of]) for condition in self.conditions]
            kept = np.logical_and.reduce(held)
            meant = at[kept]
        flags = np.zeros(len(events), bool)
        flags[meant] = True
        if self.value is None:
            return {self.flag: flags}
        numbers = _plain(named[AMOUNT]) if self.value == AMOUNT else finite_numbers(texts[self.value])
        values = np.full(len(events), np.nan)
        values[at] = numbers.to_numpy(zero_copy_only=False)
        values[~flags | (np.abs(values) > MOST)] = np.nan
        return {self.flag: flags, self.number: values}


def event_marks(events: pa.Table, filters: Sequence[EventFilter]) -> dict[str, Array]:
    """Find what all filters mean."""
    found: dict[str, Array] = {}
    for each in filters:
        found |= each.marks(events)
    return found


def columns_read(filters: Sequence[EventFilter]) -> list[str]:
    """Name the columns of events, texts, that filters read beside names and amounts."""
    return sorted(set().union(*(each.columns for each in filters)))


def _holds(condition: Condition, texts: pa.Array) -> Array:
    """Whether each event fulfils a condition, shape (events,); what is missing fulfils none."""
    value = condition.value
    if isinstance(value, bool):
        value = "true" if value else "false"
    values = texts if isinstance(value, str) else finite_numbers(texts)
    held = COMPARE[condition.comparison](values, pa.scalar(value, values.type))
    return np.asarray(pc.fill_null(held, False).to_numpy(zero_copy_only=False))


def _one_piece(column: pa.ChunkedArray) -> pa.Array:
    return column.unify_dictionaries().combine_chunks() if pa.types.is_dictionary(column.type) else _plain(column)


def _plain(column: pa.ChunkedArray) -> pa.Array:
    """Take a column in one piece, words written out."""
    plain = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
    return plain.combine_chunks()
