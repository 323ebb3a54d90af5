"""The section of the report about tastes and hours: coverage, top categories, best hours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pandas as pd

from features.storage.lake import Lake
from features.tables.duckdb_sessions import sql_text
from models.metrics.metric import Metric
from serving.stored_days.day_tables import connect, day_file, decisions_source

TOP = 5  # categories of a list
LISTS = ("again", "new")
TIMES = """
    SELECT count(*), count(*) FILTER (evidence > 0), mode(best_hour) FILTER (evidence > 0),
           mode(best_weekday) FILTER (evidence > 0) FROM {hours}
"""
BY_HOUR = "SELECT best_hour, count(*) FROM {hours} WHERE evidence > 0 GROUP BY ALL"
LISTED = "SELECT count(DISTINCT user_id) FROM {tastes} WHERE list = '{list}'"
NAMED = """
    SELECT name, count(DISTINCT user_id) AS users, median(usual_days_between) AS days FROM {tastes}
    WHERE list = '{list}' AND place <= {top} GROUP BY name ORDER BY users DESC, name LIMIT {top}
"""
WRITTEN_TO = """
    SELECT count(*), count(featured_category), count(*) FILTER (send_hour_propensity < 1), min(send_at), max(send_at)
    FROM {decisions} WHERE send_at IS NOT NULL
"""
Row = dict[str, Any]


@dataclass(frozen=True)
class PreferenceSection:
    """Tastes and hours of a day.

    `users` were looked at, all of the app or (`is_everybody` false) those who are written to; `seen` have evidence of
    their own about their hours. `best_hour` and `best_weekday` (Monday is 0) are those of most of them, None of nobody,
    and `by_hour` how many are best reached in each of the 24 hours. `listed` counts who has a list, `named` holds its
    top categories with ``name, users, days``. Of `messages`, `featuring` speak of a category and `at_random` have an
    hour that was drawn; they go out from `first_at` to `last_at`. `metrics` are those of the training.
    """

    users: int
    seen: int
    is_everybody: bool
    best_hour: int | None
    best_weekday: int | None
    by_hour: tuple[int, ...]
    listed: Mapping[str, int]
    named: Mapping[str, Sequence[Row]]
    messages: int
    featuring: int
    at_random: int
    first_at: Any
    last_at: Any
    metrics: Mapping[str, Metric]

    @property
    def busiest(self) -> int:
        """Users who are best reached in the hour that most are."""
        return max(self.by_hour)


def preferences_of(lake: Lake, as_of: date, users: int, metrics: Mapping[str, Metric]) -> PreferenceSection | None:
    """Read what a day of some users kept of tastes and hours; None where that was nothing."""
    folder = f"decisions/day={as_of}"
    if not all(lake.files.exists(f"{folder}/{name}.parquet") for name in ("hours", "tastes")):
        return None
    hours, tastes = (f"read_parquet({sql_text(day_file(lake, as_of, name))})" for name in ("hours", "tastes"))
    with connect(lake) as connection:
        looked_at, seen, hour, weekday = connection.execute(TIMES.format(hours=hours)).fetchall()[0]
        by_hour = dict(connection.execute(BY_HOUR.format(hours=hours)).fetchall())
        listed = {each: connection.execute(LISTED.format(tastes=tastes, list=each)).fetchall()[0][0] for each in LISTS}
        named = {}
        for each in LISTS:
            rows = connection.execute(NAMED.format(tastes=tastes, list=each, top=TOP)).fetchall()
            named[each] = [dict(zip(("name", "users", "days"), row, strict=True)) for row in rows]
        connection.execute("SET TimeZone = 'UTC'")
        (told,) = connection.execute(WRITTEN_TO.format(decisions=decisions_source(lake, as_of))).fetchall()
    if not looked_at:
        return None
    messages, featuring, at_random, *sent = told
    first_at, last_at = (at and pd.Timestamp(at) for at in sent)
    counts = tuple(by_hour.get(place, 0) for place in range(24))
    return PreferenceSection(
        looked_at, seen, looked_at == users, hour, weekday, counts, listed, named, messages, featuring, at_random,
        first_at, last_at, metrics,
    )  # fmt: skip
