"""A decided night computed again with another budget, cap or catalogue, from what it stored; writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from configs.offers import NOTHING, Option
from configs.settings import Settings
from features.arrays.array_types import Flags, Places
from serving.arms.assignment import AllocationInput, Assignment
from serving.arms.exploration import Draws
from serving.knapsack.allocation import Limit
from serving.knapsack.problem import opened
from serving.stored_days.stored_day import BUDGET, StoredDay


@dataclass(frozen=True)
class Wish:
    """What is to be another: the budget, caps of channels (users), offers and options that are off, a priority.

    The value of everybody of whom `preferred` is true, shape (users,), counts `factor` times while it is chosen; what
    is added up afterwards is the value itself. Where users take turns, these stand so many times nearer to the front.
    """

    budget: float
    caps: Mapping[str, int] = field(default_factory=dict)
    without: frozenset[Option] = frozenset()
    preferred: Flags | None = None
    factor: float = 1.0


@dataclass(frozen=True)
class OptionSum:
    """Users, expected cost and value of one option."""

    option: Option
    users: int
    cost: float
    value: float


@dataclass(frozen=True)
class Recomputed:
    """What the night would have given: sums by option, the shadow price of the budget, and how many get another."""

    options: tuple[OptionSum, ...]
    budget: float
    shadow_price: float
    changed: int

    @property
    def users(self) -> int:
        """Users with an offer."""
        return sum(each.users for each in self.options)

    @property
    def cost(self) -> float:
        """Expected cost of everything given."""
        return sum(each.cost for each in self.options)

    @property
    def value(self) -> float:
        """Expected value of everything given, after its cost."""
        return sum(each.value for each in self.options)


def decide_again(
    stored: StoredDay, wish: Wish, channels: Sequence[str], settings: Settings, today: Places
) -> Recomputed:
    """Give everybody an option again under a wish.

    Who had drawn what is off now is decided by the plan instead; everybody else draws what they drew.

    Parameters
    ----------
    channels
        Channel of each option, shape (options,).
    today
        Place of the option that each user was given, or `NOTHING`, shape (users,).
    """
    is_off = np.array([option in wish.without for option in stored.options], dtype=np.bool_)
    found = _allocation_input(stored.allocation_input, is_off, wish)
    limits = [
        *stored.limits,
        *(
            Limit(f"cap of {name}", np.array([each == name for each in channels]), most)
            for name, most in wish.caps.items()
        ),
    ]
    prices = stored.prices.copy()
    prices.loc[BUDGET, "most"] = wish.budget
    assignment = replace(stored, allocation_input=found, limits=tuple(limits), prices=prices).assignment(settings)
    return _summed(stored, assignment, wish.budget, today)


def _allocation_input(given: AllocationInput, is_off: Flags, wish: Wish) -> AllocationInput:
    value, turn = np.where(is_off[:, None], -np.inf, opened(given.value)), given.turn
    if wish.preferred is not None and turn is not None and wish.factor > 0:
        turn = np.where(wish.preferred, turn / wish.factor, turn)
    if wish.preferred is not None and wish.factor != 1.0:
        value[:, wish.preferred] = np.where(
            value[:, wish.preferred] > 0, value[:, wish.preferred] * wish.factor, value[:, wish.preferred]
        )
    drew_off = (
        (given.draws.option != NOTHING) & is_off[np.clip(given.draws.option, 0, None)]
        if len(is_off)
        else np.zeros(len(given.arm), dtype=bool)
    )
    draws = Draws(
        np.where(drew_off, np.inf, given.draws.place), np.where(drew_off, NOTHING, given.draws.option),
        np.where(drew_off, 0.0, given.draws.option_cost), given.draws.expected_cost,
    )  # fmt: skip
    worth = np.where(drew_off, 0.0, given.draw_value)
    return given._replace(value=value, draws=draws, draw_value=worth, turn=turn)


def _summed(stored: StoredDay, assignment: Assignment, budget: float, today: Places) -> Recomputed:
    value, cost = (opened(each) for each in (stored.allocation_input.value, stored.allocation_input.cost))
    sums, given = list[OptionSum](), assignment.given
    drawn = stored.allocation_input
    for place, option in enumerate(stored.options):
        rows = np.flatnonzero(given == place)
        worth = np.where(assignment.explorers.explores[rows], drawn.draw_value[rows], value[place, rows])
        sums.append(OptionSum(option, len(rows), float(cost[place, rows].sum()), float(worth.sum())))
    return Recomputed(tuple(sums), budget, assignment.allocation.shadow_price, int((given != today).sum()))
