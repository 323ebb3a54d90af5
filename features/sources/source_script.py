"""Execution of the SQL file that maps an app's raw files, in a DuckDB that can read only these.

The script has a DuckDB of its own, so that its names cannot clash with those of winback. The rows of its views are
returned as Arrow.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import duckdb

from configs.errors import InputError, shortened
from configs.settings import Settings
from features.sources.guessed_types import check_guesses
from features.sources.source_limits import INTERRUPTED, interrupted_after, run_script, too_long, try_alone
from features.sources.sql_tokens import called_functions, sql_tokens
from features.tables.duckdb_sessions import OUT_OF_MEMORY, confined_session, memory_sentence

DEFINES_VIEW = re.compile(r"CREATE\s+(?:OR\s+REPLACE\s+)?(?:TEMP\w*\s+)?VIEW\s+([\w\"]+)", re.I)
# what a source may do: ask, and define for itself
STATEMENTS = ("SELECT", "CREATE", "DROP", "ALTER", "INSERT", "UPDATE", "DELETE", "MERGE_INTO")
SETS_VARIABLE = re.compile(r"SET\s+VARIABLE\b", re.I)
# table functions that read files or make rows; DuckDB has others, which log, profile or run texts
READERS = re.compile(
    "(read|parquet)_.*|(json|sniff)_(each|tree|csv)|glob|range|generate_series|repeat(_row)?|unnest|version|summary"
)
# scalar functions that wait, or end the process at a value that is nested deep
REFUSED = {"sleep_ms", "pg_sleep", "json_structure", "json_group_structure"}
BATCH = 100_000  # rows that cross at a time
DENIED = re.compile(r'Cannot access (?:file|directory) "(.+?)" - ')
CROSSED = re.compile(r"^.*?get_next failed\(\): (?:IOError: )*", re.S)  # what Arrow puts before what DuckDB said
REMEDY = "a source reads files and defines views, and does nothing else"


@contextmanager
def open_source(settings: Settings, script: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Run a source and keep its views open.

    It may read the folder of ``ingest.raw`` and what ``ingest.also_reads`` names.

    Raises
    ------
    InputError
        It cannot be read, it is not DuckDB's SQL, it does what a source may not, it takes longer than
        ``ingest.source_minutes``, or a file of it is missing or wrong.
    """
    raw, text = raw_folder(settings.ingest.raw), text_of(script)
    readable = [raw, *also_read(settings)]
    with (
        confined_session(settings, readable) as connection,
        interrupted_after(connection, settings.ingest.source_minutes),
    ):
        try:
            check_statements(connection, script, text)
            try_alone(settings, script, text, readable)
            run_script(connection, raw, text)
            check_guesses(connection, script, text)
        except duckdb.Error as error:
            raise source_error(script, error) from error
        yield connection


def raw_folder(raw: str) -> Path:
    """Resolve ``ingest.raw``; ``package:NAME/SUB`` is a folder inside an installed package.

    Raises
    ------
    InputError
        The folder or the package does not exist.
    """
    folder = Path(raw)
    if raw.startswith("package:"):
        package, _, inside = raw.removeprefix("package:").partition("/")
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):  # no name of a package
            spec = None
        if spec is None or spec.origin is None:
            raise InputError(f"ingest.raw = {shortened(raw)!r}: package {package!r} is not installed; install it")
        folder = Path(spec.origin).parent / inside
    if not _is_true(folder.is_dir):
        raise InputError(
            f"ingest.raw = {shortened(raw)!r} is not a folder; point it at the folder that holds the raw files"
        )
    return folder


def _is_true(ask: Callable[[], bool]) -> bool:
    try:
        return ask()
    except (OSError, ValueError):  # a name that nothing can have
        return False


def also_read(settings: Settings) -> list[Path]:
    """List what a source may read beside the raw folder.

    Raises
    ------
    InputError
        Something of it does not exist.
    """
    paths = [Path(name) for name in settings.ingest.also_reads]
    for path in paths:
        if not _is_true(path.exists):
            raise InputError(
                f"ingest.also_reads names {shortened(str(path))}, which there is not; mend the path or leave it out"
            )
    return paths


def defined_views(script: Path) -> list[str]:
    """Name the views that a source defines, by its text alone: nothing is read or run.

    Raises
    ------
    InputError
        It cannot be read, it is not DuckDB's SQL, or it does what a source may not.
    """
    text = text_of(script)
    with duckdb.connect(config={"enable_external_access": False}) as connection:
        try:
            statements = check_statements(connection, script, text)
        except duckdb.Error as error:
            raise source_error(script, error) from error
    return [found[1].strip('"') for each in statements if (found := DEFINES_VIEW.match(each))]


def text_of(script: Path) -> str:
    """Read a source.

    Raises
    ------
    InputError
        It cannot be read, or is no text.
    """
    try:
        text = script.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"source {script} cannot be read ({error}); check its permissions and encoding") from error
    if "\0" in text:
        raise InputError(f"source {script} holds NUL, where DuckDB stops to read; write it as UTF-8 text")
    return text


def check_statements(connection: duckdb.DuckDBPyConnection, script: Path, text: str) -> list[str]:
    """Cut a source into its statements, and refuse those that do more than ask and define.

    Raises
    ------
    InputError
        One writes, attaches, loads, sets or runs something.
    """
    statements = [(each.type.name, _without_comment(each.query)) for each in connection.extract_statements(text)]
    for kind, statement in statements:
        if kind not in STATEMENTS and not SETS_VARIABLE.match(statement):
            raise InputError(f"source {script} may not {kind}: {REMEDY}; leave that statement out")
    for name in called_functions(text):
        if name in _refused_functions():
            raise InputError(f"source {script} may not call {name}(): {REMEDY}; leave it out")
    return [statement for _, statement in statements]


@cache
def _refused_functions() -> frozenset[str]:
    """Name DuckDB's own functions that a source may not call; listing all that it has takes longer than a source."""
    with duckdb.connect(config={"enable_external_access": False}) as connection:
        own = connection.execute("SELECT function_name FROM duckdb_functions() WHERE function_type = 'table'")
        return frozenset(name for (name,) in own.fetchall() if not READERS.fullmatch(name)) | REFUSED


def _without_comment(statement: str) -> str:
    """Cut off the comments before a statement."""
    first = next(iter(sql_tokens(statement)), None)
    return statement.encode()[first.place :].decode() if first else ""


def source_error(script: Path, error: duckdb.Error) -> InputError:
    """Say in a sentence what DuckDB found, and below it the line and the place that it points at."""
    told = CROSSED.sub("", str(error)).strip()
    if INTERRUPTED in told:
        return too_long(script)
    if OUT_OF_MEMORY in told:
        return InputError(f"source {script} failed: {memory_sentence(error)}")
    if denied := DENIED.search(told):
        return InputError(
            f"source {script} may not read {denied[1]!r}: it reads the folder of ingest.raw and what ingest.also_reads "
            "names, nothing else; name the file or its folder there, or copy it"
        )
    what, *more = told.split("\n\n")
    file = re.search(r"^ *file = (.+)$", told, re.M)
    found = "; ".join([*what.splitlines(), *([f"file {file[1]}"] if file else [])])
    place = next((f"\n{each}" for each in more if each.startswith("LINE ")), "")
    return InputError(f"source {script} failed ({found}); mend the SQL or the raw file it names{place}")
