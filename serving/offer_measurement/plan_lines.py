"""The plan of an experiment in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from serving.offer_measurement.experiment_plan import Arm, Audience, ExperimentPlan
from serving.wording.rendering import Words

NOTHING_GIVEN = "nothing"
MOST_WEEKS = 520  # that are counted: longer than that is no plan


RESTS_ON = (
    "{people} people may be given something at random; what they bring differs by {deviation} a head (standard "
    "deviation of {rows} users, {explained} of the variance explained by what was known before)"
)
TRY = "  try       {levels}"
LEARN = (
    "  learn     whether {level} brings more than {other} by the {effect} a head that it costs more: {people} each",
    "            whether {level} brings more than {other} by the {effect} a head that it costs more: {people} each",
)
ADD = "  catalogue {levels} is not in it: add it before"
AND = " and "
NO_PLAN = (
    "{offer}: no plan, because on the newest decided day nobody could be given it at random, or its levels were "
    "others; run winback score-users"
)
IMPOSSIBLE = "  verdict   cannot be done: nobody may be given anything, or randomised offers may cost nothing"
TOO_LONG = (
    "  verdict   too long: the time and money allowed reach {people} people a group, who show effects from {effect} a "
    "head or {points:.1f} points of staying on; smaller ones stay unknown, and a single level is the honest choice"
)
PEOPLE = {
    True: "  people    {people} in each of {groups} groups, {all} in all (found with {power} where it is there, "
    "claimed with 5% at most where it is not)",
    False: "  people    {people} in each of {groups} groups to find what just pays, {all} in all (found with {power} "
    "where it is there, claimed with 5% at most where it is not)",
}
TAKES = {
    True: "  takes     {weeks} weeks of randomised offers and {wait} weeks more to see the last outcome; {cost} "
    "of benefits and contacts",
    False: "  takes     more than ten years of randomised offers and {wait} weeks more to see the last outcome; {cost} "
    "of benefits and contacts",
}
SETTINGS = "  settings  scoring.exploration: share = {share}, method = 'uniform'"


def plan_lines(
    plans: Sequence[ExperimentPlan], audience: Audience, words: Words, *, power: float, left_out: Sequence[str] = ()
) -> Iterator[str]:
    """Write plans as a page: what they rest on, then each offer; `left_out` are offers that have none."""
    shown = words.figures
    yield words.say(
        RESTS_ON, people=shown.thousands(audience.people), deviation=shown.money(audience.deviation),
        rows=shown.thousands(audience.rows), explained=shown.percent(audience.explained),
    )  # fmt: skip
    for plan in plans:
        yield from ("", words.titles.get(plan.offer_id, plan.offer_id))
        yield words.say(TRY, levels=", ".join([words.say(NOTHING_GIVEN), *(_level(arm, words) for arm in plan.arms)]))
        yield from _verdict(plan, words)
        for place, each in enumerate(plan.comparisons):
            yield words.say(
                LEARN[min(place, 1)], level=_level(plan.arms[each.level], words),
                other=words.say(NOTHING_GIVEN) if each.against is None else _level(plan.arms[each.against], words),
                effect=shown.money(each.effect), people=shown.thousands(each.people_per_arm),
            )  # fmt: skip
        yield from _size(plan, words, power)
        added = [_level(arm, words) for arm in plan.arms if arm.is_new]
        if added:
            yield words.say(ADD, levels=words.say(AND).join(added))
    for offer_id in left_out:
        yield from ("", words.say(NO_PLAN, offer=words.titles.get(offer_id, offer_id)))


def _verdict(plan: ExperimentPlan, words: Words) -> Iterator[str]:
    """Say first whether it can be done at all: who reads on to the figures knows what they are worth."""
    if plan.is_reached:
        return
    if plan.finds is None or plan.finds_staying is None:
        yield words.say(IMPOSSIBLE)
        return
    yield words.say(
        TOO_LONG, people=words.figures.thousands(plan.affordable), effect=words.figures.money(plan.finds),
        points=100 * min(plan.finds_staying, 1.0),
    )  # fmt: skip


def _size(plan: ExperimentPlan, words: Words, power: float) -> Iterator[str]:
    shown = words.figures
    yield words.say(
        PEOPLE[plan.is_reached], people=shown.thousands(plan.people_per_arm), groups=len(plan.arms) + 1,
        all=shown.thousands(plan.people), power=shown.percent(power),
    )  # fmt: skip
    yield words.say(
        TAKES[plan.weeks <= MOST_WEEKS], wait=plan.weeks_to_wait, cost=shown.money(plan.cost),
        **({"weeks": shown.thousands(plan.weeks)} if plan.weeks <= MOST_WEEKS else {}),
    )  # fmt: skip
    if plan.is_reached:
        yield words.say(SETTINGS, share=f"{plan.share:g}")


def _level(arm: Arm, words: Words) -> str:
    return words.language.benefit(arm.benefit, words.currency) or words.say("the message alone")
