"""Updates all snapshots that training or scoring needs, and registers them with Feast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from configs.errors import InputError
from configs.settings import Settings
from features.definitions.registry import Feature
from features.materialise.as_of_view import open_as_of, snapshot_days, stray_note
from features.materialise.build_snapshots import build_snapshots
from features.storage.lake import Lake
from features.tables.parquet_files import column_names
from features.training_data.feature_store import open_store


@dataclass(frozen=True)
class SnapshotRun:
    """Days that were asked for, those of them that were computed, the number of columns, and what looks wrong."""

    days: list[date]
    built: list[date]
    columns: int
    notes: list[str]


def bring_snapshots_up_to_date(
    settings: Settings, lake: Lake, as_of: date, *, only_today: bool = False, again: Sequence[date] = ()
) -> SnapshotRun:
    """Compute the snapshots whose input changed and register them.

    Parameters
    ----------
    only_today
        Leave out the snapshots that only training reads.
    again
        Earlier days whose snapshots are looked at as well.
    """
    holdouts = (settings.training.holdout_days, settings.response.holdout_days)
    days = [as_of] if only_today else snapshot_days(settings, lake, as_of, holdouts=holdouts)
    days = sorted({*again, *days})
    with open_as_of(settings, lake, as_of) as history:
        built = build_snapshots(history, days)
        open_store(lake, history.features, engine=settings.engine)
        return SnapshotRun(days, built, len(history.features), stray_note(lake, as_of))


def require_snapshots(lake: Lake, days: list[date], features: list[Feature], as_of: date) -> None:
    """Make sure that every snapshot is there, with every column: the join would quietly take what it finds.

    Raises
    ------
    InputError
        A snapshot is missing, or lacks a column that is declared by now.
    """
    remedy = f"run winback build-features --as-of {as_of}"
    missing = [day for day in days if not lake.has_partition("snapshots", day)]
    if missing:
        which = f"{len(missing)} of {len(days)} snapshots are missing, the first of them that of"
        raise InputError(f"{'there is no snapshot of' if len(days) == 1 else which} {missing[0]}; {remedy}")
    names = [feature.name for feature in features]
    for day in days:
        lake.files.check(lake.partition_name("snapshots", day))
        lacking = sorted(set(names).difference(column_names(lake.partition("snapshots", day))))
        if lacking:
            raise InputError(f"the snapshot of {day} lacks {', '.join(lacking)}, declared after it was built; {remedy}")
