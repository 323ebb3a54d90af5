"""The page Plays: whom each offer reaches, which rules exclude the others, what it costs and what it changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from configs.offers import NO_OFFER
from models.measurement.personalisation import common_pairs, personalisation_index
from models.training_run.training_record import latest_training
from serving.charts.bar_charts import bar_chart, funnel_chart
from serving.charts.chart_frame import Chart
from serving.cubes.stored_cubes import DayCubes, Row, is_offered
from serving.desk.desk_pages import Desk, Page, Question
from serving.desk.today_page import why_nothing_rows
from serving.report_page.model_trust import trust_in_offers
from serving.stored_days.stored_day import full_limits
from serving.wording.reason_codes import (
    DEPENDS,
    DOES_NOT_PAY,
    NO_DATA,
    NO_PLACE,
    NO_TURN_PLACE,
    NOT_VALUED,
    OTHER_RULE,
    UNLIKE,
    asked_at,
)

# what is asked after the rules: whether the effect is known, and whether it pays
KNOWLEDGE = (NO_DATA, UNLIKE, NOT_VALUED, DEPENDS)
LAST = (*KNOWLEDGE, OTHER_RULE, DOES_NOT_PAY)
FULL = (NO_PLACE, NO_TURN_PLACE)


def plays_page(question: Question) -> Page:
    """Answer what is done with whom, at what cost, and why not with the others."""
    desk, cubes = question.desk, question.cubes()
    offer_ids = sorted({row["offer_id"] for row in cubes.rules})
    chosen = question.one_of("offer", offer_ids)
    record = latest_training(desk.lake, question.day)
    trusts = {each.title: each for each in trust_in_offers(record, desk.catalogue, desk.words)}
    given = cubes.by("offer_id", "discount", "channel", where=is_offered)
    values = {
        "offers": sorted(
            (offer_facts(desk, cubes, offer_id) for offer_id in offer_ids if not chosen or offer_id == chosen),
            key=lambda offer: -offer["users"],
        ),
        "chosen": chosen,
        "trusts": trusts,
        "lost": lost_rows(desk, cubes),
        "why_nothing": [
            {**row, "words": _why_nothing(question, cubes, row["why_nothing"])} for row in why_nothing_rows(cubes)
        ],
        "users": cubes.total("users"),
        "given": given,
        "cost": cubes.total("expected_cost"),
        "gain": cubes.total("expected_value"),
        "index": personalisation_index([row["users"] for row in given]),
        "pairs": common_pairs([row["users"] for row in given]),
    }
    return Page("plays", desk.words.say("Plays"), values, _charts(desk, cubes, offer_ids if not chosen else [chosen]))


def option_words(desk: Desk, offer_id: str, discount: float) -> str:
    """Name an option for people: the offer, and what it gives."""
    return f"{desk.title(offer_id)}, {desk.words.benefit(offer_id, discount) or desk.words.say('no benefit')}"


def reason_words(desk: Desk, row: Row) -> str:
    """Put the reason of a row into words."""
    reason = {name: row.get(name) for name in ("code", "value", "number")} | {"column": None, "effect": None}
    return desk.words.sentence([reason])


def _why_nothing(question: Question, cubes: DayCubes, code: str | None) -> str:
    """Say why people get nothing; cubes keep the code alone, so that what it may be about is said of each."""
    desk = question.desk
    if not code:
        return desk.words.say("not said")
    told = [row for row in (*cubes.all_barred, *cubes.rules) if row["code"] == code]
    about = {(row["value"], row["number"]): None for row in told}
    if code in FULL:
        about = {(name, None): None for name in full_limits(desk.lake, question.day)}
    each = [{"code": code, "value": value, "number": number} for value, number in about] or [{"code": code}]
    return "; ".join(sorted({reason_words(desk, reason) for reason in each}))


def barring(cubes: DayCubes, offer_id: str, discount: float, channel: str) -> list[Row]:
    """List what bars an option and for how many users, in the order in which it is asked."""
    rows = [
        row
        for row in cubes.rules
        if (row["offer_id"], row["discount"], row["channel"]) == (offer_id, discount, channel)
    ]
    return sorted(
        (row for row in rows if row["code"] is not None), key=lambda row: (_place(row["code"]), -row["users"])
    )


def _place(code: str) -> tuple[int, int]:
    return (1 + LAST.index(code), 0) if code in LAST else (0, asked_at(code))


def funnel_steps(desk: Desk, cubes: DayCubes, offer_id: str, discount: float, channel: str) -> list[tuple[str, float]]:
    """Say how many users are left for an option after each rule, until those who are given it, at random for one."""
    own = [
        row
        for row in cubes.rules
        if (row["offer_id"], row["discount"], row["channel"]) == (offer_id, discount, channel)
    ]
    left = float(sum(row["users"] for row in own))
    steps = [(desk.words.say("everybody"), left)]
    for row in barring(cubes, offer_id, discount, channel):
        left -= row["users"]
        steps.append((reason_words(desk, row), left))
    given = cubes.total(
        "users", lambda cell: (cell["offer_id"], cell["discount"], cell["channel"]) == (offer_id, discount, channel)
    )
    last = desk.words.say("given it" if given <= left else "given it, at random too")
    return [*steps, (last, given)]


def offer_facts(desk: Desk, cubes: DayCubes, offer_id: str) -> dict[str, Any]:
    """Say of an offer whom it reaches and what it costs, level by level, with one of its messages."""
    options = sorted({(row["discount"], row["channel"]) for row in cubes.rules if row["offer_id"] == offer_id})
    levels = [level_facts(desk, cubes, offer_id, discount, channel) for discount, channel in options]
    own = next((offer for offer in desk.catalogue.offers if offer.offer_id == offer_id), None)
    messages = [row for row in cubes.messages if row["offer_id"] == offer_id and row["example"]]
    return {
        "offer_id": offer_id, "title": desk.title(offer_id), "levels": levels,
        "play": desk.play(offer_id, own.play if own else None),
        "users": sum(level["users"] for level in levels), "message": messages[0] if messages else None,
        "texts": sum(row["texts"] for row in messages), "beaten_by": beaten_by(levels),
    }  # fmt: skip


def level_facts(desk: Desk, cubes: DayCubes, offer_id: str, discount: float, channel: str) -> dict[str, Any]:
    """Add up one level of an offer: who may get it, who does, at what cost."""
    rows = [
        row
        for row in cubes.rules
        if (row["offer_id"], row["discount"], row["channel"]) == (offer_id, discount, channel)
    ]
    given = cubes.by(
        "offer_id",
        where=lambda cell: (cell["offer_id"], cell["discount"], cell["channel"]) == (offer_id, discount, channel),
    )
    sums = (
        given[0]
        if given
        else {"users": 0, "expected_cost": 0.0, "expected_value": 0.0, "redemptions": 0.0, "at_risk": 0}
    )
    return {
        **{name: sums[name] for name in ("users", "expected_cost", "expected_value", "redemptions", "at_risk")},
        "discount": discount, "channel": channel, "offer_id": offer_id,
        "benefit": desk.words.benefit(offer_id, discount) or desk.words.say("none"),
        "everybody": sum(row["users"] for row in rows), "may": sum(row["users"] for row in rows if row["eligible"]),
        "pays": sum(row["users"] for row in rows if row["code"] is None),
        "barred": [{**row, "words": reason_words(desk, row)} for row in barring(cubes, offer_id, discount, channel)],
    }  # fmt: skip


def beaten_by(levels: Sequence[dict[str, Any]]) -> float:
    """Count where a level would pay and lost: a user once for each level, so that these are no users."""
    return float(sum(level["pays"] - level["users"] for level in levels))


def lost_rows(desk: Desk, cubes: DayCubes) -> list[dict[str, Any]]:
    """List the rules by which people lose everything: after the one before something was left to them."""
    rows = sorted(cubes.all_barred, key=lambda row: (_place(row["code"] or ""), -row["users"]))
    return [{**row, "words": reason_words(desk, row)} for row in rows]


def _charts(desk: Desk, cubes: DayCubes, offer_ids: Sequence[str]) -> dict[str, Chart]:
    charts, drawn, say = dict[str, Chart](), desk.chart_words, desk.words.say
    given = cubes.by("offer_id", "discount", where=is_offered)
    if given:
        bars = [(option_words(desk, row["offer_id"], row["discount"]), row["users"]) for row in given]
        charts["levels"] = bar_chart(
            say("Who gets which level"), (say("offer and level"), say("users")), bars, words=drawn
        )
    for offer_id in offer_ids:
        if offer_id != NO_OFFER and (level := _shown_level(cubes, offer_id)) is not None:
            steps = funnel_steps(desk, cubes, offer_id, *level)
            title = say(
                "From everybody to those given it: {option}, by {channel}",
                option=option_words(desk, offer_id, level[0]), channel=desk.words.term(level[1]),
            )  # fmt: skip
            columns = (say("after"), say("left over"), say("lost"))
            charts[f"funnel-{offer_id}"] = funnel_chart(title, columns, steps, first=say("users"), words=drawn)
    return charts


def _shown_level(cubes: DayCubes, offer_id: str) -> tuple[float, str] | None:
    """Choose the level whose funnel is drawn: that which most are given, else the lowest."""
    levels = sorted({(row["discount"], row["channel"]) for row in cubes.rules if row["offer_id"] == offer_id})
    given = dict.fromkeys(levels, 0)
    for row in cubes.by("offer_id", "discount", "channel", where=is_offered):
        if row["offer_id"] == offer_id:
            given[row["discount"], row["channel"]] = row["users"]
    return max(levels, key=given.__getitem__) if levels else None
