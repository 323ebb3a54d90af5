"""The training step of the personas."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa

from configs.settings import Settings
from features.storage.lake import Lake
from features.tables.parquet_files import column_names, read_parquet
from features.training_data.contact_details import profiling_refusals
from features.training_data.taste_shares import category_shares, largest_groups, shares_of
from models.metrics.splits import hash_share
from models.model_cards.run_description import training_run
from models.personas.habits import HABITS
from models.personas.persona_note import PersonaNote
from models.personas.persona_training import find_personas
from models.personas.stored_personas import latest_personas, write_personas
from models.registry.tracking import log_training

LEARNT_FROM = 20_000  # users, evenly over all
SALT = "personas"
LAST = "days_since_last_activity"
TASTES = 6  # groups of categories, the largest, whose shares are habits


def fit_personas(settings: Settings, lake: Lake, as_of: date) -> PersonaNote | None:
    """Find and keep the personas of the newest snapshot; None where too few were active of late."""
    frame = _some_active(settings, lake, as_of)
    if len(frame) < settings.training.min_users:
        return None
    model = find_personas(frame, settings.seed, latest_personas(lake, as_of - timedelta(days=1)))
    write_personas(lake, as_of, model)
    log_training(lake, training_run(settings, as_of), model.note.metrics)
    return model.note


def _some_active(settings: Settings, lake: Lake, as_of: date) -> pd.DataFrame:
    """Read the habits of a stable part of those active of late, in an order of its own; of nobody who refuses."""
    days = [day for day in lake.days("snapshots") if day <= as_of]
    if not days:
        return pd.DataFrame()
    path = lake.partition("snapshots", days[-1])
    known = column_names(path)
    wanted = ["user_id", *(habit.column for habit in HABITS if habit.column in known)]
    user_ids = read_parquet(path, ["user_id", LAST])
    refuses = profiling_refusals(lake, unknown=settings.contact.unknown_consent == "refused")
    everybody = user_ids["user_id"].to_pandas()
    is_active = user_ids[LAST].to_numpy() <= settings.churn.lookback_days
    place = np.where(is_active & ~refuses(everybody), hash_share(everybody, SALT), np.inf)
    order = np.argsort(place, kind="stable")[:LEARNT_FROM]
    chosen = order[np.isfinite(place[order])]
    rows = read_parquet(path, wanted).take(chosen).to_pandas()
    shares = category_shares(path)
    if shares is None:
        return rows
    theirs = shares.take(pa.array(chosen))
    groups = largest_groups(theirs, settings.categories, TASTES)
    return rows.assign(**shares_of(theirs, settings.categories, groups))
