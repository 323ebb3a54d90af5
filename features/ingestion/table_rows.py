"""Merging of new rows into stored tables: which rows stay, which are new, and the files that they make."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb

from configs.progress import track
from configs.settings import Settings
from features.ingestion.contract import ALIASES, EVENTS, SQL_TYPES, TREATMENTS, Table
from features.ingestion.user_aliases import MERGED, in_merged
from features.storage.lake import USERS_FILE, Lake
from features.storage.storage_interface import Publication
from features.tables.duckdb_sessions import sql_text
from features.tables.parquet_files import read_parquet, split_by_day, write_parquet

FIRST_INSTANT, LAST_INSTANT = (f"TIMESTAMPTZ '{year:04}-01-01 00:00:00+00'" for year in (1, 9999))


@dataclass(frozen=True)
class DayRange:
    """Days from `first` to `last`, both included."""

    first: date = date.min
    last: date = date.max

    def has(self, day: date) -> bool:
        """Tell whether a day is one of them."""
        return self.first <= day <= self.last

    def holds(self, day: str) -> str:
        """Write the SQL that tells whether a day is one of them."""
        return f"{day} BETWEEN DATE '{self.first}' AND DATE '{self.last}'"


EVERY_DAY = DayRange()


def day_of(table: Table, settings: Settings) -> str:
    """Write the SQL for the day of a row; NULL where a table has none."""
    # there are instants beyond those that have a local time
    within = f"least(greatest({table.instant}, {FIRST_INSTANT}), {LAST_INSTANT})"
    return f"({within} AT TIME ZONE '{settings.time_zone}')::DATE" if table.instant else "NULL::DATE"


def kept_rows(settings: Settings, lake: Lake, table: Table, replacing: DayRange | None) -> str:
    """Write the SELECT of the rows that the lake holds and that stay, each as of who it turned out to be."""
    rows = stored_rows(lake, table)
    if replacing is not None and table.instant is not None:
        rows = f"SELECT * FROM ({rows}) WHERE NOT ({replacing.holds(day_of(table, settings))})"
        own = [sql_text(lake.path(name)) for name in lake.files.list("ledger/day=*/*.parquet")]
        if table is TREATMENTS and own:  # decisions of winback's own, which no source tells
            rows += f" OR decision_id IN (SELECT decision_id FROM read_parquet([{', '.join(own)}]))"
    return in_merged(rows, table)


def new_rows(table: Table) -> str:
    """Write the SELECT of the checked rows that the lake is to get."""
    return f"SELECT * EXCLUDE (reason, is_known) FROM checked_{table.name} WHERE reason IS NULL AND NOT is_known"


def good_rows(table: Table) -> str:
    """Write the SELECT of the checked rows that break nothing, whether the lake knows them or not."""
    return f"SELECT * FROM checked_{table.name} WHERE reason IS NULL"


def rows_to_be(settings: Settings, lake: Lake, table: Table) -> str:
    """Write the SELECT of all rows that the lake will have of a table once the checked ones are in it."""
    return (
        f"SELECT * EXCLUDE (day) FROM ({new_rows(table)}) UNION ALL BY NAME ({kept_rows(settings, lake, table, None)})"
    )


def stored_rows(lake: Lake, table: Table) -> str:
    """Write the SELECT of the rows that the lake already holds."""
    if table.instant is None and lake.files.exists(USERS_FILE):
        return f"SELECT * FROM read_parquet({sql_text(lake.path(USERS_FILE))})"
    if table is TREATMENTS and lake.days(table.name):  # older files lack what experiments say
        typed = ", ".join(f"NULL::{SQL_TYPES[column.kind]} AS {column.name}" for column in table.columns)
        given = f"{sql_text(lake.glob(table.name))}, hive_partitioning = false, union_by_name = true"
        return f"SELECT * FROM (SELECT {typed}) WHERE false UNION ALL BY NAME SELECT * FROM read_parquet({given})"
    if table.instant is not None and lake.days(table.name):
        return f"SELECT * FROM read_parquet({sql_text(lake.glob(table.name))}, hive_partitioning = false)"
    return f"SELECT * EXCLUDE (day, reason) FROM staged_{table.name} LIMIT 0"


def refused_rows(table: Table) -> str:
    """Write the SELECT of the rows that break the contract, with their reasons."""
    return f"""
        SELECT * FROM (SELECT * FROM staged_{table.name} UNION ALL BY NAME
                       SELECT * EXCLUDE (is_known) FROM checked_{table.name}) WHERE reason IS NOT NULL
    """


def row_count(connection: duckdb.DuckDBPyConnection, source: str) -> int:
    """Count the rows of whatever may stand after FROM."""
    row = connection.execute(f"SELECT count(*) FROM {source}").fetchone()
    return int(row[0]) if row else 0


def write_new(
    connection: duckdb.DuckDBPyConnection, settings: Settings, lake: Lake, publication: Publication, table: Table,
    replacing: DayRange | None,
) -> None:  # fmt: skip
    """Write the new rows of a dated table, and with them the rows that stay of every file they belong to."""
    kept, day = kept_rows(settings, lake, table, replacing), day_of(table, settings)
    changed = f"SELECT day, user_id FROM ({new_rows(table)})"
    if table is not ALIASES and row_count(connection, MERGED):
        changed += f""" UNION ALL SELECT {day}, user_id FROM ({stored_rows(lake, table)})
                        WHERE user_id IN (SELECT old_user_id FROM {MERGED})"""
    stored = set(lake.days(table.name))
    found = connection.execute(f"SELECT DISTINCT day FROM ({changed})").fetchall()
    days = {each for (each,) in found} | {each for each in stored if replacing and replacing.has(each)}
    # what stays of a day is written again, and must be what was written before
    read = {each for each in days if table is not EVENTS or not (replacing and replacing.has(each))}
    lake.files.check(*(lake.partition_name(table.name, each) for each in sorted(read)))
    wanted = ", ".join(f"DATE '{each}'" for each in sorted(days)) or "NULL"
    rows = connection.execute(f"""
        {new_rows(table)} UNION ALL BY NAME SELECT * FROM (SELECT *, {day} AS day FROM ({kept})) WHERE day IN ({wanted})
        ORDER BY day, user_id, {table.instant}, {table.key}
    """)
    for each, part in track(split_by_day(rows.to_arrow_reader(1_000_000)), f"writing {table.name}"):
        write_parquet(part, publication.path(lake.partition_name(table.name, each)))
        days.discard(each)
    for each in days & stored:
        publication.folder(f"{table.name}/day={each}")


def write_quarantine(
    connection: duckdb.DuckDBPyConnection, lake: Lake, publication: Publication, table: Table, script: Path,
    replacing: DayRange | None,
) -> None:  # fmt: skip
    """Add the refused rows to those refused before; the same row again is the same row."""
    name = f"quarantine/{script.stem}/{table.name}.parquet"
    path, is_kept = lake.path(name), lake.files.exists(name) and replacing != EVERY_DAY
    if is_kept:
        lake.files.check(name)
    before = f"UNION ALL BY NAME SELECT * FROM read_parquet({sql_text(path)})" if is_kept else ""
    refused = f"SELECT DISTINCT * FROM (SELECT * EXCLUDE (day) FROM ({refused_rows(table)}) {before}) ORDER BY ALL"
    rows = connection.execute(refused).to_arrow_table()
    if len(rows) and (not before or len(rows) > read_parquet(path).num_rows):
        write_parquet(rows, publication.path(name))
