"""Changes shown in charts over time: of models, settings and offers, and runs that did not end well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from itertools import groupby
from typing import NamedTuple

from serving.charts.line_chart import Mark
from serving.desk.desk_pages import Question
from serving.stored_days.day_basis import MODEL, OFFER, SETTING, BasisChange, basis_changes
from serving.wording.rendering import Words

MOST_DAYS, MOST_TOLD = 90, 3
ENDED_WELL = ("done", "running")
OUTCOMES = {
    "done": "done", "running": "running", "refused": "refused", "locked": "locked", "failed": "failed",
    "interrupted": "interrupted", "killed": "killed",
}  # fmt: skip
KINDS = {MODEL: "model", SETTING: "settings", OFFER: "settings"}


class TimelineEntry(NamedTuple):
    """One thing on a day: `kind` is one of `line_chart.MARK_KINDS`, or ``done`` of a run that ended well."""

    day: date
    kind: str
    words: str


def timeline_entries(question: Question) -> list[TimelineEntry]:
    """List what happened on the decided days up to the one that is asked about, in order."""
    days = [day for day in question.days if day <= question.day][-MOST_DAYS:]
    changed = [
        TimelineEntry(day, kind, words)
        for (day, kind), rows in groupby(
            basis_changes(question.desk.lake, days), lambda row: (row.day, KINDS[row.kind])
        )
        for words in _told(question, list(rows))
    ]
    ran = [each for each in _runs(question) if days[0] <= each.day <= question.day]
    return sorted([*changed, *ran], key=lambda each: (each.day, each.kind))


def marks(entries: Sequence[TimelineEntry], first: date | str = "") -> list[Mark]:
    """Lay what changed over a chart that begins on a day: one mark for each day and kind; what went well has none."""
    shown = [each for each in entries if each.kind != "done" and f"{each.day}" >= f"{first}"]
    return [
        Mark(f"{day}", kind, "; ".join(each.words for each in rows))
        for (day, kind), rows in groupby(shown, lambda each: (each.day, each.kind))
    ]


def _told(question: Question, rows: Sequence[BasisChange]) -> Iterator[str]:
    """Say what changed on a day; of many settings the first few and how many more."""
    said = [_change(question, row) for row in rows]
    yield from said[:MOST_TOLD]
    if len(said) > MOST_TOLD:
        more = question.desk.words.figures.thousands(len(said) - MOST_TOLD)
        yield question.desk.words.say("and {more} more", more=more)


def _change(question: Question, row: BasisChange) -> str:
    say = question.desk.words.say
    if row.kind == OFFER:
        title = question.desk.title(row.name)
        if row.before is None:
            return say("{title} is new", title=title)
        return say("{title} is no longer offered" if row.now is None else "{title} reads otherwise", title=title)
    nothing = say("no model of {subject}", subject=row.name) if row.kind == MODEL else say("nothing")
    now, before = row.now or nothing, row.before or nothing
    if row.kind == MODEL:
        return say("{now} instead of {before}", now=now, before=before)
    return say("{name} = {now}, was {before}", name=row.name, now=now, before=before)


def outcome_words(outcome: str, words: Words) -> str:
    """Say how a run ended; an outcome of another winback is written as it is."""
    return words.say(OUTCOMES[outcome]) if outcome in OUTCOMES else outcome


def _runs(question: Question) -> Iterator[TimelineEntry]:
    """Tell each run on the day that it was about; who was asked for none, on the day on which it began."""
    for run in question.desk.newest_runs():
        is_well = run["outcome"] in ENDED_WELL
        words = f"{run['command']}: {outcome_words(run['outcome'], question.desk.words)}"
        words += f" ({run['reason']})" if run.get("reason") else ""
        day = date.fromisoformat((run.get("as_of") or run["started"])[:10])
        yield TimelineEntry(day, "done" if is_well else "run", words)
