"""Turns: if a simple policy cannot reach all its users within budget and limits, a random order decides who is next.

A simple policy expects the same effect on all its users, so that the cheapest users would look best: those who hardly
use the offer, and whom it changes least. The gate evaluated it on a random part of its users
(`models.judge.simple_policies`); therefore a random part gets the offer, drawn again every day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd

from configs.offers import NOTHING
from configs.settings import Settings
from features.arrays.array_types import Flags, Floats
from models.metrics.splits import hash_share
from serving.knapsack.allocation import ROUNDING, Allocation, BudgetPoint, Limit
from serving.knapsack.problem import opened

TURN_SALT = "whose turn it is"
BUDGET = "budget"


def turns_of(user_ids: pd.Series, settings: Settings, as_of: date) -> Floats:
    """Give each user a place in the queue of a day, in [0, 1); shape (users,)."""
    return hash_share(user_ids, f"{TURN_SALT}:{as_of}:{settings.seed}")


class Queued(Protocol):
    """Users of a batch: `value`, `cost` (options, users) may be files; `turn` is as of `turns_of`, or None."""

    @property
    def value(self) -> Floats | Path: ...  # noqa: D102

    @property
    def cost(self) -> Floats | Path: ...  # noqa: D102

    @property
    def turn(self) -> Floats | None: ...  # noqa: D102


class Turns(NamedTuple):
    """Whose turn it is today, shape (users,), and what ended the queue: `BUDGET`, a limit's name, or None.

    `price` is what one more unit of money, or one more place, would earn by those who wait; 0 where nobody does.
    """

    has: Flags
    ended_by: str | None = None
    price: float = 0.0

    def applied_to(self, allocation: Allocation) -> Allocation:
        """Leave to an allocation the choices of those whose turn it is, at the price that ended the queue."""
        prices = dict(allocation.limit_prices)
        if self.ended_by in prices:
            prices[self.ended_by] = max(self.price, prices[self.ended_by])
        own = max(self.price if self.ended_by == BUDGET else 0.0, allocation.shadow_price)
        choice = np.where(self.has, allocation.choice, NOTHING)
        return replace(allocation, choice=choice, shadow_price=own, limit_prices=prices)


def who_has_turn(batches: Sequence[Queued], spends: Flags, budget: float, limits: Sequence[Limit] = ()) -> Turns:
    """Find the users of a simple policy whom budget and places of today suffice for.

    Everybody has a turn where no simple policy decides.
    """
    turns = [batch.turn for batch in batches if batch.turn is not None]
    if len(turns) < len(batches):
        return Turns(np.ones(len(spends), dtype=bool))
    each = [worth_and_takes(batch.value, batch.cost, limits) for batch in batches]
    worth, takes = (np.concatenate(part, axis=-1) for part in zip(*each, strict=True))
    most = np.array([budget * ROUNDING, *(limit.most for limit in limits)])
    found, ends = in_turn(np.concatenate(turns), np.where(spends, takes, 0.0), most)
    waits = spends & ~found & (worth > 0)
    if not waits.any():
        return Turns(found)
    name = [BUDGET, *(limit.name for limit in limits)][ends]
    return Turns(found, name, price_of_more(worth[waits], takes[ends, waits]))


def worth_and_takes(
    value: Floats | Path, cost: Floats | Path, limits: Sequence[Limit] = ()
) -> tuple[Floats, Floats]:  # fmt: skip
    """Compute what a simple policy's option is worth for each user, (users,), and what it takes, 0 if it does not pay.

    Parameters are those of a shard, shape (options, users); a simple policy lets a user get one option at most.

    Returns
    -------
    Worth, and of the budget and each limit what it takes, shape (1 + limits, users).
    """
    worth = opened(value)
    pays = worth > 0
    takes = [np.where(pays, opened(cost), 0.0).sum(axis=0), *(limit.options @ pays for limit in limits)]
    return np.where(pays, worth, 0.0).sum(axis=0), np.array(takes, dtype=np.float64)


def in_turn(turn: Floats, takes: Floats, most: Floats) -> tuple[Flags, int]:
    """Let the front of the queue have their turn, until the first of some resources ends.

    The queue is cut as a whole, whatever those behind would take, so that nobody is preferred for taking little.

    Parameters
    ----------
    takes, most
        What each user takes, shape (resources, users), and how much there is, shape (resources,).

    Returns
    -------
    Whose turn it is, (users,), and the place of the resource that ends first.

    Examples
    --------
    >>> turn, takes = np.array([0.5, 0.1, 0.9, 0.2]), np.array([[2.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0]])
    >>> has, ends = in_turn(turn, takes, np.array([3.0, 3.0]))
    >>> has.tolist(), ends
    ([True, True, False, True], 0)
    >>> in_turn(turn, takes, np.array([3.0, 1.0]))[1]
    1
    """
    queue = np.argsort(turn, kind="stable")
    reach = [np.count_nonzero(np.cumsum(taken[queue]) <= there) for taken, there in zip(takes, most, strict=True)]
    found = np.zeros(len(turn), dtype=bool)
    found[queue[: min(reach)]] = True
    return found, int(np.argmin(reach))


def price_of_more(worth: Floats, takes: Floats) -> float:
    """Compute what one more unit of a resource would earn through users who still wait; 0 where they take none."""
    total = float(takes.sum())
    return float(worth.sum()) / total if total > 0 else 0.0


def curve_at_random(
    value: Floats, cost: Floats, budgets: Sequence[float], limits: Sequence[Limit] = ()
) -> list[BudgetPoint]:
    """Say what each budget brings when those who get the option are drawn at random: it rises in proportion, then ends.

    Parameters `value` and `cost` have shape (options, users).

    Examples
    --------
    >>> value, cost = np.array([[3.0, 1.0]]), np.array([[1.0, 1.0]])
    >>> [tuple(point) for point in curve_at_random(value, cost, [1.0, 4.0])]
    [(1.0, 2.0, 1.0, 2.0), (4.0, 4.0, 2.0, 0.0)]
    >>> tuple(curve_at_random(value, cost, [4.0], [Limit("channel email", np.array([True]), 1)])[0])
    (4.0, 2.0, 1.0, 0.0)
    """
    worth, takes = worth_and_takes(value, cost, limits)
    whole, *places = takes.sum(axis=1).tolist()
    has_place = min([1.0, *(limit.most / each for limit, each in zip(limits, places, strict=True) if each > 0)])
    parts = [min(has_place, budget / whole) if whole > 0 else has_place for budget in budgets]
    price = price_of_more(worth, takes[0])
    return [
        BudgetPoint(budget, part * float(worth.sum()), part * whole, price if part < has_place else 0.0)
        for budget, part in zip(budgets, parts, strict=True)
    ]
