"""Changes of memberships between two days: who entered or left a segment, and which part of its rule changed.

A change is `moved` where the users themselves changed, by today's rule; `definition` where the rule did, and by today's
rule they would have been there before; `new user` and `forgotten` where they were not there at all on one of the days.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from features.tables.duckdb_sessions import sql_text
from serving.segments.day_query import Cuts, DaySources, quoted, users_sql
from serving.segments.known_columns import Kind
from serving.segments.rules import Part, Segment, Stages

MOVED, DEFINITION, NEW_USER, FORGOTTEN = REASONS = ("moved", "definition", "new user", "forgotten")
TURNED = pa.struct(
    [("part", pa.string()), ("column", pa.string()), ("number_before", pa.float64()), ("number", pa.float64()),
     ("text_before", pa.string()), ("text", pa.string())]
)  # fmt: skip
CHANGES = pa.schema(
    [("user_id", pa.string()), ("segment", pa.string()), ("is_member", pa.bool_()), ("reason", pa.string()),
     ("parts", pa.list_(TURNED))]
)  # fmt: skip
CHANGED = ("user_id VARCHAR", "segment VARCHAR", "is_member BOOLEAN", "reason VARCHAR")
TURNED_SQL = (
    'STRUCT(part VARCHAR, "column" VARCHAR, number_before DOUBLE, number DOUBLE, text_before VARCHAR, text VARCHAR)'
)


@dataclass(frozen=True)
class Side:
    """One of two days: a SQL source of who was in what, and what rules read of the day, None where that is gone."""

    members: str
    sources: DaySources | None
    cuts: Cuts


@dataclass(frozen=True)
class Compared:
    """A segment whose members of two days are compared.

    `was_kept` says whether its members of the day before are known, and `is_same` whether by the same rule; where not,
    `by_now` is a SQL source of who would have been in it by today's rule, None where that cannot be told.
    """

    segment: Segment
    was_kept: bool = True
    is_same: bool = True
    by_now: str | None = None


def make_changes(
    connection: duckdb.DuckDBPyConnection, before: Side, now: Side, compared: Sequence[Compared], stages: Stages,
    kinds: Mapping[str, Kind],
) -> None:  # fmt: skip
    """Make the tables ``changes`` (`CHANGES`, by user and segment); without anything to compare it is empty."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE changed ({', '.join(CHANGED)})")
    if compared:
        connection.execute(_both_sql(before, now, compared))
        for place, each in enumerate(compared):
            connection.execute(f"INSERT INTO changed {_changed_sql(place, each)}")
    found = connection.execute(f"SELECT DISTINCT segment FROM changed WHERE reason = '{MOVED}'").fetchall()
    segments = [each.segment for each in compared if (each.segment.name,) in found]
    turned = f"SELECT NULL::VARCHAR AS user_id, NULL::VARCHAR AS segment, NULL::{TURNED_SQL}[] AS parts LIMIT 0"
    if before.sources is not None and now.sources is not None and segments:
        for name, side in (("was", before), ("is_now", now)):
            connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {_values_sql(side, stages, segments)}")
        names = _named_parts(segments)
        turned = " UNION ALL ".join(_turned_sql(segment, names, kinds) for segment in segments)
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE changes AS
        SELECT user_id, segment, is_member, reason, parts FROM changed LEFT JOIN ({turned}) USING (user_id, segment)
        ORDER BY user_id, segment
    """)


def _both_sql(before: Side, now: Side, compared: Sequence[Compared]) -> str:
    """Join both days, and keep who changed in anything."""
    columns, differ, joins = [], [], ""
    for place, each in enumerate(compared):
        name = quoted(each.segment.name)
        was = f"was.{name}" if each.was_kept else "false"
        again = "NULL"
        if not each.is_same and each.by_now is not None:
            joins += f" LEFT JOIN {each.by_now} AS again_{place} ON again_{place}.user_id = was.user_id"
            again = f"again_{place}.{name}"
        columns.append(f"{was} AS was_{place}, is_now.{name} AS is_{place}, {again} AS again_{place}")
        differ.append(f"coalesce({was}, false) <> coalesce(is_now.{name}, false)")
    return f"""
        CREATE OR REPLACE TEMP TABLE both_days AS
        SELECT coalesce(is_now.user_id, was.user_id) AS user_id, was.user_id IS NOT NULL AS was_there,
               is_now.user_id IS NOT NULL AS is_there, {", ".join(columns)}
        FROM {now.members} AS is_now FULL JOIN {before.members} AS was ON was.user_id = is_now.user_id{joins}
        WHERE {" OR ".join(differ)}
    """


def _changed_sql(place: int, compared: Compared) -> str:
    is_member = f"coalesce(is_{place}, false)"
    again = (
        f"WHEN again_{place} IS NULL OR again_{place} = {is_member} THEN '{DEFINITION}'" if not compared.is_same else ""
    )
    return f"""
        SELECT user_id, {sql_text(compared.segment.name)}, {is_member},
               CASE WHEN NOT was_there THEN '{NEW_USER}' WHEN NOT is_there THEN '{FORGOTTEN}' {again}
                    ELSE '{MOVED}' END
        FROM both_days WHERE coalesce(was_{place}, false) <> {is_member}
    """


def _values_sql(side: Side, stages: Stages, segments: Sequence[Segment]) -> str:
    """Write the query of what the rules read of those who moved, and whether each part holds."""
    if side.sources is None:
        raise ValueError("nothing is kept of this day")
    parts = "".join(f", {part.sql} AS {name}" for part, name in _named_parts(segments).values())
    moved = f"SELECT user_id FROM changed WHERE reason = '{MOVED}'"
    return f"SELECT *{parts} FROM ({users_sql(side.sources, stages, segments, side.cuts, only=moved)})"


def _named_parts(segments: Sequence[Segment]) -> dict[str, tuple[Part, str]]:
    """Give each different part the name of a column, by its text."""
    parts = {part.text: part for segment in segments for part in segment.rule.parts if part.columns}
    return {text: (part, f'"part@{place}"') for place, (text, part) in enumerate(parts.items())}


def _turned_sql(segment: Segment, names: Mapping[str, tuple[Part, str]], kinds: Mapping[str, Kind]) -> str:
    """Write the query of the parts of a segment's rule that turned, each with the values of what stands in it."""
    cases = [
        f"CASE WHEN was.{name} IS DISTINCT FROM is_now.{name} THEN {_values(part, kinds)} ELSE []::{TURNED_SQL}[] END"
        for part, name in (names[part.text] for part in segment.rule.parts if part.text in names)
    ]
    parts = f"flatten([{', '.join(cases)}])" if cases else f"[]::{TURNED_SQL}[]"
    segment_name = sql_text(segment.name)
    return f"""
        SELECT user_id, {segment_name} AS segment, {parts} AS parts FROM was JOIN is_now USING (user_id)
        SEMI JOIN (SELECT user_id FROM changed WHERE reason = '{MOVED}' AND segment = {segment_name}) USING (user_id)
    """


def _values(part: Part, kinds: Mapping[str, Kind]) -> str:
    numbers = [name for name in part.columns if kinds[name] != "text"] + [split.name for split in part.splits]
    texts = [name for name in part.columns if kinds[name] == "text"]
    own = [_turned(part, name, f"was.{quoted(name)}, is_now.{quoted(name)}, NULL, NULL") for name in numbers]
    own += [_turned(part, name, f"NULL, NULL, was.{quoted(name)}, is_now.{quoted(name)}") for name in texts]
    return f"[{', '.join(own)}]::{TURNED_SQL}[]"


def _turned(part: Part, name: str, values: str) -> str:
    return f"row({sql_text(part.text)}, {sql_text(name)}, {values})"
