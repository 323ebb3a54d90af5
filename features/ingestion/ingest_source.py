"""Raw files to contract tables: one SQL file maps them, every row is checked, nothing is lost or taken twice."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import duckdb

from configs.errors import InputError
from configs.progress import track
from configs.settings import FOLDER, Settings, named_file
from features.ingestion.contract import ALIASES, CONTRACT, EVENTS, TREATMENTS, Table
from features.ingestion.user_aliases import MERGED, in_merged, keep_first_told, merge_users
from features.ingestion.validation import check_columns, fault_of_row, text_instants, typed_columns
from features.storage.duckdb_sessions import duckdb_session, first_line, sql_text
from features.storage.lake import TIME_ZONE_FILE, USERS_FILE, Lake
from features.storage.parquet_files import ROW_GROUP_ROWS, read_parquet, split_by_day, write_parquet
from features.storage.storage_interface import Publication

# comments, CREATE, and what may stand between it and the view's name
DEFINES_VIEW = re.compile(r"(?:--[^\n]*\n|\s)*CREATE\s+(?:OR\s+REPLACE\s+)?(?:TEMP\w*\s+)?VIEW\s+([\w\"]+)", re.I)


NO_ALIASES = "SELECT '' AS old_user_id, '' AS user_id, TIMESTAMPTZ 'epoch' AS since LIMIT 0"
USED = "is already used by another row"
REPLACE = "where the source was mended, winback ingest --replace takes its rows instead"
NO_EVENTS = "source {script} defines no view 'events'; write CREATE VIEW events AS SELECT …"


@dataclass(frozen=True)
class TableIngest:
    """What became of one table's rows: ``read = added + unchanged + duplicates + quarantined``.

    `replaced` counts rows that the data folder held before and that gave way.
    """

    table: str
    read: int
    added: int
    unchanged: int
    duplicates: int
    quarantined: int
    reasons: dict[str, int]
    replaced: int = 0


@dataclass(frozen=True)
class DayRange:
    """Days from `first` to `last`, both included."""

    first: date = date.min
    last: date = date.max

    def holds(self, day: str) -> str:
        """Write the SQL that tells whether a day is one of them."""
        return f"{day} BETWEEN DATE '{self.first}' AND DATE '{self.last}'"


EVERY_DAY = DayRange()


def ingest_source(
    settings: Settings, lake: Lake, now: datetime, replacing: DayRange | None = None
) -> list[TableIngest]:
    """Bring the configured source into the lake; running it again changes nothing.

    Parameters
    ----------
    settings
        ``ingest.source`` names the SQL file, ``ingest.raw`` the folder it reads.
    lake
        Receives ``events``, ``users``, ``treatments`` and, for refused rows, ``quarantine``.
    now
        An event after this instant lies in the future and is refused.
    replacing
        Days whose events, treatments and aliases are written anew from the source: what the lake held of them gives
        way, but for winback's own decisions, and other days of the source are left alone. Users are a state, whose
        newest row counts anyway.

    Returns
    -------
    list of TableIngest
        One entry per table that the source defines.

    Raises
    ------
    InputError
        The source or a raw file is missing or unreadable, a column breaks the contract, a table is empty,
        more than ``ingest.max_bad_share`` of its rows is bad, or the days of the lake are those of another time zone.
        The lake is then as it was.
    """
    script = named_file(settings.ingest.source, FOLDER / "sources", ".sql", "source")
    lake.files.require_writable()
    if replacing != EVERY_DAY:
        lake.require_time_zone(settings.time_zone)
    elif lake.time_zone not in (None, settings.time_zone) and lake.files.list("ledger/day=*/*.parquet"):
        raise InputError(
            f"{lake.root} holds decisions of winback's own, made on days of {lake.time_zone}, so that its days cannot "
            f"become those of {settings.time_zone}; choose another --data-dir"
        )
    with duckdb_session(settings) as connection:
        tables = _open_source(connection, script, raw_folder(settings.ingest.raw))
        for table in tables:
            _stage(connection, settings, table, script, now, replacing)
        merge_users(connection, _kept(settings, lake, ALIASES, replacing) if lake.days("aliases") else NO_ALIASES)
        reports = []
        for table in tables:
            reports.append(_settle(connection, settings, lake, table, script, replacing))
            if table is ALIASES:
                merge_users(
                    connection, f"({_new(ALIASES)}) UNION BY NAME ({_kept(settings, lake, ALIASES, replacing)})"
                )
        with lake.files.publish() as publication:
            if lake.time_zone != settings.time_zone:
                publication.write(TIME_ZONE_FILE, settings.time_zone.encode())
            if replacing == EVERY_DAY:
                publication.folder(f"quarantine/{script.stem}")
            for day in (day for day in lake.days("snapshots") if replacing and day > replacing.first):
                publication.folder(f"snapshots/day={day}")  # nobody may score with what was wrong
            for table in tables:
                _write_new(connection, settings, lake, publication, table, replacing)
                _write_quarantine(connection, lake, publication, table, script, replacing)
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
    tables = [table for table in (ALIASES, *CONTRACT) if (table.name,) in views]
    if EVENTS not in tables:
        raise InputError(NO_EVENTS.format(script=script))
    return tables


def _source_error(script: Path, error: duckdb.Error) -> InputError:
    return InputError(f"source {script} failed ({first_line(error)}); mend the SQL or the raw file it names")


def _stage(
    connection: duckdb.DuckDBPyConnection, settings: Settings, table: Table, script: Path, now: datetime,
    replacing: DayRange | None,
) -> None:  # fmt: skip
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
            {f"WHERE {replacing.holds('day')}" if table.instant and replacing not in (None, EVERY_DAY) else ""}
        """)
    except duckdb.Error as error:
        raise _source_error(script, error) from error
    if table is ALIASES:
        keep_first_told(connection)


