"""DuckDB over the data folder: bounded in memory, in the app's time zone, with a sentence for a damaged file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from configs.errors import InputError, first_line
from configs.settings import Settings
from features.storage.lake import literal
from features.storage.parquet_files import read_parquet

if TYPE_CHECKING:  # takes seconds to import, and most who read a file do not ask it
    from ibis.backends.duckdb import Backend

MEMORY_GIB = 2.0  # what one step may hold before it spills to the data folder
# what DuckDB raises for a file that is missing, cut short or damaged
UNREADABLE = (duckdb.IOException, duckdb.InvalidInputException, duckdb.Error)


def duckdb_limits(root: Path) -> dict[str, str | bool | int | float | list[str]]:
    """Keep a DuckDB's memory within bounds, and let it spill below the data folder `root`."""
    return {"memory_limit": f"{int(1024 * MEMORY_GIB)}MiB", "temp_directory": str(root / "tmp")}


@contextmanager
def duckdb_session(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an in-memory DuckDB in the configured time zone, and close it."""
    threads = {"threads": settings.threads} if settings.threads else {}
    connection = duckdb.connect(config={**duckdb_limits(settings.data_dir), **threads})
    try:
        connection.execute(f"SET TimeZone = '{settings.time_zone}'")
        with suppress(duckdb.InvalidInputException):  # notebooks without ipywidgets draw none, and refuse to be told so
            connection.execute("SET enable_progress_bar = false")  # standard output is for answers
        with named_when_unreadable(settings.data_dir):
            yield connection
    finally:
        connection.close()


@contextmanager
def named_when_unreadable(root: Path) -> Iterator[None]:
    """Turn what DuckDB says about a missing or damaged file below `root` into one sentence.

    Raises
    ------
    InputError
        DuckDB could not read a file inside the block.
    """
    try:
        yield
    except duckdb.Error as error:
        if type(error) not in UNREADABLE:
            raise
        place = "" if ".parquet" in str(error) else _first_unreadable(root)
        raise InputError(
            f"a file of {root} cannot be read ({first_line(error)}{place}); "
            "delete it and run the step that writes it again"
        ) from error


def _first_unreadable(root: Path) -> str:
    for path in sorted(root.rglob("*.parquet")):
        try:
            read_parquet(path)
        except InputError:
            return f": {path}"
    return ""


def ibis_engine(connection: duckdb.DuckDBPyConnection, settings: Settings) -> Backend:
    """Open a session for Ibis, which sets the time zone of the session to UTC: set it back."""
    import ibis

    engine = ibis.duckdb.from_connection(connection)
    connection.execute(f"SET TimeZone = '{settings.time_zone}'")
    return engine


def sql_text(text: object) -> str:
    """Quote a text for SQL; a path is written as a pattern for itself, since DuckDB reads paths as patterns.

    Examples
    --------
    >>> sql_text("Bob's data [1]"), sql_text(Path("Bob's data [1]"))
    ("'Bob''s data [1]'", "'Bob''s data [[]1]'")
    """
    written = literal(text) if isinstance(text, Path) else str(text)
    return "'" + written.replace("'", "''") + "'"
