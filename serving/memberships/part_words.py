"""Parts of segment rules in plain words instead of SQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from configs.settings import Settings
from features.storage.lake import Lake
from serving.memberships.membership_changes import REASONS
from serving.memberships.stored_segments import SIZES, read_rows
from serving.segments.comparisons import OTHER, comparison_of
from serving.segments.known_columns import constants_of
from serving.wording.rendering import Words, english_words_of


def part_words(part: str, words: Words, constants: Mapping[str, float]) -> str:
    """Say a part of a rule, or the reason that stands in the place of one."""
    said = words.language.parts
    if part in REASONS:
        return said[part.replace(" ", "_")]
    found = comparison_of(part, constants)
    if not found.columns:
        return part
    label = words.label(found.columns[0])
    if found.kind == OTHER:
        return said[OTHER].format(labels=words.language.joins["because_lines"].join(map(words.label, found.columns)))
    if found.fifths:
        return said["fifths"].format(label=label, fifths=_fifths(found.fifths, words))
    values = [_value(found.columns[0], each, words) for each in found.values]
    if found.share is not None:
        values = [said["share"].format(percent=words.language.percent(found.share))]
    filled = {"label": label, "value": values[0] if values else "", "values": ", ".join(values)}
    return said[found.kind].format(**filled, low=filled["value"], high=values[-1] if values else "")


def moved_words(moved_by: Sequence[Mapping[str, Any]], words: Words, settings: Settings) -> Iterator[str]:
    """Say by which parts of a rule how many came into a segment, or left it."""
    constants = constants_of(settings)
    for each in moved_by:
        told = words.language.parts["came" if each["is_member"] else "left"]
        part = part_words(each["part"], words, constants)
        yield told.format(users=words.language.number(each["users"], ",.0f"), part=part)


def unusual_words(row: Mapping[str, Any], words: Words, settings: Settings) -> str:
    """Say of a segment that its week is unusual, and what moved it."""
    language, way = words.language, "grew" if row["change"] > row["usual"] else "shrank"
    numbers = {name: words.signs(language.number(row[name], ",.0f")) for name in ("before", "users", "spread")}
    numbers |= {"usual": words.signs(language.number(row["usual"], "+,.0f")), "weeks": str(row["weeks"])}
    told = language.parts[way].format(title=words.group(row["segment"], row["title"]), **numbers)
    moved = language.joins["headings"].join(moved_words(row["week_moved_by"], words, settings))
    return told + (f": {moved}" if moved else "")


def unusual_notes(settings: Settings, lake: Lake, day: date, words: Words | None = None) -> list[str]:
    """Say of every segment of a day whose week is unusual what moved it; in English by default, as notes of runs."""
    rows = [row for row in read_rows(lake, day, SIZES) if row["is_unusual"]]
    words = words or english_words_of(settings)
    return [unusual_words(row, words, settings) for row in rows]


def _value(column: str, value: float | str, words: Words) -> str:
    """Write a value of a column as a reason does."""
    is_text = isinstance(value, str)
    return words.value({"column": column, "value": value if is_text else None, "number": None if is_text else value})


def _fifths(fifths: Sequence[int], words: Words) -> str:
    """Name the fifths of the users that are meant: the lowest, the two highest, or each by its place."""
    named = {(1,): "lowest", (1, 2): "lowest_two", (5,): "highest", (4, 5): "highest_two", (3,): "middle"}
    own = named.get(tuple(fifths))
    said = words.language.parts
    return said[own] if own else said["fifth"].format(places=", ".join(map(str, fifths)))
