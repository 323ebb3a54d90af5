"""Simulated weeks under one policy: it decides at the beginning of each week, and earnings are added up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from configs.offers import NOTHING
from configs.settings import Settings
from features.arrays.array_types import Floats, Places
from features.simulator.ground_truth import Truth
from features.simulator.simulated_day import Day, Given, World

WEEK = 7
NOBODY, ORACLE, OURS = "nobody", "oracle", "winback"
Decide = Callable[[World, Truth], Given]


@dataclass(frozen=True)
class Week:
    """What a week brought in all, account currency; `left_over` is what those still here are worth at its end.

    `margin` is before the discounts of offers, `here` the share of the first morning's members who have not left, and
    `given` counts the users of each option.
    """

    margin: float
    discounts: float
    contacts: float
    treated: int
    left_over: float
    here: float
    given: tuple[int, ...] = ()

    @property
    def earned(self) -> float:
        """Margin less what offers cost."""
        return self.margin - self.discounts - self.contacts


@dataclass(frozen=True)
class WeekPromise:
    """What a week's plan said its offers would bring, account currency, and what they bring in truth.

    `modelled` is what the models alone say, `promised` that multiplied by what came of earlier promises.
    """

    modelled: float
    promised: float
    true: float


@dataclass(frozen=True)
class Career:
    """The results of one policy, week by week.

    `deployed` is what winback's gate allowed in each week, `promises` what its plans said.
    """

    policy: str
    weeks: tuple[Week, ...]
    deployed: tuple[str, ...] = ()
    promises: tuple[WeekPromise, ...] = ()

    @property
    def values(self) -> Floats:
        """Earned up to the end of each week, and what is left over then; shape (weeks,)."""
        return np.cumsum([week.earned for week in self.weeks]) + np.array([week.left_over for week in self.weeks])

    @property
    def given(self) -> list[int]:
        """Users of each option, over all weeks."""
        return [sum(users) for users in zip(*(week.given for week in self.weeks), strict=True)]

    @property
    def churn(self) -> float:
        """Share of the first morning's members who left."""
        return 1.0 - self.weeks[-1].here


def follow(
    name: str, world: World, weeks: int, decide: Decide, settings: Settings,
    record: Callable[[World, Day], None] | None = None,
) -> Career:  # fmt: skip
    """Simulate some weeks under a policy that decides on the first morning of every week.

    Parameters
    ----------
    record
        Is shown every day, with the world in which it began.
    """
    members, gross_margin = world.is_member, settings.value.gross_margin
    truth, past = world.expected(settings), []
    for _ in range(weeks):
        world = world.decide(decide(world, truth))
        sent = world.state.option
        margin = discounts = 0.0
        for _ in range(WEEK):
            morning = world
            world, day = morning.live()
            margin += float(day.margin(gross_margin).sum())
            discounts += float(day.discounts.sum())
            if record is not None:
                record(morning, day)
        truth = world.expected(settings)
        contacts = float(np.r_[world.menu.contact_cost, 0.0][sent].sum())
        left_over = float(truth.remaining_value[world.is_member].sum())
        here = float(world.state.here[members].mean())
        given = tuple(np.bincount(sent[sent != NOTHING], minlength=len(world.menu)).tolist())
        past.append(Week(margin, discounts, contacts, sum(given), left_over, here, given))
    return Career(name, tuple(past))


def given_to(world: World, users: Places, option: Places | int) -> Given:
    """Give some users their option and everybody else nothing."""
    options = np.full(len(world.people), NOTHING, dtype=np.intp)
    options[users] = option
    return Given(options, np.full(len(options), None, dtype=object))
