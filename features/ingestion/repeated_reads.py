"""A check that a source yields the same keys on every read; if not, each ingest would add its rows again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import duckdb

from configs.errors import InputError
from configs.settings import Settings
from features.ingestion.contract import CONTRACT, Table
from features.ingestion.row_repairs import repaired, row_repairs
from features.ingestion.validation import given_columns, typed_columns
from features.sources.source_script import BATCH, open_source, source_error, text_of
from features.sources.sql_tokens import called_functions, sql_tokens

CLOCK_WORDS = {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}
SAMPLES = {"tablesample", "sample"}
OF_THE_DAY = {"current_date", "today"}  # what is the same until midnight, and another then
CHANCE = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT'"


def check_repeats(
    connection: duckdb.DuckDBPyConnection, settings: Settings, script: Path, tables: Sequence[Table], now: datetime
) -> None:
    """Read the keys of a source a second time, as if on another day, where it calls chance or the clock.

    All others cost nothing. What is staged of a table holds every key of the first time; where a filter asks for the
    day, some may differ.

    Raises
    ------
    InputError
        The second time has keys that the first had not.
    """
    text = text_of(script)
    words = {token.word.lower() for token in sql_tokens(text)}
    named = {*called_functions(text), *(words & (CLOCK_WORDS | SAMPLES))}
    if not named & (CLOCK_WORDS | SAMPLES | {name for (name,) in connection.execute(CHANCE).fetchall()}):
        return
    try:
        with open_source(settings, script) as again:
            for name in sorted(OF_THE_DAY & named):
                again.execute(f"CREATE OR REPLACE MACRO {name}() AS DATE '2001-01-01'")
            for table in (table for table in CONTRACT if table in tables):
                read, others, example = _other_keys(again, connection, settings, table, now)
                if others > (read / 2 if named & OF_THE_DAY else 0):
                    raise InputError(
                        f"source {script} gives other keys each time that the same files are read ({others:,} of "
                        f"{read:,} {table.key} of {table.name}, such as {example!r}), so that every ingest would add "
                        "the rows again; make the key of what tells a row apart, such as md5 of its columns, and not "
                        "by chance or from the clock"
                    )
    except duckdb.Error as error:
        raise source_error(script, error) from error


def _other_keys(
    again: duckdb.DuckDBPyConnection, connection: duckdb.DuckDBPyConnection, settings: Settings, table: Table,
    now: datetime,
) -> tuple[int, int, str | None]:  # fmt: skip
    """Count the keys of the second time and those of them that the first had not, and give one."""
    types = {table.spelt(name): kind for name, kind, *_ in again.execute(f"DESCRIBE {table.name}").fetchall()}
    needed = [table.key] if table.key in types else [column.name for column in table.columns if column.required]
    types = {name: types[name] for name in needed}
    rows = again.execute(f"SELECT {given_columns(table, types)} FROM {table.name}")
    connection.register("given", rows.to_arrow_reader(BATCH))
    repairs = [each for each in row_repairs(table, types, settings, now) if each.column == table.key]
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE told_again AS
        SELECT {table.key} FROM ({repaired(f"SELECT {typed_columns(table, types)} FROM given", repairs)})
        WHERE {table.key} IS NOT NULL
    """)
    found = connection.execute(f"""
        SELECT (SELECT count(*) FROM told_again), count(*), min({table.key})
        FROM told_again ANTI JOIN staged_{table.name} USING ({table.key})
    """)
    return found.fetchall()[0]
