"""Reading of a range of users from Parquet files by their row groups."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import pairwise
from operator import methodcaller
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.arrays.dictionaries import one_chunk
from features.storage.lake import Lake
from features.tables.fingerprints import LABELS
from features.tables.parquet_files import CHECKED, readable

LAST = chr(0x10FFFF)  # sorts behind every id

Key = TypeVar("Key", str, int)


@dataclass(frozen=True)
class KeyRange(Generic[Key]):
    """Keys from `low` to before `high`; None is open."""

    low: Key | None = None
    high: Key | None = None

    def might_hold(self, first: Key, last: Key) -> bool:
        """Whether keys from `first` to `last` may be among them."""
        return (self.low is None or last >= self.low) and (self.high is None or first < self.high)

    def among(self, keys: pa.Array, first: int, last: int) -> slice:
        """Find them among keys, which are in order from place `first` to before `last`."""
        value = methodcaller("as_py")
        low = first if self.low is None else bisect_left(keys, self.low, first, last, key=value)
        high = last if self.high is None else bisect_left(keys, self.high, first, last, key=value)
        return slice(low, high)


def read_users(path: Path, columns: Sequence[str], users: KeyRange[str], *, words: Sequence[str] = ()) -> pa.Table:
    """Read rows of some users, ``user_id`` among `columns`, from a file in any order; `words` come as dictionaries.

    Raises
    ------
    InputError
        The file is missing or cannot be read.
    """
    with readable(path), pq.ParquetFile(path, read_dictionary=list(words), **CHECKED) as file:
        bounds = user_bounds(file.metadata)
        groups = [place for place, each in enumerate(bounds) if users.might_hold(*each)]
        rows = file.read_row_groups(groups, columns=list(columns), use_threads=False)
    for bound, compare in ((users.low, pc.greater_equal), (users.high, pc.less)):
        rows = rows if bound is None else rows.filter(compare(rows["user_id"], bound))
    return rows


def user_bounds(metadata: pq.FileMetaData) -> list[tuple[str, str]]:
    """First and last user of each row group."""
    place = metadata.schema.names.index("user_id")
    found = (metadata.row_group(number).column(place).statistics for number in range(metadata.num_row_groups))
    # ids too long for statistics have none
    return [(each.min, each.max) if each and each.has_min_max else ("", LAST) for each in found]


def user_ranges(path: Path, rows_at_once: int) -> list[KeyRange[str]]:
    """Cut the users of a file into ranges of about so many rows, between its row groups."""
    with readable(path):
        metadata = pq.read_metadata(path)
    edges: list[str] = []
    rows = 0
    for (first, _), number in sorted(zip(user_bounds(metadata), range(metadata.num_row_groups), strict=True)):
        if rows >= rows_at_once and first > (edges[-1] if edges else ""):
            edges.append(first)
            rows = 0
        rows += metadata.row_group(number).num_rows
    return [KeyRange(*each) for each in pairwise([None, *edges, None])]


class RowGroup(NamedTuple):
    """A row group: when its rows became known, its users, and how many rows that became known then come before."""

    place: int
    known_on: date
    first: str
    last: str
    before: int


class DailyReader:
    """Opens the files of daily rows; each footer is read once."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._footers: dict[Path, tuple[pq.FileMetaData, list[RowGroup]]] = {}

    def rows(self, day: date, known_on: date, users: KeyRange[str]) -> RowSelection:
        """Find aggregates of some users; their keys are ids."""
        return self._part("aggregates", day, known_on, users, "user_id", users)

    def category_hour_counts(self, day: date, known_on: date, users: KeyRange[str], rows: RowSelection) -> RowSelection:
        """Find the counts by category and hour of some aggregates; their keys are the numbers of those.

        The first of them is `rows.first`.
        """
        numbers = KeyRange(rows.first, rows.first + len(rows.keys))
        return self._part("category_hour_counts", day, known_on, users, "row", numbers)

    def _part(
        self, table: str, day: date, known_on: date, users: KeyRange[str], key: str, within: KeyRange[Any]
    ) -> RowSelection:
        path = self._lake.partition(table, day)
        if path not in self._footers:
            self._lake.files.check(self._lake.partition_name(table, day))
            with readable(path):
                file_metadata = pq.read_metadata(path)
            self._footers[path] = file_metadata, _groups(file_metadata)
        file_metadata, groups = self._footers[path]
        mine = [each for each in groups if each.known_on == known_on and users.might_hold(each.first, each.last)]
        return RowSelection(path, file_metadata, mine, key, within)


class RowSelection:
    """Rows of a file, those whose `key` is `within` a range; nothing is read before it is asked for."""

    def __init__(
        self, path: Path, file_metadata: pq.FileMetaData, groups: Sequence[RowGroup], key: str, within: KeyRange[Any]
    ) -> None:
        self.groups = groups
        self._path, self._footer, self._key, self._within = path, file_metadata, key, within
        self._kept: dict[str, pa.Array] = {}  # the key, of whole row groups

    @property
    def keys(self) -> pa.Array:
        """Keys of the rows."""
        return self.columns([self._key])[self._key]

    @property
    def first(self) -> int:
        """Number of the first row among those that became known on its day."""
        return self.groups[0].before + self._rows[0].start

    def columns(self, names: Collection[str]) -> dict[str, pa.Array]:
        """Read columns, all at once: asking a file once more costs more than a column does."""
        found = self._of_groups(names)
        return {name: self._held(found[name]) for name in names}

    @cached_property
    def _rows(self) -> list[slice]:
        """Rows that are asked for; keys are in order within each row group, and often beyond."""
        keys = self._of_groups(())[self._key]
        counts = [self._footer.row_group(group.place).num_rows for group in self.groups]
        found: list[slice] = []
        for edge in pairwise(np.cumsum([0, *counts]).tolist()):
            rows = self._within.among(keys, *edge)
            if found and found[-1].stop == rows.start:
                rows = slice(found.pop().start, rows.stop)
            found.append(rows)
        return found

    def _held(self, column: pa.Array) -> pa.Array:
        held = [column[rows] for rows in self._rows]
        return held[0] if len(held) == 1 else pa.concat_arrays(held)

    def _of_groups(self, names: Collection[str]) -> dict[str, pa.Array]:
        """Read columns of whole row groups and the key, which is kept."""
        asked = sorted({*names, self._key} - self._kept.keys())
        if not asked:
            return self._kept
        labels = [name for name in asked if name in LABELS]
        with (
            readable(self._path),
            pq.ParquetFile(self._path, metadata=self._footer, read_dictionary=labels, **CHECKED) as file,
        ):
            rows = file.read_row_groups([group.place for group in self.groups], columns=asked, use_threads=False)
        found = self._kept | {name: one_chunk(rows[name]) for name in asked}
        self._kept = {self._key: found[self._key]}
        return found


def _groups(metadata: pq.FileMetaData) -> list[RowGroup]:
    place = metadata.schema.names.index("known_on")
    groups = []
    before: Counter[date] = Counter()
    for number, bounds in enumerate(user_bounds(metadata)):
        group = metadata.row_group(number)
        known_on = group.column(place).statistics.min
        groups.append(RowGroup(number, known_on, *bounds, before[known_on]))
        before[known_on] += group.num_rows
    return groups
