"""Rows of erased users and of days past their retention period: they are left out and counted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import duckdb

from configs.settings import Settings
from features.ingestion.contract import ALIASES, Table
from features.storage.lake import Lake
from features.storage.storage_interface import Publication
from features.suppression.suppression_list import FORGOTTEN, enter, hash_of_id, read_list
from features.tables.removed_days import first_kept_days

LEFT_OUT = "forgotten_users"  # ids of the staged rows, until when what they did is left out, and whether that is news
THEIRS, EXPIRED = "of forgotten users", "of days that retention has removed"
MIDNIGHT = "({until}::TIMESTAMP AT TIME ZONE '{time_zone}')"


def leave_out_forgotten(
    connection: duckdb.DuckDBPyConnection, settings: Settings, lake: Lake, tables: Sequence[Table]
) -> dict[Table, dict[str, int]]:
    """Take rows of forgotten users, and of days that retention removed, out of the staged ones.

    Returns how many of which kind, by table.

    An id that the source says to be one of a forgotten user's is theirs. After a new consent, what somebody did before
    it stays left out.

    Raises
    ------
    InputError
        The suppression list cannot be read, or was written with another key.
    """
    expired = {table: _leave_out_expired(connection, lake, table) for table in tables}
    found = read_list(lake)
    if found is None:
        return {table: {EXPIRED: count} for table, count in expired.items()}
    connection.register("suppression_list", found)
    ids = " UNION ALL ".join(f"SELECT {name} AS user_id FROM staged_{t.name}" for t in tables for name in _users(t))
    connection.execute(f"""
        CREATE TEMP TABLE {LEFT_OUT} AS
        SELECT asked.user_id, until, false AS is_new
        FROM (SELECT DISTINCT user_id FROM ({ids}) WHERE user_id IS NOT NULL) AS asked
        JOIN suppression_list ON user_hash = {hash_of_id(lake, connection, "asked.user_id")} AND reason = '{FORGOTTEN}'
    """)
    if ALIASES in tables:
        _add_old_ids(connection)
    forgotten = {table: _left_out(connection, settings, table) for table in tables}
    return {table: {THEIRS: forgotten[table], EXPIRED: expired[table]} for table in tables}


def enter_old_ids(
    connection: duckdb.DuckDBPyConnection, lake: Lake, publication: Publication, today: date
) -> list[str]:
    """Put ids on the list that turned out to be a forgotten user's, so that later deliveries need not say so again.

    Returns what people should be told of it.
    """
    if not connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = $1", [LEFT_OUT]).fetchone():
        return []
    new = connection.execute(f"SELECT DISTINCT user_id FROM {LEFT_OUT} WHERE is_new").fetchall()
    if not new:
        return []
    enter(lake, publication, [user_id for (user_id,) in new], FORGOTTEN, today)
    return [
        f"{len(new):,} ids turned out to be those of forgotten users, and are forgotten from now on; "
        "winback forget --listed takes out what was held of them before"
    ]


def _leave_out_expired(connection: duckdb.DuckDBPyConnection, lake: Lake, table: Table) -> int:
    kept_from = first_kept_days(lake).get(table.name)
    if kept_from is None:
        return 0
    found = connection.execute(f"DELETE FROM staged_{table.name} WHERE day < $1", [kept_from]).fetchone()
    return int(found[0]) if found else 0


def _users(table: Table) -> list[str]:
    return [column.name for column in table.columns if column.name in ("user_id", "old_user_id")]


def _add_old_ids(connection: duckdb.DuckDBPyConnection) -> None:
    """Follow the staged aliases from forgotten users to their old ids, step by step."""
    while True:
        added = connection.execute(f"""
            INSERT INTO {LEFT_OUT} SELECT DISTINCT old_user_id, until, true FROM staged_aliases
            JOIN {LEFT_OUT} USING (user_id)
            WHERE until IS NULL AND old_user_id IS NOT NULL AND old_user_id NOT IN (SELECT user_id FROM {LEFT_OUT})
        """).fetchone()
        if not added or not added[0]:
            return


def _left_out(connection: duckdb.DuckDBPyConnection, settings: Settings, table: Table) -> int:
    """Delete what is left out of the staged rows of a table; who is back has a row of users again."""
    before = MIDNIGHT.format(until="until", time_zone=settings.time_zone)
    holds = f"until IS NULL OR {table.instant} < {before}" if table.instant else "until IS NULL"
    is_theirs = " OR ".join(f"{LEFT_OUT}.user_id = staged.{name}" for name in _users(table))
    found = connection.execute(f"""
        DELETE FROM staged_{table.name} AS staged USING {LEFT_OUT} WHERE ({is_theirs}) AND ({holds})
    """).fetchone()
    return int(found[0]) if found else 0
