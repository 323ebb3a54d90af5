"""Dual prices of the budget, the channels and the stocks, which minimise the Lagrangian dual.

The Lagrangian dual of the allocation. With a budget alone its price is read off the users' upper hulls, sorted once
(Sinha & Zoltners 1979). With several scarce things the dual is made smooth, each user's best option becoming a
softmax (Nesterov 2005), and Newton's method follows it while the softness goes to zero. Any prices that are not
negative bound the best total value from above, so that every run knows how much it can be missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from configs.offers import NOTHING
from features.arrays.array_types import Flags, Floats, Places
from serving.knapsack.problem import Block, Knapsack, Sums, priced

SAMPLE = 20_000  # users that the first prices are found on, when there are many more
SCARCE = 50  # a sample needs capacity for so many users
PASSES = 200  # over the users, at most
PRECISION = 1e-8  # of the bound, relative
REACH = 4  # a step changes prices by so many softnesses at most: beyond, the curvature is another one
WELL_FITTED = 1e-4  # shares that lose less can be trusted
ALIKE = 1e-4  # options that differ by less, relative to the mean value, are equals where the shares do not fit
GOLDEN = (5**0.5 - 1) / 2


class Scaled(NamedTuple):
    """A knapsack problem in units in which means are near 1, without what needs a thing that there is none of.

    `capacity` is in these units; `shut` are the resources that there is none of, `closed` (options,) is out of reach
    with them. Money that is free costs nothing.
    """

    knapsack: Knapsack
    value_unit: float
    cost_unit: float
    capacity: Floats
    shut: Places
    closed: Flags

    @property
    def price_units(self) -> Floats:
        """What a price of 1 is in the problem's own units, shape (resources,)."""
        return np.r_[self.value_unit / self.cost_unit, np.full(len(self.capacity) - 1, self.value_unit)]

    def blocks(self) -> Iterator[Block]:
        """Yield the users' options in these units."""
        return (Block(block.rows, *self.of(block.value, block.cost)) for block in self.knapsack.blocks())

    def of(self, value: Floats, cost: Floats) -> tuple[Floats, Floats]:
        """Bring value and cost of some users, shape (options, users), into these units."""
        if len(self.shut):
            closed = self.closed[:, None] | ((cost > 0) & (0 in self.shut))
            value, cost = np.where(closed, -np.inf, value), np.where(closed, 0.0, cost)
        return value / self.value_unit, cost / self.cost_unit


class Smooth(NamedTuple):
    """The softened dual at some prices.

    `bound` is the dual itself, `height` its smooth majorant with `slope` and `curvature`; `blur` is what the shares
    of the softmax lose against each user's best.
    """

    bound: float
    height: float
    slope: Floats
    curvature: Floats
    blur: float


class Descent(NamedTuple):
    """Where the dual has been lowered to.

    `least` are the prices of the least bound, `prices` and `softness` the last ones; `misfit` is what the shares
    there lose, capacity left over or overdrawn counted at its price, relative to the bound.
    """

    least: Floats
    prices: Floats
    softness: float
    misfit: float


def dual_bound(knapsack: Knapsack, prices: Floats) -> float:
    """Bound the best total value: what users keep after paying these prices, and what all capacity would fetch."""
    kept = sum(priced(block, knapsack.incidence, prices).max(axis=0, initial=0.0).sum() for block in knapsack.blocks())
    return float(kept + prices @ np.where(prices > 0, knapsack.capacity, 0.0))


def budget_price(knapsack: Knapsack) -> Floats:
    """Price the budget at the efficiency of the first hull step that does not fit; shape (1,)."""
    slope, _, spent = knapsack.sorted_steps()
    return np.r_[slope, 0.0][[np.searchsorted(spent, knapsack.capacity[0], side="right")]]


