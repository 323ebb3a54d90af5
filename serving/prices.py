"""What scarce things cost: the prices of budget, channel places and stock that make their best use add up.

The Lagrangian dual of the allocation. With a budget alone its price is read off the users' upper hulls, sorted once
(Sinha & Zoltners 1979). With several scarce things the dual is made smooth, each user's best option becoming a
softmax (Nesterov 2005), and Newton's method follows it while the softness goes to zero. Any prices that are not
negative bound the best total value from above, so that every run knows how much it can be missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.budgets import BLOCK, hull_steps

Floats = npt.NDArray[np.float64]
Choice = npt.NDArray[np.intp]
NOTHING = -1
SAMPLE = 20_000  # users that the first prices are found on, when there are many more
SCARCE = 50  # a sample needs room for so many users
PASSES = 200  # over the users, at most
PRECISION = 1e-8  # of the bound, relative
REACH = 4  # a step changes prices by so many softnesses at most: beyond, the curvature is another one
WELL_FITTED = 1e-4  # shares that lose less can be trusted
ALIKE = 1e-4  # options that differ by less, relative to the mean value, are equals where the shares do not fit
FAR = 50.0  # so many softnesses below the best an option's share is nil
GOLDEN = (5**0.5 - 1) / 2


class Market(NamedTuple):
    """What is offered and what is scarce: resource 0 is the budget, then comes one resource per limit.

    `value` and `cost` have shape (users, options); an option that cannot be chosen has value ``-inf`` and cost 0.
    `member` is 1 where an option takes a place of a limit, shape (limits, options); `room` is how much there is of
    each resource, shape (1 + limits,).
    """

    value: Floats
    cost: Floats
    member: Floats
    room: Floats

    def priced(self, prices: Floats, rows: slice | Choice) -> Floats:
        """Value of some users' options after paying for what they take; shape (rows, options)."""
        return np.asarray(self.value[rows] - prices[0] * self.cost[rows] - prices[1:] @ self.member)


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
    there lose, room left over or overdrawn counted at its price, relative to the bound.
    """

    least: Floats
    prices: Floats
    softness: float
    misfit: float


def blocks(users: int) -> Iterator[slice]:
    """Cut the users into pieces that fit a processor's cache."""
    return (slice(start, start + BLOCK) for start in range(0, users, BLOCK))


def dual_bound(market: Market, prices: Floats) -> float:
    """Bound the best total value: what users keep after paying these prices, and what all the room would fetch."""
    kept = sum(market.priced(prices, rows).max(axis=1, initial=0.0).sum() for rows in blocks(len(market.value)))
    return float(kept + prices @ np.where(prices > 0, market.room, 0.0))


def sorted_steps(value: Floats, cost: Floats) -> tuple[Floats, Floats, Floats]:
    """Sort all hull steps, the most efficient first: gain per cost, value so far and cost so far, shape (steps,)."""
    gain, step = hull_steps(value, cost)
    slope = np.divide(gain, step, out=np.full_like(gain, np.inf), where=step > 0)
    order = np.argsort(-slope, kind="stable")
    return slope[order], np.cumsum(gain[order]), np.cumsum(step[order])


def budget_price(market: Market) -> Floats:
    """Price the budget at the efficiency of the first hull step that does not fit; shape (1,)."""
    slope, _, spent = sorted_steps(market.value, market.cost)
    return np.r_[slope, 0.0][[np.searchsorted(spent, market.room[0], side="right")]]


def find_prices(market: Market) -> tuple[Floats, Choice]:
    """Price every resource, and choose softly at these prices.

    Returns
    -------
    prices
        Per unit of each resource, shape (resources,); 0 where there is enough.
    choice
        Shape (users,): nearly what fits, even where many users are all alike.
    """
    scaled, unit, shut = _scaled(market)
    found = _descend(scaled, *_first_prices(scaled))
    prices = _forbidding(market, found.least * unit, shut)
    if found.misfit > WELL_FITTED:
        found = _descend(scaled, found.prices, ALIKE, hardest=ALIKE)
    return prices, _soft_choice(scaled, found.prices, found.softness)


