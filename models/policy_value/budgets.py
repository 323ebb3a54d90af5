"""The value of a policy at every budget: the upper hull of each user's options, taken in order of efficiency.

A user's options beside *nothing* are points of cost and value; their upper hull, walked from *nothing* upwards, lists
the steps worth taking, the most gain per cost first. The steepest steps of all users together are the best use of any
budget that ends between two of them (Sinha & Zoltners 1979).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from features.arrays.array_types import Floats, Places
from models.metrics.evaluation import bootstrap
from models.metrics.metric import Metric
from models.metrics.qini import area_above_chord, ends_of_equals

BLOCK = 4096  # users at a time: their options fit a processor's cache


class HullSteps(NamedTuple):
    """Steps of users from one option to the next, in account currency; every array has shape (steps,).

    `user` is the row of a user, `before` and `after` are the options' columns plus 1: 0 is *nothing*. `gain` and
    `cost` are what the step adds.
    """

    user: Places
    before: Places
    after: Places
    gain: Floats
    cost: Floats

    @property
    def slope(self) -> Floats:
        """Gain per cost, infinite for what is free; it falls along a user's walk."""
        return np.divide(self.gain, self.cost, out=np.full_like(self.gain, np.inf), where=self.cost > 0)


@dataclass(frozen=True)
class MultiArmQini:
    """What treating the most worthwhile users first earns at each level of spending, per user in account currency.

    `spend`, `gain` and `standard_error` have the shape (points,); `area` is the mean height of the curve above its
    chord: what the order of the users and options earns over giving the same options to random users.
    """

    spend: Floats
    gain: Floats
    standard_error: Floats
    area: Metric


def hull_steps(value: Floats, cost: Floats) -> tuple[Floats, Floats]:
    """Walk every user's upper hull from *nothing* upwards.

    Parameters
    ----------
    value, cost
        Shape (users, options); an option that is not eligible has value ``-inf``.

    Returns
    -------
    gain, step
        Value and cost of every step of every user, shape (steps,); gain per cost falls along a user's walk. The
        first step of each user is the best free option, or nothing at all.

    Examples
    --------
    >>> gain, step = hull_steps(np.array([[4.0, 5.0]]), np.array([[1.0, 2.0]]))
    >>> gain.tolist(), step.tolist()
    ([0.0, 4.0, 1.0], [0.0, 1.0, 1.0])
    """
    none = np.zeros(0)
    steps = [(none, none), *((taken.gain, taken.cost) for taken in _walks(value, cost))]
    return np.concatenate([gain for gain, _ in steps]), np.concatenate([step for _, step in steps])


def multi_arm_qini(
    scores: Floats, predicted: Floats, cost: Floats, user_ids: pd.Series,
    *, points: int = 101, samples: int, rng: np.random.Generator,
) -> MultiArmQini:  # fmt: skip
    """Show what a policy that knows `predicted` and `cost` would have earned at every budget.

    The policy walks each user's upper hull of predicted gain over cost, the steepest steps of all users first, which
    is the optimal allocation at every budget; a budget that ends inside a step, or among equals, pays for a part of
    it. What it earns is read off the scores, not off the prediction (Sverdrup, Wu, Athey & Wager 2023, arXiv
    2306.11979). Intervals are by resampling users with the policy as it is.

    Parameters
    ----------
    scores
        Doubly robust or inverse propensity scores of every option, nothing in column 0, from
        `models.policy_value.off_policy.doubly_robust_scores`; shape (rows, options + 1), account currency.
    predicted
        Predicted gain over nothing, costs left out, from models that did not see these rows; shape (rows, options);
        ``-inf`` for an option that is not eligible.
    cost
        Expected cost of each option, at least 0, same shape and currency.
    user_ids
        User of each row; all rows of a user are drawn together.
    points
        Number of budgets, evenly from 0 to that of the whole path.

    Examples
    --------
    >>> scores = np.array([[0.0, 3.0], [1.0, 0.0]])
    >>> qini = multi_arm_qini(
    ...     scores, np.array([[2.0], [1.0]]), np.array([[1.0], [1.0]]), pd.Series(["a", "b"]),
    ...     points=3, samples=10, rng=np.random.default_rng(0),
    ... )
    >>> qini.spend.tolist(), qini.gain.tolist(), qini.area.value
    ([0.0, 0.5, 1.0], [0.0, 1.5, 1.0], 0.5)
    """
    steps = HullSteps(*map(np.concatenate, zip(*_walks(predicted, cost), strict=True)))
    order = np.lexsort((steps.user, -steps.slope))
    ends = ends_of_equals(steps.slope[order])
    gained = scores[steps.user, steps.after] - scores[steps.user, steps.before]
    spend = np.linspace(0.0, steps.cost.sum() / len(scores), points)
    draws: list[Floats] = []

    def area(weight: Floats) -> float:
        counts = weight[steps.user][order]
        gain, used = (np.r_[0.0, np.cumsum(counts * step[order])[ends]] / weight.sum() for step in (gained, steps.cost))
        draws.append(np.interp(spend, used, gain))
        return area_above_chord((spend, draws[-1])) / float(spend[-1]) if spend[-1] > 0 else 0.0

    metric = bootstrap(area, user_ids, samples=samples, rng=rng)
    area(np.ones(len(scores)))
    gain = draws[-1]
    # the curve of all users, drawn too, adds nothing to the sum
    error = np.sqrt(np.square(np.array(draws) - gain).sum(axis=0) / samples)
    return MultiArmQini(spend, gain, error, metric)


def _walks(value: Floats, cost: Floats) -> Iterator[HullSteps]:
    """Yield the first steps of a block of users, their second ones, and so on, block by block."""
    for start in range(0, len(value), BLOCK):
        rows = slice(start, start + BLOCK)
        for steps in _walk(value[rows], cost[rows]):
            yield steps._replace(user=steps.user + start)


def _walk(value: Floats, cost: Floats) -> Iterator[HullSteps]:
    """Yield the first step of all users, the second of those who have one, and so on."""
    nothing = np.zeros((1, len(value)))
    value, cost = np.vstack([nothing, value.T]), np.vstack([nothing, cost.T])  # options first
    user = np.arange(value.shape[1])
    free = (value > 0) & (cost <= 0)
    at_cost = np.where(free, cost, 0.0).min(axis=0)
    at = np.where(free & (cost == at_cost), value, 0.0).argmax(axis=0)
    at_value = value[at, user]
    yield HullSteps(user, np.zeros_like(at), at, at_value, at_cost)
    while user.size:
        more, dearer = value - at_value, cost - at_cost
        slope = np.divide(more, dearer, out=np.zeros_like(more), where=(more > 0) & (dearer > 0))
        best = slope.argmax(axis=0)
        rises = np.flatnonzero(slope[best, np.arange(len(best))] > 0)
        user, before, at = user[rises], at[rises], best[rises]
        yield HullSteps(user, before, at, more[at, rises], dearer[at, rises])
        at_value, at_cost = value[at, rises], cost[at, rises]
        value, cost = value[:, rises], cost[:, rises]
