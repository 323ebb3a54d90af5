"""The page Segments: sizes of segments and personas, their changes and why, their value and offers."""

from __future__ import annotations

from typing import Any

from models.training_run.training_record import latest_training
from serving.charts.bar_charts import bar_chart
from serving.charts.chart_frame import Chart
from serving.charts.flow_chart import Move, flow_chart
from serving.cubes.stored_cubes import DayCubes
from serving.desk.desk_pages import Page, Question
from serving.memberships.stored_segments import TRANSITIONS, read_rows, segment_days
from serving.report_page.group_section import groups_of


def groups_page(question: Question) -> Page:
    """Answer who everybody is and what moved."""
    desk, cubes = question.desk, question.cubes()
    record = latest_training(desk.lake, question.day)
    who = groups_of(desk.settings, desk.lake, question.day, desk.words, record.personas if record else None)
    sums = {row["segment"]: row for row in cubes.segments}
    stages = {row["stage"]: row for row in cubes.by("stage")}
    values = {
        "who": who, "sums": sums, "stages": stages,
        "personas": {row["persona"]: row for row in cubes.by("persona") if row["persona"] is not None},
        "unusual": who.unusual if who else [],
    }  # fmt: skip
    return Page("groups", desk.words.say("Segments and personas"), values, _charts(question, cubes))


def _charts(question: Question, cubes: DayCubes) -> dict[str, Chart]:
    words, drawn = question.desk.words, question.desk.chart_words
    say = words.say

    def title(stage: str | None, otherwise: str) -> str:
        return words.group(stage, stage.replace("_", " ").capitalize()) if stage else otherwise

    bars = [(title(row["stage"], say("No stage")), row["users"]) for row in cubes.by("stage")]
    charts = {"stages": bar_chart(say("Users by stage"), (say("stage"), say("users")), bars, words=drawn)}
    rows: list[dict[str, Any]] = (
        read_rows(question.desk.lake, question.day, TRANSITIONS)
        if question.day in segment_days(question.desk.lake)
        else []
    )
    if rows:
        moves = [
            Move(title(row["stage_before"], say("Not there before")), title(row["stage"], say("Gone")), row["users"])
            for row in rows
        ]
        charts["flow"] = flow_chart(
            say("From stage to stage since {day}", day=rows[0]["day_before"]),
            sorted(moves, key=lambda each: -each.users), words=drawn,
        )  # fmt: skip
    return charts
