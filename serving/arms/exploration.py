"""Randomisation: the control group, and random options for some users, from which effects are learnt.

Two groups are stable: *control* gets nothing, *business as usual* gets what the company sends anyway. Of the rest a
share explores, drawn anew every day and independent of everything else: each explorer draws an option, or nothing,
with known probabilities. What a decision's option had as a chance is stored with it, so that past decisions can be
weighed to say what another policy would have brought (Horvitz & Thompson 1952; Li et al. 2011).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import numpy as np
import pandas as pd

from configs.offers import NOTHING
from configs.settings import Exploration, Settings
from features.arrays.array_types import Flags, Floats, Places
from models.metrics.splits import hash_share
from serving.knapsack.allocation import Limit

CONTROL_SALT, AS_USUAL_SALT = "global control", "business as usual"
QUEUE_SALT, OPTION_SALT = "explores today", "explored option"
DRAWS = 64  # of the posterior, for Thompson sampling


class Draws(NamedTuple):
    """What some users would draw before anybody pays for it; arrays have shape (users,).

    `place` is the place in the queue of explorers, in [0, 1), and ``inf`` for who may not explore; `option` is what
    they would draw and `option_cost` what it is expected to cost, `expected_cost` what drawing would cost on average.
    """

    place: Floats
    option: Places
    option_cost: Floats
    expected_cost: Floats


@dataclass(frozen=True)
class Explorers:
    """Who explores and what they get.

    Users with a place in the queue below `share` explore; the option they drew is given to those below `until`,
    shape (options,), and the others get nothing. `explores` and `given` (an option or `NOTHING`) have shape (users,);
    `spent` is what it is expected to cost.
    """

    share: float
    until: Floats
    explores: Flags
    given: Places
    spent: float


def stable_groups(user_ids: pd.Series, settings: Settings) -> tuple[Flags, Flags]:
    """Tell who is in the control group and who in business as usual; shapes (users,), nobody is in both."""
    scoring = settings.scoring
    is_control = hash_share(user_ids, f"{CONTROL_SALT}:{settings.seed}") < scoring.control_share
    # shares are of all users, and the control group's have been taken
    draw = hash_share(user_ids, f"{AS_USUAL_SALT}:{settings.seed}") * (1 - scoring.control_share)
    return is_control, ~is_control & (draw < scoring.business_as_usual_share)


def draw_chances(
    value: Floats, value_error: Floats, explorable: Flags, settings: Exploration, draws: Floats,
    trial: Floats | None = None, trial_weight: float = 0.0,
) -> Floats:  # fmt: skip
    """Compute the probability with which each explorer draws each option, or nothing.

    Parameters
    ----------
    value, value_error
        Worth of each option and its standard error, account currency, shape (users, options); 0 and 0, which is what
        *nothing* is worth, where the effect is not known.
    explorable
        Which options may be tried, shape (users, options).
    draws
        Standard normal, shape (draws, options), shared by all users; Thompson sampling reads it.
    trial, trial_weight
        What policies on trial would give, shape (users, options + 1), and which share of the draws follows them.

    Returns
    -------
    Shape (users, options + 1), the last column is *nothing*; rows sum to 1, options that may be tried and nothing
    have at least the floor.

    Examples
    --------
    >>> softmax = Exploration(share=0.1, budget_share=1.0, method="softmax", temperature=1.0, floor=0.1)
    >>> may = np.array([[True, True], [True, False]])
    >>> none = np.zeros((2, 2))
    >>> draw_chances(np.log([[3.0, 4.0], [3.0, 4.0]]), none, may, softmax, none).round(4).tolist()
    [[0.3625, 0.45, 0.1875], [0.7, 0.0, 0.3]]
    """
    nothing = np.zeros((len(value), 1))
    allowed = np.c_[explorable, nothing == 0]
    if settings.method == "softmax":
        weights = _softmax(np.c_[value, nothing] / settings.temperature, allowed)
    elif settings.method == "thompson":
        weights = _share_of_wins(np.c_[value, nothing], np.c_[value_error, nothing], allowed, draws)
    else:
        weights = allowed / allowed.sum(axis=1, keepdims=True)
    if trial is not None:
        weights = (1 - trial_weight) * weights + trial_weight * trial
    rest = 1 - settings.floor * allowed.sum(axis=1, keepdims=True)
    return np.where(allowed, settings.floor + rest * weights, 0.0)


def _softmax(score: Floats, allowed: Flags) -> Floats:
    score = np.where(allowed, score, -np.inf)
    weight = np.exp(score - score.max(axis=1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def _share_of_wins(mean: Floats, error: Floats, allowed: Flags, draws: Floats) -> Floats:
    """Count in how many draws of the worth each option is the best; equals share a draw (Thompson 1933)."""
    wins = np.zeros_like(mean)
    for draw in np.c_[draws, np.zeros(len(draws))]:
        worth = np.where(allowed, mean + error * draw, -np.inf)
        best = worth == worth.max(axis=1, keepdims=True)
        wins += best / best.sum(axis=1, keepdims=True)
    return wins / len(draws)


def posterior_draws(options: int, settings: Settings, as_of: date) -> Floats:
    """Draw the day's standard normals for Thompson sampling; shape (draws, options)."""
    rng = np.random.default_rng([settings.seed, as_of.toordinal(), *b"posterior"])
    return rng.standard_normal((DRAWS, options))


