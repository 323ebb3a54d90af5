"""DuckDB sessions over the data folder: limited memory, the app's time zone, clear errors for damaged files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from configs.errors import InputError, first_line
from configs.settings import Settings
from features.publishing.recovery import recovery_hint
from features.storage.lake import Lake, literal
from features.storage.spill_folders import spill_folder
from features.tables.parquet_files import read_parquet

if TYPE_CHECKING:  # takes seconds to import, and most who read a file do not ask it
    from ibis.backends.duckdb import Backend

Config = dict[str, str | bool | int | float | list[str]]
SHARED: ContextVar[tuple[Path, duckdb.DuckDBPyConnection] | None] = ContextVar("shared", default=None)
WHOLE_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
OUT_OF_MEMORY = "Out of Memory Error"  # as DuckDB says it, also through Arrow
WHICH = "winback verify says which, and how to get it back"
# what DuckDB raises for a file that is missing, cut short or damaged
UNREADABLE = (duckdb.IOException, duckdb.InvalidInputException, duckdb.Error)


@contextmanager
def duckdb_session(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an in-memory DuckDB in the configured time zone, and close it."""
    with named_when_unreadable(settings.data_dir), _connected(settings) as connection:
        yield connection


@contextmanager
def reading_session(lake: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an in-memory DuckDB for a few questions to the files of a lake; a damaged one is named.

    Inside of `shared_reading` of that lake it is a session of its own in the database that is open already.
    """
    shared = SHARED.get()
    with named_when_unreadable(lake.root):
        if shared is not None and shared[0] == lake.root:
            with closing(shared[1].cursor()) as session:
                yield session
        else:
            with _bounded(lake.root, lake.memory_gib) as connection:
                yield connection


@contextmanager
def shared_reading(lake: Lake) -> Iterator[None]:
    """Open one DuckDB for all that is asked of a lake inside: opening one takes as long as many a question."""
    with _bounded(lake.root, lake.memory_gib) as connection:
        token = SHARED.set((lake.root, connection))
        try:
            yield
        finally:
            SHARED.reset(token)


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
    own: Config = {"autoload_known_extensions": False, "autoinstall_known_extensions": False}
    with _connected(settings, own) as connection:
        for name, value in wanted.items():
            connection.execute(f"SET {name} = {value}")
        yield connection


@contextmanager
def _bounded(root: Path, memory_gib: float, more: Config | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a DuckDB that spills below `root` what goes beyond its memory, in a folder of its own."""
    with spill_folder(root) as spill:
        limits: Config = {"memory_limit": f"{int(1024 * memory_gib)}MiB", "temp_directory": str(spill)}
        connection = duckdb.connect(config={**limits, **(more or {})})
        try:
            yield connection
        finally:
            connection.close()


@contextmanager
def _connected(settings: Settings, more: Config | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    threads: Config = {"threads": settings.threads} if settings.threads else {}
    with _bounded(settings.data_dir, settings.memory_gib, {**threads, **(more or {})}) as connection:
        try:
            connection.execute(f"SET TimeZone = '{settings.time_zone}'")
        except duckdb.Error as error:
            name = settings.time_zone
            raise InputError(f"DuckDB knows no time_zone {name!r}; write one such as 'Europe/Berlin'") from error
        with suppress(duckdb.InvalidInputException):  # notebooks without ipywidgets draw none, and refuse to be told so
            connection.execute("SET enable_progress_bar = false")  # standard output is for answers
        yield connection


@contextmanager
def named_when_unreadable(root: Path) -> Iterator[None]:
    """Turn what DuckDB says about a missing or damaged file below `root`, or about memory, into one sentence.

    Raises
    ------
    InputError
        DuckDB could not read a file inside the block, or its memory was not enough.
    """
    try:
        yield
    except (duckdb.Error, OSError) as error:
        if OUT_OF_MEMORY in str(error):
            raise InputError(memory_sentence(error)) from error
        if type(error) not in UNREADABLE:
            raise
        found = re.search(rf"{re.escape(str(root))}/[^\"']+?\.parquet", str(error))
        place = found[0] if found else _first_unreadable(root)
        told = f": {place}" if place and not found else ""
        raise InputError(
            f"a file of {root} cannot be read ({first_line(error)}{told}); {recovery_hint(place) if place else WHICH}"
        ) from error


def memory_sentence(error: Exception) -> str:
    """Say that a DuckDB may not hold what a step needs, and what to set.

    Examples
    --------
    >>> print(memory_sentence(duckdb.OutOfMemoryException("Out of Memory Error: failed to pin block")))
    DuckDB may not hold as much as this step needs (failed to pin block); set memory_gib higher or threads lower, and \
see that the disk of the data folder has room
    """
    told = str(error).partition(OUT_OF_MEMORY)[2].lstrip(": ").splitlines()
    return (
        f"DuckDB may not hold as much as this step needs ({(told or ['out of memory'])[0]}); set memory_gib higher or "
        "threads lower, and see that the disk of the data folder has room"
    )


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
