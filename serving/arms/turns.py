"""Whose turn it is on a day when the budget pays a simple policy for some of its users only: drawn by lot, not by cost.

A simple policy expects the same of everybody it is for, so that the cheapest would look best: those who hardly use the
offer, whom it changes least. The gate judged it on a random part of its users (`models.judge.simple_policies`), and a
random part gets it, drawn anew every day.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from configs.settings import Settings
from features.arrays.array_types import Flags, Floats
from models.metrics.splits import hash_share
from serving.knapsack.allocation import BudgetPoint
from serving.knapsack.problem import opened

TURN_SALT = "whose turn it is"


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


def who_has_turn(batches: Sequence[Queued], spends: Flags, budget: float) -> tuple[Flags, float]:
    """Tell for whom the budget pays a simple policy today, (users,), and what one more unit of it would earn.

    Everybody has a turn, and the price is 0, where no simple policy decides.
    """
    turns = [batch.turn for batch in batches if batch.turn is not None]
    if len(turns) < len(batches):
        return np.ones(len(spends), dtype=bool), 0.0
    each = [worth_and_cost(batch.value, batch.cost) for batch in batches]
    worth, cost = (np.concatenate(part) for part in zip(*each, strict=True))
    found = in_turn(np.concatenate(turns), cost, spends, budget)
    waits = spends & ~found
    return found, price_of_more(worth[waits], cost[waits])


def worth_and_cost(value: Floats | Path, cost: Floats | Path) -> tuple[Floats, Floats]:
    """Say what a simple policy's option is worth to each user and costs, 0 where it does not pay; (users,) each.

    Parameters are those of a shard, shape (options, users); a simple policy lets a user get one option at most.
    """
    pays = opened(value) > 0
    return np.where(pays, opened(value), 0.0).sum(axis=0), np.where(pays, opened(cost), 0.0).sum(axis=0)


def in_turn(turn: Floats, cost: Floats, spends: Flags, budget: float) -> Flags:
    """Let the front of the queue have their turn, as far as the budget pays for those of them who spend; (users,).

    Examples
    --------
    >>> turn, spends = np.array([0.5, 0.1, 0.9, 0.2]), np.array([True, True, True, False])
    >>> in_turn(turn, np.array([2.0, 1.0, 1.0, 9.0]), spends, 3.0).tolist()
    [True, True, False, True]
    """
    queue = np.argsort(turn, kind="stable")
    found = np.zeros(len(turn), dtype=bool)
    found[queue] = np.cumsum(np.where(spends, cost, 0.0)[queue]) <= budget
    return found


def price_of_more(worth: Floats, cost: Floats) -> float:
    """Say what one more unit of budget earns by those who still wait; 0 where nobody does."""
    total = float(cost.sum())
    return float(worth.sum()) / total if total > 0 else 0.0


def curve_by_lot(worth: Floats, cost: Floats, budgets: Sequence[float]) -> list[BudgetPoint]:
    """Say what each budget brings when those who get the option are drawn by lot: it rises in proportion, then ends.

    Examples
    --------
    >>> [tuple(point) for point in curve_by_lot(np.array([3.0, 1.0]), np.array([1.0, 1.0]), [1.0, 4.0])]
    [(1.0, 2.0, 1.0, 2.0), (4.0, 4.0, 2.0, 0.0)]
    """
    whole, price = float(cost.sum()), price_of_more(worth, cost)
    parts = [min(1.0, budget / whole) if whole > 0 else 1.0 for budget in budgets]
    return [
        BudgetPoint(budget, part * float(worth.sum()), part * whole, price if part < 1 else 0.0)
        for budget, part in zip(budgets, parts, strict=True)
    ]