def randomise(
    user_ids: pd.Series, chances: Floats, cost: Floats, may_explore: Flags, settings: Settings, as_of: date
) -> Draws:
    """Randomise some users for the day: their place in the queue and their option, each by its own salted hash.

    Parameters
    ----------
    chances
        From `draw_chances`, shape (users, options + 1).
    cost
        Expected cost of each option, shape (users, options).
    may_explore
        Whether a user may explore at all, shape (users,).
    """
    place = hash_share(user_ids, f"{QUEUE_SALT}:{as_of}:{settings.seed}")
    draw = hash_share(user_ids, f"{OPTION_SALT}:{as_of}:{settings.seed}")
    passed = (np.cumsum(chances[:, :-1], axis=1) <= draw[:, None]).sum(axis=1)
    option = np.where(passed < cost.shape[1], passed, NOTHING)
    spent = (chances[:, :-1] * cost).sum(axis=1)
    option_cost = np.c_[cost, np.zeros(len(cost))][np.arange(len(cost)), option]
    return Draws(np.where(may_explore, place, np.inf), option, option_cost, np.where(may_explore, spent, 0.0))


def explore(draws: Draws, options: int, share: float, budget: float, limits: Sequence[Limit]) -> Explorers:
    """Let users explore in the order of the queue, as far as budget and places go: no limit is ever exceeded.

    The share is first lowered until exploring is expected to cost no more than the budget. Places and money then go
    by the queue: of an option that more users drew than may have it, those behind the last who fits get nothing, and
    `until` remembers the place at which it ended. Given everybody else's draw a user gets the option exactly when
    their own place is before that point, so its chance is that point, not the share (order sampling, Duffield et al.
    2007; exact where each takes one place, up to one user's part in the budget otherwise).

    Parameters
    ----------
    options
        Number of options in the catalogue.
    share
        Of those who may explore.
    """
    expected = float(draws.expected_cost.sum())
    share = min(share, budget / expected) if expected > 0 else share
    explores = draws.place < share
    rows = np.flatnonzero(explores & (draws.option != NOTHING))
    rows = rows[np.argsort(draws.place[rows], kind="stable")]
    until = np.full(options, share)
    for limit in limits:
        takers = rows[limit.options[draws.option[rows]]]
        if len(takers) > limit.most:
            until[limit.options] = np.minimum(until[limit.options], draws.place[takers[limit.most]])
    rows = rows[draws.place[rows] < until[draws.option[rows]]]
    paid = np.cumsum(draws.option_cost[rows])
    fits = int(np.searchsorted(paid, budget, side="right"))
    if fits < len(rows):
        until = np.minimum(until, draws.place[rows[fits]])
    given = np.full(len(explores), NOTHING, dtype=np.intp)
    given[rows[:fits]] = draws.option[rows[:fits]]
    return Explorers(share, until, explores, given, float(paid[fits - 1]) if fits else 0.0)


def decision_chances(explorers: Explorers, chances: Floats, may_explore: Flags, intended: Places) -> Floats:
    """Compute each option's probability, given all but the day's draws; (users, options + 1), the last is nothing.

    Parameters
    ----------
    explorers
        Of the day; their `share` and `until` are read.
    chances, may_explore
        As in `randomise`.
    intended
        What the policy would give, an option or `NOTHING`, shape (users,).

    Returns
    -------
    Rows sum to 1. Who may not explore gets what is intended for sure.
    """
    share = explorers.share
    randomised = explorers.until * chances[:, :-1]
    nothing = share * chances[:, -1] + ((share - explorers.until) * chances[:, :-1]).sum(axis=1)
    likely = np.where(may_explore[:, None], np.c_[randomised, nothing], 0.0)
    likely[np.arange(len(likely)), intended] += np.where(may_explore, 1 - share, 1.0)
    return likely
