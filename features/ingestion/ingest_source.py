"""Raw files to contract tables: one SQL file maps them, every row is checked, nothing is lost or taken twice."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from configs.errors import InputError
from configs.progress import track
from configs.settings import FOLDER, Settings, named_file
from features.ingestion.contract import CONTRACT, EVENTS, Table
from features.ingestion.validation import check_columns, fault_of_row, text_instants, typed_columns
from features.storage.duckdb_sessions import duckdb_session, first_line, sql_text
from features.storage.lake import USERS_FILE, Lake
from features.storage.parquet_files import ROW_GROUP_ROWS, read_parquet, split_by_day, write_parquet

# comments, CREATE, and what may stand between it and the view's name
DEFINES_VIEW = re.compile(r"(?:--[^\n]*\n|\s)*CREATE\s+(?:OR\s+REPLACE\s+)?(?:TEMP\w*\s+)?VIEW\s+([\w\"]+)", re.I)


NO_EVENTS = "source {script} defines no view 'events'; write CREATE VIEW events AS SELECT …"


@dataclass(frozen=True)
class TableIngest:
    """What became of one table's rows: ``read = added + unchanged + duplicates + quarantined``."""

    table: str
    read: int
    added: int
    unchanged: int
    duplicates: int
    quarantined: int
    reasons: dict[str, int]


def ingest_source(settings: Settings, lake: Lake, now: datetime) -> list[TableIngest]:
    """Bring the configured source into the lake; running it again changes nothing.

    Parameters
    ----------
    settings
        ``ingest.source`` names the SQL file, ``ingest.raw`` the folder it reads.
    lake
        Receives ``events``, ``users``, ``treatments`` and, for refused rows, ``quarantine``.
    now
        An event after this instant lies in the future and is refused.

    Returns
    -------
    list of TableIngest
        One entry per table that the source defines.

    Raises
    ------
    InputError
        The source or a raw file is missing or unreadable, a column breaks the contract, a table is empty,
        or more than ``ingest.max_bad_share`` of its rows is bad. The lake is then as it was.
    """
    script = named_file(settings.ingest.source, FOLDER / "sources", ".sql", "source")
    lake.files.require_writable()
    with duckdb_session(settings) as connection:
        tables = _open_source(connection, script, raw_folder(settings.ingest.raw))
        for table in tables:
            _stage(connection, settings, table, script, now)
        reports = [_settle(connection, settings, lake, table, script) for table in tables]
        for table in tables:
            _write_new(connection, settings, lake, table)
            _write_quarantine(connection, lake, table, script)
    return reports


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
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise InputError(f"ingest.raw = {raw!r}: package {package!r} is not installed; install it")
        folder = Path(spec.origin).parent / inside
    if not folder.is_dir():
        raise InputError(f"ingest.raw = {raw!r} is not a folder; point it at the folder that holds the raw files")
    return folder


def defined_views(script: Path) -> list[str]:
    """Name the views that a source defines, by its text alone: nothing is read or run.

    Raises
    ------
    InputError
        It cannot be read, or it is not DuckDB's SQL.
    """
    try:
        statements = duckdb.extract_statements(script.read_text(encoding="utf-8"))
    except duckdb.Error as error:
        raise _source_error(script, error) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"source {script} cannot be read ({error}); check its permissions and encoding") from error
    return [found[1].strip('"') for each in statements if (found := DEFINES_VIEW.match(each.query))]


def _open_source(connection: duckdb.DuckDBPyConnection, script: Path, raw: Path) -> list[Table]:
    connection.execute("SET VARIABLE raw = $1", [str(raw)])
    try:
        connection.execute(script.read_text(encoding="utf-8"))
    except duckdb.Error as error:
        raise _source_error(script, error) from error
    views = connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
    tables = [table for table in CONTRACT if (table.name,) in views]
    if EVENTS not in tables:
        raise InputError(NO_EVENTS.format(script=script))
    return tables


def _source_error(script: Path, error: duckdb.Error) -> InputError:
    return InputError(f"source {script} failed ({first_line(error)}); mend the SQL or the raw file it names")


