"""Tastes and best hours of the users who receive an offer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta

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
from features.tables.parquet_files import count_rows
from features.training_data.contact_details import own_zones, profiling_refusals, with_contact_details
from features.training_data.recent_events import active_hours, bought_items
from features.training_data.scoring_frames import known_users
from models.send_time.hour_weights import TimeWeights, nobody_known, population_weights, time_weights
from models.tastes.stored_tastes import latest_tastes
from models.tastes.taste_model import TasteModel
from serving.preferences.user_tastes import AGAIN, SOLD_WITHIN, UserTastes, user_tastes, with_items

SAMPLED = 10_000  # users, evenly over all, whose hours are those of the population
ROWS_AT_ONCE = 8_000_000  # of events or daily rows, about, that are looked at together


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
    sample = everybody.iloc[:: max(1, len(everybody) // SAMPLED)]
    sample, own = sample[~refuses(sample)], everybody.iloc[rows]
    with open_as_of(settings, lake, as_of) as history:
        population, weights = _time_weights(history, sample, own, channels, len(everybody))
        model = latest_tastes(lake, as_of)
        tastes = _tastes(history, model, sample, own, len(everybody)) if model is not None else UserTastes()
    return UserPreferences(pd.Index(own.astype(object)), weights, population, tastes, model is not None)


def _time_weights(
    history: AsOfView, sample: pd.Series, own: pd.Series, channels: Texts, everybody: int
) -> tuple[TimeWeights, TimeWeights]:
    """Weigh the hours of a sample of all, which are those of the population, and those of the users themselves."""
    settings, asked, first = history.settings.send_time, pd.concat([sample, own]), len(sample)
    channels = np.append(np.full(first, None, dtype=object), channels)
    population, weights = nobody_known(), [nobody_known().taken(np.zeros(0, np.intp))]
    for part in _parts(history, "events", settings.history_days, len(asked), everybody, least=first):
        users = asked.iloc[part]
        zones = own_zones(
            with_contact_details(history.lake, users.to_frame(name="user_id")), history.settings.time_zone
        )
        found = active_hours(history, users, zones, settings.history_days)
        if not part.start:
            population = population_weights(found.of(slice(0, first)), first, history.as_of, settings)
            found, part = found.of(slice(first, len(users))), slice(first, part.stop)
        count = part.stop - part.start
        weights.append(time_weights(found, channels[part], count, history.as_of, settings, population))
    return population, TimeWeights.joined(weights)


def _parts(history: AsOfView, table: str, days: int, users: int, everybody: int, least: int = 1) -> list[slice]:
    """Cut some of all users into parts whose rows of the last `days` days are about `ROWS_AT_ONCE`; one has `least`."""
    first = history.as_of - timedelta(days=days)
    paths = [history.lake.partition(table, day) for day in history.lake.days(table) if first <= day < history.as_of]
    rows = sum(map(count_rows, paths)) * users / everybody
    size = max(least, math.ceil(users / max(1, math.ceil(rows / ROWS_AT_ONCE))))
    return [slice(start, min(start + size, users)) for start in range(0, users, size)]


def _refusals(settings: Settings, lake: Lake) -> Callable[[pd.Series], Flags]:
    """Tell who refuses to be profiled."""
    refuses = profiling_refusals(lake, unknown=settings.contact.unknown_consent == "refused")
    return lambda user_ids: refuses(user_ids) | suppressed(lake, user_ids)


def _tastes(history: AsOfView, model: TasteModel, sample: pd.Series, user_ids: pd.Series, everybody: int) -> UserTastes:
    """List what some users like, with an item each, which of a new taste is what most of a sample of all bought."""
    settings, found = history.settings, list[UserTastes]()
    days, listed = settings.tastes.history_days, settings.tastes.listed
    usual = bought_items(history, sample, SOLD_WITHIN)
    for part in _parts(history, "category_hour_counts", days, len(user_ids), everybody):
        users = user_ids.iloc[part]
        tastes = user_tastes(history, model, users, settings.categories, days, listed)
        own = bought_items(history, users, settings.send_time.history_days, _bought_again(tastes, users))
        found.append(with_items(tastes, users, own, usual))
    return UserTastes(pa.concat_tables([each.rows for each in found]))


def _bought_again(tastes: UserTastes, user_ids: pd.Series) -> tuple[Places, pa.Array]:
    """List what is bought again, of which an item is to be named: the place of the user, and the category."""
    rows = tastes.rows.filter(pc.field("list") == AGAIN)
    places = pc.index_in(rows["user_id"], value_set=pa.array(user_ids, pa.string()))
    return places.to_numpy().astype(np.intp), rows["category"].combine_chunks()


def _padded(hours: Floats) -> Floats:
    """Append a row, which stands for users who are not there."""
    return np.vstack([hours, np.zeros((1, hours.shape[1]))])
