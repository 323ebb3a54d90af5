"""The earlier day with which a day's segments are compared: the newest stored one, or the newest snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import duckdb

from configs.settings import Settings
from features.storage.lake import Lake
from features.tables.parquet_files import column_names
from serving.memberships.day_rules import DayRules
from serving.memberships.day_sources import sources_of
from serving.memberships.membership_changes import Compared, Side
from serving.memberships.stored_segments import SEGMENTS, read_rules, segment_days, stored_source
from serving.segments.day_query import DaySources, cuts_of, membership_sql, splits_of
from serving.segments.known_columns import PREDICTED, STAGE
from serving.segments.rules import Segment


@dataclass(frozen=True)
class DayBefore:
    """An earlier day beside which a day is laid: who was in what, how each segment compares, and segments that went."""

    day: date
    side: Side
    compared: tuple[Compared, ...]
    gone: tuple[str, ...] = ()


def day_before(
    settings: Settings, lake: Lake, as_of: date, rules: DayRules, connection: duckdb.DuckDBPyConnection
) -> DayBefore | None:
    """Find the day to compare with; None where there is none."""
    kept = [day for day in segment_days(lake) if day < as_of]
    if kept:
        return _kept_day(settings, lake, kept[-1], rules, connection)
    for day in reversed([day for day in lake.days("snapshots") if day < as_of]):
        sources = askable(settings, lake, day, rules)
        if sources is not None:
            return evaluated_day(sources, day, rules, rules.segments, connection, "members_before")
    return None


def askable(settings: Settings, lake: Lake, day: date, rules: DayRules) -> DaySources | None:
    """Name the files of an earlier day by which today's rules can be asked; None where they do not hold enough."""
    if not lake.has_partition("snapshots", day):
        return None
    wanted = {name for name in rules.kinds if name not in PREDICTED and name != STAGE}
    there = wanted <= {*column_names(lake.partition("snapshots", day))}
    return sources_of(settings, lake, day) if there else None


def evaluated_day(
    sources: DaySources, day: date, rules: DayRules, segments: Sequence[Segment],
    connection: duckdb.DuckDBPyConnection, table: str,
) -> DayBefore:  # fmt: skip
    """Ask today's rules of an earlier day, into a table; segments of which it knows too little are not compared."""
    known = [each for each in segments if sources.decisions is not None or not each.is_predicted]
    cuts = cuts_of(connection, sources, splits_of(known))
    query = membership_sql(sources, rules.stages, known, cuts)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS {query}")
    return DayBefore(day, Side(table, sources, cuts), tuple(Compared(each) for each in known))


def _kept_day(
    settings: Settings, lake: Lake, day: date, rules: DayRules, connection: duckdb.DuckDBPyConnection
) -> DayBefore:
    before, sources = read_rules(lake, day), askable(settings, lake, day, rules)
    digests = {each.name: each.digest for each in before.segments}
    other = [each for each in rules.segments if digests.get(each.name) != each.digest]
    again: set[str] = set()
    if other and sources is not None:
        asked = evaluated_day(sources, day, rules, other, connection, "members_again")
        again = {each.segment.name for each in asked.compared}
    compared = tuple(
        Compared(each, each.name in digests, each not in other, "members_again" if each.name in again else None)
        for each in rules.segments
    )
    gone = tuple(sorted(digests.keys() - {each.name for each in rules.segments}))
    cuts = cuts_of(connection, sources, splits_of(rules.segments)) if sources is not None else {}
    return DayBefore(day, Side(stored_source(lake, day, SEGMENTS), sources, cuts), compared, gone)
