"""Plans of experiments: which levels of an offer to test, on how many users, for how long, at what cost.

A level is worth giving if it brings more than it costs, so the smallest effect worth detecting is the cost: of the
lowest level compared with nothing, and the additional cost of the highest level compared with the lowest. Levels in
between follow from both, because an effect never falls as the discount rises.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from configs.benefits import Benefit, share_of_price
from configs.offers import Offer
from configs.settings import Settings
from models.measurement.power import people_per_arm, smallest_effect

APART = 1.5  # levels closer than this factor are not worth telling apart first
LEAST = 0.01  # of a deviation: the effect that is looked for of what costs nothing, such as a message alone
STEP = 0.05  # percentages are tried in whole steps of it
WEEK = 7


@dataclass(frozen=True)
class Audience:
    """Whom an experiment could reach, and how much they differ.

    `people` may be given something at random on a day. `deviation` is the standard deviation of what a person is worth
    over the horizon, account currency, beyond what is known before; `explained` is the share of the variance that was
    taken off by that. `stays` is the share that stays, of the `rows` measured.
    """

    people: int
    deviation: float
    explained: float
    stays: float
    rows: int


@dataclass(frozen=True)
class Arm:
    """One level of an offer to be tried: as share of the price, and what it costs a head; `is_new` to the catalogue."""

    benefit: Benefit
    discount: float
    cost_a_head: float
    is_new: bool


@dataclass(frozen=True)
class Comparison:
    """A question: whether `level` brings more than `against` by what it costs more, the `effect`, account currency.

    Both are places among the arms; None is nothing.
    """

    level: int
    against: int | None
    effect: float
    people_per_arm: int


@dataclass(frozen=True)
class ExperimentPlan:
    """What to try of one offer; every arm, nothing included, gets `people_per_arm`.

    `weeks` are those of randomised offers, after which `weeks_to_wait` pass until the last outcome is known; `cost` is
    that of benefits and contacts, account currency. `share` is the setting of the exploration that does it. Where
    `is_reached` is False that is more than the time allows: `affordable` people per arm find effects from `finds` on,
    account currency a head, and from `finds_staying` on of the share that stays; None where nobody can be given
    anything.
    """

    offer_id: str
    arms: tuple[Arm, ...]
    comparisons: tuple[Comparison, ...]
    people_per_arm: int
    people: int
    cost: float
    weeks: int
    weeks_to_wait: int
    share: float
    is_reached: bool
    affordable: int
    finds: float | None
    finds_staying: float | None


def plan_experiment(
    offer: Offer, costs: Mapping[float, float], audience: Audience, settings: Settings, *, power: float,
    most_weeks: int, options: int,
) -> ExperimentPlan:  # fmt: skip
    """Plan an experiment on one offer.

    Parameters
    ----------
    costs
        What each share of `Offer.shares` costs a head, expected, contact included, account currency.
    power
        Probability of finding an effect that pays.
    most_weeks
        Longest time for randomised offers.
    options
        Number of options in the catalogue, which are drawn at random.
    """
    arms = arms_to_try(offer, costs)
    comparisons = _comparisons(arms, audience, power)
    per_arm = max(each.people_per_arm for each in comparisons)
    a_head = sum(arm.cost_a_head for arm in arms)  # of one person in every arm
    horizon, groups = settings.churn.horizon_days, len(arms) + 1
    money = WEEK * settings.scoring.budget * settings.scoring.exploration.budget_share
    round_weeks = math.ceil(max(offer.valid_days, horizon) / WEEK)
    weeks = max(
        1,
        math.ceil(per_arm * a_head / money) if money else most_weeks + 1,
        (math.ceil(per_arm * groups / max(audience.people, 1)) - 1) * round_weeks + 1,
    )
    rounds = (most_weeks - 1) // round_weeks + 1
    affordable = int(min(per_arm, most_weeks * money / max(a_head, 1e-9), audience.people * rounds / groups))
    count = len(comparisons)
    return ExperimentPlan(
        offer_id=offer.offer_id,
        arms=arms,
        comparisons=comparisons,
        people_per_arm=per_arm,
        people=per_arm * groups,
        cost=per_arm * a_head,
        weeks=weeks,
        weeks_to_wait=math.ceil(horizon / WEEK),
        share=_share(min(per_arm, affordable), min(weeks, most_weeks), audience, options + sum(a.is_new for a in arms)),
        is_reached=weeks <= most_weeks,
        affordable=affordable,
        finds=_finds(audience.deviation, affordable, power, count),
        finds_staying=_finds(math.sqrt(audience.stays * (1 - audience.stays)), affordable, power, count),
    )


def arms_to_try(offer: Offer, costs: Mapping[float, float]) -> tuple[Arm, ...]:
    """Choose the levels that tell most: the lowest and the highest; where they are close, half the lowest instead.

    Examples
    --------
    >>> offer = Offer(
    ...     offer_id="a", title="A", play="p", channel="mail", message="{{ discount }} off", discounts=(0.25, 0.3),
    ...     valid_days=7, contact_cost=0.1, covered_spend=20.0,
    ... )
    >>> [(arm.discount, round(arm.cost_a_head, 2), arm.is_new) for arm in arms_to_try(offer, {0.25: 1.1, 0.3: 1.3})]
    [(0.1, 0.5, True), (0.3, 1.3, False)]
    """
    known = [
        Arm(benefit, share, costs[share], is_new=False)
        for benefit, share in zip(offer.benefits, offer.shares, strict=True)
    ]
    lowest, highest = known[0], known[-1]
    if highest.discount == 0 or lowest.discount == 0:
        return (lowest,) if lowest is highest else (lowest, highest)
    if highest.discount >= APART * lowest.discount:
        return lowest, highest
    return _half(lowest, offer), highest


def _half(lowest: Arm, offer: Offer) -> Arm:
    kind, level = lowest.benefit
    level = max(STEP, round(level / 2 / STEP) * STEP) if kind == "percent" else level / 2
    level = round(level, 6)
    if level >= lowest.benefit.level:
        return lowest
    part = level / lowest.benefit.level
    cost = offer.contact_cost + (lowest.cost_a_head - offer.contact_cost) * part
    share = level if kind == "percent" else share_of_price(kind, level, offer.covered_spend, offer.unit_cost)
    return Arm(Benefit(kind, level), share, cost, is_new=True)


def _comparisons(arms: Sequence[Arm], audience: Audience, power: float) -> tuple[Comparison, ...]:
    """Ask whether the first level pays, and whether each other one pays for what it costs more."""
    extra = [arm.cost_a_head - before for arm, before in zip(arms, [0.0, *(a.cost_a_head for a in arms)], strict=False)]
    least = [each if each > 0 else LEAST * audience.deviation for each in extra]
    return tuple(
        Comparison(place, place - 1 if place else None, effect, _people(audience, effect, power, len(arms)))
        for place, effect in enumerate(least)
    )


def _people(audience: Audience, effect: float, power: float, comparisons: int) -> int:
    return max(2, people_per_arm(audience.deviation, max(effect, 1e-9), power=power, comparisons=comparisons))


def _finds(deviation: float, people: int, power: float, comparisons: int) -> float | None:
    return smallest_effect(deviation, people, power=power, comparisons=comparisons) if people > 0 else None


def _share(per_arm: int, weeks: int, audience: Audience, options: int) -> float:
    """Share of those who may explore that draw on a day, from every option of the catalogue and nothing."""
    a_day = per_arm * (options + 1) / (WEEK * weeks * max(audience.people, 1))
    return min(1.0, math.ceil(a_day * 1000) / 1000)
