"""The tables of a decided day: their paths, and connections to query them; imports no model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import duckdb

from configs.errors import InputError
from features.storage.lake import Lake
from features.tables.duckdb_sessions import reading_session, sql_text
from features.tables.parquet_files import column_names

NEWEST_COLUMN = "benefit"  # of the decisions: older ones lack it
FORMULA = r"^([=+@\t\r]|-[^0-9])"  # what a spreadsheet would compute (OWASP, CSV injection)
CAUSES = ("p_voluntary", "p_involuntary")  # of predictions, where users have contracts
SEND_LISTS = "send_lists"  # folder of who is to be written to, by day


def day_folder(lake: Lake, as_of: date) -> Path:
    """Folder that holds predictions, options and decisions of a day."""
    return lake.path("decisions", f"day={as_of:%Y-%m-%d}")


def day_file(lake: Lake, as_of: date, name: str) -> Path:
    """File of a table of a day, which is compared with what was written.

    Raises
    ------
    InputError
        It is damaged, or gone.
    """
    path = day_folder(lake, as_of) / f"{name}.parquet"
    lake.files.check(path.relative_to(lake.root).as_posix())
    return path


def columns_of_day(lake: Lake, as_of: date, name: str) -> list[str]:
    """Columns of a table of a day; none where the day lacks it, as an older winback decided it."""
    path = day_file(lake, as_of, name)
    return column_names(path) if lake.files.exists(path.relative_to(lake.root).as_posix()) else []


def decided_days(lake: Lake) -> list[date]:
    """Days that have decisions, in order."""
    return lake.days("decisions")


def newest_decided_day(lake: Lake, until: date) -> date:
    """Newest day on or before `until` with decisions.

    Raises
    ------
    InputError
        There is none.
    """
    days = [day for day in decided_days(lake) if day <= until]
    if not days:
        raise InputError(f"{lake.root} holds no decisions up to {until}; run winback score-users first")
    return days[-1]


def decisions_source(lake: Lake, as_of: date) -> str:
    """Write the SQL source of a day's decisions.

    Raises
    ------
    InputError
        The day has none, they are damaged, or an older winback made them.
    """
    if as_of not in decided_days(lake):
        raise InputError(f"there are no decisions of {as_of} in {lake.root}; run winback score-users --as-of {as_of}")
    path = day_file(lake, as_of, "decisions")
    if NEWEST_COLUMN not in column_names(path):
        raise InputError(
            f"the decisions of {as_of} in {lake.root} were made by an older winback (they have no {NEWEST_COLUMN}); "
            f"run winback score-users --as-of {as_of}, which makes them anew (with --supersede REASON)"
        )
    return f"read_parquet({sql_text(path)})"


@contextmanager
def connect(lake: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open DuckDB for a few questions to the lake; a damaged file is named.

    Raises
    ------
    InputError
        A file of the lake could not be read inside the block.
    """
    with reading_session(lake) as connection:
        yield connection


def spreadsheet_text(column: str) -> str:
    """Write the SQL of a text column in which what a spreadsheet would compute has an apostrophe before it.

    Examples
    --------
    >>> duckdb.sql(f"SELECT {spreadsheet_text('a')} FROM (VALUES ('=1+1'), ('-5')) AS t (a)").fetchall()
    [("'=1+1",), ('-5',)]
    """
    return rf"regexp_replace({column}, '{FORMULA}', '''\1')"
