"""The page Risk: its distribution, its drivers, and its sizes by stage, segment, persona and country."""

from __future__ import annotations

from typing import Any

import pandas as pd

from models.training_run.training_record import latest_training
from serving.charts.bar_charts import bar_chart
from serving.charts.beeswarm_chart import Swarm, beeswarm
from serving.charts.chart_frame import Chart
from serving.cubes.stored_cubes import DayCubes
from serving.desk.desk_pages import Desk, Page, Question
from serving.desk.people_page import segment_titles
from serving.desk.today_page import figures, value_words
from serving.wording.explanations import fact_of
from serving.wording.reason_codes import LOWERS, RAISES

TOP = 8
Driver = dict[str, Any]


def risk_page(question: Question) -> Page:
    """Answer who leaves by what they are, why, and what that is worth."""
    desk, cubes = question.desk, question.cubes()
    found = drivers(desk, cubes)
    shown = figures(cubes)
    values = {
        "figures": shown,
        "value_words": value_words(latest_training(desk.lake, question.day), desk.words),
        "raising": [each for each in found if each["raised"]][:TOP],
        "lowering": sorted((each for each in found if each["lowered"]), key=lambda each: -each["lowered"])[:TOP],
        "tiers": [each for each in found if len(each["tiers"]) > 1][:TOP],
        "parts": {name: cubes.by(name) for name in ("stage", "persona", "country")},
        "segments": segment_rows(question, cubes),
    }
    return Page("risk", desk.words.say("Risk"), values, _charts(desk, cubes, found))


def drivers(desk: Desk, cubes: DayCubes) -> list[Driver]:
    """Add up what moves the risk, one row a fact: windows of one measure tell one, and nobody has a fact twice.

    Each has ``label``, for how many users it is among the three strongest and ``raised`` or ``lowered`` the risk, by
    how many ``points`` on average, and of its `tiers` of values the mean points.
    """
    if not cubes.drivers:
        return []
    rows = pd.DataFrame(list(cubes.drivers))
    rows["fact"] = rows["driver"].map(lambda column: fact_of(column, desk.settings.roles))
    found = []
    for _, own in rows.groupby("fact", sort=True):
        column = own.groupby("driver")["users"].sum().sort_values(ascending=False, kind="stable").index[0]
        tiers = own.groupby("tier", as_index=False)[["users", "moved"]].sum()
        means = zip(tiers["tier"], tiers["moved"] / tiers["users"], strict=True)
        swarm = own.groupby(["points", "tier"], as_index=False)[["users"]].sum()
        circles = zip(swarm["points"], swarm["tier"], swarm["users"], strict=True)
        found.append({
            "label": desk.words.label(str(column)),
            "raised": int(own.loc[own["code"] == RAISES, "users"].sum()),
            "lowered": int(own.loc[own["code"] == LOWERS, "users"].sum()),
            "points": float(own["moved"].sum() / own["users"].sum()),
            "tiers": {str(tier): float(mean) for tier, mean in means},
            "swarm": [(float(points), str(tier), int(users)) for points, tier, users in circles],
        })  # fmt: skip
    return sorted(found, key=lambda each: (-each["raised"], -each["lowered"], each["label"]))


def segment_rows(question: Question, cubes: DayCubes) -> list[dict[str, Any]]:
    """List the segments of the day with their titles, those with most expected leavers first."""
    titles = segment_titles(question)
    rows = [{**row, "title": titles.get(row["segment"], row["segment"])} for row in cubes.segments if row["users"]]
    return sorted(rows, key=lambda row: (-row["leavers"], row["title"]))


def _charts(desk: Desk, cubes: DayCubes, drivers: list[Driver]) -> dict[str, Chart]:
    step, say, drawn = 5, desk.words.say, desk.chart_words
    bins = {int(row["from_percent"]): row["users"] for row in cubes.risk_bins}
    low_ends = range(0, max(bins, default=0) + step, step) if bins else ()
    bars = [
        (say("{low} to {high}", low=str(low), high=desk.words.language.local(f"{low + step}%")), bins.get(low, 0))
        for low in low_ends
    ]
    columns = (say("chance to leave"), say("users"))
    charts = {"distribution": bar_chart(say("Users by chance to leave"), columns, bars, words=drawn)}
    raising = [(each["label"], each["raised"]) for each in drivers if each["raised"]][:TOP]
    if raising:
        charts["raising"] = bar_chart(
            say("What raises the risk, and for how many"),
            (say("driver"), say("users")),
            raising,
            note=say("Among the three strongest reasons of each user."),
            words=drawn,
        )
    top = sorted(drivers, key=lambda each: -(each["raised"] + each["lowered"]))[:TOP]
    swarms = [Swarm(each["label"], points, tier, users) for each in top for points, tier, users in each["swarm"]]
    if swarms:
        charts["beeswarm"] = beeswarm(say("By how much each driver moves the risk"), swarms, words=drawn)
    return charts
