"""The page Results: measured effects of offers over time, beside other changes, and what is not known yet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from models.measurement.lift import Shortage
from models.training_run.training_record import latest_training
from serving.charts.chart_frame import Chart
from serving.charts.line_chart import Point, line_chart
from serving.cubes.stored_cubes import day_sums
from serving.decide.promise_ratios import newest_ratios
from serving.desk.desk_pages import Desk, Page, Question
from serving.desk.timeline import TimelineEntry, marks, timeline_entries
from serving.report_page.model_trust import trust_in_offers
from serving.report_page.policy_gate import gate_of
from serving.stored_days.measurements import MEASUREMENTS, RANDOMISED
from serving.wording.rendering import Words
from serving.wording.shortage_words import shortage_words

FILE, MOST_SHOWN, SHOWN_DAYS = "lifts.json", 30, 90
GIVEN = {"cost": "Expected cost of offers", "gain": "Expected gain after cost"}
MEASURES = {"cost": "expected_cost", "gain": "expected_value"}
ALL_OFFERS = "offers"
OLDER = "measured by an older winback; winback measure-offers says what is missing"
WORDS = {
    "margin": "margin a head",
    "retention": "share who stay",
    "conversion": "share who buy",
    "revenue": "revenue a head",
}


def results_page(question: Question) -> Page:
    """Answer whether it works."""
    desk = question.desk
    measured, entries = measurements(question), timeline_entries(question)
    record = latest_training(desk.lake, question.day)
    values = {
        "measured": measured[-1] if measured else None,
        "lifts": lift_rows(measured[-1]["lifts"], desk) if measured else [],
        "promises": newest_ratios(desk.lake, question.day).words_in(desk.words.say),
        "gate": gate_of(record.verdict if record else None, desk.words),
        "trusts": trust_in_offers(record, desk.catalogue, desk.words),
        "happened": [each for each in entries if each.kind != "done"][::-1][:MOST_SHOWN],
        "runs": [each for each in entries if each.kind == "done"][::-1][:MOST_SHOWN],
        "control": question.cubes().total("users", lambda cell: cell["arm"] == "control"),
        "exploring": question.cubes().total("users", lambda cell: cell["arm"] == "explore"),
    }
    return Page("results", desk.words.say("Results"), values, _charts(question, measured, entries))


def measurements(question: Question) -> list[dict[str, Any]]:
    """Read every measurement up to the day, in order."""
    lake = question.desk.lake
    names = [name for name in lake.files.list(f"{MEASUREMENTS}/day=*/{FILE}") if _day(name) <= question.day]
    return [json.loads(lake.files.read(name)) for name in names]


def _day(name: str) -> date:
    return date.fromisoformat(name.split("/")[1].removeprefix("day="))


def lift_rows(lifts: Sequence[Mapping[str, Any]], desk: Desk) -> list[dict[str, Any]]:
    """List what each subject changed: the difference with its interval, or what is missing to tell."""
    return [
        {**each, "subject": subject_words(each["subject"], desk), "words": measure_words(each["measure"], desk),
         "found": _difference(each), "shortage": _lacking(each, desk.words)}
        for each in lifts
    ]  # fmt: skip


def measure_words(measure: str, desk: Desk) -> str:
    """Name what was measured."""
    return desk.words.say(WORDS[measure]) if measure in WORDS else measure.replace("_", " ")


def subject_words(subject: str, desk: Desk) -> str:
    """Name what lifts are of: all offers, all that were given at random, one of them, a channel or a stage."""
    if subject == ALL_OFFERS:
        return desk.words.say("all offers")
    if subject == RANDOMISED:
        return desk.words.say("randomised offers")
    kind, _, name = subject.partition("_")
    if kind == RANDOMISED:
        return desk.words.say("{offer}, given at random", offer=desk.title(name))
    if kind == "channel":
        return desk.words.say("by {channel}", channel=desk.words.term(name))
    if kind == "stage":
        return desk.words.say("stage {stage}", stage=desk.words.group(name, name.replace("_", " ").capitalize()))
    return desk.title(subject)


def _lacking(lift: Mapping[str, Any], words: Words) -> str:
    """Say what is missing for a verdict; an older winback kept a sentence of its own language."""
    if isinstance(lift["shortage"], str):
        return words.say(OLDER) if lift["shortage"] else ""
    return shortage_words((Shortage(**each) for each in lift["shortage"]), words)


def _difference(lift: Mapping[str, Any] | None) -> Mapping[str, float] | None:
    cuped = lift.get("cuped") if lift is not None and not lift.get("shortage") else None
    return cuped["absolute"] if cuped else None


def _charts(
    question: Question, measured: Sequence[Mapping[str, Any]], entries: Sequence[TimelineEntry]
) -> dict[str, Chart]:
    charts, desk = dict[str, Chart](), question.desk
    say, figures = desk.words.say, desk.words.figures
    days = day_sums(question.desk.lake, question.day)[-SHOWN_DAYS:]
    if len(days) > 1:
        laid = marks(entries, days[0]["day"])
        for name in GIVEN:
            points = [Point(str(row["day"]), row[MEASURES[name]]) for row in days]
            columns = (say("day"), say(GIVEN[name]))
            charts[name] = line_chart(
                say(GIVEN[name]), columns, points, format_value=figures.money, marks=laid, words=desk.chart_words
            )
    for measure in WORDS:
        points = [
            Point(str(each["as_of"]), found["value"], found["low"], found["high"])
            for each in measured
            if (found := _difference(_whole(each["lifts"], measure))) is not None
        ]
        if len(points) > 1:
            charts[f"lift-{measure}"] = line_chart(
                say("Lift against control, {measure}", measure=say(WORDS[measure])),
                (say("measured on"), say(WORDS[measure])), points, format_value=figures.signed,
                marks=marks(entries, points[0].label), words=desk.chart_words,
            )  # fmt: skip
    return charts


def _whole(lifts: Sequence[Mapping[str, Any]], measure: str) -> Mapping[str, Any] | None:
    """Find what is said of all offers together; the first subject is that."""
    return next((lift for lift in lifts if lift["measure"] == measure), None)
