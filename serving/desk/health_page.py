"""Health: whether data are fresh and look right, which models decide since when, and how the last runs ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.champion_gate.promotion_log import promotion_log
from models.registry.registry_state import registered_models
from models.training_run.training_record import latest_training
from serving.charts.bar_charts import bar_chart
from serving.charts.chart_frame import Chart
from serving.charts.line_chart import Beside, Mark, Point, line_chart
from serving.cubes.calibration_history import read_calibration
from serving.cubes.stored_cubes import day_sums
from serving.desk.access_log import newest
from serving.desk.desk_pages import Page, Question
from serving.desk.timeline import happenings, marks
from serving.desk.today_page import Z, model_words
from serving.guards.guard_findings import stored_findings
from serving.lookups.data_status import champion_lines, data_status
from serving.wording.formatting import percent

SHOWN_DAYS, SHOWN_RUNS = 60, 20


def health_page(asked: Question) -> Page:
    """Answer whether the pages can be trusted today."""
    desk = asked.desk
    status = data_status(desk.lake, asked.day)
    findings = stored_findings(desk.lake, asked.day)
    calibrated = calibration(read_calibration(desk.lake, asked.day))
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
        "calibration": calibrated,
        "horizon": desk.settings.churn.horizon_days,
        "faults": status.faults,
        "models": model_words(latest_training(desk.lake, asked.day), desk.words),
        "history": promotion_log(desk.lake)[::-1][:20],
        "pins": {model.subject: model.pin for model in registered_models(desk.lake) if model.pin is not None},
        "lines": desk.run_lines(),
        "runs": desk.newest_runs()[:SHOWN_RUNS],
        "log": newest(desk.lake) if asked.visitor.is_operator else [],
    }
    return Page("health", "Health", values, _charts(asked, findings, calibrated.rows))


@dataclass(frozen=True)
class Calibration:
    """Days with what was expected and what happened; `within` of the `closed` ones left as many as chance explains.

    `expected` and `left` are the leavers of the closed days together, who were given nothing.
    """

    rows: Sequence[Mapping[str, Any]]
    closed: int
    within: int
    expected: float
    left: int


def calibration(rows: Sequence[Mapping[str, Any]]) -> Calibration:
    """Add up the days whose horizon is over, and count those that lie within chance of what was expected (95%)."""
    closed = [row for row in rows if row["left_users"] is not None]
    within = [row for row in closed if abs(row["left_users"] - row["leavers"]) <= Z * row["leavers_variance"] ** 0.5]
    expected, left = sum(row["leavers"] for row in closed), sum(row["left_users"] for row in closed)
    return Calibration(rows, len(closed), len(within), expected, left)


def _charts(asked: Question, findings: Sequence[Any], calibrated: Sequence[Mapping[str, Any]]) -> dict[str, Chart]:
    lake, happened = asked.desk.lake, happenings(asked)
    sizes = lake.files.sizes()
    points = [Point(str(row["day"]), row["users"]) for row in day_sums(lake, asked.day)[-SHOWN_DAYS:]]
    laid = marks(happened, points[0].label if points else "")
    charts = {
        "users": line_chart("Users decided about", ("day", "users"), points, marks=laid),
        "disk": bar_chart(
            "Disk, MiB",
            ("folder", "MiB"),
            [(name, round(size / 2**20, 1)) for name, size in sorted(sizes.items(), key=lambda each: -each[1])[:10]],
        ),
    }
    if calibrated:
        charts |= calibration_charts(calibrated, marks(happened, calibrated[0]["day"]))
    drift = [
        (each.subject or each.guard, each.value)
        for each in findings
        if each.guard in ("score_drift", "input_drift") and each.value == each.value
    ]
    if drift:
        charts["drift"] = bar_chart("Drift (PSI)", ("what", "PSI"), sorted(drift, key=lambda each: -each[1])[:12])
    return charts


def calibration_charts(rows: Sequence[Mapping[str, Any]], laid: Sequence[Mark]) -> dict[str, Chart]:
    """Draw day by day what was expected before any label was there, and what happened once it was known."""
    shares = [
        Point(
            str(row["day"]),
            row["leavers"] / row["users"],
            *_bounds(row["leavers"], row["leavers_variance"], row["users"]),
        )
        for row in rows
    ]
    left = [None if row["left_users"] is None else row["left_users"] / row["users"] for row in rows]
    ranked = [row for row in rows if row["expected_auc"] is not None]
    aucs = [Point(str(row["day"]), row["expected_auc"]) for row in ranked]
    charts = {
        "calibration": line_chart(
            "Leavers: expected, and what happened", ("day", "expected share"), shares, shown=percent, marks=laid,
            beside=Beside("left, once known", "expected, with what chance explains", left), is_share=True,
        )
    }  # fmt: skip
    if aucs:
        charts["ranking"] = line_chart(
            "Ranking (AUC): expected, and what happened", ("day", "expected AUC"), aucs, shown="{:.2f}".format,
            marks=laid, is_share=True,
            beside=Beside("measured, once known", "expected before labels (CBPE)", [row["auc"] for row in ranked]),
        )  # fmt: skip
    return charts


def _bounds(leavers: float, variance: float, users: int) -> tuple[float, float]:
    spread = Z * variance**0.5
    return max(leavers - spread, 0.0) / users, min(leavers + spread, users) / users
