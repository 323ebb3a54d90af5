"""Randomised win-back of lapsed users: who is drawn today, for which offer, within a share of the budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import numpy as np
import pandas as pd

from configs.offers import NOTHING, Catalogue
from configs.win_back import WinBack
from features.arrays.array_types import Flags, Floats, Places
from models.metrics.splits import hash_share
from serving.knapsack.allocation import Limit

TIE = 1e-9  # what chance moves a place by, where two are worth the same
QUEUE_SALT, MEANT_SALT, DRAW_SALT = "lapsed, draws today", "win-back option", "win-back lot"


@dataclass(frozen=True)
class WinBackFindings:
    """Findings about win-back plays so far: offers that are stopped, and those that are proven, by their id."""

    stopped: frozenset[str] = frozenset()
    proven: frozenset[str] = frozenset()


NOTHING_LEARNT = WinBackFindings()


class LapsedDraws(NamedTuple):
    """What some users draw if the budget reaches them; arrays have shape (users,).

    `place` is the place in the queue, the lower the sooner, ``inf`` for who draws nothing today. `meant` is the option
    that a draw is about, `option` what they draw: that one, or `NOTHING`; `chance` is how likely it was, of these two.
    `cost` is what it is expected to cost.
    """

    place: Floats
    meant: Places
    option: Places
    chance: Floats
    cost: Floats


class OpenOptions(NamedTuple):
    """Options that may be drawn, and which of those are proven; flags of shape (options,)."""

    is_open: Flags
    is_proven: Flags

    @classmethod
    def of(cls, catalogue: Catalogue, findings: WinBackFindings) -> OpenOptions:
        """Take the win-back options of a catalogue, but those that were stopped."""
        offers = catalogue.offer_of_options
        is_open = np.array([each.is_win_back and each.offer_id not in findings.stopped for each in offers], dtype=bool)
        return cls(is_open, is_open & np.array([each.offer_id in findings.proven for each in offers], dtype=bool))


def draw_win_back(
    user_ids: pd.Series, allowed: Flags, expected_cost: Floats, options: OpenOptions, settings: WinBack, seed: int,
    as_of: date, worth: Floats | None = None,
) -> LapsedDraws:  # fmt: skip
    """Draw a win-back offer, or nothing, for some lapsed users, independent of all other draws.

    First chance says which of the options that a user may get the draw is about, a proven one where there is any; then
    whether they get it or nothing. So those who get an option and those who do not are alike, whoever may get which.

    Parameters
    ----------
    allowed
        Which win-back options each user may get, shape (users, options); none for who has not lapsed.
    expected_cost
        Of every option, shape (users, options).
    worth
        What each is expected to bring by coming back, account currency, shape (users,); NaN or None is not known. Who
        is worth most stands in front, those worth the same by chance: it changes who draws, and nobody's chances.
    """
    proven = allowed & options.is_proven
    has_proven = np.asarray(proven.any(axis=1))
    pool = np.where(has_proven[:, None], proven, allowed & options.is_open)
    queue, which, draw = (
        hash_share(user_ids, f"{seed}:{as_of}:{salt}") for salt in (QUEUE_SALT, MEANT_SALT, DRAW_SALT)
    )
    draws_today = pool.any(axis=1) & (queue < settings.share)
    picked = np.floor(which * pool.sum(axis=1))
    meant = np.where(draws_today, (pool.cumsum(axis=1) > picked[:, None]).argmax(axis=1), NOTHING)
    nothing = np.where(has_proven, settings.proven_nothing_share, settings.nothing_share)
    is_given = draws_today & (draw >= nothing)
    option = np.where(is_given, meant, NOTHING)
    cost = np.where(is_given, expected_cost[np.arange(len(meant)), meant], 0.0)
    chance = np.where(draws_today, np.where(is_given, 1 - nothing, nothing), 1.0)
    places = queue if worth is None else _most_worth_first(worth, queue)
    return LapsedDraws(np.where(draws_today, places, np.inf), meant, option, chance, cost)


def _most_worth_first(worth: Floats, queue: Floats) -> Floats:
    return np.asarray((1.0 + TIE * queue) / (1.0 + np.nan_to_num(worth).clip(min=0.0)))


def who_draws(draws: LapsedDraws, budget: float, limits: Sequence[Limit]) -> Flags:
    """Find who is drawn today: the front of the queue, as far as budget and places reach.

    The queue is cut as a whole, whatever those behind would have drawn, so that the chances of those in front stay.
    """
    order = np.argsort(draws.place, kind="stable")
    cost, option = draws.cost[order], draws.option[order]
    reaches = np.isfinite(draws.place[order]) & (np.cumsum(cost) <= budget * (1 + 1e-12))
    for limit in limits:
        reaches &= np.cumsum((option != NOTHING) & limit.options[option]) <= limit.most
    found = np.zeros(len(order), dtype=bool)
    found[order] = reaches
    return found
