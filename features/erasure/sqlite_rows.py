"""Erasure of users from the SQLite databases of MLflow, Prefect and Feast."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from configs.errors import InputError
from features.erasure.sought_ids import USER_COLUMNS, SoughtIds
from features.storage.sqlite_reads import WAITS_SECONDS, one_state
from features.tables.raw_bytes import begins_with

BEGINS = b"SQLite format 3\0"
ENTITY_KEY = "entity_key"  # Feast's online store: bytes that hold the id of the row's user


def is_database(path: Path) -> bool:
    """Tell whether a file is one of SQLite's, whatever it is called."""
    return begins_with(path, BEGINS)


def named_cells(path: Path, sought: SoughtIds) -> Iterator[tuple[str, int]]:
    """Count the cells of each column that name somebody.

    Raises
    ------
    ValueError
        It is no database.
    """
    try:
        with one_state(path) as database:
            _teach(database, sought)
            for table, column in _columns(database):
                count = f'SELECT count(*) FROM "{table}" WHERE {_names(column)}("{column}")'
                yield f"table {table}, column {column}", int(database.execute(count).fetchone()[0])
    except sqlite3.DatabaseError as error:
        raise ValueError(str(error)) from error


def erase_cells(path: Path, sought: SoughtIds) -> int:
    """Redact texts and delete rows of users, and leave nothing of them in free pages; returns how many cells.

    Raises
    ------
    InputError
        Another process is using the database.
    """
    try:
        with closing(sqlite3.connect(path, timeout=WAITS_SECONDS)) as database:
            _teach(database, sought)
            database.execute("PRAGMA secure_delete = ON")
            with database:
                changed = sum(_erase_column(database, table, column) for table, column in _columns(database))
            if changed:
                database.execute("VACUUM")
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return changed
    except sqlite3.OperationalError as error:
        raise InputError(
            f"{path} names somebody and cannot be changed ({error}); stop what uses it, such as winback schedule, and "
            "run the command again"
        ) from error


def _erase_column(database: sqlite3.Connection, table: str, column: str) -> int:
    where = f'WHERE {_names(column)}("{column}")'
    if column in (*USER_COLUMNS, ENTITY_KEY):
        return database.execute(f'DELETE FROM "{table}" {where}').rowcount
    is_text = f"""typeof("{column}") = 'text'"""  # bytes mean something to whoever wrote them
    return database.execute(f'UPDATE "{table}" SET "{column}" = redacted("{column}") {where} AND {is_text}').rowcount


def _names(column: str) -> str:
    return "is_user" if column in USER_COLUMNS else "is_naming"


def _columns(database: sqlite3.Connection) -> list[tuple[str, str]]:
    tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return [(table, row[1]) for (table,) in tables for row in database.execute(f'PRAGMA table_info("{table}")')]


def _teach(database: sqlite3.Connection, sought: SoughtIds) -> None:
    """Give a connection the functions by which cells are told apart."""

    def text_of(cell: object) -> str:
        return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else cell if isinstance(cell, str) else ""

    database.create_function("is_user", 1, lambda cell: text_of(cell) in sought.own, deterministic=True)
    database.create_function("is_naming", 1, lambda cell: sought.named_in(text_of(cell)), deterministic=True)
    database.create_function("redacted", 1, sought.redacted, deterministic=True)
