"""Who gets what: one option per user under a budget, channel capacities and offer stocks.

A multiple-choice knapsack with several limits. Every scarce thing has a price, found in `serving.prices`, and each
user takes the option that is worth most after paying; where that takes too much the least is given up, and where
something is left it is filled up greedily.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from configs.errors import InputError, did_you_mean
from configs.offers import Catalogue
from configs.settings import Settings
from serving.prices import NOTHING, Market, blocks, budget_price, dual_bound, find_prices, sorted_steps

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Choice = npt.NDArray[np.intp]
ROUNDING = 1 + 1e-12  # sums of money are this exact
ROUNDS = 100  # of filling, at most


@dataclass(frozen=True)
class Limit:
    """At most so many users may get one of these options: a channel's capacity, an offer's stock.

    `options` says which options take a place, shape (options,); `most` counts users.
    """

    name: str
    options: Bools
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
    choice: Choice
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


def limits_of(catalogue: Catalogue, settings: Settings) -> tuple[Limit, ...]:
    """List the channel capacities of the settings and the stocks of the catalogue.

    Raises
    ------
    InputError
        A capacity names a channel that no offer uses.
    """
    channels = np.array([offer.channel for offer, _ in catalogue.options], dtype=object)
    offer_ids = np.array([offer.offer_id for offer, _ in catalogue.options], dtype=object)
    capacity = settings.scoring.channel_capacity
    for name in capacity:
        if catalogue.offers and name not in channels:
            known = did_you_mean(name, set(channels))
            raise InputError(f"scoring.channel_capacity: no offer goes through channel {name!r}; {known}")
    of_channels = [Limit(f"channel {name}", channels == name, most) for name, most in capacity.items()]
    of_stocks = [
        Limit(f"stock of {offer.offer_id}", offer_ids == offer.offer_id, offer.stock)
        for offer in catalogue.offers
        if offer.stock is not None
    ]
    return (*of_channels, *of_stocks)


def allocate(
    value: Floats, cost: Floats, budget: float, limits: Sequence[Limit] = (), *, spends: Bools | None = None
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
        Whose choice uses up budget and places, shape (users,); the others (a control group) are told what they would
        have got at the final prices, and take nothing from anyone.

    Examples
    --------
    >>> value, cost = np.array([[3.0, 5.0], [2.0, 6.0]]), np.array([[1.0, 2.0], [1.0, 4.0]])
    >>> allocate(value, cost, 4.0).choice.tolist()
    [1, 0]
    >>> allocate(value, cost, 4.0, [Limit("channel mail", np.array([True, False]), 0)]).choice.tolist()
    [1, -1]
    """
    spends = np.ones(len(value), dtype=bool) if spends is None else spends
    market = _market(value[spends], cost[spends], budget, limits)
    if limits:
        prices, start = find_prices(market)
    else:
        prices = budget_price(market)
        start = choose(market.value, market.cost, float(prices[0]))
    plan = Plan(market, prices, start)
    plan.mend()
    plan.fill()
    option_prices = prices[1:] @ market.member
    choice = np.empty(len(value), dtype=np.intp)
    choice[spends] = np.where(plan.choice < value.shape[1], plan.choice, NOTHING)
    choice[~spends] = choose(value[~spends], cost[~spends], float(prices[0]), option_prices)
    used = plan.used()
    return Allocation(
        budget=budget,
        choice=choice,
        value=plan.worth(),
        spent=float(used[0]),
        bound=dual_bound(market, prices),
        shadow_price=float(prices[0]),
        limit_prices={limit.name: float(price) for limit, price in zip(limits, prices[1:], strict=True)},
        option_prices=option_prices,
        used={limit.name: int(places) for limit, places in zip(limits, used[1:], strict=True)},
    )


def choose(value: Floats, cost: Floats, shadow_price: float, option_prices: Floats | float = 0.0) -> Choice:
    """Pick for each user the option that is worth most after paying for budget and places, or `NOTHING`.

    Among equals the cheaper one is taken, and *nothing* before an option that is worth nothing.

    Parameters
    ----------
    value, cost
        Shape (users, options).
    shadow_price, option_prices
        Of an `Allocation`; the latter has shape (options,).
    """
    choice = np.full(len(value), NOTHING, dtype=np.intp)
    for rows in blocks(len(value) if value.shape[1] else 0):
        pays = value[rows] > 0
        priced = np.where(pays, value[rows] - shadow_price * np.where(pays, cost[rows], 0.0) - option_prices, -np.inf)
        best = priced.max(axis=1)
        cheapest = np.where(priced == best[:, None], cost[rows], np.inf).argmin(axis=1)
        choice[rows] = np.where(best > 0, cheapest, NOTHING)
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
    market = _market(value, cost, 0.0, ())
    slope, worth, spent = sorted_steps(market.value, market.cost)
    taken = np.searchsorted(spent, np.asarray(budgets) * ROUNDING, side="right")
    columns = (np.r_[0.0, worth][taken], np.r_[0.0, spent][taken], np.r_[slope, 0.0][taken])
    return [BudgetPoint(*point) for point in zip(budgets, *(column.tolist() for column in columns), strict=True)]


