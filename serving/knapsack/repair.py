"""Repair of a choice at dual prices: drop what exceeds a capacity, then fill the rest greedily.

Choices at dual prices can exceed some capacities a little and leave others partly unused. Where a capacity is exceeded,
the options that lose least value per unit are dropped; what is left is used for the moves worth most for their price.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from configs.offers import NOTHING
from features.arrays.array_types import Floats, Places
from serving.knapsack.problem import Block, Knapsack

ROUNDS = 100  # of greedy fill, at most


class Repair:
    """A choice under repair: `choice` has shape (users,), and the last option of all is *nothing*."""

    def __init__(self, knapsack: Knapsack, prices: Floats, choice: Places) -> None:
        self.knapsack, self.prices = knapsack, prices
        self.nothing = knapsack.incidence.shape[1]
        self.choice = np.where(choice == NOTHING, self.nothing, choice)
        self.incidence = np.c_[knapsack.incidence, np.zeros(len(knapsack.incidence))]

    @property
    def given(self) -> Places:
        """Every user's option or `NOTHING`, shape (users,)."""
        return np.where(self.choice == self.nothing, NOTHING, self.choice)

    def blocks(self) -> Iterator[tuple[Places, Block]]:
        """Yield all users with what they could have, *nothing* as the last option."""
        return (
            (np.arange(block.rows.start, block.rows.stop), block.with_nothing()) for block in self.knapsack.blocks()
        )

    def worth(self) -> float:
        """Total value of the choice."""
        return float(sum(_at(block.value, self.choice[rows]).sum() for rows, block in self.blocks()))

    def used(self) -> Floats:
        """How much the choice takes of each resource; shape (resources,)."""
        money = sum(_at(block.cost, self.choice[rows]).sum() for rows, block in self.blocks())
        return np.r_[money, self.incidence @ np.bincount(self.choice, minlength=self.nothing + 1)]

    def demand(self, resource: int, block: Block, chosen: Places) -> Floats:
        """How much more of a resource users would take with each option; shape (options + 1, users)."""
        if resource == 0:
            return np.asarray(block.cost - _at(block.cost, chosen))
        incidence = self.incidence[resource - 1]
        return np.asarray(incidence[:, None] - incidence[chosen])

    def drop(self) -> None:
        """Drop what exceeds a capacity: first places, limit by limit, then money without taking a place more."""
        limits = range(1, len(self.knapsack.capacity))
        repaired: list[int] = []
        while (over := np.flatnonzero(self.used() > self.knapsack.capacity)[::-1]).size and over[0]:
            self.free(int(over[0]), repaired)
            repaired.append(int(over[0]))
        if over.size:
            self.free(0, limits)

    def free(self, resource: int, protected: Iterable[int]) -> None:
        """Free the excess of a resource where the least is lost per unit, the last of equals first.

        Nobody takes more of the resources in `protected`.
        """
        excess = self.used()[resource] - self.knapsack.capacity[resource]
        found = [self._losses(resource, protected, rows, block) for rows, block in self.blocks()]
        rows, options, loss, freed = (np.concatenate(each)[::-1] for each in zip(*found, strict=True))
        order = np.argsort(loss, kind="stable")
        enough = np.searchsorted(np.cumsum(freed[order]), excess) + 1
        self.choice[rows[order[:enough]]] = options[order[:enough]]

    def _losses(
        self, resource: int, protected: Iterable[int], rows: Places, block: Block
    ) -> tuple[Places, Places, Floats, Floats]:
        """Find, for those of a block who hold some of a resource, the cheapest way to free it: loss per unit, units."""
        chosen = self.choice[rows]
        holds = np.flatnonzero((_at(block.cost, chosen) if resource == 0 else self.incidence[resource - 1][chosen]) > 0)
        block, chosen = Block(block.rows, block.value[:, holds], block.cost[:, holds]), chosen[holds]
        freed = -self.demand(resource, block, chosen)
        allowed = (freed > 0) & np.isfinite(block.value)
        lost = _at(block.value, chosen) - block.value
        for other, price in enumerate(self.prices):
            more = self.demand(other, block, chosen)
            lost += price * more
            if other in protected:
                allowed &= more <= 0
        loss = np.divide(lost, freed, out=np.full_like(lost, np.inf), where=allowed)
        best = loss.argmin(axis=0)
        return rows[holds], best, _at(loss, best), _at(freed, best)

    def greedy_fill(self) -> None:
        """Move users to what is worth more while it fits, the most value per price first, until nothing fits."""
        moves = self._best_moves(self.blocks())
        for _ in range(ROUNDS):
            if not len(moves.rows):
                break
            moves = moves.some(np.argsort(-moves.efficiency, kind="stable"))
            first = moves.some(slice(0, self._fitting(moves)))
            self.choice[first.rows] = first.options
            again = self.knapsack.pick(np.sort(moves.rows))
            moves = self._best_moves((rows, block.with_nothing()) for rows, block in again)

    def _best_moves(self, users: Iterable[tuple[Places, Block]]) -> Moves:
        """Find those users who can move to something better that fits, with the most efficient such option of each."""
        rest = self.knapsack.capacity - self.used()
        found = [self._moves(rows, block, rest) for rows, block in users]
        return Moves(*(np.concatenate(each) for each in zip(*found, strict=True))) if found else Moves.none()

    def _moves(self, rows: Places, block: Block, slack: Floats) -> Moves:
        chosen = self.choice[rows]
        gain = block.value - _at(block.value, chosen)
        fits, paid = gain > 0, np.zeros_like(gain)
        for resource, price in enumerate(self.prices):
            more = self.demand(resource, block, chosen)
            fits &= more <= slack[resource]
            paid += price * more
        efficiency = np.divide(gain, paid, out=np.full_like(gain, np.inf), where=paid > 0)
        efficiency[~fits] = -np.inf
        best, some = efficiency.argmax(axis=0), fits.any(axis=0)
        extra_cost = _at(block.cost, best) - _at(block.cost, chosen)
        return Moves(rows, best, _at(efficiency, best), extra_cost).some(np.flatnonzero(some))

    def _fitting(self, moves: Moves) -> int:
        """Count how many moves, one after another, fit what is left: at least the first."""
        rest, before = self.knapsack.capacity - self.used(), self.choice[moves.rows]
        fits = np.cumsum(moves.extra_cost) <= rest[0]
        for incidence, places in zip(self.incidence, rest[1:], strict=True):
            fits &= np.cumsum(incidence[moves.options] - incidence[before]) <= places
        return len(fits) if fits.all() else max(int(fits.argmin()), 1)


class Moves(NamedTuple):
    """Moves of users to better options, shape (moves,): value per price, and what each costs more."""

    rows: Places
    options: Places
    efficiency: Floats
    extra_cost: Floats

    @classmethod
    def none(cls) -> Moves:
        """No move at all."""
        return cls(np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0), np.zeros(0))

    def some(self, places: Places | slice) -> Moves:
        """Pick some moves."""
        return Moves(self.rows[places], self.options[places], self.efficiency[places], self.extra_cost[places])


def _at(matrix: Floats, options: Places) -> Floats:
    """Read each user's own option; shape (users,)."""
    return np.asarray(matrix[options, np.arange(len(options))])