def _day(table: Table, settings: Settings) -> str:
    return f"({table.instant} AT TIME ZONE '{settings.time_zone}')::DATE" if table.instant else "NULL::DATE"


def _settle(
    connection: duckdb.DuckDBPyConnection, settings: Settings, lake: Lake, table: Table, script: Path,
    replacing: DayRange | None,
) -> TableIngest:  # fmt: skip
    """Drop repeats, find what the lake already holds, and stop when too much is bad."""
    known = _kept(settings, lake, table, replacing)
    _check_rows(connection, known, table)
    read = _count(connection, f"staged_{table.name}")
    if read == 0 and table is EVENTS:
        days = f" from {replacing.first} to {replacing.last}" if replacing not in (None, EVERY_DAY) else ""
        raise InputError(f"{table.name} of source {script} has no rows{days}; check that the raw file is not empty")
    reasons: list[tuple[str, int]] = connection.execute(f"""
        SELECT reason, count(*) FROM ({_refused(table)}) GROUP BY reason ORDER BY count(*) DESC, reason
    """).fetchall()
    bad = sum(count for _, count in reasons)
    if bad > settings.ingest.max_bad_share * read:
        raise InputError(
            f"{bad:,} of {read:,} rows of {table.name} break the contract ({bad / read:.1%}; most often: "
            f"{reasons[0][0]}), more than ingest.max_bad_share = {settings.ingest.max_bad_share:.1%}; "
            + (REPLACE if reasons[0][0].endswith(USED) else "mend the source or raise the setting")
        )
    unchanged = _count(connection, f"checked_{table.name} WHERE reason IS NULL AND is_known")
    added = _count(connection, f"checked_{table.name} WHERE reason IS NULL AND NOT is_known")
    given_way = _count(connection, f"({_stored(lake, table)})") - _count(connection, f"({known})") if replacing else 0
    repeats = read - bad - added - unchanged
    return TableIngest(table.name, read, added, unchanged, repeats, bad, dict(reasons), given_way)


def _check_rows(connection: duckdb.DuckDBPyConnection, known_rows: str, table: Table) -> None:
    """Compare the good staged rows with each other and with those of the lake, in ``checked_<table>``."""
    names = _columns(connection, f"SELECT * EXCLUDE (day, reason) FROM staged_{table.name}")
    is_comparable = set(names) == set(_columns(connection, known_rows))
    names = [name for name in names if (table, name) != (ALIASES, "since")]  # told again later it is no news
    new, known = (", ".join(f'{side}."{name}"' for name in names if is_comparable) for side in ("new", "known"))
    order = f"new.{table.instant}, hash(new)" if table.instant else "hash(new)"
    # users are a state: a changed row replaces the known one; events and treatments are facts
    clash = "AND known_hash IS NULL" if table.instant is None else ""
    connection.execute(f"""
        CREATE TEMP TABLE checked_{table.name} AS
        WITH good AS (SELECT DISTINCT * EXCLUDE (reason) FROM staged_{table.name} WHERE reason IS NULL),
             new AS ({in_merged("SELECT * FROM good", table)}),
             known AS (SELECT {table.key} AS known_key, hash({known or 0}) AS known_hash FROM ({known_rows}) AS known)
        SELECT new.*, known_hash IS NOT NULL AND known_hash = hash({new or 1}) AS is_known, CASE
            WHEN row_number() OVER (PARTITION BY new.{table.key} ORDER BY is_known DESC, {order}) > 1
            THEN '{table.key} stands for two different rows'
            WHEN known_hash <> hash({new or 1}) {clash}
            THEN '{table.key} {USED}' END AS reason
        FROM new LEFT JOIN known ON known_key = new.{table.key}
    """)


