"""The page of one person: risk and its reasons, profile, history, the decision, and why not something else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from configs.errors import InputError
from configs.offers import NO_OFFER
from models.training_run.training_record import latest_training
from serving.charts.chart_frame import Chart
from serving.charts.waterfall_chart import waterfall
from serving.decide.discount_evidence import why_discounts
from serving.desk.desk_pages import Desk, Page, PageNotFoundError, Question
from serving.desk.people_page import user_id_of
from serving.desk.person_history import LATELY, contacts, events
from serving.lookups.user_day import Row, decision_of, options_of, persona_of, preferences_of
from serving.lookups.user_explanation import known_worth, preference_lines
from serving.memberships.persona_cards import apart_words
from serving.memberships.user_memberships import UserMemberships, user_memberships
from serving.segments.known_columns import PERSONA
from serving.wording.reason_codes import RAISES
from serving.wording.rendering import stored

OPTION_COLUMNS = "offer_id, discount, channel, p_redeem, expected_cost, value, why_not"


def person_page(question: Question, shown_id: str) -> Page:
    """Say everything that is known of one person on a day.

    Raises
    ------
    PageNotFoundError
        There is no such person.
    """
    desk, user_id = question.desk, user_id_of(question, shown_id)
    decision = decision_row(question, user_id)
    user_id = str(decision["user_id"])
    options = options_of(desk.lake, question.day, user_id, OPTION_COLUMNS)
    member = user_memberships(desk.settings, desk.lake, question.day, user_id)
    record = latest_training(desk.lake, question.day)
    deployed = record.verdict.deployed.name if record is not None and record.verdict is not None else None
    apart = persona_of(desk.lake, question.day, decision)
    cubes = question.cubes()
    usual = cubes.total("leavers") / cubes.total("known") if cubes.total("known") else 0.0
    values = {
        "shown_id": question.visitor.shown_id(user_id),
        "decision": decision,
        "usual": usual,
        "is_given": decision["offer_id"] != NO_OFFER,
        "title": desk.title(decision["offer_id"]),
        "risk_facts": risk_facts(desk, decision),
        "memberships": member_rows(desk, member),
        "apart": apart_words(apart, desk.words, desk.words.language.text("{label}: usually {theirs}, of all {usual}"))
        if decision.get(PERSONA)
        else [],
        "preferences": [
            titled(line) for line in preference_lines(preferences_of(desk.lake, question.day, user_id), desk.words)
        ],
        "options": option_rows(desk, options, decision),
        "discounts": desk.words.sentence(stored(why_discounts(desk.lake, question.day, desk.catalogue, deployed))),
        "contacts": contacts(question, user_id),
        "events": events(question, user_id),
        "horizon": desk.settings.churn.horizon_days,
        "lately": LATELY,
    }
    charts = {"risk": risk_waterfall(desk, decision, usual)} if decision["p_churn"] is not None else {}
    return Page("person", desk.words.say("Person {id}", id=values["shown_id"]), values, charts)


def titled(line: str) -> tuple[str, str]:
    """Take the title of a line of `winback explain` from what it says.

    Examples
    --------
    >>> titled("  again     tea, once"), titled("  wie alle  Tee")
    (('again', 'tea, once'), ('wie alle', 'Tee'))
    """
    title, _, told = line.strip().partition("  ")
    return title, told.strip()


def decision_row(question: Question, user_id: str | None) -> Row:
    """Read the decision about a person; the sentence of an unknown one names no other."""
    try:
        if user_id is not None:
            return decision_of(question.desk.lake, question.day, user_id)
    except InputError as error:
        if "there is no user" not in str(error):
            raise
    raise PageNotFoundError(
        "there is no such person on {day}; search for the beginning of the id under People", day=question.day
    )


def _logit(share: float) -> float:
    share = min(max(share, 1e-9), 1 - 1e-9)
    return math.log(share / (1 - share))


def _share(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def risk_steps(desk: Desk, decision: Row) -> list[tuple[str, float]]:
    """Turn the effects of reasons, log-odds, into what each moves this person's risk by, one after the other."""
    reasons = [each for each in decision["reasons"] or () if each.get("effect") is not None]
    level = _logit(decision["p_churn"]) - sum(each["effect"] for each in reasons)
    steps = []
    for each in reasons:
        told = f"{desk.words.label(each['column'])}: {desk.words.value(each)}"
        steps.append((told, _share(level + each["effect"]) - _share(level)))
        level += each["effect"]
    return steps


def risk_waterfall(desk: Desk, decision: Row, usual: float) -> Chart:
    """Draw how this person's risk comes about, from the average of everybody on."""
    words, steps, p_churn = desk.words, risk_steps(desk, decision), float(decision["p_churn"])
    rest = p_churn - usual - sum(change for _, change in steps)
    moves = [*([(words.say("everything else together"), rest)] if abs(rest) >= 0.0005 else []), *steps]
    return waterfall(
        words.say("How the risk comes about"),
        (words.say("average of everybody"), usual),
        moves,
        (words.say("this person"), p_churn),
        format_value=words.figures.percent,
        changed=lambda change: words.say("{points} points", points=words.figures.points(change)),
        words=desk.chart_words,
    )


def risk_facts(desk: Desk, decision: Row) -> list[dict[str, Any]]:
    """Say of what raises the risk what it would be without: what can be changed about it is for people to judge."""
    if decision["p_churn"] is None:
        return []
    raising = [each for each in decision["reasons"] or () if each["code"] == RAISES and each.get("effect") is not None]
    return [
        {
            "words": f"{desk.words.label(each['column'])}: {desk.words.value(each)}",
            "without": _share(_logit(decision["p_churn"]) - each["effect"]),
        }
        for each in raising
    ]


def member_rows(desk: Desk, member: UserMemberships | None) -> list[dict[str, Any]]:
    """List the stage and the segments somebody is in, each with the values that put them there."""
    if member is None:
        return []
    words = desk.words
    return [
        {"title": words.group(each.name, each.title), "meaning": words.meaning(each.name, each.meaning),
         "name": each.name,
         "values": "; ".join(f"{words.label(value['column'])}: {words.value(value)}" for value in each.values)}
        for each in (member.stage, *member.segments)
    ]  # fmt: skip


def option_rows(desk: Desk, options: Sequence[Row], decision: Row) -> list[dict[str, Any]]:
    """List every option with its worth and why it is not given; of one that may be, why its user gets nothing."""
    is_given = decision["offer_id"] != NO_OFFER
    otherwise = desk.words.say("another option is given") if is_given else desk.words.sentence(decision["why"])
    rows = []
    for option in options:
        is_chosen = (option["offer_id"], option["discount"]) == (decision["offer_id"], decision["discount"])
        why_not = (
            desk.words.say("this one is given") if is_chosen else desk.words.sentence(option["why_not"]) or otherwise
        )
        rows.append({**option, "title": desk.title(option["offer_id"]), "why_not": why_not, "is_chosen": is_chosen,
                     "value": known_worth(option)})  # fmt: skip
    return rows