def _stage(
    connection: duckdb.DuckDBPyConnection, settings: Settings, table: Table, script: Path, now: datetime
) -> None:
    """Cast a view to the contract and give every bad row its reason, in ``staged_<table>``."""
    types = {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE {table.name}").fetchall()}
    check_columns(table, types, f"source {script}")
    raw = "".join(f", raw_{name}" for name in text_instants(table, types))
    try:
        connection.execute(f"""
            CREATE TEMP TABLE staged_{table.name} AS
            SELECT * {f"EXCLUDE ({raw[1:]})" if raw else ""}, {_day(table, settings)} AS day,
                   {fault_of_row(table, types, settings, now)} AS reason
            FROM (SELECT {typed_columns(table, types)} FROM {table.name})
        """)
    except duckdb.Error as error:
        raise _source_error(script, error) from error


def _day(table: Table, settings: Settings) -> str:
    return f"({table.instant} AT TIME ZONE '{settings.time_zone}')::DATE" if table.instant else "NULL::DATE"


def _settle(
    connection: duckdb.DuckDBPyConnection, settings: Settings, lake: Lake, table: Table, script: Path
) -> TableIngest:
    """Drop repeats, find what the lake already holds, and stop when too much is bad."""
    _check_rows(connection, lake, table)
    read = _count(connection, f"staged_{table.name}")
    if read == 0 and table is EVENTS:
        raise InputError(f"{table.name} of source {script} has no rows; check that the raw file is not empty")
    reasons: list[tuple[str, int]] = connection.execute(f"""
        SELECT reason, count(*) FROM ({_refused(table)}) GROUP BY reason ORDER BY count(*) DESC, reason
    """).fetchall()
    bad = sum(count for _, count in reasons)
    if bad > settings.ingest.max_bad_share * read:
        raise InputError(
            f"{bad:,} of {read:,} rows of {table.name} break the contract ({bad / read:.1%}; most often: "
            f"{reasons[0][0]}), more than ingest.max_bad_share = {settings.ingest.max_bad_share:.1%}; "
            "mend the source or raise the setting"
        )
    unchanged = _count(connection, f"checked_{table.name} WHERE reason IS NULL AND is_known")
    added = _count(connection, f"checked_{table.name} WHERE reason IS NULL AND NOT is_known")
    return TableIngest(table.name, read, added, unchanged, read - bad - added - unchanged, bad, dict(reasons))


def _check_rows(connection: duckdb.DuckDBPyConnection, lake: Lake, table: Table) -> None:
    """Compare the good staged rows with each other and with the lake, in ``checked_<table>``."""
    names = _columns(connection, f"SELECT * EXCLUDE (day, reason) FROM staged_{table.name}")
    is_comparable = set(names) == set(_columns(connection, _known(lake, table)))
    new, known = (", ".join(f'{side}."{name}"' for name in names if is_comparable) for side in ("new", "known"))
    order = f"new.{table.instant}, hash(new)" if table.instant else "hash(new)"
    # users are a state: a changed row replaces the known one; events and treatments are facts
    clash = "AND known_hash IS NULL" if table.instant is None else ""
    connection.execute(f"""
        CREATE TEMP TABLE checked_{table.name} AS
        WITH new AS (SELECT DISTINCT * EXCLUDE (reason) FROM staged_{table.name} WHERE reason IS NULL),
             known AS (SELECT {table.key} AS known_key, hash({known or 0}) AS known_hash
                       FROM ({_known(lake, table)}) AS known)
        SELECT new.*, known_hash IS NOT NULL AND known_hash = hash({new or 1}) AS is_known, CASE
            WHEN row_number() OVER (PARTITION BY new.{table.key} ORDER BY is_known DESC, {order}) > 1
            THEN '{table.key} stands for two different rows'
            WHEN known_hash <> hash({new or 1}) {clash}
            THEN '{table.key} is already used by another row' END AS reason
        FROM new LEFT JOIN known ON known_key = new.{table.key}
    """)


def _known(lake: Lake, table: Table) -> str:
    """Write the SELECT of the rows that the lake already holds."""
    if table.instant is None and lake.files.exists(USERS_FILE):
        return f"SELECT * FROM read_parquet({sql_text(lake.path(USERS_FILE))})"
    if table.instant is not None and lake.days(table.name):
        return f"SELECT * FROM read_parquet({sql_text(lake.glob(table.name))}, hive_partitioning = false)"
    return f"SELECT * EXCLUDE (day, reason) FROM staged_{table.name} LIMIT 0"


def _refused(table: Table) -> str:
    return f"""
        SELECT * FROM (SELECT * FROM staged_{table.name} UNION ALL BY NAME
                       SELECT * EXCLUDE (is_known) FROM checked_{table.name}) WHERE reason IS NOT NULL
    """


def _columns(connection: duckdb.DuckDBPyConnection, query: str) -> list[str]:
    return [name for name, *_ in connection.execute(f"DESCRIBE {query}").fetchall()]


def _count(connection: duckdb.DuckDBPyConnection, source: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {source}").fetchone()
    return int(row[0]) if row else 0


def _write_new(connection: duckdb.DuckDBPyConnection, settings: Settings, lake: Lake, table: Table) -> None:
    """Write the new rows, and with them the known rows of every file they belong to."""
    new = f"SELECT * EXCLUDE (reason, is_known) FROM checked_{table.name} WHERE reason IS NULL AND NOT is_known"
    if _count(connection, f"({new})") == 0:
        return
    is_dated = table.instant is not None
    touched = f"{'day' if is_dated else 'user_id NOT'} IN (SELECT {'day' if is_dated else 'user_id'} FROM ({new}))"
    order = f"day, user_id, {table.instant}, {table.key}" if is_dated else "user_id"
    rows = connection.execute(f"""
        {new} UNION ALL BY NAME
        SELECT * FROM (SELECT *, {_day(table, settings)} AS day FROM ({_known(lake, table)})) WHERE {touched}
        ORDER BY {order}
    """)
    if not is_dated:
        write_parquet(rows.to_arrow_table().drop_columns(["day"]), lake.path(USERS_FILE), ROW_GROUP_ROWS)
        return
    for day, part in track(split_by_day(rows.to_arrow_reader(1_000_000)), f"writing {table.name}"):
        write_parquet(part, lake.partition(table.name, day))


def _write_quarantine(connection: duckdb.DuckDBPyConnection, lake: Lake, table: Table, script: Path) -> None:
    """Add the refused rows to those refused before; the same row again is the same row."""
    name = f"quarantine/{script.stem}/{table.name}.parquet"
    path = lake.path(name)
    before = f"UNION ALL BY NAME SELECT * FROM read_parquet({sql_text(path)})" if lake.files.exists(name) else ""
    refused = f"SELECT DISTINCT * FROM (SELECT * EXCLUDE (day) FROM ({_refused(table)}) {before}) ORDER BY ALL"
    rows = connection.execute(refused).to_arrow_table()
    if len(rows) and (not before or len(rows) > read_parquet(path).num_rows):
        write_parquet(rows, path)
