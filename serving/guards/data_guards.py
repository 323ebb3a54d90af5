"""Guards of a day's events: freshness, volume, missing and unknown values, schema, late events.

They read only the metadata of Parquet files, which count rows and missing values, and a few columns of the newest
day, of the same weekdays before it, and of the week before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq

from configs.guard_settings import Guard
from configs.settings import Settings
from features.arrays.calendar_days import start_of
from features.storage.lake import USERS_FILE, Lake
from features.tables.duckdb_sessions import duckdb_session, sql_text
from features.tables.parquet_files import column_names, readable
from serving.guards.guard_findings import PASSED, UNKNOWN, Finding, found_by

OUTLIER = 3.5  # of a modified z-score (Iglewicz & Hoaglin 1993)
MAD_OF_SD = 1.4826  # standard deviation of a normal distribution over its median absolute deviation
MISSED = 20.0  # events that would be expected: by chance none of them comes once in e^20 days
LATE_DAYS = 7


@dataclass(frozen=True)
class DayOfEvents:
    """What guards ask of one day: its events, how many of them lack each column, and how many have each name."""

    events: int = 0
    missing: Mapping[str, int] = field(default_factory=dict)
    names: Mapping[str, int] = field(default_factory=dict)

    def missing_share(self, column: str) -> float:
        """Share of the events that lack a column; all, where there is no such column."""
        return self.missing.get(column, self.events) / self.events

    def name_share(self, name: str) -> float:
        """Share of the events of one name."""
        return self.names.get(name, 0) / self.events


def data_guards(settings: Settings, lake: Lake, as_of: date) -> list[Finding]:
    """Ask every data guard that is not off about the day before `as_of`; one finding at least of each.

    Raises
    ------
    InputError
        A file of events cannot be read.
    """
    days = [day for day in lake.days("events") if day < as_of]
    if not days:
        return []
    guards, day = settings.guards, as_of - timedelta(days=1)
    weekdays = [day - timedelta(weeks=week) for week in range(1, guards.weeks + 1)]
    weekdays = [each for each in weekdays if each >= days[0]]
    with duckdb_session(settings) as connection:
        known = days_of_events(connection, lake, [each for each in (day, *weekdays) if each in days])
        today, usual = known.get(day, DayOfEvents()), [known.get(each, DayOfEvents()) for each in weekdays]
        asked: dict[str, Callable[[Guard], list[Finding]]] = {
            "freshness": lambda guard: freshness(days[-1], as_of, guard),
            "volume": lambda guard: volume(today.events, [each.events for each in usual], guard),
            "missing_values": lambda guard: missing_values(today, whole(usual), guard),
            "unknown_values": lambda guard: [
                *unknown_names(today, whole(usual), guard),
                *unknown_users(connection, lake, day, guard, guards.min_rows),
            ],
            "schema_change": lambda guard: [
                *schema_change(today, whole(usual), guard), *snapshot_change(lake, as_of, guard),
            ],
            "late_events": lambda guard: late_events(connection, lake, as_of, settings, guard),
        }  # fmt: skip
        found: list[Finding] = []
        for name, ask in asked.items():
            guard: Guard = getattr(guards, name)
            if guard.mode == "off":
                continue
            lack = [] if name == "freshness" else _lack(name, guard, settings, len(weekdays), today, whole(usual))
            found += lack or ask(guard) or [Finding(name, PASSED, guard.mode, guard.limit)]
    return found


def freshness(newest: date, as_of: date, guard: Guard) -> list[Finding]:
    """Ask whether events reach up to the day that is decided."""
    quiet = (as_of - newest).days - 1
    return found_by("freshness", guard, quiet > guard.limit, "quiet_days", str(newest), quiet)


def volume(events: int, usual: Sequence[int], guard: Guard) -> list[Finding]:
    """Ask whether a day has about as many events as the same weekdays before it.

    It fires where they are fewer than ``limit`` of the median, or more than the median over it, and lie outside what
    the weekdays differ by among themselves: a modified z-score above 3.5 (Iglewicz & Hoaglin 1993), whose spread is no
    less than that of counts by chance.
    """
    median = float(np.median(usual))
    spread = max(MAD_OF_SD * float(np.median(np.abs(np.array(usual) - median))), median**0.5)
    is_far = abs(events - median) > OUTLIER * spread
    is_other = events < guard.limit * median or events * guard.limit > median
    return found_by("volume", guard, is_far and is_other, "volume", "", events, median)


def missing_values(today: DayOfEvents, usual: Sequence[DayOfEvents], guard: Guard) -> list[Finding]:
    """Ask of every column whether it is missing more often than usual, and than on any of the weekdays."""
    found = []
    for column in today.missing:
        shares = [each.missing_share(column) for each in usual]
        share, median = today.missing_share(column), float(np.median(shares))
        is_fired = share > median + guard.limit and share > max(shares)
        found += found_by("missing_values", guard, is_fired, "missing_values", column, share, median)
    return found


def unknown_names(today: DayOfEvents, usual: Sequence[DayOfEvents], guard: Guard) -> list[Finding]:
    """Ask how many events have names that were never there on the weekdays."""
    known = {name for each in usual for name in each.names}
    new = {name: count for name, count in today.names.items() if name not in known}
    share, most = sum(new.values()) / today.events, max(new, key=lambda name: (new[name], name), default="")
    return found_by("unknown_values", guard, share > guard.limit, "unknown_names", most, share, 0.0)


def unknown_users(
    connection: duckdb.DuckDBPyConnection, lake: Lake, day: date, guard: Guard, min_rows: int
) -> list[Finding]:
    """Ask how many users of the day are in no row of the users table, beside a week before."""
    before = day - timedelta(weeks=1)
    if not (lake.files.exists(USERS_FILE) and lake.has_partition("events", before)):
        return []
    rows = _union(lake, {day: "1", before: "0"}, "user_id")
    known = f"read_parquet({sql_text(lake.path(USERS_FILE))})"
    counts = connection.execute(f"""
        SELECT of_day, count(*), count(*) FILTER (user_id NOT IN (SELECT user_id FROM {known}))
        FROM (SELECT DISTINCT of_day, user_id FROM ({rows})) GROUP BY of_day
    """).fetchall()
    shares = {of_day: unknown / users for of_day, users, unknown in counts if users >= min_rows}
    if len(shares) < 2:
        return []
    is_fired = shares[1] > shares[0] + guard.limit
    return found_by("unknown_values", guard, is_fired, "unknown_users", "", shares[1], shares[0])


def schema_change(today: DayOfEvents, usual: Sequence[DayOfEvents], guard: Guard) -> list[Finding]:
    """Ask which names and columns of events came or went; one went if 20 events at least should have had it."""

    def is_gone(shares: Sequence[float], is_there: bool) -> bool:
        return not is_there and min(shares) >= guard.limit and bool(np.median(shares) * today.events >= MISSED)

    found = []
    for name in sorted({name for each in usual for name in each.names}):
        shares = [each.name_share(name) for each in usual]
        gone = is_gone(shares, name in today.names)
        found += found_by("schema_change", guard, gone, "name_gone", name, 0.0, float(np.median(shares)))
    for column in sorted(today.missing):
        shares = [1 - each.missing_share(column) for each in usual]
        share = 1 - today.missing_share(column)
        gone, came = is_gone(shares, share > 0), max(shares) == 0 and share > guard.limit
        code = "column_gone" if gone else "column_came"
        found += found_by("schema_change", guard, gone or came, code, column, share, float(np.median(shares)))
    return found


def snapshot_change(lake: Lake, as_of: date, guard: Guard) -> list[Finding]:
    """Ask which columns, traits among them, came or went between the snapshot before and that of the day."""
    days = [day for day in lake.days("snapshots") if day <= as_of][-2:]
    if len(days) < 2 or days[-1] != as_of:
        return []
    before, now = (set(column_names(lake.partition("snapshots", day))) for day in days)
    return [
        finding
        for code, columns in (("snapshot_column_gone", before - now), ("snapshot_column_came", now - before))
        for column in sorted(columns)
        for finding in found_by("schema_change", guard, True, code, column)
    ]


def late_events(
    connection: duckdb.DuckDBPyConnection, lake: Lake, as_of: date, settings: Settings, guard: Guard
) -> list[Finding]:
    """Ask how many of the events that arrived on the day had happened on one of the seven days before it."""
    day = as_of - timedelta(days=1)
    first, last = (start_of(each, settings.time_zone) for each in (day, as_of))
    days = {day - timedelta(days=back): "1" if back == 0 else "0" for back in range(LATE_DAYS + 1)}
    arrived = f"coalesce(received_at, occurred_at) >= TIMESTAMPTZ '{first}'"
    arrived += f" AND coalesce(received_at, occurred_at) < TIMESTAMPTZ '{last}'"
    rows = _union(lake, days, "received_at, occurred_at")
    on_day, before = connection.execute(f"""
        SELECT count(*) FILTER (of_day = 1), count(*) FILTER (of_day = 0) FROM ({rows}) WHERE {arrived}
    """).fetchall()[0]  # fmt: skip
    if on_day + before < settings.guards.min_rows:
        return []
    share = before / (on_day + before)
    return found_by("late_events", guard, share > guard.limit, "late_events", "", share, 0.0)


def days_of_events(connection: duckdb.DuckDBPyConnection, lake: Lake, days: Sequence[date]) -> dict[date, DayOfEvents]:
    """Read what guards ask of some days, each of which has events."""
    if not days:
        return {}
    rows = _union(lake, {day: f"DATE '{day}'" for day in days}, "event_name")
    counts = connection.execute(f"SELECT of_day, event_name, count(*) FROM ({rows}) GROUP BY ALL ORDER BY ALL")
    names: dict[date, dict[str, int]] = {day: {} for day in days}
    for day, name, count in counts.fetchall():
        names[day][name] = count
    return {day: DayOfEvents(*_counted(lake.partition("events", day)), names[day]) for day in days}


def whole(days: Sequence[DayOfEvents]) -> list[DayOfEvents]:
    """Keep the days that had events."""
    return [day for day in days if day.events]


def _lack(
    name: str, guard: Guard, settings: Settings, weeks: int, today: DayOfEvents, usual: Sequence[DayOfEvents]
) -> list[Finding]:
    """Say why a guard cannot tell; how many events there are needs none, their shares do."""
    least, of = settings.guards, (name, UNKNOWN, guard.mode, guard.limit)
    found = weeks if name == "volume" else len(usual)
    if name != "late_events" and found < least.min_weeks:
        return [Finding(*of, "few_weeks", "", found, least.min_weeks)]
    if name != "volume" and today.events < least.min_rows:
        return [Finding(*of, "few_rows", "", today.events, least.min_rows)]
    return []


def _union(lake: Lake, days: Mapping[date, str], columns: str) -> str:
    """Write the SQL of the events of some days that there are, each with its own ``of_day``."""
    parts = [
        f"SELECT {mark} AS of_day, {columns} FROM read_parquet({sql_text(lake.partition('events', day))})"
        for day, mark in days.items()
        if lake.has_partition("events", day)
    ]
    return " UNION ALL ".join(parts)


def _counted(path: Path) -> tuple[int, dict[str, int]]:
    """Count the rows of a file and those that lack each column, by its footer."""
    missing: dict[str, int] = {}
    with readable(path):
        footer = pq.read_metadata(path)
    for group in range(footer.num_row_groups):
        for place in range(footer.num_columns):
            chunk = footer.row_group(group).column(place)
            known = chunk.statistics
            if known is not None and known.has_null_count:
                missing[chunk.path_in_schema] = missing.get(chunk.path_in_schema, 0) + known.null_count
    return footer.num_rows, missing
