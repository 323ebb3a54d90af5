"""The allocation: at most one option per user under a budget, channel capacities and stocks.

A multiple-choice knapsack with several capacities. Every resource has a dual price, found in `dual_prices`, and each
user takes the option that is worth most after paying; `repair` drops what exceeds a capacity and fills greedily what is
left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from configs.consistency import check_channels
from configs.offers import NOTHING, Catalogue
from configs.settings import Settings
from features.arrays.array_types import Flags, Floats, Places
from serving.knapsack.dual_prices import budget_price, dual_bound, find_prices
from serving.knapsack.problem import Knapsack, RemoteReduce, Shard, blocks, offered, opened
from serving.knapsack.repair import Repair

ROUNDING = 1 + 1e-12  # sums of money are this exact


@dataclass(frozen=True)
class Limit:
    """At most so many users may get one of these options: a channel's capacity, an offer's stock.

    `options` says which options take a place, shape (options,); `most` counts users.
    """

    name: str
    options: Flags
    most: int


@dataclass(frozen=True)
class Allocation:
    """Who gets what, what it is worth and how far that can be from the best.

    `choice` is the place of each user's option or `NOTHING`, shape (users,). Sums are over those who spend: `value`,
    `spent`, `bound` on the best total value, `used` places of each limit. `shadow_price` is what one more unit of
    budget would earn, `limit_prices` what one more place would; `option_prices` adds them up per option, shape
    (options,), for `choose`.
    """

    budget: float
    choice: Places
    value: float
    spent: float
    bound: float
    shadow_price: float
    limit_prices: dict[str, float]
    option_prices: Floats
    used: dict[str, int]

    @property
    def gap(self) -> float:
        """Relative distance of the value from the bound; 0 when nothing pays."""
        return max(self.bound - self.value, 0.0) / self.bound if self.bound > 0 else 0.0


class BudgetPoint(NamedTuple):
    """What a budget would bring: total value, money spent, and what one more unit of budget would earn."""

    budget: float
    value: float
    spent: float
    shadow_price: float


def limits_of(
    catalogue: Catalogue, settings: Settings, stock_left: Mapping[str, int] | None = None
) -> tuple[Limit, ...]:
    """List the channel capacities of the settings and the stocks of the catalogue.

    Parameters
    ----------
    stock_left
        How many may still get an offer whose stock is for all days together, by its id.

    Raises
    ------
    InputError
        A capacity names a channel that no offer uses.
    """
    channels = np.array([offer.channel for offer in catalogue.offer_of_options], dtype=object)
    offer_ids = np.array([option.offer_id for option in catalogue.options], dtype=object)
    check_channels(settings, catalogue)
    of_channels = [
        Limit(f"channel {name}", channels == name, most) for name, most in settings.scoring.channel_capacity.items()
    ]
    stocks = {offer.offer_id: offer.stock for offer in catalogue.offers if offer.stock is not None}
    stocks |= {name: min(stocks.get(name, most), most) for name, most in (stock_left or {}).items()}
    of_stocks = [
        Limit(f"stock of {offer.offer_id}", offer_ids == offer.offer_id, stocks[offer.offer_id])
        for offer in catalogue.offers
        if offer.offer_id in stocks
    ]
    return (*of_channels, *of_stocks)


def allocate(
    value: Floats, cost: Floats, budget: float, limits: Sequence[Limit] = (), *, spends: Flags | None = None
) -> Allocation:
    """Choose at most one option per user, for the highest total value within the budget and every limit.

    Parameters
    ----------
    value, cost
        Account currency, shape (users, options); an option that is not eligible has value ``-inf``, and one that is
        worth nothing is never chosen.
    budget
        Most that the chosen options may cost; ``inf`` for no limit.
    spends
        Whose choice uses up budget and places, shape (users,); for the others (a control group) the choice is what they
        would have got at the final prices, and they take nothing from anyone.

    Examples
    --------
    >>> value, cost = np.array([[3.0, 5.0], [2.0, 6.0]]), np.array([[1.0, 2.0], [1.0, 4.0]])
    >>> allocate(value, cost, 4.0).choice.tolist()
    [1, 0]
    >>> allocate(value, cost, 4.0, [Limit("channel mail", np.array([True, False]), 0)]).choice.tolist()
    [1, -1]
    """
    spends = np.ones(len(value), dtype=bool) if spends is None else spends
    return allocate_parts([Shard(*offered(value, cost), spends)], budget, limits)


def allocate_parts(
    parts: Sequence[Shard], budget: float, limits: Sequence[Limit] = (), remote_reduce: RemoteReduce | None = None
) -> Allocation:
    """Do as `allocate` does for users in shards, such as files: a few numbers per user are held in memory.

    Where the shards lie on other machines, sums over users are map-reduced there: see `problem.Knapsack`.
    """
    knapsack = _knapsack(parts, budget, limits)._replace(remote_reduce=remote_reduce)
    if limits:
        prices, start = find_prices(knapsack)
    else:
        prices = budget_price(knapsack)
        start = _joined(_choose(block.value, block.cost, float(prices[0])) for block in knapsack.blocks())
    repair = Repair(knapsack, prices, start)
    repair.drop()
    repair.greedy_fill()
    option_prices = prices[1:] @ knapsack.incidence
    used = repair.used()
    return Allocation(
        budget=budget,
        choice=_choice_of_all(parts, repair.given, float(prices[0]), option_prices),
        value=repair.worth(),
        spent=float(used[0]),
        bound=dual_bound(knapsack, prices),
        shadow_price=float(prices[0]),
        limit_prices={limit.name: float(price) for limit, price in zip(limits, prices[1:], strict=True)},
        option_prices=option_prices,
        used={limit.name: int(places) for limit, places in zip(limits, used[1:], strict=True)},
    )


def choose(value: Floats, cost: Floats, shadow_price: float, option_prices: Floats | float = 0.0) -> Places:
    """Pick for each user the option that is worth most after paying for budget and places, or `NOTHING`.

    Among equals the cheaper one is taken, and *nothing* before an option that is worth nothing.

    Parameters
    ----------
    value, cost
        Shape (users, options).
    shadow_price, option_prices
        Of an `Allocation`; the latter has shape (options,).
    """
    cuts = blocks(len(value))
    return _joined(_choose(value[rows].T, cost[rows].T, shadow_price, option_prices) for rows in cuts)


def _choose(value: Floats, cost: Floats, shadow_price: float, option_prices: Floats | float = 0.0) -> Places:
    """Choose for users of a block, whose arrays have shape (options, users)."""
    if not len(value):
        return np.full(value.shape[1], NOTHING, dtype=np.intp)
    pays = value > 0
    option_price = np.broadcast_to(option_prices, len(value))[:, None]
    kept = np.where(pays, value - shadow_price * np.where(pays, cost, 0.0) - option_price, -np.inf)
    best = kept.max(axis=0)
    cheapest = np.where(kept == best, cost, np.inf).argmin(axis=0)
    return np.where(best > 0, cheapest, NOTHING)


def _choice_of_all(parts: Sequence[Shard], given: Places, shadow_price: float, option_prices: Floats) -> Places:
    """Add what those who spend nothing would have got at the final prices."""
    choice, start = given.copy(), 0
    for part in map(Shard.opened, parts):
        others = np.flatnonzero(~part.spends)
        for rows in blocks(len(others)):
            value, cost, _ = part.some(others[rows])
            choice[start + others[rows]] = _choose(value, cost, shadow_price, option_prices)
        start += len(part.spends)
    return choice


def budget_curve(
    value: Floats, cost: Floats, budgets: Sequence[float], limits: Sequence[Limit] = ()
) -> list[BudgetPoint]:
    """Say what each of some budgets would bring, in the order asked.

    Without limits all are read off one sort of the hull steps, whole steps only, at most one step below what
    `allocate` finds; with limits each is an allocation.
    """
    if limits:
        found = [allocate(value, cost, budget, limits) for budget in budgets]
        return [BudgetPoint(each.budget, each.value, each.spent, each.shadow_price) for each in found]
    everyone = Shard(*offered(value, cost), np.ones(len(value), dtype=bool))
    slope, worth, spent = _knapsack([everyone], 0.0, ()).sorted_steps()
    taken = np.searchsorted(spent, np.asarray(budgets) * ROUNDING, side="right")
    columns = (np.r_[0.0, worth][taken], np.r_[0.0, spent][taken], np.r_[slope, 0.0][taken])
    return [BudgetPoint(*point) for point in zip(budgets, *(column.tolist() for column in columns), strict=True)]


def _knapsack(parts: Sequence[Shard], budget: float, limits: Sequence[Limit]) -> Knapsack:
    options = len(opened(parts[0].value))
    incidence = np.array([limit.options for limit in limits], dtype=float).reshape(len(limits), options)
    return Knapsack(parts, incidence, np.array([budget * ROUNDING, *(limit.most for limit in limits)], dtype=float))


def _joined(choices: Iterable[Places]) -> Places:
    """Put the choices of blocks of users together."""
    return np.concatenate([np.zeros(0, dtype=np.intp), *choices])
