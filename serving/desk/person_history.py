"""The history of one person: earlier offers and their outcomes, and recent events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from configs.offers import NO_OFFER
from features.tables.duckdb_sessions import sql_text
from serving.desk.desk_pages import Question
from serving.stored_days.day_tables import connect

LATELY, FOLLOWED, MOST_CONTACTS, MOST_EVENTS = 28, 120, 20, 30  # days, days, rows, rows
Row = dict[str, Any]


def contacts(question: Question, user_id: str) -> list[Row]:
    """List what somebody was given before, by us or by others, the last first, each with its ``outcome`` in words."""
    lake = question.desk.lake
    if not lake.days("treatments"):
        return []
    files = f"{sql_text(lake.path('treatments'))[:-1]}/day=*/*.parquet'"
    found = _asked(
        question,
        f"""
        SELECT decision_id, decided_at, offer_id, discount, channel FROM read_parquet({files}, union_by_name = true)
        WHERE user_id = {sql_text(user_id)} AND offer_id <> {sql_text(NO_OFFER)}
              AND decided_at < '{question.day}'::DATE + INTERVAL 1 DAY
        ORDER BY decided_at DESC, offer_id LIMIT {MOST_CONTACTS}
        """,
    )
    done = done_since(question, user_id, found)
    return [
        {**row, "title": question.desk.title(row["offer_id"]), "outcome": outcome(question, row, done)} for row in found
    ]


def done_since(question: Question, user_id: str, given: Sequence[Mapping[str, Any]]) -> list[Row]:
    """List what somebody did since the first of some contacts, at most `FOLLOWED` days back, in order."""
    if not given:
        return []
    first = max(min(row["decided_at"].date() for row in given), question.day - timedelta(days=FOLLOWED))
    days = [day for day in question.desk.lake.days("events") if first <= day < question.day]
    if not days:
        return []
    return _asked(
        question,
        f"""
        SELECT occurred_at, event_name, decision_id FROM {_source(question, days)}
        WHERE user_id = {sql_text(user_id)} AND occurred_at >= '{first}'::DATE ORDER BY occurred_at, event_name
        """,
    )


def outcome(question: Question, given: Mapping[str, Any], done: Sequence[Mapping[str, Any]]) -> str:
    """Say what came of a contact: what names it, and whether the person came back within the horizon."""
    settings, at = question.desk.settings, given["decided_at"]
    if at.date() < question.day - timedelta(days=FOLLOWED):
        return ""
    ends = at + timedelta(days=settings.churn.horizon_days)
    after = [row for row in done if at <= row["occurred_at"] < ends]
    named = [row for row in after if given["decision_id"] and row["decision_id"] == given["decision_id"]]
    words, horizon = question.desk.words, settings.churn.horizon_days
    told = [name.replace("_", " ") for name in dict.fromkeys(row["event_name"] for row in named)]
    back = next((row for row in after if row["event_name"] in settings.roles.activity), None)
    if back is not None:
        days = (back["occurred_at"] - at).days
        after_days = words.counted(days, "active after {number} day", "active after {number} days")
        told.append(after_days if days else words.say("active the same day"))
    elif _is_over(question, ends):
        told.append(words.counted(horizon, "not active within {number} day", "not active within {number} days"))
    else:
        told.append(words.say("not active yet"))
    return "; ".join(told)


def _is_over(question: Question, ends: datetime) -> bool:
    return ends.date() <= question.day


def events(question: Question, user_id: str) -> list[Row]:
    """List what somebody did of late, day by day: the name of the events and how many, the last day first."""
    first = question.day - timedelta(days=LATELY)
    days = [day for day in question.desk.lake.days("events") if first <= day < question.day]
    if not days:
        return []
    return _asked(
        question,
        f"""
        SELECT day, event_name, count(*) AS times, sum(amount) AS amount FROM {_source(question, days)}
        WHERE user_id = {sql_text(user_id)}
        GROUP BY ALL ORDER BY day DESC, times DESC, event_name LIMIT {MOST_EVENTS}
        """,
    )


def _source(question: Question, days: Sequence[Any]) -> str:
    files = ", ".join(sql_text(question.desk.lake.partition("events", day)) for day in days)
    return f"read_parquet([{files}], hive_partitioning = true, union_by_name = true)"


def _asked(question: Question, query: str) -> list[Row]:
    with connect(question.desk.lake) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.execute(query)
        names = [name for name, *_ in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
