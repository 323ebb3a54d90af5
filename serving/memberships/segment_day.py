"""The stages and segments of all users on a day, computed by one query and stored with what changed."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from configs.settings import Settings
from features.definitions.app_declarations import declarations_of
from features.materialise.user_traits import user_traits
from features.storage.lake import Lake
from features.tables.duckdb_sessions import duckdb_session, sql_text
from features.tables.parquet_files import PACKED, write_batches
from serving.memberships.day_before import DayBefore, day_before
from serving.memberships.day_rules import NOTE, DayRules
from serving.memberships.day_sources import sources_of
from serving.memberships.membership_changes import CHANGES as CHANGES_SCHEMA
from serving.memberships.membership_changes import DEFINITION, FORGOTTEN, Side, make_changes
from serving.memberships.size_table import size_table
from serving.memberships.stored_segments import CHANGES, SEGMENTS, SIZES, TRANSITIONS
from serving.segments.day_query import DaySources, cuts_of, membership_sql, quoted, splits_of
from serving.segments.definitions import Definitions, definitions_of

BATCH = 100_000
TRANSITIONS_SQL = """
    SELECT was.stage AS stage_before, is_now.stage AS stage, count(*) AS users
    FROM {now} AS is_now FULL JOIN {before} AS was USING (user_id) GROUP BY ALL ORDER BY ALL
"""
TRANSITIONS_SCHEMA = pa.schema(
    [("day_before", pa.date32()), ("stage_before", pa.string()), ("stage", pa.string()), ("users", pa.int64())]
)


def load_rules(settings: Settings, lake: Lake) -> Definitions:
    """Read and check the rules of stages and segments against what this app's snapshots hold.

    Raises
    ------
    InputError
        One is wrong; the sentence names file and line.
    """
    return definitions_of(settings, declarations_of(settings).catalogue(user_traits(lake, settings)))


def write_segments(settings: Settings, lake: Lake, as_of: date, definitions: Definitions) -> DayRules:
    """Write ``segments/day=<as_of>/``: who is in what, what changed since the day before and why, and the sizes.

    The day must be decided. The same snapshot, decisions, rules and earlier days give the same bytes.

    Raises
    ------
    InputError
        A file of the day, or of one that it is compared with, is damaged.
    """
    sources = sources_of(settings, lake, as_of)
    with duckdb_session(settings) as connection, lake.files.publish() as publication:
        segments = definitions.with_values(_values(connection, sources, definitions))
        cuts = cuts_of(connection, sources, splits_of(segments))
        read = {name for each in segments for name in each.rule.columns} | {*definitions.stages.columns}
        kinds = {name: definitions.words.columns[name] for name in sorted(read)}
        rules = DayRules(definitions.stages, segments, kinds, cuts, definitions.left_out)
        folder = publication.folder(f"{SEGMENTS}/day={as_of}")
        members = folder / f"{SEGMENTS}.parquet"
        _write(connection, membership_sql(sources, rules.stages, segments, cuts), members, {NOTE: rules.note()})
        now = Side(f"read_parquet({sql_text(members)})", sources, cuts)
        before = day_before(settings, lake, as_of, rules, connection)
        _write_changes(connection, now, before, rules, folder)
        table = size_table(settings, lake, as_of, rules, connection, now, before)
        pq.write_table(table, folder / f"{SIZES}.parquet", **PACKED)
    return rules


def _values(
    connection: duckdb.DuckDBPyConnection, sources: DaySources, definitions: Definitions
) -> dict[str, list[str]]:
    """List the values of the columns that make a segment each, the most frequent first."""
    found: dict[str, list[str]] = {}
    for column in {rule.each for rule in definitions.of_values if rule.each is not None}:
        name = quoted(column)
        rows = connection.execute(
            f"SELECT {name} FROM {sources.of(column)} WHERE {name} IS NOT NULL GROUP BY ALL ORDER BY count(*) DESC, 1"
        ).fetchall()
        found[column] = [value for (value,) in rows]
    return found


def _write_changes(
    connection: duckdb.DuckDBPyConnection, now: Side, before: DayBefore | None, rules: DayRules, folder: Path
) -> None:
    """Write who came into a segment or left it, and how many went from which stage to which."""
    transitions = TRANSITIONS_SCHEMA.empty_table()
    if before is None:
        make_changes(connection, now, now, [], rules.stages, rules.kinds)
    else:
        make_changes(connection, before.side, now, before.compared, rules.stages, rules.kinds)
        for name in before.gone:
            left = f"SELECT user_id, {sql_text(name)}, false, {_why_gone(now)}, NULL FROM {before.side.members} AS was"
            connection.execute(f"INSERT INTO changes {left} WHERE {quoted(name)}")
        query = TRANSITIONS_SQL.format(now=now.members, before=before.side.members)
        counted = connection.execute(query).to_arrow_table()
        day = pa.array([before.day] * len(counted), pa.date32())
        transitions = counted.add_column(0, "day_before", day).cast(TRANSITIONS_SCHEMA)
    rows = connection.execute("SELECT * FROM changes ORDER BY user_id, segment").to_arrow_reader(BATCH)
    write_batches((each.cast(CHANGES_SCHEMA) for each in rows), CHANGES_SCHEMA, folder / f"{CHANGES}.parquet")
    pq.write_table(transitions, folder / f"{TRANSITIONS}.parquet", **PACKED)


def _why_gone(now: Side) -> str:
    is_there = f"was.user_id IN (SELECT user_id FROM {now.members})"
    return f"CASE WHEN {is_there} THEN '{DEFINITION}' ELSE '{FORGOTTEN}' END"


def _write(connection: duckdb.DuckDBPyConnection, query: str, path: Path, notes: dict[bytes, bytes]) -> None:
    rows = connection.execute(query).to_arrow_reader(BATCH)
    write_batches(rows, pa.schema(list(rows.schema), notes), path)
