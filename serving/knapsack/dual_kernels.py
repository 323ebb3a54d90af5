"""Compiled kernels of the smoothed dual: the soft choice of each user at given prices, in blocks.

Each user's best option becomes a softmax over all of them and *nothing*, which is worth nothing and free. Most users
have one option that is better than the others by far: they cost one look at each.
"""

from __future__ import annotations

import math

import numpy as np

from features.arrays.array_types import Floats, Places
from models.forest.parsed_forest import compiled

FAR = 50.0  # so many softnesses below the best an option's share is nil
AT_ONCE = 256  # users whose options fit a core's first cache


@compiled
def add_shares(
    value: Floats, cost: Floats, incidence: Floats, price: float, option_price: Floats, softness: float,
    used: Floats, curvature: Floats,
) -> tuple[float, float, float]:  # fmt: skip
    """Add to two arrays what users use, and how fast that changes with prices.

    Parameters
    ----------
    value, cost
        Of each option for each user, shape (options, users); ``-inf`` and 0 where it cannot be chosen.
    incidence
        1 where an option takes a place of a limit, shape (limits, options).
    price, option_price
        Of money, and what each option pays for its places, shape (options,).
    used, curvature
        Shape (1 + limits,) and (1 + limits, 1 + limits), money first; the latter times the softness, and its lower half
        alone.

    Returns
    -------
    Sums over the users: what the best options keep after paying, logarithms of the weights' sums, and what the shares
    keep less than the best.
    """
    options, users = value.shape
    kept, best, weight = np.empty((options, AT_ONCE)), np.empty(AT_ONCE), np.empty(options)
    takes, demand = np.empty(len(used)), np.empty(len(used))
    bound = height = blur = 0.0
    for start in range(0, users, AT_ONCE):
        count = min(AT_ONCE, users - start)
        _pay(value, cost, price, option_price, start, count, kept, best)
        for user in range(count):
            bound += best[user]
            total = _weigh(kept[:, user], best[user], softness, weight)
            if total == 1.0:  # one option, or nothing, has all of the share: prices change that by leaps alone
                for option in range(options):
                    if weight[option] == 1.0:
                        _take(cost[option, start + user], incidence[:, option], takes)
                        _add(1.0, takes, used)
            else:
                height += math.log(total)
                given = 0.0
                demand[:] = 0.0
                for option in range(options):
                    share = weight[option] / total
                    if share > 0.0:
                        given += share
                        blur += share * (best[user] - kept[option, user])
                        _take(cost[option, start + user], incidence[:, option], takes)
                        _add(share, takes, demand)
                        _add_product(share, takes, curvature)
                blur += (1.0 - given) * best[user]
                _add(1.0, demand, used)
                _add_product(-1.0, demand, curvature)
    return bound, height, blur


@compiled
def pick_in_shares(
    value: Floats, cost: Floats, price: float, option_price: Floats, softness: float, mark: Floats, choice: Places
) -> None:
    """Choose for each user the option in whose share of the choice a mark between 0 and 1 falls; past all `options`.

    The parameters are those of `add_shares`; `mark` and `choice` have shape (users,).
    """
    options, users = value.shape
    kept, best, weight = np.empty((options, AT_ONCE)), np.empty(AT_ONCE), np.empty(options)
    for start in range(0, users, AT_ONCE):
        count = min(AT_ONCE, users - start)
        _pay(value, cost, price, option_price, start, count, kept, best)
        for user in range(count):
            total = _weigh(kept[:, user], best[user], softness, weight)
            so_far = 0.0
            choice[start + user] = options
            for option in range(options):
                so_far += weight[option] / total
                if so_far >= mark[start + user]:
                    choice[start + user] = option
                    break


@compiled
def _pay(
    value: Floats,
    cost: Floats,
    price: float,
    option_price: Floats,
    start: int,
    count: int,
    net_value: Floats,
    best: Floats,
) -> None:
    """Let some users pay: what each option leaves them, shape (options, users), and the most of it or of nothing."""
    best[:] = 0.0
    for option in range(len(value)):
        for user in range(count):
            left = value[option, start + user] - price * cost[option, start + user] - option_price[option]
            net_value[option, user] = left
            best[user] = max(best[user], left)


@compiled
def _weigh(net_value: Floats, best: float, softness: float, weight: Floats) -> float:
    """Weigh one user's options; returns the sum of all weights, that of *nothing* included."""
    reach = FAR * softness
    total = math.exp(-best / softness) if best < reach else 0.0
    for option in range(len(net_value)):
        behind = best - net_value[option]
        weight[option] = math.exp(-behind / softness) if behind < reach else 0.0
        total += weight[option]
    return total


@compiled
def _take(money: float, places: Floats, takes: Floats) -> None:
    """Write what an option takes of each resource: money, and places of limits, shape (limits,)."""
    takes[0] = money
    for limit in range(len(places)):
        takes[limit + 1] = places[limit]


@compiled
def _add(factor: float, takes: Floats, total: Floats) -> None:
    """Add a multiple of a vector to another."""
    for place in range(len(takes)):
        total[place] += factor * takes[place]


@compiled
def _add_product(factor: float, takes: Floats, matrix: Floats) -> None:
    """Add a multiple of the outer product of a vector with itself to the lower half of a matrix."""
    for first in range(len(takes)):
        for second in range(first + 1):
            matrix[first, second] += factor * takes[first] * takes[second]