def _first_prices(scaled: Market) -> tuple[Floats, float]:
    """Find prices on a sample of the users where they are many, and how soft the dual is to be with them."""
    prices, users = np.zeros(len(scaled.room)), scaled.value.shape[1]
    every = int(min(users // SAMPLE, scaled.room.min() // SCARCE))
    if every < 2:
        return prices, 1.0
    value, cost = (np.ascontiguousarray(each[:, ::every]) for each in (scaled.value, scaled.cost))
    found = _descend(Market(value, cost, scaled.member, scaled.room / every), prices, 1.0, precision=1e-4)
    return found.prices, max(found.softness, 0.01)


def _scaled(market: Market) -> tuple[Market, Floats, Choice]:
    """Turn value and cost around, options first, with means near 1, and leave out what needs a thing there is none of.

    Returns the market with arrays of shape (options, users), the unit of each price, and the resources that are shut.
    """
    room = market.room.copy()
    shut = room <= 0
    shut[0] &= bool((market.cost >= 0).all())
    open_ = (market.value > 0) & ~(market.member[shut[1:]] > 0).any(axis=0)
    if shut[0]:
        open_ &= market.cost <= 0
    value, cost = (np.where(open_, each, 0.0).T.copy() for each in (market.value, market.cost))
    worth = value.max(axis=0, initial=0.0)
    mean_value = worth.sum() / max((worth > 0).sum(), 1) or 1.0
    mean_cost = np.abs(cost).sum() / max(open_.sum(), 1) or 1.0
    value /= mean_value
    cost /= mean_cost
    value[~open_.T] = -1e9
    room[0] /= mean_cost
    if np.isinf(room[0]):
        cost[:], room[0] = 0.0, 1.0
    room[shut] = 1.0
    unit = np.r_[mean_value / mean_cost, np.full(len(room) - 1, mean_value)]
    return Market(value, cost, market.member, room), unit, np.flatnonzero(shut)


def _descend(
    scaled: Market, prices: Floats, softness: float, *, precision: float = PRECISION, hardest: float = 0.0
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


def _step_down(scaled: Market, prices: Floats, here: Smooth, step: Floats, softness: float) -> tuple[Floats, Smooth]:
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


def _smooth(scaled: Market, prices: Floats, softness: float) -> Smooth:
    """Evaluate the softened dual in one pass over the users."""
    resources, member = len(prices), scaled.member
    bound, height, blur = 0.0, 0.0, 0.0
    used, curvature = np.zeros(resources), np.zeros((resources, resources))
    for rows in blocks(scaled.value.shape[1]):
        best, regret, share, total = _shares(scaled, prices, softness, rows)
        share_cost = share * scaled.cost[:, rows]
        demand = np.vstack([share_cost.sum(axis=0), member @ share])
        taken, at_cost = share.sum(axis=1), member @ share_cost.sum(axis=1)
        bound += best.sum()
        height += np.log(total).sum()
        blur += best @ (1 - share.sum(axis=0)) + np.einsum("ij,ij->", share, regret)
        used += demand.sum(axis=1)
        curvature -= demand @ demand.T
        curvature[0, 0] += np.einsum("ij,ij->", share_cost, scaled.cost[:, rows])
        curvature[0, 1:] += at_cost
        curvature[1:, 0] += at_cost
        curvature[1:, 1:] += (member * taken) @ member.T
    bound += float(scaled.room @ prices)
    return Smooth(bound, bound + softness * height, scaled.room - used, curvature / softness, blur)


def _shares(scaled: Market, prices: Floats, softness: float, rows: slice) -> tuple[Floats, Floats, Floats, Floats]:
    """Share every user's choice out between the options by a softmax.

    Returns
    -------
    best
        Most that a user keeps after paying, shape (users,).
    regret, share
        What an option keeps less than the best, and its share of the choice, shape (options, users).
    total
        Sum of the weights that the shares are made of, *nothing* included, shape (users,).
    """
    priced = scaled.cost[:, rows] * -prices[0]
    priced += scaled.value[:, rows]
    priced -= (prices[1:] @ scaled.member)[:, None]
    best = priced.max(axis=0, initial=0.0)
    regret = np.minimum(np.subtract(best, priced, out=priced), FAR * softness, out=priced)
    share = np.exp(regret / -softness)
    total = share.sum(axis=0) + np.exp(-np.minimum(best / softness, FAR))
    share /= total
    return best, regret, share, total


def _soft_choice(scaled: Market, prices: Floats, softness: float) -> Choice:
    """Pick one option per user in proportion to the shares, evenly along the users, the same on every call.

    Most users have one option with all of the share. Those on the margin, or all alike, are spread over several by
    the golden ratio's sequence, so that together they take what the shares say.
    """
    options, users = scaled.value.shape
    choice = np.empty(users, dtype=np.intp)
    for rows in blocks(users):
        _, _, share, _ = _shares(scaled, prices, softness, rows)
        mark = (np.arange(users)[rows] + 0.5) * GOLDEN % 1.0
        choice[rows] = (np.cumsum(share, axis=0) < mark).sum(axis=0)
    choice[choice == options] = NOTHING
    return choice


def _forbidding(market: Market, prices: Floats, shut: Choice) -> Floats:
    """Price what there is none of so that nobody wants it: at what one unit would earn; the other prices stay."""
    prices = prices.copy()
    takes = np.concatenate([np.zeros((1, market.value.shape[1])), market.member])
    for resource in shut:
        for rows in blocks(len(market.value)):
            priced = market.priced(prices, rows)
            needed = takes[resource] if resource else market.cost[rows]
            barred = (takes[shut] > 0).any(axis=0) | ((market.cost[rows] > 0) & (0 in shut))
            kept = np.where(barred, 0.0, priced).max(axis=1, initial=0.0)
            better = np.divide(priced - kept[:, None], needed, out=np.zeros_like(priced), where=needed > 0)
            prices[resource] += max(better.max(initial=0.0), 0.0)
    return prices
