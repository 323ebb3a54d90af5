"""DuckDB over the data folder: bounded in memory, in the app's time zone, with a sentence for a damaged file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from configs.errors import InputError, first_line
from configs.settings import Settings
from features.publishing.way_back import way_back
from features.storage.lake import literal
from features.storage.local_folder import SOURCE_SPILL, SPILL
from features.storage.parquet_files import read_parquet

if TYPE_CHECKING:  # takes seconds to import, and most who read a file do not ask it
    from ibis.backends.duckdb import Backend

Config = dict[str, str | bool | int | float | list[str]]
WHOLE_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
MEMORY_GIB = 2.0  # what one step may hold before it spills to the data folder
WHICH = "winback verify says which, and how to get it back"
# what DuckDB raises for a file that is missing, cut short or damaged
UNREADABLE = (duckdb.IOException, duckdb.InvalidInputException, duckdb.Error)


def duckdb_limits(root: Path) -> Config:
    """Keep a DuckDB's memory within bounds, and let it spill below the data folder `root`."""
    return {"memory_limit": f"{int(1024 * MEMORY_GIB)}MiB", "temp_directory": str(root / SPILL)}


@contextmanager
def duckdb_session(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an in-memory DuckDB in the configured time zone, and close it."""
    with _connected(settings, duckdb_limits(settings.data_dir)) as connection, named_when_unreadable(settings.data_dir):
        yield connection


@contextmanager
def confined_session(settings: Settings, readable: Sequence[Path]) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a DuckDB for SQL of other people: it reads these folders and files alone, and no setting can be changed.

    It loads no extension, opens no connection and sees no variable of Python's. Its statements are not held here:
    what could write into a readable folder must be refused before it is run.
    """
    spelt = {path: ", ".join({sql_text(str(path.absolute())), sql_text(path.absolute())}) for path in readable}
    wanted = {
        "allowed_directories": f"[{', '.join(each for path, each in spelt.items() if path.is_dir())}]",
        "allowed_paths": f"[{', '.join(each for path, each in spelt.items() if not path.is_dir())}]",
        "python_enable_replacements": "false",
        "enable_external_access": "false",
        "lock_configuration": "true",
    }
    own = {"autoload_known_extensions": False, "autoinstall_known_extensions": False}
    own_spill = {"temp_directory": str(settings.data_dir / SOURCE_SPILL)}  # two DuckDBs may not share a folder
    with _connected(settings, {**duckdb_limits(settings.data_dir), **own, **own_spill}) as connection:
        for name, value in wanted.items():
            connection.execute(f"SET {name} = {value}")
        yield connection


@contextmanager
def _connected(settings: Settings, limits: Config) -> Iterator[duckdb.DuckDBPyConnection]:
    threads = {"threads": settings.threads} if settings.threads else {}
    connection = duckdb.connect(config={**limits, **threads})
    try:
        try:
            connection.execute(f"SET TimeZone = '{settings.time_zone}'")
        except duckdb.Error as error:
            name = settings.time_zone
            raise InputError(f"DuckDB knows no time_zone {name!r}; write one such as 'Europe/Berlin'") from error
        with suppress(duckdb.InvalidInputException):  # notebooks without ipywidgets draw none, and refuse to be told so
            connection.execute("SET enable_progress_bar = false")  # standard output is for answers
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
        found = re.search(rf"{re.escape(str(root))}/[^\"']+?\.parquet", str(error))
        place = found[0] if found else _first_unreadable(root)
        told = f": {place}" if place and not found else ""
        raise InputError(
            f"a file of {root} cannot be read ({first_line(error)}{told}); {way_back(place) if place else WHICH}"
        ) from error


def _first_unreadable(root: Path) -> str:
    for path in sorted(root.rglob("*.parquet")):
        try:
            read_parquet(path)
        except InputError:
            return str(path)
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
