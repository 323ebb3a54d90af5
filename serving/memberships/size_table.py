"""The table of a day's segments: size, entries and exits with their reasons, and unusual changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

import duckdb
import pyarrow as pa

from configs.settings import Settings
from features.storage.lake import Lake
from serving.memberships.day_before import DayBefore, askable, evaluated_day
from serving.memberships.day_rules import DayRules
from serving.memberships.membership_changes import REASONS, Compared, Side, make_changes
from serving.memberships.size_history import WEEK, sizes_of_day, week_change, week_days
from serving.memberships.stored_segments import SIZES, read_rows
from serving.segments.day_query import quoted
from serving.segments.rules import Segment

TOP_PARTS = 3
MOVER = pa.struct([("part", pa.string()), ("is_member", pa.bool_()), ("users", pa.int64())])
SIZE_SCHEMA = pa.schema(
    [("segment", pa.string()), ("title", pa.string()), ("group", pa.string()), ("meaning", pa.string()),
     ("digest", pa.string()), ("users", pa.int64()), ("compared_with", pa.date32()),
     *((f"{way}_{reason.replace(' ', '_')}", pa.int64()) for reason in REASONS for way in ("came", "left")),
     ("moved_by", pa.list_(MOVER)),
     ("before", pa.int64()), ("change", pa.int64()), ("usual", pa.float64()), ("spread", pa.float64()),
     ("score", pa.float64()), ("weeks", pa.int64()), ("is_unusual", pa.bool_()), ("week_moved_by", pa.list_(MOVER))]
)  # fmt: skip
MOVERS = """
    SELECT segment, part, is_member, count(DISTINCT user_id) AS users
    FROM (SELECT user_id, segment, is_member, unnest(list_transform(parts, lambda each: each.part)) AS part
          FROM changes)
    GROUP BY ALL
    UNION ALL
    SELECT segment, reason, is_member, count(*) FROM changes WHERE reason <> 'moved' GROUP BY ALL
    ORDER BY segment, users DESC, part, is_member
"""
Counts = dict[str, dict[str, int]]
Movers = dict[str, list[dict[str, Any]]]


def size_table(
    settings: Settings, lake: Lake, as_of: date, rules: DayRules, connection: duckdb.DuckDBPyConnection, now: Side,
    before: DayBefore | None,
) -> pa.Table:  # fmt: skip
    """List the segments of a day; the table ``changes`` must hold who came and left since the day before.

    ``before`` to ``is_unusual`` are of `WeekChange`; ``moved_by`` counts of those who came (`is_member`) or left for
    which part of the rule, or by which other reason, and ``week_moved_by`` the same of a week that is unusual.
    """
    counts, movers = change_counts(connection), top_movers(connection)
    sizes, weeks = _now(connection, now.members, rules.segments), _weeks(settings, lake, as_of, rules, connection)
    changes = {
        each.name: week_change([sizes[each.name], *(week.get(each.name) for week in weeks)], settings.segments)
        for each in rules.segments
    }
    unusual = [each for each in rules.segments if changes[each.name].is_unusual]
    of_week = _week_movers(settings, lake, as_of, rules, connection, now, unusual) if unusual else {}
    rows = [
        {
            "segment": each.name, "title": each.title, "group": each.group, "meaning": each.meaning,
            "digest": each.digest, "users": sizes[each.name], "compared_with": before.day if before else None,
            **counts.get(each.name, {}), "moved_by": movers.get(each.name, []), **asdict(changes[each.name]),
            "week_moved_by": of_week.get(each.name, []),
        }
        for each in rules.segments
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=SIZE_SCHEMA)


def change_counts(connection: duckdb.DuckDBPyConnection) -> Counts:
    """Count who came into each segment and left it, by reason."""
    query = "SELECT segment, is_member, reason, count(*) FROM changes GROUP BY ALL"
    counts: Counts = {}
    for segment, is_member, reason, users in connection.execute(query).fetchall():
        way = "came" if is_member else "left"
        counts.setdefault(segment, {})[f"{way}_{reason.replace(' ', '_')}"] = users
    return counts


def top_movers(connection: duckdb.DuckDBPyConnection) -> Movers:
    """List for each segment the parts of its rule that turned for most, and other reasons."""
    movers: Movers = {}
    for segment, part, is_member, users in connection.execute(MOVERS).fetchall():
        found = movers.setdefault(segment, [])
        if len(found) < TOP_PARTS:
            found.append({"part": part, "is_member": is_member, "users": users})
    return movers


def _now(connection: duckdb.DuckDBPyConnection, members: str, segments: Sequence[Segment]) -> dict[str, int | None]:
    if not segments:
        return {}
    counts = ", ".join(f"count(*) FILTER ({quoted(each.name)})" for each in segments)
    found = connection.execute(f"SELECT {counts} FROM {members}").fetchone() or ()
    return dict(zip((each.name for each in segments), found, strict=True))


def _weeks(
    settings: Settings, lake: Lake, as_of: date, rules: DayRules, connection: duckdb.DuckDBPyConnection
) -> list[dict[str, int | None]]:
    """Count the members on the same weekdays before, newest first; what was counted by the same rule is not again."""
    found = []
    for day in week_days(as_of, settings.segments.weeks):
        kept = {(row["segment"], row["digest"]): row["users"] for row in read_rows(lake, day, SIZES)}
        sizes = {each.name: kept[each.name, each.digest] for each in rules.segments if (each.name, each.digest) in kept}
        missing = [each for each in rules.segments if each.name not in sizes]
        sources = askable(settings, lake, day, rules) if missing else None
        if sources is not None:
            sizes |= sizes_of_day(connection, sources, missing, rules.stages)
        found.append(sizes)
    return found


def _week_movers(
    settings: Settings, lake: Lake, as_of: date, rules: DayRules, connection: duckdb.DuckDBPyConnection, now: Side,
    unusual: Sequence[Segment],
) -> Movers:  # fmt: skip
    """Say what moved the segments whose week is unusual, by the values of a week ago and of now."""
    sources = askable(settings, lake, as_of - WEEK, rules)
    if sources is None:
        return {}
    week_ago = evaluated_day(sources, as_of - WEEK, rules, unusual, connection, "members_week_ago")
    compared = [Compared(each.segment) for each in week_ago.compared]
    make_changes(connection, week_ago.side, now, compared, rules.stages, rules.kinds)
    return top_movers(connection)
