"""Health: whether data are fresh and look right, which models decide since when, and how the last runs ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.champion_gate.promotion_log import promotion_log
from models.registry.registry_state import registered_models
from models.training_run.training_record import latest_training
from serving.charts.bar_charts import bar_chart
from serving.charts.chart_frame import Chart
from serving.charts.line_chart import Point, line_chart
from serving.cubes.stored_cubes import day_sums
from serving.desk.access_log import newest
from serving.desk.desk_pages import Page, Question
from serving.desk.today_page import model_words
from serving.guards.guard_findings import stored_findings
from serving.lookups.data_status import champion_lines, data_status

SHOWN_DAYS = 60


def health_page(asked: Question) -> Page:
    """Answer whether the pages can be trusted today."""
    desk = asked.desk
    status, facts = data_status(desk.lake, asked.day), desk.run_facts()
    findings = stored_findings(desk.lake, asked.day)
    values = {
        "findings": [
            {
                "guard": each.guard.replace("_", " "),
                "state": each.state,
                "mode": each.mode,
                "words": each.words(asked.day),
            }
            for each in findings
        ],
        "champions": champion_lines(status),
        "faults": status.faults,
        "models": model_words(latest_training(desk.lake, asked.day)),
        "history": promotion_log(desk.lake)[::-1][:20],
        "pins": {model.subject: model.pin for model in registered_models(desk.lake) if model.pin is not None},
        "lines": facts.lines,
        "runs": facts.runs[:20],
        "log": newest(desk.lake) if asked.visitor.is_operator else [],
    }
    return Page("health", "Health", values, _charts(asked, findings))


def _charts(asked: Question, findings: Sequence[Any]) -> dict[str, Chart]:
    lake = asked.desk.lake
    sizes = lake.files.sizes()
    points = [Point(str(row["day"]), row["users"]) for row in day_sums(lake, asked.day)[-SHOWN_DAYS:]]
    charts = {
        "users": line_chart("Users decided about", ("day", "users"), points),
        "disk": bar_chart(
            "Disk, MiB",
            ("folder", "MiB"),
            [(name, round(size / 2**20, 1)) for name, size in sorted(sizes.items(), key=lambda each: -each[1])[:10]],
        ),
    }
    drift = [
        (each.subject or each.guard, each.value)
        for each in findings
        if each.guard in ("score_drift", "input_drift") and each.value == each.value
    ]
    if drift:
        charts["drift"] = bar_chart("Drift (PSI)", ("what", "PSI"), sorted(drift, key=lambda each: -each[1])[:12])
    return charts
