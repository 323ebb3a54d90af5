"""Answers about segments: sizes, changes and their reasons, the segments of one user, validity of rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

from configs.settings import Settings
from serving.memberships.day_rules import DayRules
from serving.memberships.membership_changes import REASONS
from serving.memberships.onboarding_progress import UserProgress, progress_line
from serving.memberships.part_words import unusual_words
from serving.memberships.user_memberships import Membership, UserMemberships
from serving.segments.definitions import Definitions
from serving.wording.rendering import Words

Row = Mapping[str, Any]


def size_lines(
    day: date, rules: DayRules, sizes: Sequence[Row], transitions: Sequence[Row], words: Words, settings: Settings
) -> Iterator[str]:
    """Write a day's stages and segments as a page."""
    said, number = words.language.segments, words.language.number
    yield said["page"].format(day=words.language.day(day))
    yield from stage_lines(rules, transitions, words)
    yield ""
    width = max((len(row["segment"]) for row in sizes), default=8)
    heading = f"{said['users']:>9} {said['came']:>7} {said['left']:>7} {said['week']:>8}"
    yield f"{said['segment']:<{width}} {heading}   {said['who']}"
    for row in sizes:
        came, left = (sum(row[f"{way}_{each.replace(' ', '_')}"] or 0 for each in REASONS) for way in ("came", "left"))
        week = "" if row["change"] is None else number(row["change"], "+,.0f")
        mark = " ! " if row["is_unusual"] else "   "
        users = words.language.values["unknown"] if row["users"] is None else number(row["users"], ",.0f")
        numbers = f"{users:>9} {number(came, ',.0f'):>7} {number(left, ',.0f'):>7} {week:>8}"
        yield f"{row['segment']:<{width}} {numbers}{mark}{words.meaning(row['segment'], row['meaning'])}"
    if before := next((row["day_before"] for row in transitions if row["day_before"]), None):
        yield said["since"].format(day=words.language.day(before))
    yield from (f"! {unusual_words(row, words, settings)}" for row in sizes if row["is_unusual"])
    yield from (said["left_out"].format(name=name, column=lack) for name, lack in rules.left_out.items())


def stage_lines(rules: DayRules, transitions: Sequence[Row], words: Words) -> Iterator[str]:
    """Write how many are in each stage, and how many were before."""
    said, number = words.language.segments, words.language.number
    now, before = (dict.fromkeys((stage.name for stage in rules.stages.stages), 0) for _ in range(2))
    for row in transitions:
        if row["stage"] is not None:
            now[row["stage"]] = now.get(row["stage"], 0) + row["users"]
        if row["stage_before"] is not None:
            before[row["stage_before"]] = before.get(row["stage_before"], 0) + row["users"]
    day = transitions[0]["day_before"] if transitions else None
    width, on = max(len(name) for name in now), said["on"].format(day=day) if day else ""
    yield f"{said['stage']:<{width}} {said['users']:>9} {on:>14}  {said['who']}"
    for stage in rules.stages.listed:
        then, meaning = number(before[stage.name], ",.0f") if day else "", words.meaning(stage.name, stage.meaning)
        yield f"{stage.name:<{width}} {number(now[stage.name], ',.0f'):>9} {then:>14}  {meaning}"


def user_lines(
    user_id: str, memberships: UserMemberships, words: Words, progress: UserProgress | None = None
) -> Iterator[str]:
    """Write what a user is in, and why, and how far they are with the first steps, as a page."""
    said = words.language.segments
    yield said["user"].format(user_id=user_id, day=memberships.day)
    yield said["stage_line"].format(**_named(memberships.stage, words)) + _values(memberships.stage, words)
    if progress is not None:
        yield progress_line(progress, words)
    yield said["segments_line"].format(count=len(memberships.segments) or said["none"])
    for each in memberships.segments:
        yield "    {title}: {meaning}".format(**_named(each, words)) + _values(each, words)
    for change in memberships.changes:
        way, reason = said["came_into" if change["is_member"] else "left_from"], change["reason"].replace(" ", "_")
        turned = "; ".join(dict.fromkeys(turned_words(each, words) for each in change["parts"] or ()))
        told = way.format(title=words.group(change["segment"], change["segment"]), reason=words.language.parts[reason])
        yield told + (f": {turned}" if turned else "")


def turned_words(turned: Row, words: Words) -> str:
    """Say a column of a part of a rule that turned, with both values."""
    said, (column, _, split) = words.language.segments, turned["column"].partition("@")
    by = said["fifth"] if split == "quintile" else said["cut"].format(share=split)
    label = words.label(column) + (f" ({by})" if split else "")

    def value(when: str) -> str:
        reason = {
            "column": None if split else column,
            "value": turned[f"text{when}"],
            "number": turned[f"number{when}"],
        }
        return (
            words.value(reason)
            if reason["value"] is not None or reason["number"] is not None
            else words.language.values["unknown"]
        )

    return said["turned"].format(label=label, before=value("_before"), now=value(""))


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


def user_facts(user_id: str, memberships: UserMemberships, progress: UserProgress | None = None) -> dict[str, object]:
    """Write what a user is in for machines."""
    own = asdict(progress) if progress is not None else None
    return {"user_id": user_id, **asdict(memberships), "onboarding": own}


def plain(tables: Mapping[str, Sequence[Row]]) -> dict[str, object]:
    """Write rows for JSON, days as texts."""
    return {
        name: [{key: str(value) if isinstance(value, date) else value for key, value in row.items()} for row in rows]
        for name, rows in tables.items()
    }


def _named(membership: Membership, words: Words) -> dict[str, str]:
    title = words.group(membership.name, membership.title)
    return {"title": title, "meaning": words.meaning(membership.name, membership.meaning)}


def _values(membership: Membership, words: Words) -> str:
    values = "; ".join(f"{words.label(each['column'])}: {words.value(each)}" for each in membership.values)
    return f" ({values})" if values else ""
