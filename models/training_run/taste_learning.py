"""The training step of the taste model."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd

from configs.settings import Settings
from features.arrays.array_types import Flags
from features.arrays.calendar_days import days_since_1970
from features.materialise.as_of_view import open_as_of
from features.storage.lake import Lake
from features.training_data.contact_details import profiling_refusals
from features.training_data.purchases import Purchases, read_purchases
from features.training_data.scoring_frames import known_users
from models.metrics.metric import Metric
from models.metrics.splits import hash_share
from models.model_cards.run_description import training_run
from models.registry.tracking import log_training
from models.tastes.stored_tastes import write_tastes
from models.tastes.taste_training import TasteVerdict, learn_tastes

LEARNT_FROM = 10_000  # users, evenly over all
MOST_CATEGORIES = 500  # those that most of them bought
SALT = "tastes"


def fit_tastes(settings: Settings, lake: Lake, as_of: date) -> TasteVerdict | None:
    """Learn, judge and keep what users buy again and for the first time; None where too little is known."""
    with open_as_of(settings, lake, as_of) as history:
        user_ids = _some_users(settings, lake, as_of)
        found = _with_most_bought(read_purchases(history, user_ids, settings.tastes.history_days))
        first = days_since_1970(history.first_day)
    if len(np.unique(found.user)) < settings.training.min_users:
        return None
    verdict = learn_tastes(found, len(user_ids), days_since_1970(as_of), first)
    if verdict is not None:
        write_tastes(lake, as_of, verdict.model)
        log_training(lake, training_run(settings, as_of), verdict.metrics)
    return verdict


def taste_metrics(verdict: TasteVerdict | None) -> dict[str, Metric]:
    """Name what was measured of the tastes of a training."""
    return {} if verdict is None else {name: metric.rounded() for name, metric in verdict.metrics.items()}


def _some_users(settings: Settings, lake: Lake, as_of: date) -> pd.Series:
    """Choose a stable part of the users, in an order of its own; none of those who refuse profiling."""
    everybody = known_users(lake, as_of)
    refuses = profiling_refusals(lake, unknown=settings.contact.unknown_consent == "refused")
    place = np.where(refuses(everybody), np.inf, hash_share(everybody, SALT))
    chosen = np.argsort(place, kind="stable")[:LEARNT_FROM]
    return everybody.iloc[chosen[np.isfinite(place[chosen])]].reset_index(drop=True)


def _with_most_bought(purchases: Purchases) -> Purchases:
    """Leave out the categories that few bought, where there are more than `MOST_CATEGORIES`."""
    kinds = len(purchases.categories)
    buyers = np.bincount(
        np.unique(purchases.user * max(kinds, 1) + purchases.category) % max(kinds, 1), minlength=kinds
    )
    kept = np.sort(np.argsort(-buyers, kind="stable")[:MOST_CATEGORIES])
    place = np.full(kinds, -1)
    place[kept] = np.arange(len(kept))
    is_kept: Flags = place[purchases.category] >= 0
    names = tuple(purchases.categories[each] for each in kept)
    rows = (
        purchases.user[is_kept],
        place[purchases.category][is_kept],
        purchases.day[is_kept],
        purchases.known_on[is_kept],
    )
    return Purchases(*rows, names)
