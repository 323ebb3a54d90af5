"""The page Health: freshness of data, guards, models in use, calibration, and how the last runs ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from models.champion_gate.promotion_log import GATE, promotion_log
from models.training_run.training_record import latest_training
from serving.charts.bar_charts import bar_chart
from serving.charts.chart_frame import Chart
from serving.charts.line_chart import Beside, Mark, Point, line_chart
from serving.cubes.calibration_history import read_calibration
from serving.cubes.stored_cubes import day_sums
from serving.desk.access_log import newest
from serving.desk.desk_pages import Page, Question
from serving.desk.timeline import marks, outcome_words, timeline_entries
from serving.desk.today_page import Z, model_words
from serving.desk.visitors import THIS_MACHINE
from serving.guards.guard_findings import FIRED, PASSED, UNKNOWN, stored_findings
from serving.lookups.data_status import DataStatus, data_status, last_verdict, promotion_words
from serving.report_page.page_environment import chart_words
from serving.wording.rendering import Words

SHOWN_DAYS, SHOWN_RUNS = 60, 20
SUBJECT_WORDS = {
    "churn": "Risk", "churn_cause": "Why contracts end", "value": "Worth", "redemption": "Use of offers",
}  # fmt: skip
TABLE, POSTED = "table ", "audience posted to "
LOGGED = {"what if": "what if", "audience": "people taken away", "report": "report opened", "proposal": "proposal left"}
ROLES = {"operator": "operator", "viewer": "viewer"}
STATES = {PASSED: "passed", FIRED: "fired", UNKNOWN: "cannot tell"}
MODES = {"warn": "warns", "stop": "stops the run", "off": "off"}


def health_page(question: Question) -> Page:
    """Answer whether the pages can be trusted today."""
    desk = question.desk
    status = data_status(desk.lake, question.day)
    findings = stored_findings(desk.lake, question.day)
    calibrated = calibration(read_calibration(desk.lake, question.day))
    values = {
        "findings": [
            {
                "guard": each.guard.replace("_", " "),
                "state": each.state,
                "told": desk.words.say(STATES[each.state]),
                "mode": desk.words.say(MODES[each.mode]),
                "words": each.words(question.day, desk.words.say, desk.words.language.weekday),
            }
            for each in findings
        ],
        "champions": champion_rows(status, desk.words),
        "calibration": calibrated,
        "horizon": desk.settings.churn.horizon_days,
        "faults": status.faults,
        "models": model_words(latest_training(desk.lake, question.day), desk.words),
        "history": [
            {**asdict(each), "by": by_words(each.by, desk.words)} for each in promotion_log(desk.lake)[::-1][:20]
        ],
        "lines": desk.run_lines(desk.words),
        "runs": [{**run, "told": outcome_words(run["outcome"], desk.words)} for run in desk.newest_runs()[:SHOWN_RUNS]],
        "log": [log_row(each, desk.words) for each in newest(desk.lake)] if question.visitor.is_operator else [],
    }
    return Page("health", desk.words.say("Health"), values, _charts(question, findings, calibrated.rows))


def log_row(entry: Mapping[str, Any], words: Words) -> dict[str, Any]:
    """Say of an entry of the log who did what; what other versions noted is told as they did."""
    what, who, kind = entry["what"], entry["who"], entry["role"]
    table, _, page = what.removeprefix(TABLE).partition(" of ")
    host, _, message = what.removeprefix(POSTED).partition(" as ")
    if what in LOGGED:
        told = words.say(LOGGED[what])
    elif what.startswith(TABLE):
        told = words.say("table {name} of {page}", name=table, page=page)
    elif what.startswith(POSTED):
        told = words.say("people handed to {host}, message {message}", host=host, message=message)
    else:
        told = what
    role = words.say(ROLES[kind]) if kind in ROLES else kind
    name = words.say("this machine") if who == THIS_MACHINE else who
    return {**entry, "told": told, "by": role if who == kind else f"{name} ({role})"}


def champion_rows(status: DataStatus, words: Words) -> dict[str, dict[str, Any]]:
    """Say of every model who is champion, since when and why, by what the model is about."""
    rows: dict[str, dict[str, Any]] = {}
    for each in status.models:
        version, promotion = each.model.named, each.promotion
        rows[subject_words(each.model.subject, words)] = {
            "name": version.name if version else None, "number": each.model.number, "state": str(each.model.state),
            "since": promotion.since if promotion else None, "by": by_words(promotion.by, words) if promotion else None,
            "why": promotion_words(promotion) if promotion else None, "pin": each.model.pin,
            "fault": each.model.fault, "last": last_verdict(status, each),
        }  # fmt: skip
    return rows


def by_words(by: str, words: Words) -> str:
    """Name who made a model champion: the gate, or a person by their own name."""
    return words.say("the gate") if by == GATE else by


def subject_words(subject: str, words: Words) -> str:
    """Name what a model is about; the propensity of an offer is named by it."""
    if subject in SUBJECT_WORDS:
        return words.say(SUBJECT_WORDS[subject])
    kind, _, offer_id = subject.partition("-")
    title = words.titles.get(offer_id, offer_id)
    if kind == "propensity":
        return words.say("Who was given {offer}", offer=title)
    return subject.replace("_", " ")


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


def _charts(question: Question, findings: Sequence[Any], calibrated: Sequence[Mapping[str, Any]]) -> dict[str, Chart]:
    lake, entries, drawn, say = (
        question.desk.lake,
        timeline_entries(question),
        question.desk.chart_words,
        question.desk.words.say,
    )
    sizes = lake.files.sizes()
    points = [Point(str(row["day"]), row["users"]) for row in day_sums(lake, question.day)[-SHOWN_DAYS:]]
    laid = marks(entries, points[0].label if points else "")
    charts = {
        "disk": bar_chart(
            say("Disk, MiB"),
            (say("folder"), "MiB"),
            [(name, size / 2**20) for name, size in sorted(sizes.items(), key=lambda each: -each[1])[:10]],
            format_value=question.desk.words.figures.mebibytes,
            words=drawn,
        ),
    }
    if len(points) > 1:
        charts["users"] = line_chart(
            say("Users decided about"), (say("day"), say("users")), points, marks=laid, words=drawn
        )
    if len(calibrated) > 1:
        charts |= calibration_charts(calibrated, marks(entries, calibrated[0]["day"]), question.desk.words)
    drift = [
        (
            question.desk.words.label(each.subject) if each.guard == "input_drift" else each.subject or each.guard,
            each.value,
        )
        for each in findings
        if each.guard in ("score_drift", "input_drift") and each.value == each.value
    ]
    if drift:
        charts["drift"] = bar_chart(
            say("Drift (PSI)"), (say("what"), "PSI"), sorted(drift, key=lambda each: -each[1])[:12], words=drawn
        )
    return charts


def calibration_charts(rows: Sequence[Mapping[str, Any]], laid: Sequence[Mark], words: Words) -> dict[str, Chart]:
    """Draw day by day what was expected before any label was there, and what happened once it was known."""
    say, drawn, figures = words.say, chart_words(words), words.figures
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
            say("Leavers: expected, and what happened"), (say("day"), say("expected share")), shares,
            format_value=figures.percent, marks=laid, is_share=True, words=drawn,
            beside=Beside(say("left, once known"), say("expected, with what chance explains"), left),
        )
    }  # fmt: skip
    if aucs:
        charts["ranking"] = line_chart(
            say("Ranking (AUC): expected, and what happened"), (say("day"), say("expected AUC")), aucs,
            format_value=lambda auc: figures.decimal(auc, ".2f"), marks=laid, is_share=True, words=drawn,
            beside=Beside(
                say("measured, once known"), say("expected before labels (CBPE)"), [row["auc"] for row in ranked]
            ),
        )  # fmt: skip
    return charts


def _bounds(leavers: float, variance: float, users: int) -> tuple[float, float]:
    spread = Z * variance**0.5
    return max(leavers - spread, 0.0) / users, min(leavers + spread, users) / users
