"""Why a user is in a stage or segment: the parts of the rule that hold, with the user's values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

from configs.errors import InputError
from configs.settings import Settings
from features.storage.lake import Lake
from features.tables.duckdb_sessions import sql_text
from serving.memberships.day_rules import DayRules
from serving.memberships.day_sources import sources_of
from serving.memberships.stored_segments import CHANGES, SEGMENTS, read_rules, rows_of_user
from serving.segments.day_query import users_sql
from serving.segments.rules import Part, Segment
from serving.stored_days.day_tables import connect


@dataclass(frozen=True)
class Membership:
    """A stage or segment that a user is in, and what decides it: the columns of the parts that hold, each once."""

    name: str
    title: str
    meaning: str
    values: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class UserMemberships:
    """Stage and segments of a user on a day, and the changes since the day before."""

    day: date
    stage: Membership
    segments: tuple[Membership, ...]
    changes: tuple[dict[str, Any], ...]


def user_memberships(settings: Settings, lake: Lake, day: date, user_id: str) -> UserMemberships | None:
    """Look up what a user is in, and why; None where nothing is kept of the day or of the user.

    Raises
    ------
    InputError
        A file of the day is damaged.
    """
    if day not in lake.days(SEGMENTS):
        return None
    rules, found = read_rules(lake, day), rows_of_user(lake, day, SEGMENTS, user_id)
    if not found:
        return None
    segments = [each for each in rules.segments if found[0][each.name]]
    parts = [part for each in segments for part in each.rule.parts] + [*rules.stages.parts_of(found[0]["stage"])]
    known = _known(settings, lake, day, user_id, rules, segments, parts)
    stage = next(each for each in rules.stages.stages if each.name == found[0]["stage"])
    changes = rows_of_user(lake, day, CHANGES, user_id)
    return UserMemberships(
        day,
        Membership(stage.name, stage.title, stage.meaning, _values(stage.rule.parts, known)),
        tuple(Membership(each.name, each.title, each.meaning, _values(each.rule.parts, known)) for each in segments),
        tuple(changes),
    )


def known_memberships(settings: Settings, lake: Lake, day: date, user_id: str) -> UserMemberships:
    """Look up what a user is in, and why.

    Raises
    ------
    InputError
        Nothing is kept of the day or of the user, or a file is damaged.
    """
    found = user_memberships(settings, lake, day, user_id)
    if found is None:
        what = "user" if day in lake.days(SEGMENTS) else "day"
        raise InputError(
            f"there is no user {user_id!r} in the segments of {day}; check the id, as in the events"
            if what == "user"
            else f"{lake.root} holds no segments of {day}; run winback score-users --as-of {day}"
        )
    return found


def _known(
    settings: Settings, lake: Lake, day: date, user_id: str, rules: DayRules, segments: list[Segment],
    parts: Iterable[Part],
) -> dict[str, Any]:  # fmt: skip
    """Read what the rules read of a user, and whether each part holds, by its text."""
    different = {part.text: part for part in parts}
    holds = "".join(f', {part.sql} AS "part@{place}"' for place, part in enumerate(different.values()))
    query = users_sql(sources_of(settings, lake, day).of_user(user_id), rules.stages, segments, rules.cuts)
    with connect(lake) as connection:
        found = connection.execute(f"SELECT *{holds} FROM ({query}) WHERE user_id = {sql_text(user_id)}")
        names = [name for name, *_ in found.description or ()]
        row = found.fetchone() or ()
    known = dict(zip(names, row, strict=False))
    return known | {text: known.get(f"part@{place}") for place, text in enumerate(different)}


def _values(parts: Iterable[Part], known: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """List the columns of the parts that hold, in the form of a stored reason."""
    names = dict.fromkeys(name for part in parts if known.get(part.text) for name in part.columns)
    return tuple(
        {"column": name, "value": held if isinstance(held := known.get(name), str) else None,
         "number": None if isinstance(held, str) else held}
        for name in names
    )  # fmt: skip
