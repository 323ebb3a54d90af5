"""Results: what offers changed against control, over time, and what is not known yet; what changed beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from models.training_run.training_record import latest_training
from serving.charts.chart_frame import Chart
from serving.charts.line_chart import Point, line_chart
from serving.cubes.stored_cubes import day_sums
from serving.decide.promise_ratios import newest_ratios
from serving.desk.desk_pages import Page, Question
from serving.desk.timeline import Happening, happenings, marks
from serving.report_page.model_trust import trust_in_offers
from serving.report_page.policy_gate import gate_of
from serving.stored_days.measurements import MEASUREMENTS
from serving.wording.formatting import signed

FILE, MOST_SHOWN, SHOWN_DAYS = "lifts.json", 30, 90
GIVEN = (("cost", "Expected cost of offers", "expected_cost"), ("gain", "Expected gain after cost", "expected_value"))
WORDS = {
    "margin": "margin a head",
    "retention": "share who stay",
    "conversion": "share who buy",
    "revenue": "revenue a head",
}


def results_page(asked: Question) -> Page:
    """Answer whether it works."""
    desk = asked.desk
    measured, happened = measurements(asked), happenings(asked)
    record = latest_training(desk.lake, asked.day)
    values = {
        "measured": measured[-1] if measured else None,
        "lifts": lift_rows(measured[-1]["lifts"]) if measured else [],
        "promises": newest_ratios(desk.lake, asked.day),
        "gate": gate_of(record.verdict if record else None, desk.words),
        "trusts": trust_in_offers(record, desk.catalogue, desk.words),
        "happened": [each for each in happened if each.kind != "done"][::-1][:MOST_SHOWN],
        "runs": [each for each in happened if each.kind == "done"][::-1][:MOST_SHOWN],
        "control": asked.cubes().total("users", lambda cell: cell["arm"] == "control"),
        "exploring": asked.cubes().total("users", lambda cell: cell["arm"] == "explore"),
    }
    return Page("results", "Results", values, _charts(asked, measured, happened))


def measurements(asked: Question) -> list[dict[str, Any]]:
    """Read every measurement up to the day, in order."""
    lake = asked.desk.lake
    names = [name for name in lake.files.list(f"{MEASUREMENTS}/day=*/{FILE}") if _day(name) <= asked.day]
    return [json.loads(lake.files.read(name)) for name in names]


def _day(name: str) -> date:
    return date.fromisoformat(name.split("/")[1].removeprefix("day="))


def lift_rows(lifts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """List what each subject changed: the difference with its interval, or what is missing to tell."""
    return [
        {**each, "words": WORDS.get(each["measure"], each["measure"]), "found": _difference(each)} for each in lifts
    ]


def _difference(lift: Mapping[str, Any] | None) -> Mapping[str, float] | None:
    cuped = lift.get("cuped") if lift is not None and not lift.get("shortage") else None
    return cuped["absolute"] if cuped else None


def _charts(asked: Question, measured: Sequence[Mapping[str, Any]], happened: Sequence[Happening]) -> dict[str, Chart]:
    charts = dict[str, Chart]()
    days = day_sums(asked.desk.lake, asked.day)[-SHOWN_DAYS:]
    if len(days) > 1:
        laid = marks(happened, days[0]["day"])
        for name, title, measure in GIVEN:
            points = [Point(str(row["day"]), row[measure]) for row in days]
            charts[name] = line_chart(title, ("day", measure.replace("_", " ")), points, marks=laid)
    for measure, words in WORDS.items():
        points = [
            Point(str(each["as_of"]), found["value"], found["low"], found["high"])
            for each in measured
            if (found := _difference(_whole(each["lifts"], measure))) is not None
        ]
        if points:
            charts[f"lift-{measure}"] = line_chart(
                f"Lift against control, {words}", ("measured on", words), points, shown=signed,
                marks=marks(happened, points[0].label),
            )  # fmt: skip
    return charts


def _whole(lifts: Sequence[Mapping[str, Any]], measure: str) -> Mapping[str, Any] | None:
    """Find what is said of all offers together; the first subject is that."""
    return next((lift for lift in lifts if lift["measure"] == measure), None)
