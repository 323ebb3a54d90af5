"""Rival policies, from simple ones to the oracle; all of them are given the true parameters.

They know who is at risk, who redeems, what that costs, and which option is best for each user this week.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from configs.offers import NOTHING
from configs.settings import Settings
from features.arrays.array_types import Places
from features.simulator.ground_truth import Truth
from features.simulator.simulated_day import Given, World
from serving.closed_loop_study.policy_weeks import NOBODY, ORACLE, Career, Decide, follow, given_to
from serving.knapsack.allocation import allocate

EVERYBODY, RANDOM, AT_RISK = "everybody top discount", "random", "top risk gets a discount"
REDEEMERS, CONSTANT = "highest redemption propensity", "constant best"
RIVALS = (EVERYBODY, RANDOM, AT_RISK, REDEEMERS, CONSTANT)


def live_rivals(settings: Settings, world: World, weeks: int) -> list[Career]:
    """Let nobody, the simpler policies and the oracle decide, each in a world of its own."""
    budget = settings.scoring.budget
    deciders: dict[str, Decide] = {NOBODY: lambda world, _: given_to(world, np.zeros(0, dtype=np.intp), 0)}
    deciders |= {name: rival(name, budget) for name in RIVALS}
    deciders[ORACLE] = lambda world, truth: oracle(world, truth, budget)
    return [follow(name, world, weeks, decide, settings) for name, decide in deciders.items()]


def oracle(world: World, truth: Truth, budget: float) -> Given:
    """Decide with knowledge of every option's true effect on every user this week, under the same budget."""
    members = np.flatnonzero(world.is_member)
    choice = allocate(truth.value[members], truth.cost[members], budget).choice
    return given_to(world, members[choice != NOTHING], choice[choice != NOTHING])


def rival(name: str, budget: float) -> Decide:
    """Spend the budget on members in some order, by the one of the policy's options that is truly best this week."""

    def decide(world: World, truth: Truth) -> Given:
        members = np.flatnonzero(world.is_member)
        filled = [
            _filled(members[order], option, truth, budget) for order, option in _candidates(name, world, truth, members)
        ]
        users, option = max(filled, key=lambda pair: float(truth.value[pair].sum()))
        return given_to(world, users, option)

    return decide


def _candidates(name: str, world: World, truth: Truth, members: Places) -> Iterator[tuple[Places, Places]]:
    """List a rival's ways to go: an order of the members and the option of each in that order."""
    rng, discount = world.draws("rival"), world.menu.discount
    by_chance = rng.permutation(len(members))
    if name == RANDOM:
        yield by_chance, rng.integers(0, len(discount), len(members))
        return
    allowed = {EVERYBODY: discount == discount.max(), CONSTANT: discount >= 0}.get(name, discount > 0)
    for place in np.flatnonzero(allowed):
        order = by_chance
        if name == AT_RISK:
            order = np.argsort(truth.stays[members], kind="stable")
        elif name == REDEEMERS:
            order = np.argsort(-truth.p_redeem[members, place], kind="stable")
        yield order, np.full(len(members), place, dtype=np.intp)


def _filled(users: Places, option: Places, truth: Truth, budget: float) -> tuple[Places, Places]:
    """Keep the first users whose options the budget pays for together."""
    paid = np.cumsum(truth.cost[users, option]) <= budget
    return users[paid], option[paid]
