"""The training step of the comeback model."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from configs.settings import Settings
from features.materialise.as_of_view import open_as_of
from features.storage.lake import Lake
from features.training_data.contact_details import profiling_refusals
from features.training_data.lapsed_users import closed_snapshots, lapsed_frame
from models.learn.comeback import COLUMNS, fit_comeback
from models.metrics.comeback_note import ComebackNote
from models.metrics.splits import hash_share

SNAPSHOTS = 4  # newest ones that are looked at
SALT = "lapsed users"


def learn_comeback(settings: Settings, lake: Lake, as_of: date) -> ComebackNote | None:
    """Learn and judge it on at most ``training.max_users`` rows, of nobody who refuses; None where too few lapsed."""
    with open_as_of(settings, lake, as_of) as history:
        days = closed_snapshots(history, SNAPSHOTS)
        frame = lapsed_frame(history, days, COLUMNS)
    refuses = profiling_refusals(lake, unknown=settings.contact.unknown_consent == "refused")
    if len(frame) < settings.training.min_users:
        return None
    share = settings.training.max_users / len(frame)
    kept = ~refuses(frame["user_id"]) & (hash_share(frame["user_id"], SALT) < share)
    frame = frame[kept].reset_index(drop=True)
    is_test = (frame["day"] == days[-1]).to_numpy()
    is_closed = (frame["day"] <= days[-1] - timedelta(days=settings.churn.horizon_days)).to_numpy()
    usable = np.asarray(is_test | is_closed)  # others overlap the test
    return fit_comeback(
        frame[usable].reset_index(drop=True), is_test[usable], samples=settings.training.bootstrap_samples,
        seed=settings.seed,
    )  # fmt: skip
