"""The page Today: expected leavers and value at risk, what is done about it, and what changed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

from models.champion_gate.promotion_log import promotion_log
from models.training_run.training_record import EFFECTS, TrainingRecord, latest_training
from serving.charts.bar_charts import bar_chart, stacked_bar
from serving.charts.chart_frame import Chart
from serving.charts.line_chart import Point, line_chart
from serving.cubes.stored_cubes import AT_RISK, DayCubes, Row, day_sums, is_offered
from serving.desk.desk_pages import Page, Question
from serving.desk.people_page import band_words
from serving.desk.timeline import marks, timeline_entries
from serving.guards.guard_findings import FIRED, stored_findings
from serving.memberships.part_words import unusual_notes
from serving.report_page.budget_curve import BudgetCurve, curve_of
from serving.report_page.model_trust import SUBJECTS, verdicts
from serving.report_page.policy_gate import gate_of
from serving.wording.reason_codes import NO_DATA, NOT_KNOWN, asked_at
from serving.wording.rendering import Words

Z = 1.96
BANDS = ("high", "medium", "low", "unknown")
BAND_KINDS = tuple(f"fill-{band}" for band in BANDS)
FIGURES = {
    "users": "Users", "leavers": "Expected to leave", "at_risk": "At risk", "with_offer": "Get an offer",
    "value_at_risk": "Value at risk", "expected_cost": "Expected cost of offers",
}  # fmt: skip
OF_MONEY = ("value_at_risk", "expected_cost")
SINCE = {"day": "the day before", "week": "a week before"}


def today_page(question: Question) -> Page:
    """Answer what a marketer asks first in the morning."""
    desk, cubes = question.desk, question.cubes()
    record = latest_training(desk.lake, question.day)
    before = {name: question.cubes(day) for name, day in _earlier(question).items()}
    curve = curve_of(desk.lake, question.day, desk.settings)
    shown = figures(cubes)
    values = {
        "figures": shown,
        "value_words": value_words(record, desk.words),
        "changes": changes(cubes, before, desk.words),
        "why_changed": why_changed(cubes, before, desk.words),
        "unusual": unusual_notes(desk.settings, desk.lake, question.day, desk.words),
        "plays": offer_rows(question, cubes),
        "curve": curve,
        "waiting": waiting(cubes, desk.words),
        "gate": gate_of(record.verdict if record else None, desk.words),
        "lacks": [lack for name in (*SUBJECTS, EFFECTS) if record and (lack := record.lack_of(name))],
        "models": model_words(record, desk.words),
        "fired": [each for each in stored_findings(desk.lake, question.day) if each.state == FIRED],
        "events_day": next(reversed(desk.lake.days("events")), None),
        "new_champions": [entry for entry in promotion_log(desk.lake) if entry.since[:10] == str(question.day)],
    }
    return Page("today", desk.words.say("Today"), values, _charts(question, cubes, curve))


def figures(cubes: DayCubes) -> dict[str, float]:
    """Add up what the first lines say; intervals of sums of chances are of chance alone (Poisson binomial)."""
    whole = {
        name: cubes.total(name)
        for name in ("users", "known", "leavers", "value_at_risk", "expected_cost", "expected_value", "worth")
    }
    for name, variance in (("leavers", "leavers_variance"), ("value_at_risk", "loss_variance")):
        spread = Z * math.sqrt(cubes.total(variance))
        whole |= {f"{name}_low": max(whole[name] - spread, 0.0), f"{name}_high": whole[name] + spread}
    whole["at_risk"] = cubes.total("users", lambda cell: cell["risk_band"] in AT_RISK)
    whole["with_offer"] = cubes.total("users", is_offered)
    whole["offers_at_risk"] = cubes.total("users", lambda cell: is_offered(cell) and cell["risk_band"] in AT_RISK)
    whole["gain_known"] = cubes.total("users", lambda cell: is_offered(cell) and cell["evidence"] != "none")
    return whole


def value_words(record: TrainingRecord | None, words: Words) -> str:
    """Say why value at risk is not to be counted on; nothing where the value model is better than the average."""
    model = record.models.get("value") if record is not None else None
    metric = model.metrics.get("value.r_squared") if model is not None else None
    if metric is None:
        return words.say("no value model is on record")
    if metric.low > 0:
        return ""
    return words.say(
        "the value model is worse than guessing the average"
        if metric.high < 0
        else "the value model is not shown to be better than guessing the average"
    )


def model_words(record: TrainingRecord | None, words: Words) -> dict[str, dict[str, str]]:
    """Say of each model what it answers, how good it is in a word, and the number behind the word."""
    if record is None:
        return {}
    found, percent = {}, words.figures.percent
    for name, verdict in verdicts(record, words).items():
        metric = verdict.metric
        if SUBJECTS[name].measure == "auc":
            told = words.say("of a pair it picks the right one {share} of the time", share=percent(metric.value))
        elif metric.value < 0:
            told = words.say("to count everybody as worth the same would be nearer")
        else:
            told = words.say("it explains {share} of the differences between people", share=percent(metric.value))
        told += f" [{percent(metric.low)}, {percent(metric.high)}], {verdict.kind}"
        found[name] = {"question": verdict.question, "word": verdict.word, "told": told}
    return found


def _earlier(question: Question) -> dict[str, date]:
    days = {"day": question.day_before, "week": question.week_before}
    return {name: day for name, day in days.items() if day is not None}


def changes(cubes: DayCubes, before: dict[str, DayCubes], words: Words) -> list[dict[str, Any]]:
    """Set the day's figures beside those of earlier days: ``title, now`` and ``then``, a text for each of them."""
    now, then = figures(cubes), {name: figures(each) for name, each in before.items()}
    rows, written = [], words.figures
    for name in FIGURES:
        shown = written.money if name in OF_MONEY else written.thousands
        old = [(shown(each[name]), written.signed(now[name] - each[name], 0)) for each in then.values()]
        rows.append({"title": words.say(FIGURES[name]), "now": shown(now[name]), "then": old})
    return rows


