"""Reading daily rows: those of one day that became known on one day, of a range of users, column by column."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.grouped import Array, Flags
from features.lake import Lake, readable
from features.stamps import WORDS
from features.words import narrowed

LAST = chr(0x10FFFF)  # sorts behind every id


class Users(NamedTuple):
    """The users from `low` to before `high`; None is open."""

    low: str | None = None
    high: str | None = None

    def might_hold(self, first: str, last: str) -> bool:
        """Whether users from `first` to `last` may be among them."""
        return (self.low is None or last >= self.low) and (self.high is None or first < self.high)

    def hold(self, users: pa.Array) -> Flags:
        """Mark the ids that are among them."""
        held = np.ones(len(users), bool)
        if self.low is not None:
            held &= pc.greater_equal(users, self.low).to_numpy(zero_copy_only=False)
        if self.high is not None:
            held &= pc.less(users, self.high).to_numpy(zero_copy_only=False)
        return held


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
    def user_id(self) -> list[pa.DictionaryArray]:
        """Users as dictionaries, one per row group."""
        kept = self._kept(self._ids)
        return kept.chunks if kept is self._ids else [narrowed(each) for each in kept.chunks]

    def words(self, column: str) -> list[pa.DictionaryArray]:
        """Read a column of text as dictionaries, one per row group."""
        return self._kept(self._read(column)).chunks

    def numbers(self, column: str) -> Array:
        """Read a column of numbers."""
        values = self._read(column).to_numpy()
        return values if self._held is None else values[self._held]

    @cached_property
    def _file(self) -> pq.ParquetFile:
        words = [name for name in self.footer.schema.names if name in WORDS]
        return pq.ParquetFile(self.path, metadata=self.footer, read_dictionary=words)

    @cached_property
    def _ids(self) -> pa.ChunkedArray:
        return self._read("user_id")

    @cached_property
    def _held(self) -> Flags | None:
        held = [self.users.hold(chunk.dictionary)[chunk.indices.to_numpy()] for chunk in self._ids.chunks]
        return None if all(each.all() for each in held) else np.concatenate(held)

    def _kept(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        return column if self._held is None else column.filter(pa.array(self._held))

    def _read(self, column: str) -> pa.ChunkedArray:
        with readable(self.path):
            return self._file.read_row_groups(list(self.groups), columns=[column], use_threads=False)[column]


def _groups(footer: pq.FileMetaData) -> list[Group]:
    places = {footer.schema.column(place).name: place for place in range(footer.num_columns)}
    groups = []
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        known_on, user = (group.column(places[name]).statistics for name in ("known_on", "user_id"))
        first, last = (user.min, user.max) if user else ("", LAST)  # ids too long for statistics have none
        groups.append(Group(number, known_on.min, first, last))
    return groups
