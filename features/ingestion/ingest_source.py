"""Ingestion: a SQL file maps raw files to contract tables; every row is checked, and none is lost or duplicated."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb

from configs.counted import counted
from configs.errors import InputError
from configs.named_files import FOLDER, named_file
from configs.settings import Settings
from features.ingestion.contract import ALIASES, CONTRACT, EVENTS, SQL_TYPES, TREATMENTS, USERS, Table
from features.ingestion.delivery_notes import counted_names, id_notes, name_notes, stored_names
from features.ingestion.forgotten_rows import enter_old_ids, leave_out_forgotten
from features.ingestion.repeated_reads import check_repeats
from features.ingestion.row_repairs import repaired, row_repairs, told_repairs
from features.ingestion.table_rows import (
    EVERY_DAY,
    DayRange,
    day_of,
    good_rows,
    kept_rows,
    new_rows,
    refused_rows,
    row_count,
    stored_rows,
    write_new,
    write_quarantine,
)
from features.ingestion.user_aliases import NO_ALIASES, in_merged, keep_first_told, merge_users
from features.ingestion.user_versions import check_users, undated_note, write_users
from features.ingestion.validation import (
    check_columns,
    fault_of_row,
    given_columns,
    text_instants,
    told_columns,
    typed_columns,
)
from features.sources.source_script import BATCH, open_source, source_error
from features.storage.lake import TIME_ZONE_FILE, USERS_FILE, Lake
from features.tables.duckdb_sessions import duckdb_session

USED = "is already used by another row"
REPLACE = "where the source was mended, winback ingest --replace takes its rows instead"
NO_EVENTS = (
    "source {script} defines no view 'events'; write CREATE VIEW events AS SELECT …, or, for an experiment alone, let "
    "its view 'treatments' say the outcome of every row (columns outcome and outcome_at)"
)


@dataclass(frozen=True)
class TableIngest:
    """What became of one table's rows: ``read = added + unchanged + duplicates + quarantined + left_out``.

    `left_out` counts rows of forgotten users and of days that retention removed, `replaced` rows that the data folder
    held before and that gave way; `notes` say what was put right, or looks wrong.
    """

    table: str
    read: int
    added: int
    unchanged: int
    duplicates: int
    quarantined: int
    reasons: dict[str, int]
    replaced: int = 0
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def sentences(self) -> list[str]:
        """Say of every refused row why, with its count, and what else people should know of the table."""
        refused = [
            f"{counted(count, 'row')} of {self.table} went to quarantine: {reason}"
            + (f"; {REPLACE}" if USED in reason else "")
            for reason, count in self.reasons.items()
        ]
        left_out = [
            f"{counted(count, 'row')} {why} left out of {self.table}" for why, count in self.left_out.items() if count
        ]
        return [*refused, *left_out, *self.notes]


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
        way, but for winback's own decisions, and other days of the source are left alone. Users are a state: a changed
        row holds from its ``known_from`` on, else from ``as_of`` or today on, and the one before it stays beside it.

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
    lake.files.require_writable()
    if replacing != EVERY_DAY:
        lake.require_time_zone(settings.time_zone)
    elif lake.time_zone not in (None, settings.time_zone) and lake.files.list("ledger/day=*/*.parquet"):
        raise InputError(
            f"{lake.root} holds decisions of winback's own, made on days of {lake.time_zone}, so that its days cannot "
            f"become those of {settings.time_zone}; choose another --data-dir"
        )
    with staged_source(settings, lake, now, replacing) as staged:
        connection, script = staged.connection, staged.script
        with lake.files.publish() as publication:
            old_ids = enter_old_ids(connection, lake, publication, staged.today)
            if lake.time_zone != settings.time_zone:
                publication.write(TIME_ZONE_FILE, settings.time_zone.encode())
            if replacing == EVERY_DAY:
                publication.folder(f"quarantine/{script.stem}")
            for day in (day for day in lake.days("snapshots") if replacing and day > replacing.first):
                publication.folder(f"snapshots/day={day}")  # nobody may score with what was wrong
            for table in staged.reports:
                if table is USERS:
                    write_users(connection, lake, publication)
                else:
                    write_new(connection, settings, lake, publication, table, replacing)
                write_quarantine(connection, lake, publication, table, script, replacing)
        told = {table: old_ids if table is ALIASES else [] for table in staged.reports}
        return [
            replace(
                report,
                notes=(
                    *report.notes,
                    *told[table],
                    *_delivery_notes(connection, settings, lake, table, staged.reports),
                ),
            )
            for table, report in staged.reports.items()
        ]


@dataclass(frozen=True)
class StagedSource:
    """A source whose rows were checked: ``checked_<table>`` of the connection holds those of each table reported."""

    connection: duckdb.DuckDBPyConnection
    script: Path
    reports: dict[Table, TableIngest]
    today: date


@contextmanager
def staged_source(
    settings: Settings, lake: Lake, now: datetime, replacing: DayRange | None = None
) -> Iterator[StagedSource]:
    """Check the rows of a source against the contract and the lake, and hold them; nothing is written.

    Parameters and errors are those of `ingest_source`.
    """
    script = named_file(settings.ingest.source, FOLDER / "sources", ".sql", "source")
    with duckdb_session(settings) as connection:
        notes = {}
        with open_source(settings, script) as source:
            defined = _defined_tables(source, script)
            for table in defined:
                notes[table] = _stage(source, connection, settings, table, script, now, replacing)
        if replacing in (None, EVERY_DAY):
            check_repeats(connection, settings, script, defined, now)
        left_out = leave_out_forgotten(connection, settings, lake, defined)
        for table in (ALIASES, TREATMENTS):  # one that is replaced and that the source defines no more has no rows
            are_merged = table is TREATMENTS and ALIASES in defined  # also what winback gave, which no source tells
            if table not in defined and (replacing or are_merged) and lake.days(table.name):
                notes[table] = _stage(None, connection, settings, table, script, now, replacing)
        tables = [table for table in (ALIASES, *CONTRACT) if table in notes]
        merge_users(connection, kept_rows(settings, lake, ALIASES, replacing) if lake.days("aliases") else NO_ALIASES)
        reports: dict[Table, TableIngest] = {}
        day = settings.as_of or now.astimezone(ZoneInfo(settings.time_zone)).date()
        for table in tables:
            if table not in defined and not replacing and not reports[ALIASES].added:
                continue  # nobody turned out to be somebody else
            if table is USERS:
                check_users(connection, settings, lake, day)
                notes[table] += undated_note(connection, lake, day)
            else:
                _check_rows(connection, kept_rows(settings, lake, table, replacing), table)
            reports[table] = _settle(connection, settings, lake, table, script, replacing, left_out.get(table, {}))
            reports[table] = replace(reports[table], notes=tuple(notes[table]))
            if table is ALIASES:
                merge_users(
                    connection, f"({new_rows(ALIASES)}) UNION BY NAME ({kept_rows(settings, lake, ALIASES, replacing)})"
                )
        yield StagedSource(connection, script, reports, day)


def _defined_tables(source: duckdb.DuckDBPyConnection, script: Path) -> list[Table]:
    views = source.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
    tables = [table for table in (ALIASES, *CONTRACT) if (table.name,) in views]
    if EVENTS not in tables and not (TREATMENTS in tables and _states_outcomes(source)):
        raise InputError(NO_EVENTS.format(script=script))
    return tables


def _states_outcomes(source: duckdb.DuckDBPyConnection) -> bool:
    """Tell whether treatments say what came of them, so that they need no events."""
    columns = [name.lower() for name in _columns(source, "FROM treatments")]
    return "outcome" in columns and row_count(source, "treatments WHERE outcome IS NOT NULL") > 0


def _stage(
    source: duckdb.DuckDBPyConnection | None, connection: duckdb.DuckDBPyConnection, settings: Settings, table: Table,
    script: Path, now: datetime, replacing: DayRange | None,
) -> list[str]:  # fmt: skip
    """Bring the rows of a source's view over, put right what has one meaning and give every bad row its reason.

    Without a source there are none. The rows are in ``staged_<table>``; returns what people should be told of them.
    """
    try:
        types = {column.name: SQL_TYPES[column.kind] for column in table.columns}
        given = f"(SELECT {', '.join(f'NULL::{kind} AS {name}' for name, kind in types.items())} LIMIT 0)"
        if source is not None:
            described = source.execute(f"DESCRIBE {table.name}").fetchall()
            types = {table.spelt(name): kind for name, kind, *_ in described}
            check_columns(table, types, f"source {script}")
            rows = source.execute(f"SELECT {given_columns(table, types)} FROM {table.name}")
            connection.register("given", rows.to_arrow_reader(BATCH))
            given = "given"
        typed = f"SELECT {typed_columns(table, types)} FROM {given}"
        repairs = row_repairs(table, types, settings, now)
        raw = "".join(f", _raw_{name}" for name in text_instants(table, types))
        connection.execute(f"""
            CREATE TEMP TABLE staged_{table.name} AS
            SELECT * {f"EXCLUDE ({raw[1:]})" if raw else ""}, {day_of(table, settings)} AS day,
                   {fault_of_row(table, types, settings, now)} AS reason
            FROM ({repaired(typed, repairs)})
            {f"WHERE {replacing.holds('day')}" if table.instant and replacing not in (None, EVERY_DAY) else ""}
        """)
    except duckdb.Error as error:
        raise source_error(script, error) from error
    told = [*told_columns(table, types), *told_repairs(connection, table, repairs)]
    if table is ALIASES:
        keep_first_told(connection)
    return told


def _settle(
    connection: duckdb.DuckDBPyConnection, settings: Settings, lake: Lake, table: Table, script: Path,
    replacing: DayRange | None, left_out: Mapping[str, int],
) -> TableIngest:  # fmt: skip
    """Drop repeats, find what the lake already holds, and stop when too much is bad."""
    known = kept_rows(settings, lake, table, replacing)
    read = sum(left_out.values()) + row_count(connection, f"staged_{table.name}")
    if read == 0 and table is EVENTS:
        days = f" from {replacing.first} to {replacing.last}" if replacing not in (None, EVERY_DAY) else ""
        raise InputError(f"{table.name} of source {script} has no rows{days}; check that the raw file is not empty")
    reasons: list[tuple[str, int]] = connection.execute(f"""
        SELECT reason, count(*) FROM ({refused_rows(table)}) GROUP BY reason ORDER BY count(*) DESC, reason
    """).fetchall()
    bad = sum(count for _, count in reasons)
    if bad > settings.ingest.max_bad_share * read:
        more = "".join(f"; {count:,} times {reason}" for reason, count in reasons[1:4])
        raise InputError(
            f"{bad:,} of {read:,} rows of {table.name} break the contract ({bad / read:.1%}; most often: "
            f"{reasons[0][0]}{more}), more than ingest.max_bad_share = {settings.ingest.max_bad_share:.1%}; "
            + (REPLACE if reasons[0][0].endswith(USED) else "mend the source or raise the setting")
        )
    unchanged = row_count(connection, f"checked_{table.name} WHERE reason IS NULL AND is_known")
    added = row_count(connection, f"checked_{table.name} WHERE reason IS NULL AND NOT is_known")
    given_way = (
        row_count(connection, f"({stored_rows(lake, table)})") - row_count(connection, f"({known})") if replacing else 0
    )
    repeats = read - sum(left_out.values()) - bad - added - unchanged
    counts = (read, added, unchanged, repeats, bad)
    return TableIngest(table.name, *counts, dict(reasons), given_way, left_out=left_out)


def _delivery_notes(
    connection: duckdb.DuckDBPyConnection, settings: Settings, lake: Lake, table: Table, tables: Collection[Table]
) -> list[str]:
    """Say what looks wrong in the rows of a table as a whole, once the lake has them."""
    notes = []
    if table is EVENTS:
        names = counted_names(connection, f"({good_rows(table)})")
        seen = {each.name for each in (*names, *stored_names(settings, lake))}
        notes = name_notes(names, seen, settings)
    users = [good_rows(USERS)] if USERS in tables else []
    users += [stored_rows(lake, USERS)] if lake.files.exists(USERS_FILE) else []
    everybody = " UNION ALL ".join(f"SELECT user_id FROM ({each})" for each in users)
    return [*notes, *id_notes(connection, table, good_rows(table), None if table is USERS else everybody or None)]


def _check_rows(connection: duckdb.DuckDBPyConnection, known_rows: str, table: Table) -> None:
    """Compare the good staged rows of a dated table with each other and with those of the lake, in ``checked_<table>``.

    They are facts: one that the lake knows otherwise is refused.
    """
    names = _columns(connection, f"SELECT * EXCLUDE (day, reason) FROM staged_{table.name}")
    is_comparable = set(names) == set(_columns(connection, known_rows))
    names = [name for name in names if (table, name) != (ALIASES, "since")]  # told again later it is no news
    new, known = (", ".join(f'{side}."{name}"' for name in names if is_comparable) for side in ("new", "known"))
    key, order = table.key, f"new.{table.instant}, hash(new)"
    # few rows are told twice: only they are laid beside each other, which costs more than all else
    connection.execute(f"""
        CREATE TEMP TABLE repeated AS SELECT {key} FROM staged_{table.name} WHERE reason IS NULL
        GROUP BY {key} HAVING count(*) > 1
    """)
    place = f"row_number() OVER (PARTITION BY new.{key} ORDER BY is_known DESC, {order})"
    parts = (
        ("CREATE TEMP TABLE checked_{} AS", "", "ANTI", "1"),
        ("INSERT INTO checked_{}", "DISTINCT", "SEMI", place),
    )
    for begin, distinct, join, place in parts:
        good = f"""SELECT {distinct} * EXCLUDE (reason) FROM staged_{table.name} {join} JOIN repeated USING ({key})
                   WHERE reason IS NULL"""
        connection.execute(f"""
            {begin.format(table.name)}
            WITH new AS ({in_merged(good, table)}),
                 known AS (SELECT {key} AS known_key, hash({known or 0}) AS known_hash FROM ({known_rows}) AS known)
            SELECT new.*, known_hash IS NOT NULL AND known_hash = hash({new or 1}) AS is_known,
                   CASE WHEN {place} > 1 THEN '{key} stands for two different rows'
                        WHEN known_hash <> hash({new or 1}) THEN '{key} {USED}' END AS reason
            FROM new LEFT JOIN known ON known_key = new.{key}
        """)
    connection.execute("DROP TABLE repeated")


def _columns(connection: duckdb.DuckDBPyConnection, query: str) -> list[str]:
    return [name for name, *_ in connection.execute(f"DESCRIBE {query}").fetchall()]
