"""A plan of an experiment in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from serving.offer_measurement.experiment_plan import Arm, Audience, ExperimentPlan
from serving.wording.formatting import money, percent, thousands
from serving.wording.rendering import Words

NOTHING_GIVEN = "nothing"
MOST_WEEKS = 520  # that are counted: longer than that is no plan


def plan_lines(
    plans: Sequence[ExperimentPlan], audience: Audience, words: Words, *, power: float, left_out: Sequence[str] = ()
) -> Iterator[str]:
    """Write plans as a page: what they rest on, then each offer; `left_out` are offers that have none."""
    currency = words.currency
    yield (
        f"{thousands(audience.people)} people may be given something by lot; what they bring differs by "
        f"{money(audience.deviation, currency)} a head (standard deviation of {thousands(audience.rows)} users, "
        f"{percent(audience.explained)} of the variance explained by what was known before)"
    )
    for plan in plans:
        yield from ("", f"{words.titles.get(plan.offer_id, plan.offer_id)} ({plan.offer_id})")
        yield f"  try       {', '.join([NOTHING_GIVEN, *(_level(arm, words) for arm in plan.arms)])}"
        yield from _verdict(plan, currency)
        for place, each in enumerate(plan.comparisons):
            arm = plan.arms[each.level]
            other = NOTHING_GIVEN if each.against is None else _level(plan.arms[each.against], words)
            yield (
                f"  {'     ' if place else 'learn'}     whether {_level(arm, words)} brings more than {other} by the "
                f"{money(each.effect, currency)} a head that it costs more: {thousands(each.people_per_arm)} each"
            )
        yield from _size(plan, currency, power)
        added = [_level(arm, words) for arm in plan.arms if arm.is_new]
        if added:
            yield f"  catalogue {' and '.join(added)} is not in it: add it before"
    for offer_id in left_out:
        yield (
            f"\n{words.titles.get(offer_id, offer_id)} ({offer_id}): no plan, because on the newest decided day nobody "
            "could be given it by lot, or its levels were others; run winback score-users"
        )


def _verdict(plan: ExperimentPlan, currency: str) -> Iterator[str]:
    """Say first whether it can be done at all: who reads on to the figures knows what they are worth."""
    if plan.is_reached:
        return
    if plan.finds is None or plan.finds_staying is None:
        yield "  verdict   cannot be done: nobody may be given anything, or lots may cost nothing"
        return
    yield (
        f"  verdict   too long: the time and money allowed reach {thousands(plan.affordable)} people a group, who show "
        f"effects from {money(plan.finds, currency)} a head or {100 * min(plan.finds_staying, 1.0):.1f} points of "
        "staying on; smaller ones stay unknown, and a single level is the honest choice"
    )


def _size(plan: ExperimentPlan, currency: str, power: float) -> Iterator[str]:
    groups, full = len(plan.arms) + 1, "" if plan.is_reached else " to find what just pays"
    yield (
        f"  people    {thousands(plan.people_per_arm)} in each of {groups} groups{full}, {thousands(plan.people)} in "
        f"all (found with {percent(power)} where it is there, claimed with 5% at most where it is not)"
    )
    weeks = f"{plan.weeks:,} weeks" if plan.weeks <= MOST_WEEKS else "more than ten years"
    yield (
        f"  takes     {weeks} of lots and {plan.weeks_to_wait} weeks more to see the last outcome; "
        f"{money(plan.cost, currency)} of benefits and contacts"
    )
    if plan.is_reached:
        yield f"  settings  scoring.exploration: share = {plan.share:g}, method = 'uniform'"


def _level(arm: Arm, words: Words) -> str:
    return words.language.benefit(arm.benefit, words.currency) or "the message alone"
