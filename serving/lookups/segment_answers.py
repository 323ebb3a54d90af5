"""What people ask of segments: how many are in each, what changed and why, what a user is in, whether rules hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

from serving.memberships.day_rules import DayRules
from serving.memberships.membership_changes import REASONS
from serving.memberships.stored_segments import unusual_sentence
from serving.memberships.user_memberships import Membership, UserMemberships
from serving.segments.definitions import Definitions
from serving.wording.rendering import Words

Row = Mapping[str, Any]


def size_lines(day: date, rules: DayRules, sizes: Sequence[Row], transitions: Sequence[Row]) -> Iterator[str]:
    """Write a day's stages and segments as a page."""
    yield f"stages and segments on {day}"
    yield from stage_lines(rules, transitions)
    yield ""
    width = max((len(row["segment"]) for row in sizes), default=8)
    yield f"{'segment':<{width}} {'users':>9} {'came':>7} {'left':>7} {'week':>8}  who"
    for row in sizes:
        came, left = (sum(row[f"{way}_{each.replace(' ', '_')}"] or 0 for each in REASONS) for way in ("came", "left"))
        week = "" if row["change"] is None else f"{row['change']:+,}"
        mark = " !" if row["is_unusual"] else "  "
        numbers = f"{_count(row['users']):>9} {came:>7,} {left:>7,} {week:>8}"
        yield f"{row['segment']:<{width}} {numbers}{mark}{row['meaning']}"
    for row in sizes:
        if row["is_unusual"]:
            yield f"! {unusual_sentence(row)}"
    for name, lack in rules.left_out.items():
        yield f"left out: {name}, as this app has no column {lack}"


def stage_lines(rules: DayRules, transitions: Sequence[Row]) -> Iterator[str]:
    """Write how many are in each stage, and how many were before."""
    now, before = (dict.fromkeys((stage.name for stage in rules.stages.stages), 0) for _ in range(2))
    for row in transitions:
        if row["stage"] is not None:
            now[row["stage"]] = now.get(row["stage"], 0) + row["users"]
        if row["stage_before"] is not None:
            before[row["stage_before"]] = before.get(row["stage_before"], 0) + row["users"]
    day = transitions[0]["day_before"] if transitions else None
    width = max(len(name) for name in now)
    yield f"{'stage':<{width}} {'users':>9} {'on ' + str(day) if day else '':>14}  who"
    for stage in rules.stages.listed:
        then = f"{before[stage.name]:,}" if day else ""
        yield f"{stage.name:<{width}} {now[stage.name]:>9,} {then:>14}  {stage.meaning}"


def user_lines(user_id: str, found: UserMemberships, words: Words) -> Iterator[str]:
    """Write what a user is in, and why, as a page."""
    yield f"user {user_id} on {found.day}"
    yield f"  stage     {_with_values(found.stage, words)}"
    yield f"  segments  {len(found.segments) or 'none'}"
    yield from (f"    {_with_values(each, words)}" for each in found.segments)
    for change in found.changes:
        way = "came into" if change["is_member"] else "left"
        turned = "; ".join(dict.fromkeys(turned_words(each, words) for each in change["parts"] or ()))
        yield f"  {way} {change['segment']} ({change['reason']}){': ' + turned if turned else ''}"


def turned_words(turned: Row, words: Words) -> str:
    """Say a column of a part of a rule that turned, with both values."""
    column, _, split = turned["column"].partition("@")
    label = words.label(column) + (f" ({'fifth' if split == 'quintile' else f'cut at {split}'})" if split else "")

    def value(when: str) -> str:
        reason = {
            "column": None if split else column,
            "value": turned[f"text{when}"],
            "number": turned[f"number{when}"],
        }
        return words.value(reason) if reason["value"] is not None or reason["number"] is not None else "unknown"

    return f"{label}: {value('_before')} -> {value('')}"


def checked_lines(definitions: Definitions) -> Iterator[str]:
    """Write that all rules can be asked, and which were left out."""
    stages, segments = len(definitions.stages.stages), len(definitions.segments) + len(definitions.of_values)
    yield f"{stages} stages and {segments} segments can be asked"
    yield from (f"left out: {name}, as this app has no column {lack}" for name, lack in definitions.left_out.items())


def checked_facts(definitions: Definitions) -> dict[str, object]:
    """Write for machines what each rule says, and which columns it reads."""
    rules = [
        {"name": each.name, "title": each.title, "group": each.group, "columns": list(each.rule.columns)}
        for each in definitions.segments
    ]
    names = [stage.name for stage in definitions.stages.stages]
    return {"stages": names, "segments": rules, "left_out": dict(definitions.left_out)}


def user_facts(user_id: str, found: UserMemberships) -> dict[str, object]:
    """Write what a user is in for machines."""
    return {"user_id": user_id, **asdict(found)}


def plain(tables: Mapping[str, Sequence[Row]]) -> dict[str, object]:
    """Write rows for JSON, days as texts."""
    return {
        name: [{key: str(value) if isinstance(value, date) else value for key, value in row.items()} for row in rows]
        for name, rows in tables.items()
    }


def _with_values(membership: Membership, words: Words) -> str:
    values = "; ".join(f"{words.label(each['column'])}: {words.value(each)}" for each in membership.values)
    return f"{membership.title}: {membership.meaning}" + (f" ({values})" if values else "")


def _count(users: int | None) -> str:
    return "unknown" if users is None else f"{users:,}"
