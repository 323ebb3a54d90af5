"""Frames for scoring a day: the users of its snapshot, in batches."""

from __future__ import annotations

from datetime import date, datetime

import pandas as pd

from configs.contact import Contact
from configs.errors import InputError
from features.arrays.calendar_days import start_of
from features.storage.lake import Lake
from features.tables.parquet_files import count_rows, read_parquet
from features.training_data.contact_details import with_contact_details
from features.training_data.feature_store import EVENT_TIMESTAMP, FeatureStore, point_in_time_frame, reopened_store
from features.training_data.frames import with_categories
from features.training_data.taste_shares import Tastes


def scoring_frame(store: FeatureStore, start: datetime, user_ids: pd.Series) -> pd.DataFrame:
    """Read what is known about some users at the start of a snapshot's day; one row per user, in their order."""
    now = pd.Timestamp(start).tz_convert("UTC")
    entities = pd.DataFrame({"user_id": user_ids.to_numpy(), EVENT_TIMESTAMP: now})
    return with_categories(store, "scoring", point_in_time_frame(store, "scoring", entities))


def scoring_batch(
    store: FeatureStore,
    lake: Lake,
    as_of: date,
    time_zone: str,
    places: range,
    contact: Contact | None = None,
    tastes: Tastes | None = None,
) -> pd.DataFrame:
    """Read the `scoring_frame` of some of the users that `count_users` counts, by their places among all of them.

    Their consents and time zones, what else the rules of `contact` ask, and shares of `tastes` stand beside it.
    """
    frame = scoring_frame(store, start_of(as_of, time_zone), known_users(lake, as_of, places))
    if tastes is not None and tastes.groups:
        frame = frame.assign(**tastes.of(lake.partition("snapshots", as_of), places))
    return with_contact_details(lake, frame, contact, as_of)


def scoring_batch_anywhere(
    lake: Lake, as_of: date, time_zone: str, places: range, contact: Contact | None = None, tastes: Tastes | None = None
) -> pd.DataFrame:
    """Read a `scoring_batch` in a process that sees the data folder, after `open_store` has registered its store."""
    return scoring_batch(reopened_store(lake.root, as_of), lake, as_of, time_zone, places, contact, tastes)


def count_users(lake: Lake, as_of: date) -> int:
    """Count the users with a snapshot of the day `as_of`.

    Raises
    ------
    InputError
        That snapshot was not built.
    """
    path = lake.partition("snapshots", as_of)
    if not lake.has_partition("snapshots", as_of):
        raise InputError(f"there is no snapshot of {as_of}; run winback build-features --as-of {as_of}")
    return count_rows(path)


def known_users(lake: Lake, as_of: date, places: range | None = None) -> pd.Series:
    """Ids of the users that `count_users` counts, in order; or of some, by their places among all of them.

    Raises
    ------
    InputError
        The snapshot is missing or cannot be read.
    """
    path = lake.partition("snapshots", as_of)
    # as Arrow holds them: texts of Python's own take ten times the memory
    return read_parquet(path, ["user_id"], rows=places)["user_id"].to_pandas(types_mapper=pd.ArrowDtype)
