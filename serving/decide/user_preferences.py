"""What is known of the hours of those who are written to, looked up once the day's offers are shared out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import pandas as pd

from configs.offers import NOTHING, Catalogue
from configs.settings import Settings
from features.arrays.array_types import Floats, Places, Texts
from features.materialise.as_of_view import AsOfView, open_as_of
from features.storage.lake import Lake
from features.training_data.contact_details import own_zones, with_contact_details
from features.training_data.frames import known_users
from features.training_data.recent_events import active_hours
from models.send_time.hour_weights import TimeWeights, nobody_known, population_weights, time_weights

SAMPLED = 10_000  # users, evenly over all, whose hours are those of the population
USERS_AT_ONCE = 100_000  # whose events are looked at together


@dataclass(frozen=True)
class UserPreferences:
    """Hours and weekdays of some users, and those of the population, which hold for everybody else."""

    user_ids: pd.Index = field(default_factory=lambda: pd.Index([], dtype=object))
    own: TimeWeights = field(default_factory=lambda: nobody_known().taken(np.zeros(0, np.intp)))
    population: TimeWeights = field(default_factory=nobody_known)

    def hours_of(self, user_ids: pd.Series) -> Floats:
        """Weights of the hours of some users, shape (users, 24)."""
        places = self.user_ids.get_indexer(pd.Index(user_ids.astype(object)))
        return np.where(places[:, None] < 0, self.population.hours, _padded(self.own.hours)[places])


PreferencesOf = Callable[[Places], UserPreferences]  # of what everybody is given, or `NOTHING`, in the snapshot's order


def nothing_known(given: Places) -> UserPreferences:  # noqa: ARG001 - as every reader
    """Know nobody's hours."""
    return UserPreferences()


def read_preferences(
    settings: Settings, lake: Lake, as_of: date, catalogue: Catalogue, given: Places
) -> UserPreferences:
    """Look at what those did of late who are given something; `given` has shape (users,), in the snapshot's order."""
    rows = np.flatnonzero(given != NOTHING)
    if not len(rows):
        return UserPreferences()
    everybody = known_users(lake, as_of)
    channels = np.array([offer.channel for offer in catalogue.offer_of_options], dtype=object)[given[rows]]
    with open_as_of(settings, lake, as_of) as history:
        sample = everybody.iloc[:: max(1, len(everybody) // SAMPLED)]
        everyones = np.full(len(sample), None, dtype=object)
        population = _weights(history, sample, everyones, None)
        parts = [slice(first, first + USERS_AT_ONCE) for first in range(0, len(rows), USERS_AT_ONCE)]
        own = [_weights(history, everybody.iloc[rows[part]], channels[part], population) for part in parts]
    return UserPreferences(pd.Index(everybody.iloc[rows].astype(object)), TimeWeights.joined(own), population)


def _weights(history: AsOfView, user_ids: pd.Series, channels: Texts, population: TimeWeights | None) -> TimeWeights:
    """Weigh the hours of some users; without a population they are one."""
    settings = history.settings
    frame = with_contact_details(history.lake, pd.DataFrame({"user_id": user_ids.to_numpy()}))
    zones = own_zones(frame, settings.time_zone)
    found = active_hours(history, frame["user_id"], zones, settings.send_time.history_days)
    if population is None:
        return population_weights(found, len(frame), history.as_of, settings.send_time)
    return time_weights(found, channels, len(frame), history.as_of, settings.send_time, population)


def _padded(hours: Floats) -> Floats:
    """Append a row, which stands for users who are not there."""
    return np.vstack([hours, np.zeros((1, hours.shape[1]))])
