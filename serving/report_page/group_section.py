"""The section of the report about stages and segments: sizes, transitions, and unusual changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from configs.settings import Settings
from features.storage.lake import Lake
from models.personas.persona_note import ABOVE_CHANCE, SMALLEST, STABLE, PersonaNote
from serving.memberships.day_rules import DayRules
from serving.memberships.membership_changes import REASONS
from serving.memberships.part_words import unusual_words
from serving.memberships.persona_cards import PersonaCard, apart_words, persona_cards
from serving.memberships.stored_segments import SIZES, TRANSITIONS, read_rows, read_rules, segment_days
from serving.wording.rendering import Words

Row = dict[str, Any]
NO_GROUPS = "no stable groups: habits differ too little, or groups are smaller than {smallest:.0%} of the users"
UNSTABLE = (
    "no stable groups: refits agree at {agreed:.2f} (adjusted Rand index); it takes {stable:.2f}, and {above:.2f} "
    "above shuffled ones"
)
AS_BY_CHANCE = (
    "no stable groups: refits agree at {agreed:.2f} (adjusted Rand index), with shuffled columns at {by_chance:.2f}; "
    "it takes {stable:.2f}, and {above:.2f} above shuffled ones"
)
GROUPS = {
    "rfm": "Buyers, by how lately and how often", "activity": "How active", "buying": "What they buy",
    "journey": "On the way to a purchase", "offers": "Offers", "places": "Country, device, language",
}  # fmt: skip


@dataclass(frozen=True)
class GroupSection:
    """Stages and segments of a day.

    `day_before` is the day compared with, None for the first. `stages` has ``title, meaning, users, before``,
    `moves` the users by ``title`` of the stage before and ``to``, users by title of the stage now. `groups` are the
    segments by heading, each with ``users, came, left, change, moved_by``; `unusual` says which of them have
    a week that stands out, and what moved them.
    `personas` have ``title, users, worth, p_churn, apart``, and `persona_note` says how stable they are,
    `no_personas` why there are none.
    """

    day_before: date | None
    stages: Sequence[Row]
    moves: Sequence[Row]
    groups: dict[str, list[Row]]
    unusual: Sequence[str]
    left_out: Sequence[str]
    users: int
    personas: Sequence[Row] = ()
    persona_note: PersonaNote | None = None
    no_personas: str = ""


def groups_of(
    settings: Settings, lake: Lake, as_of: date, words: Words, note: PersonaNote | None = None
) -> GroupSection | None:
    """Read who is in what on a day; None where that was not kept."""
    if as_of not in segment_days(lake):
        return None
    rules, moves = read_rules(lake, as_of), read_rows(lake, as_of, TRANSITIONS)
    rows = [_row(row, words) for row in read_rows(lake, as_of, SIZES)]
    shown = [row for row in rows if row["users"] or row["left"]]
    groups: dict[str, list[Row]] = {}
    for row in shown:
        heading = GROUPS.get(row["group"], row["group"].replace("_", " ").capitalize())
        groups.setdefault(words.say(heading), []).append(row)
    now = _sums(moves, "stage")
    return GroupSection(
        day_before=moves[0]["day_before"] if moves else None,
        stages=[
            {"name": each.name, "title": words.group(each.name, each.title),
             "meaning": words.meaning(each.name, each.meaning), "users": now.get(each.name, 0),
             "before": _sums(moves, "stage_before").get(each.name, 0)}
            for each in rules.stages.listed
        ],
        moves=_moves(rules, moves, words),
        groups=groups,
        unusual=[unusual_words(row, words, settings) for row in rows if row["is_unusual"]],
        left_out=[row["title"] for row in rows if row not in shown],
        users=sum(now.values()),
        personas=[_card(card, words) for card in persona_cards(lake, as_of)],
        persona_note=note,
        no_personas=no_persona_words(note, words) if note is not None and not note.names else "",
    )  # fmt: skip


def no_persona_words(note: PersonaNote, words: Words) -> str:
    """Say why a training found no personas."""
    if not note.stability.n:
        return words.say(NO_GROUPS, smallest=SMALLEST)
    wanted = {"stable": STABLE, "above": ABOVE_CHANCE, "agreed": note.stability.value}
    if not note.by_chance.n:
        return words.say(UNSTABLE, **wanted)
    return words.say(AS_BY_CHANCE, by_chance=note.by_chance.value, **wanted)


def _card(card: PersonaCard, words: Words) -> Row:
    apart = apart_words(card.apart, words, words.language.text("{label}: usually {theirs}, of all {usual}"))
    return {**vars(card), "title": words.persona(card.name), "apart": apart}


def _moves(rules: DayRules, moves: Sequence[Row], words: Words) -> list[Row]:
    """Lay out who went from which stage to which; users who are new or gone have a row or column of their own."""
    cells = {(row["stage_before"], row["stage"]): row["users"] for row in moves}
    names = [each.name for each in rules.stages.listed]
    own = [(each.name, words.group(each.name, each.title)) for each in rules.stages.listed]
    rows: list[tuple[str | None, str]] = [*own, (None, words.say("Not there before"))]
    return [
        {"title": title, "name": name, "to": [(other, cells.get((name, other), 0)) for other in [*names, None]]}
        for name, title in rows
        if any(cells.get((name, other)) for other in [*names, None])
    ]


def _sums(moves: Sequence[Row], name: str) -> dict[str, int]:
    sums: dict[str, int] = {}
    for row in moves:
        if row[name] is not None:
            sums[row[name]] = sums.get(row[name], 0) + row["users"]
    return sums


def _row(row: Row, words: Words) -> Row:
    flows = {way: sum(row[f"{way}_{reason.replace(' ', '_')}"] or 0 for reason in REASONS) for way in ("came", "left")}
    named = {
        "title": words.group(row["segment"], row["title"]),
        "meaning": words.meaning(row["segment"], row["meaning"]),
    }
    return {**row, **flows, **named}
