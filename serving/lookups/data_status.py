"""What a data folder holds, and who is champion since when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from configs.errors import InputError
from features.storage.lake import Lake
from models.registry.promotion_log import Promotion, promotion_log
from models.training_run.training_record import TrainingRecord, latest_training

TABLES = ("events", "treatments", "aggregates", "snapshots", "decisions")


@dataclass(frozen=True)
class DataStatus:
    """Days that each table holds, in order, every promotion of a model, oldest first, and the newest training.

    `faults` says of what could not be read why.
    """

    days: dict[str, list[date]]
    promotions: list[Promotion]
    training: TrainingRecord | None
    faults: list[str]


def data_status(lake: Lake, as_of: date) -> DataStatus:
    """Look into a data folder; the training is the newest on or before `as_of`."""
    training, faults = None, []
    try:
        training = latest_training(lake, as_of)
    except InputError as error:
        faults.append(str(error))
    return DataStatus({table: lake.days(table) for table in TABLES}, promotion_log(lake), training, faults)
