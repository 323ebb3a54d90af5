"""Reading of a day's stored segments: rules, sizes, transitions between stages, memberships of one user."""

from __future__ import annotations

from datetime import date
from typing import Any

import pyarrow as pa

from configs.errors import InputError
from features.publishing.recovery import recovery_hint
from features.storage.lake import Lake
from features.tables.duckdb_sessions import sql_text
from features.tables.parquet_files import read_notes, read_parquet
from serving.memberships.day_rules import NOTE, DayRules
from serving.stored_days.day_tables import connect

SEGMENTS, CHANGES, SIZES, TRANSITIONS = "segments", "changes", "sizes", "transitions"
Row = dict[str, Any]


def segment_days(lake: Lake) -> list[date]:
    """Days of which it is kept who was in what, in order."""
    return lake.days(SEGMENTS)


def newest_segment_day(lake: Lake, until: date) -> date:
    """Newest day on or before `until` of which it is kept who was in what.

    Raises
    ------
    InputError
        There is none.
    """
    days = [day for day in segment_days(lake) if day <= until]
    if not days:
        raise InputError(f"{lake.root} holds no segments up to {until}; run winback score-users first")
    return days[-1]


def stored_name(day: date, table: str) -> str:
    """Name of the file of a table of a day's segments."""
    return f"{SEGMENTS}/day={day:%Y-%m-%d}/{table}.parquet"


def stored_source(lake: Lake, day: date, table: str) -> str:
    """Write the SQL source of a table of a day's segments.

    Raises
    ------
    InputError
        It is damaged, or gone.
    """
    name = stored_name(day, table)
    lake.files.check(name)
    return f"read_parquet({sql_text(lake.path(name))})"


def read_rules(lake: Lake, day: date) -> DayRules:
    """Read the rules by which a day was divided.

    Raises
    ------
    InputError
        The day has none, or the file is damaged, or another table.
    """
    name = stored_name(day, SEGMENTS)
    lake.files.check(name)
    path = lake.path(name)
    if not lake.files.exists(name):
        raise InputError(f"{lake.root} holds no segments of {day}; run winback score-users --as-of {day}")
    try:
        return DayRules.of_note(read_notes(path)[NOTE])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} does not say how its day was divided; {recovery_hint(path)}") from error


def read_rows(lake: Lake, day: date, table: str) -> list[Row]:
    """Read a small table of a day's segments; nothing where the day has none."""
    if not lake.files.exists(stored_name(day, table)):
        return []
    lake.files.check(stored_name(day, table))
    rows: pa.Table = read_parquet(lake.path(stored_name(day, table)))
    return list(rows.to_pylist())


def rows_of_user(lake: Lake, day: date, table: str, user_id: str) -> list[Row]:
    """Read what a table of a day's segments says of one user."""
    with connect(lake) as connection:
        source = stored_source(lake, day, table)
        found = connection.execute(f"SELECT * FROM {source} WHERE user_id = {sql_text(user_id)}")
        names = [name for name, *_ in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
