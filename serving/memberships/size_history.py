"""Sizes of segments by week, and whether the newest change is unusual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

import duckdb
import numpy as np

from configs.segment_settings import Segments
from serving.segments.day_query import DaySources, cuts_of, quoted, splits_of, users_sql
from serving.segments.rules import Segment, Stages

WEEK = timedelta(days=7)
NORMAL = 1.4826  # median absolute deviation to standard deviation, of a normal distribution


@dataclass(frozen=True)
class WeekChange:
    """Change of a segment's size within a week, beside the changes of the weeks before.

    `usual` is their median and `spread` how far they lie around it; both None where fewer than `min_weeks` of the
    `weeks` are known, and `score` is the distance from the usual in spreads (the modified z-score of Iglewicz and
    Hoaglin, 1993).
    """

    before: int | None
    change: int | None
    usual: float | None
    spread: float | None
    score: float | None
    weeks: int
    is_unusual: bool


def week_change(sizes: Sequence[int | None], settings: Segments) -> WeekChange:
    """Judge the newest week; `sizes` are those of the day and of the same weekdays before, newest first.

    The spread is at least what chance does to a segment of its size, its square root: in a small one, a few users more
    or less are nothing unusual.

    Examples
    --------
    >>> from configs.settings import load_settings
    >>> settings = load_settings().segments
    >>> week_change([500, 700, 705, 698, 702, 700, 704], settings).is_unusual
    True
    >>> week_change([690, 700, 705, 698, 702, 700, 704], settings).is_unusual
    False
    >>> week_change([500, 700, 705], settings).score is None
    True
    """
    changes = [None if now is None or then is None else now - then for now, then in pairwise(sizes)]
    before = sizes[1] if len(sizes) > 1 else None
    change, earlier = (changes[0] if changes else None), [each for each in changes[1:] if each is not None]
    if change is None or before is None or len(earlier) < settings.min_weeks:
        return WeekChange(before, change, None, None, None, len(earlier), is_unusual=False)
    usual = float(np.median(earlier))
    spread = max(NORMAL * float(np.median(np.abs(np.array(earlier) - usual))), float(np.sqrt(max(before, 1))))
    score = (change - usual) / spread
    is_unusual = abs(score) >= settings.limit and abs(change - usual) >= settings.min_users
    return WeekChange(before, change, usual, spread, score, len(earlier), is_unusual)


def week_days(as_of: date, weeks: int) -> list[date]:
    """List the same weekdays before a day, newest first, that `weeks` earlier changes and the newest one need."""
    return [as_of - place * WEEK for place in range(1, weeks + 2)]


def sizes_of_day(
    connection: duckdb.DuckDBPyConnection, sources: DaySources, segments: Sequence[Segment], stages: Stages
) -> Mapping[str, int | None]:
    """Count the members of some segments on a day by today's rules, by name; None where that day knew too little."""
    known = [each for each in segments if sources.decisions is not None or not each.is_predicted]
    sizes: dict[str, int | None] = dict.fromkeys(each.name for each in segments)
    if known:
        cuts = cuts_of(connection, sources, splits_of(known))
        allowed = f"WHERE user_id NOT IN ({sources.refusing})" if sources.refusing else ""
        counts = ", ".join(f"count(*) FILTER ({each.rule.sql}) AS {quoted(each.name)}" for each in known)
        query = f"SELECT {counts} FROM ({users_sql(sources, stages, known, cuts)}) {allowed}"
        found = connection.execute(query).fetchone() or ()
        sizes |= dict(zip((each.name for each in known), found, strict=True))
    return sizes