def find_prices(knapsack: Knapsack) -> tuple[Floats, Places]:
    """Price every resource, and choose softly at these prices.

    Returns
    -------
    prices
        Per unit of each resource, shape (resources,); 0 where there is enough.
    choice
        Shape (users,): nearly what fits, even where many users are all alike.
    """
    scaled = _scaled(knapsack)
    found = _descend(scaled, *_first_prices(scaled))
    prices = _forbidding(knapsack, found.least * scaled.price_units, scaled.shut)
    if found.misfit > WELL_FITTED:
        found = _descend(scaled, found.prices, ALIKE, hardest=ALIKE)
    return prices, _soft_choice(scaled, found.prices, found.softness)


def _first_prices(scaled: Scaled) -> tuple[Floats, float]:
    """Find prices on a sample of the users where they are many, and how soft the dual is to be with them."""
    prices = np.zeros(len(scaled.capacity))
    every = int(min(scaled.knapsack.users // SAMPLE, scaled.capacity.min() // SCARCE))
    if every < 2:
        return prices, 1.0
    sample = scaled._replace(knapsack=scaled.knapsack.sample(every), capacity=scaled.capacity / every)
    found = _descend(sample, prices, 1.0, precision=1e-4)
    return found.prices, max(found.softness, 0.01)


def _scaled(knapsack: Knapsack) -> Scaled:
    """Find the units, and leave out what needs a thing there is none of."""
    capacity = knapsack.capacity.copy()
    shut = capacity <= 0
    shut[0] &= all((block.cost >= 0).all() for block in knapsack.blocks())
    closed = np.asarray((knapsack.incidence[shut[1:]] > 0).any(axis=0))
    scaled = Scaled(knapsack, 1.0, 1.0, capacity, np.flatnonzero(shut), closed)
    worth = spent = users = options = 0.0
    for _, value, cost in scaled.blocks():
        best = value.max(axis=0, initial=0.0)
        worth, users = worth + best.sum(), users + (best > 0).sum()
        spent, options = spent + np.abs(cost).sum(), options + np.isfinite(value).sum()
    value_unit, cost_unit = worth / max(users, 1) or 1.0, spent / max(options, 1) or 1.0
    capacity[0] = 1.0 if np.isinf(capacity[0]) else capacity[0] / cost_unit
    capacity[shut] = 1.0
    return scaled._replace(value_unit=value_unit, cost_unit=np.inf if np.isinf(knapsack.capacity[0]) else cost_unit)


def _descend(
    scaled: Scaled, prices: Floats, softness: float, *, precision: float = PRECISION, hardest: float = 0.0
) -> Descent:
    """Lower the dual by Newton's method, softer first, until what is left to gain is less than the precision."""
    here, reach = _smooth(scaled, prices, softness), REACH
    least, least_bound = prices, here.bound
    for _ in range(PASSES):
        if here.bound < least_bound:
            least, least_bound = prices, here.bound
        step = _newton_step(prices, here)
        drop = float(-here.slope @ step)
        if max(drop, here.blur) < precision * max(here.bound, 1.0) or drop < precision * here.blur:
            break
        if drop < here.blur / 2 and softness > hardest:
            softness /= 4
            here = _smooth(scaled, prices, softness)
        else:
            far = np.abs(step).max() / (reach * softness)
            prices, here = _step_down(scaled, prices, here, step / max(far, 1.0), softness)
            reach = 2 * reach if far > 1 else REACH
    misfit = here.blur + (prices + (here.slope < 0)) @ np.abs(here.slope)
    return Descent(least, prices, softness, float(misfit) / max(least_bound, 1.0))


def _step_down(scaled: Scaled, prices: Floats, here: Smooth, step: Floats, softness: float) -> tuple[Floats, Smooth]:
    """Take the step, or as much of it as leads down."""
    for _ in range(8):
        moved = np.maximum(prices + step, 0.0)
        there = _smooth(scaled, moved, softness)
        if there.height <= here.height + 1e-12 * abs(here.height):
            break
        step = 0.3 * step
    return moved, there


def _newton_step(prices: Floats, here: Smooth) -> Floats:
    """Newton's step over the prices that are free to move: a price of 0 that wants to fall stays (Bertsekas 1982)."""
    resources = len(prices)
    curvature = here.curvature + (1e-9 * np.trace(here.curvature) + 1e-12) * np.eye(resources)
    free = (prices > 0) | (here.slope < 0)
    while True:
        step = np.zeros(resources)
        step[free] = -np.linalg.solve(curvature[np.ix_(free, free)], here.slope[free])
        stuck = free & (prices <= 0) & (step < 0)
        if not stuck.any():
            return step
        free &= ~stuck


def _smooth(scaled: Scaled, prices: Floats, softness: float) -> Smooth:
    """Evaluate the softened dual in one pass over the users."""
    bare = scaled._replace(knapsack=scaled.knapsack._replace(parts=(), remote_reduce=None))

    def sums_of(knapsack: Knapsack) -> Sums:
        return _sums(bare._replace(knapsack=knapsack), prices, softness)

    bound, height, blur, used, curvature = scaled.knapsack.map_reduce(sums_of)
    bound += float(scaled.capacity @ prices)
    return Smooth(bound, bound + softness * height, scaled.capacity - used, curvature / softness, blur)


def _sums(scaled: Scaled, prices: Floats, softness: float) -> Sums:
    """Add up over users: bound, height above it by softness, blur, what is used of each resource, and curvature."""
    from serving.knapsack.dual_kernels import add_shares  # only what needs it waits for numba

    incidence = np.ascontiguousarray(scaled.knapsack.incidence)
    used, curvature = np.zeros(len(prices)), np.zeros((len(prices), len(prices)))
    option_price: Floats = prices[1:] @ incidence
    sums = np.zeros(3)
    for block in scaled.blocks():
        sums += add_shares(block.value, block.cost, incidence, prices[0], option_price, softness, used, curvature)
    bound, height, blur = sums.tolist()
    return bound, height, blur, used, curvature + np.tril(curvature, -1).T


def _soft_choice(scaled: Scaled, prices: Floats, softness: float) -> Places:
    """Pick one option per user in proportion to the shares, evenly along the users, the same on every call.

    Most users have one option with all of the share. Those on the margin, or all alike, are spread over several by
    the golden ratio's sequence, so that together they take what the shares say.
    """
    from serving.knapsack.dual_kernels import pick_in_shares

    incidence, users = scaled.knapsack.incidence, scaled.knapsack.users
    choice = np.empty(users, dtype=np.intp)
    mark = np.float64(GOLDEN) * (np.arange(users) + 0.5) % 1.0
    option_price: Floats = prices[1:] @ incidence
    for block in scaled.blocks():
        pick_in_shares(block.value, block.cost, prices[0], option_price, softness, mark[block.rows], choice[block.rows])
    choice[choice == len(incidence.T)] = NOTHING
    return choice


def _forbidding(knapsack: Knapsack, prices: Floats, shut: Places) -> Floats:
    """Price what there is none of so that nobody wants it: at what one unit would earn; the other prices stay."""
    prices, incidence = prices.copy(), knapsack.incidence
    takes = np.concatenate([np.zeros((1, incidence.shape[1])), incidence])
    closed = np.asarray((takes[shut] > 0).any(axis=0))[:, None]
    for resource in shut:
        for block in knapsack.blocks():
            kept = priced(block, incidence, prices)
            needed = takes[resource][:, None] * np.ones_like(kept) if resource else block.cost
            ineligible = closed | ((block.cost > 0) & (0 in shut))
            best = np.where(ineligible, 0.0, kept).max(axis=0, initial=0.0)
            better = np.divide(kept - best, needed, out=np.zeros_like(kept), where=needed > 0)
            prices[resource] += max(better.max(initial=0.0), 0.0)
    return prices