def why_changed(cubes: DayCubes, before: dict[str, DayCubes], words: Words) -> list[dict[str, Any]]:
    """Say by which stage expected leavers changed: by how many are in it, and by how likely these are to leave.

    Both add up to the difference: ``(n1 - n0) p0 + n1 (p1 - p0)`` for each stage.
    """
    found = []
    for name, old in before.items():
        now_by, old_by = ({row["stage"]: row for row in each.by("stage")} for each in (cubes, old))
        rows = []
        for stage in {**now_by, **old_by}:
            (n1, l1), (n0, l0) = (_known(each.get(stage)) for each in (now_by, old_by))
            p1, p0 = l1 / n1 if n1 else 0.0, l0 / n0 if n0 else (l1 / n1 if n1 else 0.0)
            rows.append({"stage": stage, "by_size": (n1 - n0) * p0, "by_risk": n1 * (p1 - p0)})
        rows.sort(key=lambda row: -abs(row["by_size"] + row["by_risk"]))
        found.append(
            {
                "since": words.say(SINCE[name]),
                "day": old.day,
                "rows": [row for row in rows if abs(row["by_size"]) + abs(row["by_risk"]) >= 0.5][:6],
            }
        )
    return found


def _known(row: Row | None) -> tuple[float, float]:
    return (row["known"], row["leavers"]) if row is not None else (0.0, 0.0)


def offer_rows(question: Question, cubes: DayCubes) -> list[dict[str, Any]]:
    """List what is given, by play, offer, discount and channel."""
    desk = question.desk
    rows = cubes.by("play", "offer_id", "discount", "channel", "evidence", where=is_offered)
    return [
        {
            **row,
            "title": desk.title(row["offer_id"]),
            "play": desk.play(row["offer_id"], row["play"]),
            "benefit": desk.words.benefit(row["offer_id"], row["discount"]) or desk.words.say("none"),
        }
        for row in rows
    ]


