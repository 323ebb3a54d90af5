"""Reading daily rows: those of one day that became known on one day, of a range of users, column by column."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.lake import Lake, readable
from features.stamps import LABELS
from features.words import whole

LAST = chr(0x10FFFF)  # sorts behind every id


class Users(NamedTuple):
    """The users from `low` to before `high`; None is open."""

    low: str | None = None
    high: str | None = None

    def might_hold(self, first: str, last: str) -> bool:
        """Whether users from `first` to `last` may be among them."""
        return (self.low is None or last >= self.low) and (self.high is None or first < self.high)

    def among(self, ids: pa.Array, first: int, last: int) -> slice:
        """Find them among ids, which are in order from place `first` to before `last`."""
        low = first if self.low is None else bisect_left(ids, self.low, first, last, key=str)
        high = last if self.high is None else bisect_left(ids, self.high, first, last, key=str)
        return slice(low, high)


class Group(NamedTuple):
    """A row group: when its rows became known, and its users."""

    place: int
    known_on: date
    first: str
    last: str


class DailyReader:
    """Opens the files of daily rows; each footer is read once."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._footers: dict[Path, tuple[pq.FileMetaData, list[Group]]] = {}

    def part(self, table: str, day: date, known_on: date, users: Users) -> Part:
        """Find some rows of a table."""
        path = self._lake.partition(table, day)
        if path not in self._footers:
            with readable(path):
                footer = pq.read_metadata(path)
            self._footers[path] = footer, _groups(footer)
        footer, groups = self._footers[path]
        mine = [each for each in groups if each.known_on == known_on and users.might_hold(each.first, each.last)]
        return Part(path, footer, tuple(each.place for each in mine), users)


@dataclass(frozen=True)
class Part:
    """Rows of a file; nothing is read before it is asked for."""

    path: Path
    footer: pq.FileMetaData
    groups: tuple[int, ...]
    users: Users

    @cached_property
    def user_id(self) -> pa.Array:
        """Ids of the users."""
        return self._held(self._ids)

    def columns(self, names: Collection[str]) -> dict[str, pa.Array]:
        """Read columns, all at once: asking a file once more costs more than a column does."""
        return {name: self._held(values) for name, values in self._read(names).items()} if names else {}

    @cached_property
    def _ids(self) -> pa.Array:
        return self._read(["user_id"])["user_id"]

    @cached_property
    def _rows(self) -> list[slice]:
        """Rows of the users who are asked for; users are in order within each row group, and often beyond."""
        counts = [self.footer.row_group(place).num_rows for place in self.groups]
        found: list[slice] = []
        for edge in pairwise(np.cumsum([0, *counts]).tolist()):
            rows = self.users.among(self._ids, *edge)
            if found and found[-1].stop == rows.start:
                rows = slice(found.pop().start, rows.stop)
            found.append(rows)
        return found

    def _held(self, column: pa.Array) -> pa.Array:
        held = [column[rows] for rows in self._rows]
        return held[0] if len(held) == 1 else pa.concat_arrays(held)

    def _read(self, names: Collection[str]) -> dict[str, pa.Array]:
        labels = [name for name in names if name in LABELS]
        with readable(self.path), pq.ParquetFile(self.path, metadata=self.footer, read_dictionary=labels) as file:
            rows = file.read_row_groups(list(self.groups), columns=list(names), use_threads=False)
        return {name: whole(rows[name]) for name in sorted(names)}


def _groups(footer: pq.FileMetaData) -> list[Group]:
    places = {footer.schema.column(place).name: place for place in range(footer.num_columns)}
    groups = []
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        known_on, user = (group.column(places[name]).statistics for name in ("known_on", "user_id"))
        first, last = (user.min, user.max) if user else ("", LAST)  # ids too long for statistics have none
        groups.append(Group(number, known_on.min, first, last))
    return groups
