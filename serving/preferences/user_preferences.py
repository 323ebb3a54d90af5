"""What is known of the hours and tastes of those who are written to, looked up once the day's offers are shared out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from configs.offers import NOTHING, Catalogue
from configs.settings import Settings
from features.arrays.array_types import Flags, Floats, Places, Texts
from features.materialise.as_of_view import AsOfView, open_as_of
from features.storage.lake import Lake
from features.suppression.suppression_list import suppressed
from features.training_data.contact_details import own_zones, profiling_refusals, with_contact_details
from features.training_data.recent_events import active_hours, bought_items, with_events_read
from features.training_data.scoring_frames import known_users
from models.send_time.hour_weights import TimeWeights, nobody_known, population_weights, time_weights
from models.tastes.stored_tastes import latest_tastes
from models.tastes.taste_model import TasteModel
from serving.preferences.user_tastes import AGAIN, SOLD_WITHIN, UserTastes, user_tastes, with_items

SAMPLED = 10_000  # users, evenly over all, whose hours are those of the population
USERS_AT_ONCE = 25_000  # whose events are looked at together


@dataclass(frozen=True)
class UserPreferences:
    """Hours and weekdays of some users, those of the population, which hold for everybody else, and their tastes.

    Where nothing has taught tastes, `has_tastes` is false.
    """

    user_ids: pd.Index = field(default_factory=lambda: pd.Index([], dtype=object))
    own: TimeWeights = field(default_factory=lambda: nobody_known().taken(np.zeros(0, np.intp)))
    population: TimeWeights = field(default_factory=nobody_known)
    tastes: UserTastes = field(default_factory=UserTastes)
    has_tastes: bool = False

    def hours_of(self, user_ids: pd.Series) -> Floats:
        """Weights of the hours of some users, shape (users, 24)."""
        places = self.user_ids.get_indexer(pd.Index(user_ids.astype(object)))
        return np.where(places[:, None] < 0, self.population.hours, _padded(self.own.hours)[places])

    def hours_table(self) -> pa.Table:
        """List the best hour and weekday (Monday is 0) of each user, and how much they did themselves to tell it."""
        return pa.table(
            {
                "user_id": pa.array(self.user_ids, pa.string()),
                "best_hour": pa.array(self.own.hours.argmax(axis=1), pa.int32()),
                "best_weekday": pa.array(self.own.weekdays.argmax(axis=1), pa.int32()),
                "evidence": pa.array(self.own.evidence, pa.float64()),
            }
        )


PreferencesOf = Callable[[Places], UserPreferences]  # of what everybody is given, or `NOTHING`, in the snapshot's order


def nothing_known(given: Places) -> UserPreferences:  # noqa: ARG001 - as every reader
    """Know nobody's hours."""
    return UserPreferences()


def read_preferences(
    settings: Settings, lake: Lake, as_of: date, catalogue: Catalogue, given: Places
) -> UserPreferences:
    """Look at what those did of late who are given something, of few users (`tastes.everybody_up_to`) all.

    Nobody is looked at who refuses to be profiled. `given` has shape (users,), in the snapshot's order.
    """
    is_small = len(given) <= settings.tastes.everybody_up_to
    rows = np.arange(len(given)) if is_small else np.flatnonzero(given != NOTHING)
    everybody, refuses = known_users(lake, as_of), _refusals(settings, lake)
    rows = rows[~refuses(everybody.iloc[rows])]
    if not len(rows):
        return UserPreferences()
    channels = np.array([*(offer.channel for offer in catalogue.offer_of_options), None], dtype=object)[given[rows]]
    with open_as_of(settings, lake, as_of) as history:
        sample = everybody.iloc[:: max(1, len(everybody) // SAMPLED)]
        sample = sample[~refuses(sample)]
        if not is_small:
            asked = pd.concat([sample, everybody.iloc[rows]])
            history = with_events_read(history, asked, max(settings.send_time.history_days, SOLD_WITHIN))
        population = _weights(history, sample, np.full(len(sample), None, dtype=object), None)
        parts = [slice(first, first + USERS_AT_ONCE) for first in range(0, len(rows), USERS_AT_ONCE)]
        own = [_weights(history, everybody.iloc[rows[part]], channels[part], population) for part in parts]
        model = latest_tastes(lake, as_of)
        usual = bought_items(history, sample, SOLD_WITHIN) if model is not None else None
        found = [
            _tastes(history, model, everybody.iloc[rows[part]], usual)
            for part in parts
            if model is not None and usual is not None
        ]
    tastes = UserTastes(pa.concat_tables([each.rows for each in found])) if found else UserTastes()
    user_ids = pd.Index(everybody.iloc[rows].astype(object))
    return UserPreferences(user_ids, TimeWeights.joined(own), population, tastes, model is not None)


def _refusals(settings: Settings, lake: Lake) -> Callable[[pd.Series], Flags]:
    """Tell who refuses to be profiled."""
    refuses = profiling_refusals(lake, unknown=settings.contact.unknown_consent == "refused")
    return lambda user_ids: refuses(user_ids) | suppressed(lake, user_ids)


def _tastes(history: AsOfView, model: TasteModel, user_ids: pd.Series, usual: pd.DataFrame) -> UserTastes:
    """List what some users like, with an item each; `usual` are those that a sample of all bought."""
    settings = history.settings
    days, listed = settings.tastes.history_days, settings.tastes.listed
    tastes = user_tastes(history, model, user_ids, settings.categories, days, listed)
    own = bought_items(history, user_ids, settings.send_time.history_days, _bought_again(tastes, user_ids))
    return with_items(tastes, user_ids, own, usual)


def _bought_again(tastes: UserTastes, user_ids: pd.Series) -> tuple[Places, pa.Array]:
    """List what is bought again, of which an item is to be named: the place of the user, and the category."""
    rows = tastes.rows.filter(pc.field("list") == AGAIN)
    places = pc.index_in(rows["user_id"], value_set=pa.array(user_ids, pa.string()))
    return places.to_numpy().astype(np.intp), rows["category"].combine_chunks()


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
