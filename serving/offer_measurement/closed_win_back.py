"""Randomised win-back offers with known outcomes, compared with lapsed users who drew nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import pandas as pd

from configs.settings import Settings
from features.materialise.as_of_view import AsOfView
from features.tables.parquet_files import read_parquet
from features.training_data.frames import measured_frame
from models.judge.win_back_verdict import WinBackVerdict, win_back_verdicts
from serving.arms.assignment import WIN_BACK

COLUMNS = ["user_id", "as_of", "arm", "offer_id", "intended_offer_id", "propensity"]


def measured_win_back(history: AsOfView, files: Sequence[Path]) -> list[WinBackVerdict]:
    """Judge every win-back offer by each user's first draw of `files`, ledger entries in order of time.

    Later draws of a user are left out, as what became of them may be what the first one did.
    """
    draws = first_draws(files, history.as_of, history.settings)
    if draws.empty:
        return []
    found = measured_frame(history, draws)
    own = history.settings.win_back
    return win_back_verdicts(found, min_draws=own.min_draws, most_draws=own.most_draws)


def first_draws(files: Sequence[Path], as_of: date, settings: Settings) -> pd.DataFrame:
    """Read the first draw of every user who had lapsed: ``user_id, as_of, offer_id, intended_offer_id, propensity``."""
    until = pd.Timestamp(as_of - timedelta(days=settings.churn.horizon_days - 1), tz="UTC")
    parts = [read_parquet(path, COLUMNS).to_pandas() for path in files]
    rows = pd.concat([part[part["arm"] == WIN_BACK] for part in parts] or [pd.DataFrame(columns=COLUMNS)])
    rows = rows.sort_values(["as_of", "user_id"], kind="stable").drop_duplicates("user_id")
    return rows[pd.to_datetime(rows["as_of"], utc=True) < until].drop(columns="arm").reset_index(drop=True)
