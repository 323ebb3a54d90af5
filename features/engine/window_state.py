"""Window state: what is kept about each user from one snapshot to the next, every window of every declared column.

Between two snapshots a daily row becomes known, grows older, and leaves what it is too old for; only rows to which one
of these happened are looked at. A state from nothing is the same work, in which every row becomes known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from features.arrays.array_types import Array, Flags, Integers
from features.arrays.calendar_days import days_since_1970
from features.arrays.group_by import run_starts
from features.definitions.registry import ALWAYS, LONGEST, Declarations, Kind, Windowed
from features.definitions.snapshot_features import DECLARED
from features.definitions.watermark import known_before
from features.tables.fingerprints import Fingerprint

NEVER = -(2**15)  # a day that was not, in few bytes
ROUND = 384  # days of a calendar that goes round: whole bytes, and longer than the longest window
ACTIVE, LAST_ACTIVE = "days_since_first_activity", "days_since_last_activity"
USERS_AT_ONCE = 32_768


@dataclass(frozen=True)
class Change:
    """Daily rows of one day and day of becoming known: their age in days at two snapshots, None while unknown."""

    day: date
    known_on: date
    before: int | None
    after: int | None

    @property
    def number(self) -> int:
        """The day, counted from 1970."""
        return days_since_1970(self.day)

    def bands(self, windows: tuple[int, ...]) -> tuple[int | None, int | None]:
        """Shortest window that holds the rows at either snapshot, None of no window."""
        return band(self.before, windows), band(self.after, windows)

    def is_move(self, windows: tuple[int, ...]) -> bool:
        """Whether the rows enter or leave a window."""
        before, after = self.bands(windows)
        return before != after

    def moves(self, declared: Declarations) -> list[Move]:
        """List the declared columns of which the rows enter or leave a window; a largest value only gains rows."""
        found = (Move(each, *self.bands(each.windows)) for each in declared.windowed.values() if each.counts(self.day))
        return [each for each in found if each.before != each.after and (each.before is None or each.kind != "max")]


class Move(NamedTuple):
    """A declared column, and the shortest of its windows that holds some rows at two snapshots, None of no window."""

    declared: Windowed
    before: int | None
    after: int | None

    @property
    def kind(self) -> Kind:
        """What a window makes of rows."""
        return self.declared.kind

    @property
    def columns(self) -> list[str]:
        """Columns of daily rows that it rests on."""
        return _columns_of(self.declared)


def changes(
    fingerprints: Mapping[date, Fingerprint], since: date | None, today: date, declared: Declarations = DECLARED
) -> list[Change]:
    """List the rows that are in another window than in the snapshot of `since` (None: before all rows).

    New ones come last, later days before earlier ones.
    """
    ages = [
        Change(day, known_on, age(day, known_on, since) if since else None, age(day, known_on, today))
        for day, fingerprint in fingerprints.items()
        for known_on in fingerprint.digests
    ]
    edges = (*declared.window_edges(), ALWAYS)
    found = [each for each in ages if each.is_move(edges)]
    return sorted(found, key=lambda each: (each.before is None, -each.number, each.known_on))


def age(day: date, known_on: date, as_of: date) -> int | None:
    """Age of rows at the start of a day (yesterday is 1 day old), None where they are not known yet."""
    return (as_of - day).days if known_before(as_of, day, known_on) else None


def band(days: int | None, windows: tuple[int, ...]) -> int | None:
    """Shortest window that holds rows of an age."""
    return None if days is None else next((window for window in windows if days <= window), None)


class DailyRows:
    """Daily rows of one change: the place of each row's user, and columns as attributes."""

    def __init__(self, users: Integers, columns: Mapping[str, Array]) -> None:
        self.users, self._columns = users, columns

    def __getattr__(self, name: str) -> Array:
        return self._columns[name]


