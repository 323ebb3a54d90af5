"""Every snapshot that models and decisions of a day need, brought up to date and registered with Feast."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from configs.settings import Settings
from features.materialise.as_of_view import open_as_of, snapshot_days
from features.materialise.build_snapshots import build_snapshots
from features.storage.lake import Lake
from features.training_data.feature_store import open_store


@dataclass(frozen=True)
class SnapshotRun:
    """Days that were asked for, those of them that were computed, and the number of columns."""

    days: list[date]
    built: list[date]
    columns: int


def bring_snapshots_up_to_date(settings: Settings, lake: Lake, as_of: date, *, only_today: bool = False) -> SnapshotRun:
    """Compute the snapshots whose input changed and register them.

    Parameters
    ----------
    only_today
        Leave out the snapshots that only training reads.
    """
    holdouts = (settings.training.holdout_days, settings.response.holdout_days)
    days = [as_of] if only_today else snapshot_days(settings, lake, as_of, holdouts=holdouts)
    with open_as_of(settings, lake, as_of) as history:
        built = build_snapshots(history, days)
        open_store(lake, history.features, engine=settings.engine)
        return SnapshotRun(days, built, len(history.features))