def waiting(cubes: DayCubes, words: Words) -> list[dict[str, Any]]:
    """Count for whom nothing can be decided because an effect is not known yet, and which options lack evidence."""
    nobody_knows = cubes.total("users", lambda cell: cell["why_nothing"] == NOT_KNOWN)
    options = {(row["offer_id"], row["discount"]) for row in cubes.rules if row["code"] == NO_DATA}
    told = []
    if nobody_knows:
        told.append(
            {
                "what": words.counted(
                    nobody_knows,
                    "{number} user gets nothing: no effect of an offer on their like is known",
                    "{number} users get nothing: no effect of an offer on their like is known",
                ),
                "where": "plays",
            }
        )
    if options:
        told.append(
            {
                "what": words.counted(
                    len(options),
                    "{number} option of offer and discount has never been measured",
                    "{number} options of offer and discount have never been measured",
                ),
                "where": "results",
            }
        )
    return told


def why_nothing_rows(cubes: DayCubes) -> list[Row]:
    """List why users get nothing, in the order in which it is asked."""
    rows = cubes.by("why_nothing", where=lambda cell: not is_offered(cell))
    return sorted(rows, key=lambda row: (asked_at(row["why_nothing"] or ""), -row["users"]))


def _charts(question: Question, cubes: DayCubes, curve: BudgetCurve | None) -> dict[str, Chart]:
    bands = {row["risk_band"]: row["users"] for row in cubes.by("risk_band")}
    words, drawn, say = question.desk.words, question.desk.chart_words, question.desk.words.say
    found = {
        "bands": stacked_bar(
            say("Users by risk"),
            (say("risk"), say("users")),
            [(band_words(band, words), bands.get(band, 0)) for band in BANDS],
            kinds=BAND_KINDS,
            words=drawn,
        ),
    }
    if len([day for day in question.days if day <= question.day]) > 1:
        found["leavers_over_time"] = leavers_over_time(question)
    channels = cubes.by("channel", where=is_offered)
    if len(channels) > 1:
        found["channels"] = bar_chart(
            say("Offers by channel"),
            (say("channel"), say("users")),
            [(words.term(row["channel"]) or say("none"), row["users"]) for row in channels],
            words=drawn,
        )
    if curve is not None:
        found["budget"] = curve.chart(words)
    return found


def leavers_over_time(question: Question, most: int = 90) -> Chart:
    """Draw the share of users expected to leave, over the decided days."""
    points = [
        Point(str(row["day"]), row["leavers"] / row["known"], *_bounds(row))
        for row in day_sums(question.desk.lake, question.day)[-most:]
        if row["known"]
    ]
    laid = marks(timeline_entries(question), points[0].label if points else "")
    words = question.desk.words
    return line_chart(
        words.say("Share expected to leave"), (words.say("day"), words.say("share")), points,
        format_value=words.figures.percent, marks=laid, is_share=True, words=question.desk.chart_words,
    )  # fmt: skip


def _bounds(row: Row) -> tuple[float, float]:
    spread = Z * math.sqrt(row["leavers_variance"])
    return max(row["leavers"] - spread, 0.0) / row["known"], (row["leavers"] + spread) / row["known"]


def pages_linked(say: Callable[[str], str] = str) -> Sequence[tuple[str, str, str]]:
    """List the questions that people come with, and where each is answered: question, page, anchor.

    `say` gives an English question in a language.
    """
    return (
        (say("Who leaves?"), "people", "?band=high"), (say("Why?"), "risk", "#drivers"),
        (say("What is it worth?"), "risk", "#worth"), (say("What do we do?"), "plays", ""),
        (say("What does it cost?"), "plays", "#cost"), (say("Does it work?"), "results", ""),
        (say("Who got it?"), "people", "?offered=yes"), (say("Why not this user?"), "people", "?offered=no"),
        (say("What if we had half the budget?"), "what-if", "?budget_share=0.5"),
        (say("What changed since last week?"), "today", "#changes"),
    )  # fmt: skip
