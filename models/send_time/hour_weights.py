"""Weights of hours and weekdays for each user: decayed counts, smoothed towards the population.

The counts of a user are taken for draws from their own distribution over the hours, which has a Dirichlet prior around
that of the population: its posterior mean is (counts + prior_weight * population) / (sum of counts + prior_weight),
Gelman et al., *Bayesian Data Analysis*, 3.4. Who was seen often is described by what they did, who was never seen by
what the others do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from configs.send_time import SendTime
from features.arrays.array_types import Flags, Floats, Integers, Places, Texts
from features.arrays.calendar_days import days_since_1970
from features.training_data.recent_events import BOUGHT, OPENED, ActiveHours

HOURS, WEEKDAYS = 24, 7
FIRST_WEEKDAY = 3  # the first of January 1970 was a Thursday; Monday is 0
NEIGHBOURS = np.array([0.25, 0.5, 0.25])  # an hour says something about the one before and the one after
NOON = 12  # where nothing is known of anybody


@dataclass(frozen=True)
class TimeWeights:
    """Shares of the hours and weekdays of users, shapes (users, 24) and (users, 7), each row adding up to 1.

    `evidence` is the decayed weight of what each user did themselves, shape (users,).
    """

    hours: Floats
    weekdays: Floats
    evidence: Floats

    def taken(self, rows: Places) -> TimeWeights:
        """Take some users."""
        return TimeWeights(self.hours[rows], self.weekdays[rows], self.evidence[rows])

    @classmethod
    def joined(cls, parts: Sequence[TimeWeights]) -> TimeWeights:
        """Put users one after another."""
        columns = zip(*((part.hours, part.weekdays, part.evidence) for part in parts), strict=True)
        return cls(*map(np.concatenate, columns))


def time_weights(
    active_hours: ActiveHours, channels: Texts, users: int, as_of: date, settings: SendTime, population: TimeWeights
) -> TimeWeights:
    """Weigh the hours and days of the week of some users, smoothed towards a population of one row.

    Parameters
    ----------
    channels
        By which each user is to be written to, shape (users,): its openings count most; None: all of them do.

    Examples
    --------
    >>> weigh = SendTime(history_days=90, half_life_days=10, open_weight=2, session_weight=1, purchase_weight=1,
    ...                  prior_weight=1)
    >>> monday_at_nine = (days_since_1970(date(2024, 7, 1)) * 24 + 9) * np.ones(1, np.int64)
    >>> push = np.array(["push", "push"], dtype=object)
    >>> nine = ActiveHours(np.zeros(1, np.intp), np.array([OPENED], np.int8), monday_at_nine, push[:1])
    >>> found = time_weights(nine, push, 2, date(2024, 7, 11), weigh, nobody_known())
    >>> found.evidence.tolist(), found.hours.argmax(axis=1).tolist()  # ten days later it counts half of 2
    ([1.0, 0.0], [9, 12])
    >>> found.hours[0, [8, 9, 10, 12]].round(3).tolist()  # (1 + 1 * population) / 2, spread to the neighbours
    [0.148, 0.274, 0.15, 0.028]
    """
    weight = kind_weights(active_hours, channels, settings) * decay(active_hours, as_of, settings)
    hours = _counted(active_hours.user, active_hours.hour % HOURS, weight, users, HOURS)
    days = _counted(active_hours.user, (active_hours.hour // HOURS + FIRST_WEEKDAY) % WEEKDAYS, weight, users, WEEKDAYS)
    prior = settings.prior_weight
    evidence = hours.sum(axis=1)
    total = (evidence + prior)[:, None]
    return TimeWeights(
        (spread(hours) + prior * population.hours) / total, (days + prior * population.weekdays) / total, evidence
    )


def population_weights(active_hours: ActiveHours, users: int, as_of: date, settings: SendTime) -> TimeWeights:
    """Weigh the hours of everybody together, one row; each user counts the same, however busy."""
    own = time_weights(active_hours, np.full(users, None, dtype=object), users, as_of, settings, nobody_known())
    seen = own.evidence > 0
    if not seen.any():
        return nobody_known()
    hours, days = own.hours[seen].mean(axis=0), own.weekdays[seen].mean(axis=0)
    return TimeWeights(hours[None], days[None], np.array([float(own.evidence.sum())]))


def nobody_known() -> TimeWeights:
    """Weigh the hours where nobody was seen: noon, and less the farther from it; every day of the week alike."""
    hours = 1.0 - np.abs(np.arange(HOURS) - NOON) / HOURS
    return TimeWeights((hours / hours.sum())[None], np.full((1, WEEKDAYS), 1 / WEEKDAYS), np.zeros(1))


def kind_weights(active_hours: ActiveHours, channels: Texts, settings: SendTime) -> Floats:
    """Weigh what was done by how much it says about when a message is read, shape (hours,)."""
    opened = np.flatnonzero(active_hours.kind == OPENED)
    wanted, channel = channels[active_hours.user[opened]], active_hours.channel[opened]
    is_here: Flags = (channel == wanted) | (wanted == None) | (channel == None)  # noqa: E711
    weights = np.full(len(active_hours.user), settings.session_weight)
    weights[active_hours.kind == BOUGHT] = settings.purchase_weight
    weights[opened[is_here]] = settings.open_weight
    return weights


def decay(active_hours: ActiveHours, as_of: date, settings: SendTime) -> Floats:
    """Weigh what was done by how long ago it was, shape (hours,): half after `half_life_days`."""
    ages = np.maximum(days_since_1970(as_of) - active_hours.hour // HOURS, 0)
    return np.asarray(0.5 ** (ages / settings.half_life_days))


def spread(hours: Floats) -> Floats:
    """Let each hour of the clock share with its neighbours; sums of rows stay.

    Examples
    --------
    >>> spread(np.eye(1, 24))[0, [0, 1, 23]].tolist()
    [0.5, 0.25, 0.25]
    """
    before, here, after = NEIGHBOURS
    return np.asarray(before * np.roll(hours, 1, axis=1) + here * hours + after * np.roll(hours, -1, axis=1))


def _counted(user: Places, place: Integers, weight: Floats, users: int, places: int) -> Floats:
    counts = np.bincount(user * places + place, weight, users * places)
    return counts.astype(np.float64).reshape(users, places)
