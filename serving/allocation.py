"""Who gets what under one budget: a multiple-choice knapsack solved by its Lagrangian dual, a batch at a time.

The dual needs only how much budget the steps of every user's upper hull ask for at each efficiency, so it is read
off a histogram: one pass over the users, and memory that does not grow with them (Sinha & Zoltners 1979 for the hull;
Albert & Goldenberg 2022, arXiv 2108.13298, for the use).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Choice = npt.NDArray[np.intp]
NOTHING = -1
LOWEST, HIGHEST, BINS = 1e-6, 1e6, 240_000


@dataclass(frozen=True)
class Allocation:
    """What an allocation is worth and how far it can be from the best one.

    `shadow_price` is what one more unit of budget would earn; `bound` is the dual bound on the total value.
    """

    budget: float
    spent: float
    value: float
    bound: float
    shadow_price: float

    @property
    def gap(self) -> float:
        """Relative distance of the value from the bound; 0 when nothing pays."""
        return (self.bound - self.value) / self.bound if self.bound > 0 else 0.0


@dataclass(frozen=True)
class Price:
    """What a unit of budget has to earn.

    Everything that earns more than `high` fits the budget and leaves `rest` of it, not enough for everything that
    earns more than `low`: those in between, equals for all practical purposes, come in the order of the users.
    """

    high: float
    low: float
    rest: float


class Demand:
    """How much budget is asked for at each efficiency (value per unit of cost)."""

    def __init__(self) -> None:
        self.edges = np.geomspace(LOWEST, HIGHEST, BINS + 1)
        self.cost = np.zeros(BINS + 2)
        self.steepest = HIGHEST

    def add(self, value: Floats, cost: Floats) -> None:
        """Count the hull steps of some users; `value` and `cost` have shape (users, options)."""
        slope, step = hull_steps(value, cost)
        asked = slope > 0
        np.add.at(self.cost, np.searchsorted(self.edges, slope[asked], side="right"), step[asked])
        self.steepest = slope.max(initial=self.steepest, where=np.isfinite(slope))

    def price(self, budget: float) -> Price:
        """Find the least efficiency at which everything asked for at it or above fits the budget.

        It is 0 when all that pays fits.
        """
        above = np.r_[np.cumsum(self.cost[::-1])[::-1], 0.0]
        fits = int(np.argmax(above <= budget))
        bounds = np.r_[0.0, self.edges, np.nextafter(self.steepest, np.inf)]
        return Price(float(bounds[fits]), float(bounds[max(fits - 1, 0)]), float(budget - above[fits]))


def hull_steps(value: Floats, cost: Floats) -> tuple[Floats, Floats]:
    """Walk each user's upper hull from *nothing* upwards.

    Parameters
    ----------
    value, cost
        Shape (users, options); an option that is not eligible has value ``-inf``.

    Returns
    -------
    slope, step
        Value per cost and cost of each step, shape (users, options), slopes falling, 0 where the walk has ended.
        A free option with positive value has slope ``inf``.

    Examples
    --------
    >>> slope, step = hull_steps(np.array([[4.0, 5.0]]), np.array([[1.0, 2.0]]))
    >>> slope.tolist(), step.tolist()
    ([[4.0, 1.0]], [[1.0, 1.0]])
    """
    users, options = value.shape
    slopes, steps = np.zeros((users, options)), np.zeros((users, options))
    at_value, at_cost = np.zeros((users, 1)), np.zeros((users, 1))
    rows = np.arange(users)
    for k in range(options):
        more, dearer = value - at_value, cost - at_cost
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.where(more > 0, np.where(dearer > 0, more / dearer, np.where(dearer == 0, np.inf, 0.0)), 0.0)
        best = np.lexsort((more.T, slope.T), axis=0)[-1] if options > 1 else np.zeros(users, dtype=np.intp)
        gained = slope[rows, best] > 0
        slopes[gained, k] = slope[rows, best][gained]
        steps[gained, k] = dearer[rows, best][gained]
        at_value[gained, 0] = value[rows, best][gained]
        at_cost[gained, 0] = cost[rows, best][gained]
    return slopes, steps


def choose(value: Floats, cost: Floats, shadow_price: float) -> Choice:
    """Pick for each user the option with the highest value less its priced cost, or `NOTHING`.

    Among equals the cheaper one is taken, and *nothing* before an option that is worth nothing; shape (users,).
    """
    priced = value - shadow_price * cost
    best = priced.max(axis=1, initial=-np.inf)
    cheapest = (
        np.where(priced == best[:, None], cost, np.inf).argmin(axis=1) if value.shape[1] else np.zeros(len(value))
    )
    return np.where(best > 0, cheapest, NOTHING).astype(np.intp)


def choose_in_turn(
    value: Floats, cost: Floats, price: Price, rest: float, spends: npt.NDArray[np.bool_]
) -> tuple[Choice, float]:
    """Pick at the high price, and at the low one for user after user while the rest of the budget lasts.

    Parameters
    ----------
    rest
        What earlier batches have left of ``price.rest``.
    spends
        Whose choice uses the budget up, shape (users,); that of others is what they would get in their turn.

    Returns
    -------
    The choice, shape (users,), and what is left for the next batch: negative when someone had to be refused.
    """
    sure, more = choose(value, cost, price.high), choose(value, cost, price.low)
    extra = _cost_of(more, cost) - _cost_of(sure, cost)
    spent = np.cumsum(np.where(spends, extra, 0.0))
    fits = np.where(spends, spent, spent + extra) <= rest
    return np.where(fits, more, sure), rest - float(spent[-1]) if len(spent) else rest


def _cost_of(choice: Choice, cost: Floats) -> Floats:
    """Cost of each user's choice, 0 for `NOTHING`; shape (users,)."""
    return np.c_[cost, np.zeros(len(cost))][np.arange(len(cost)), choice]


def dual_bound(value: Floats, cost: Floats, shadow_price: float) -> float:
    """Sum the users' share of the Lagrangian bound; adding ``shadow_price * budget`` completes it."""
    return float(np.maximum((value - shadow_price * cost).max(axis=1, initial=-np.inf), 0.0).sum())