def _kept(settings: Settings, lake: Lake, table: Table, replacing: DayRange | None) -> str:
    """Write the SELECT of the rows that the lake holds and that stay, each as of who it turned out to be."""
    rows = _stored(lake, table)
    if replacing is not None and table.instant is not None:
        rows = f"SELECT * FROM ({rows}) WHERE NOT ({replacing.holds(_day(table, settings))})"
        own = [sql_text(lake.path(name)) for name in lake.files.list("ledger/day=*/*.parquet")]
        if table is TREATMENTS and own:  # decisions of winback's own, which no source tells
            rows += f" OR decision_id IN (SELECT decision_id FROM read_parquet([{', '.join(own)}]))"
    return in_merged(rows, table)


def _new(table: Table) -> str:
    return f"SELECT * EXCLUDE (reason, is_known) FROM checked_{table.name} WHERE reason IS NULL AND NOT is_known"


def _stored(lake: Lake, table: Table) -> str:
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


def _write_new(
    connection: duckdb.DuckDBPyConnection, settings: Settings, lake: Lake, publication: Publication, table: Table,
    replacing: DayRange | None,
) -> None:  # fmt: skip
    """Write the new rows, and with them the rows that stay of every file they belong to."""
    kept, day = _kept(settings, lake, table, replacing), _day(table, settings)
    changed = f"SELECT day, user_id FROM ({_new(table)})"
    if table is not ALIASES:
        changed += f""" UNION ALL SELECT {day}, user_id FROM ({_stored(lake, table)})
                        WHERE user_id IN (SELECT old_user_id FROM {MERGED})"""
    if table.instant is None:
        if _count(connection, f"({changed})"):
            users = f"{_new(table)} UNION ALL BY NAME SELECT *, {day} AS day FROM ({kept}) WHERE user_id NOT IN"
            rows = connection.execute(f"{users} (SELECT user_id FROM ({_new(table)})) ORDER BY user_id")
            write_parquet(rows.to_arrow_table().drop_columns(["day"]), publication.path(USERS_FILE), ROW_GROUP_ROWS)
        return
    stored = set(lake.days(table.name))
    found = connection.execute(f"SELECT DISTINCT day FROM ({changed})").fetchall()
    days = {each for (each,) in found} | {
        each for each in stored if replacing and replacing.first <= each <= replacing.last
    }
    wanted = ", ".join(f"DATE '{each}'" for each in sorted(days)) or "NULL"
    rows = connection.execute(f"""
        {_new(table)} UNION ALL BY NAME SELECT * FROM (SELECT *, {day} AS day FROM ({kept})) WHERE day IN ({wanted})
        ORDER BY day, user_id, {table.instant}, {table.key}
    """)
    for each, part in track(split_by_day(rows.to_arrow_reader(1_000_000)), f"writing {table.name}"):
        write_parquet(part, publication.path(lake.partition_name(table.name, each)))
        days.discard(each)
    for each in days & stored:
        publication.folder(f"{table.name}/day={each}")


def _write_quarantine(
    connection: duckdb.DuckDBPyConnection, lake: Lake, publication: Publication, table: Table, script: Path,
    replacing: DayRange | None,
) -> None:  # fmt: skip
    """Add the refused rows to those refused before; the same row again is the same row."""
    name = f"quarantine/{script.stem}/{table.name}.parquet"
    path, is_kept = lake.path(name), lake.files.exists(name) and replacing != EVERY_DAY
    before = f"UNION ALL BY NAME SELECT * FROM read_parquet({sql_text(path)})" if is_kept else ""
    refused = f"SELECT DISTINCT * FROM (SELECT * EXCLUDE (day) FROM ({_refused(table)}) {before}) ORDER BY ALL"
    rows = connection.execute(refused).to_arrow_table()
    if len(rows) and (not before or len(rows) > read_parquet(path).num_rows):
        write_parquet(rows, publication.path(name))
