"""What a data folder holds, and who is champion since when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from features.storage.lake import Lake
from models.registry.promotion_log import Promotion, promotion_log

TABLES = ("events", "treatments", "aggregates", "snapshots", "decisions")


@dataclass(frozen=True)
class DataStatus:
    """Days that each table holds, in order, and every promotion of a model, oldest first."""

    days: dict[str, list[date]]
    promotions: list[Promotion]


def data_status(lake: Lake) -> DataStatus:
    """Look into a data folder."""
    return DataStatus({table: lake.days(table) for table in TABLES}, promotion_log(lake))