class WindowState:
    """What the daily rows say about users at a snapshot: one array per column, shape (users,).

    The column of a sum holds what its window adds to the next shorter one. The column of a last or first time holds
    the day, counted from 1970 (`NEVER` where there is none); a first time has a calendar beside it: a bit per day,
    and a column for each eight days on which something happened to somebody.
    """

    def __init__(self, users: int, declared: Declarations) -> None:
        self._firsts = declared.of_kind("first")
        self.columns: dict[str, Array] = {"first_day": np.full(users, NEVER, np.int32)}
        for each in declared.of_kind("sum"):
            number = np.int64 if each.scale > 1 else np.int32
            self.columns |= {name: np.zeros(users, number) for name in each.columns}
        for each in (*declared.of_kind("last"), *self._firsts):
            self.columns[each.name] = np.full(users, NEVER, np.int32)
        self.columns |= {each.name: np.zeros(users, np.int8) for each in declared.of_kind("ever")}
        self.columns |= {name: np.zeros(users, np.int32) for name in ("gap_squares", "gap_days_max")}
        self._has_moved = np.zeros(users, bool)

    def restore(self, places: Integers, columns: Mapping[str, Array], kept: Flags) -> None:
        """Set the states of those users of the checkpoint that are kept, whose places come in order."""
        is_kept = np.zeros(len(self._has_moved), bool)
        is_kept[places] = True
        for name, values in columns.items():
            self._column(name)[is_kept] = values[kept]  # by flags: NumPy copies at once, by places one by one

    def apply(self, change: Change, moves: Iterable[Move], rows: DailyRows) -> None:
        """Let rows become known or grow older; a row's user occurs once."""
        if change.before is None:
            first_day = self.columns["first_day"]
            seen = first_day[rows.users]
            first_day[rows.users] = np.where(seen == NEVER, change.number, np.minimum(seen, change.number))
        for move in moves:
            if move.kind in APPLY:
                APPLY[move.kind](self, move, change.number, rows)

    def _add(self, move: Move, _: int, rows: DailyRows) -> None:
        values = move.declared.of(rows)
        there = np.flatnonzero(values != 0)
        users, values = rows.users[there], values[there]
        if move.before:
            self.columns[move.declared.column(move.before)][users] -= values
        if move.after:
            self.columns[move.declared.column(move.after)][users] += values

    def _see_last(self, move: Move, day: int, rows: DailyRows) -> None:
        users = rows.users[np.flatnonzero(move.declared.of(rows))]
        column = self.columns[move.declared.name]
        last = column[users]
        column[users] = np.maximum(last, day) if move.after else np.where(last == day, NEVER, last)

    def _see_ever(self, move: Move, _: int, rows: DailyRows) -> None:
        self.columns[move.declared.name][rows.users[np.flatnonzero(move.declared.of(rows))]] = 1

    def _mark(self, move: Move, day: int, rows: DailyRows) -> None:
        users = rows.users[np.flatnonzero(move.declared.of(rows))]
        byte, place = divmod(day % ROUND, 8)
        bit = np.uint8(1 << place)
        calendar = self._column(calendar_of(move.declared, byte))
        calendar[users] = calendar[users] | bit if move.after else calendar[users] & ~bit
        self._has_moved[users] = True

    def finalise(self, today: date) -> None:
        """Read the calendars of users whose days changed: the first day, and the pauses between days."""
        oldest = days_since_1970(today) - LONGEST
        moved = np.flatnonzero(self._has_moved)
        for users in np.split(moved, range(USERS_AT_ONCE, len(moved), USERS_AT_ONCE)):
            for each in self._firsts:
                self._read_calendar(each, users, oldest)
        self._has_moved[:] = False

    def _read_calendar(self, declared: Windowed, users: Integers, oldest: int) -> None:
        names = [calendar_of(declared, byte) for byte in range(ROUND // 8)]
        calendars = {byte: self.columns[name][users] for byte, name in enumerate(names) if name in self.columns}
        user, day = _marked_days(calendars, len(users), oldest)
        starts = run_starts(user)
        self.columns[declared.name][users] = _spread(day[starts], user[starts], len(users), NEVER)
        if declared.name == ACTIVE and len(starts):
            gaps = np.diff(day, prepend=0)
            gaps[starts] = 0
            squares, largest = np.add.reduceat(gaps * gaps, starts), np.maximum.reduceat(gaps, starts)
            self.columns["gap_squares"][users] = _spread(squares, user[starts], len(users), 0)
            self.columns["gap_days_max"][users] = _spread(largest, user[starts], len(users), 0)

    def _column(self, name: str) -> Array:
        """Find a column; of a calendar it is there from its first mark on."""
        if name not in self.columns:
            self.columns[name] = np.zeros(len(self._has_moved), np.uint8)
        return self.columns[name]


APPLY = {
    "sum": WindowState._add,
    "last": WindowState._see_last,
    "first": WindowState._mark,
    "ever": WindowState._see_ever,
}


def behaviour(states: Mapping[str, Array], today: date, declared: Declarations) -> dict[str, Array]:
    """Compute the columns of a snapshot that rest on sums, last and first times: floats, NaN where one is missing."""
    found: dict[str, Array] = {}
    for each in declared.of_kind("sum"):
        so_far = accumulate(states[name].astype(float) for name in each.columns)
        found |= {
            name: total / each.scale if each.scale > 1 else total
            for name, total in zip(each.columns, so_far, strict=True)
        }
    for each in (*declared.of_kind("last"), *declared.of_kind("first")):
        day = states[each.name]
        found[each.name] = np.where(day == NEVER, np.nan, days_since_1970(today) - day.astype(float))
    found |= {each.name: states[each.name].astype(float) for each in declared.of_kind("ever")}
    gaps = found["active_days_count_365d"] - 1.0
    days = found[ACTIVE] - found[LAST_ACTIVE]
    pairs = np.where(gaps > 1.0, gaps * (gaps - 1.0), np.nan)
    found["gap_days_std_365d"] = np.sqrt((gaps * states["gap_squares"] - days * days) / pairs)
    found["gap_days_max_365d"] = np.where(gaps > 0.0, states["gap_days_max"], np.nan)
    return found


@cache
def _columns_of(declared: Windowed) -> list[str]:
    """Find the columns that a declaration reads, by letting it read."""
    asked: dict[str, Array] = defaultdict(lambda: np.zeros(0, np.int64))
    declared.of(DailyRows(np.zeros(0, np.int64), asked))
    return list(asked)


def calendar_of(declared: Windowed, byte: int) -> str:
    """Name the column with eight days of the calendar of a ``first_seen``."""
    return f"{declared.name}_calendar_{byte}"


def _marked_days(calendars: Mapping[int, Array], users: int, oldest: int) -> tuple[Integers, Integers]:
    """Read calendars, by byte of the round: the user and the number of each marked day, in order.

    No marked day lies before the oldest day.
    """
    first_byte, first_bit = divmod(oldest % ROUND, 8)
    by_age = {(byte - first_byte) % (ROUND // 8): calendar for byte, calendar in calendars.items()}
    low, high = min(by_age, default=0), max(by_age, default=0) + 1  # a young history leaves most of the year empty
    in_order = np.zeros((users, high - low), np.uint8)
    for place, calendar in by_age.items():
        in_order[:, place - low] = calendar
    marked = np.flatnonzero(np.unpackbits(in_order, axis=1, bitorder="little"))
    user = marked // (8 * (high - low))
    return user, marked - user * (8 * (high - low)) + (oldest - first_bit + 8 * low)


def _spread(values: Array, users: Integers, count: int, missing: int) -> Array:
    """Give each of `count` users its value."""
    found = np.full(count, missing)
    found[users] = values
    return found