def _market(value: Floats, cost: Floats, budget: float, limits: Sequence[Limit]) -> Market:
    pays = value > 0
    member = np.array([limit.options for limit in limits], dtype=float).reshape(len(limits), value.shape[1])
    room = np.array([budget * ROUNDING, *(limit.most for limit in limits)], dtype=float)
    return Market(np.where(pays, value, -np.inf), np.where(pays, cost, 0.0), member, room)


class Plan:
    """A choice being mended and filled: `choice` has shape (users,), and the last option of all is *nothing*."""

    def __init__(self, market: Market, prices: Floats, choice: Choice) -> None:
        users = len(choice)
        self.value, self.cost = np.c_[market.value, np.zeros(users)], np.c_[market.cost, np.zeros(users)]
        self.member = np.c_[market.member, np.zeros(len(market.member))]
        self.room, self.prices, self.choice = market.room, prices, choice.copy()
        self.everyone = np.arange(users)

    def worth(self) -> float:
        """Total value of the choice."""
        return float(self.value[self.everyone, self.choice].sum())

    def used(self) -> Floats:
        """How much the choice takes of each resource; shape (resources,)."""
        options = self.value.shape[1]
        places = self.member @ np.bincount(self.choice % options, minlength=options)
        return np.r_[self.cost[self.everyone, self.choice].sum(), places]

    def demand(self, resource: int, rows: Choice) -> Floats:
        """How much more of a resource some users would take with each option; shape (rows, options + 1)."""
        if resource == 0:
            return np.asarray(self.cost[rows] - self.cost[rows, self.choice[rows]][:, None])
        member = self.member[resource - 1]
        return np.asarray(member - member[self.choice[rows]][:, None])

    def mend(self) -> None:
        """Give up what there is no room for: first places, limit by limit, then money without taking a place more."""
        limits = range(1, len(self.room))
        mended: list[int] = []
        while (over := np.flatnonzero(self.used() > self.room)[::-1]).size and over[0]:
            self.give_up(int(over[0]), mended)
            mended.append(int(over[0]))
        if over.size:
            self.give_up(0, limits)

    def give_up(self, resource: int, kept: Iterable[int]) -> None:
        """Free the excess of a resource where the least is lost per unit, the last of equals first.

        Nobody takes more of the resources in `kept`.
        """
        excess = self.used()[resource] - self.room[resource]
        own = self.cost[self.everyone, self.choice] if resource == 0 else self.member[resource - 1][self.choice]
        rows = np.flatnonzero(own > 0)[::-1]
        freed = -self.demand(resource, rows)
        allowed = (freed > 0) & np.isfinite(self.value[rows])
        lost = self.value[rows, self.choice[rows]][:, None] - self.value[rows]
        for other, price in enumerate(self.prices):
            more = self.demand(other, rows)
            lost += price * more
            if other in kept:
                allowed &= more <= 0
        loss = np.divide(lost, freed, out=np.full_like(lost, np.inf), where=allowed)
        best, own_row = loss.argmin(axis=1), np.arange(len(rows))
        order = np.argsort(loss[own_row, best], kind="stable")
        enough = np.searchsorted(np.cumsum(freed[own_row, best][order]), excess) + 1
        self.choice[rows[order[:enough]]] = best[order[:enough]]

    def fill(self) -> None:
        """Move users to what is worth more while it fits, the most value per price first, until nothing fits."""
        rows = self.everyone
        for _ in range(ROUNDS):
            rows, options, efficiency = self.best_moves(rows)
            if not len(rows):
                break
            order = np.argsort(-efficiency, kind="stable")
            fits = self.fitting(rows[order], options[order])
            self.choice[rows[order[:fits]]] = options[order[:fits]]

    def best_moves(self, rows: Choice) -> tuple[Choice, Choice, Floats]:
        """Find those users who can move to something better, with the most efficient such option of each."""
        rest = self.room - self.used()
        none = (rows[:0], rows[:0], np.zeros(0))
        found = [none, *(self._moves(rows[part], rest) for part in blocks(len(rows)))]
        movers, options, efficiency = zip(*found, strict=True)
        return np.concatenate(movers), np.concatenate(options), np.concatenate(efficiency)

    def _moves(self, rows: Choice, rest: Floats) -> tuple[Choice, Choice, Floats]:
        gain = self.value[rows] - self.value[rows, self.choice[rows]][:, None]
        fits, paid = gain > 0, np.zeros_like(gain)
        for resource, price in enumerate(self.prices):
            more = self.demand(resource, rows)
            fits &= more <= rest[resource]
            paid += price * more
        efficiency = np.divide(gain, paid, out=np.full_like(gain, np.inf), where=paid > 0)
        efficiency[~fits] = -np.inf
        best = efficiency.argmax(axis=1)
        some = fits.any(axis=1)
        return rows[some], best[some], efficiency[np.arange(len(rows)), best][some]

    def fitting(self, rows: Choice, options: Choice) -> int:
        """Count how many moves, one after another, fit what is left: at least the first."""
        rest, before = self.room - self.used(), self.choice[rows]
        fits = np.cumsum(self.cost[rows, options] - self.cost[rows, before]) <= rest[0]
        for member, places in zip(self.member, rest[1:], strict=True):
            fits &= np.cumsum(member[options] - member[before]) <= places
        return len(fits) if fits.all() else max(int(fits.argmin()), 1)
