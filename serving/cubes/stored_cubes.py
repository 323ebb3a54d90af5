"""Reading of a day's cubes, and their sums by any columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from configs.errors import InputError
from features.storage.lake import Lake
from features.tables.duckdb_sessions import reading_session, sql_text
from features.tables.parquet_files import read_parquet
from serving.cubes.day_cubes import ALL_BARRED, BARRED, CUBES, DRIVING, MESSAGES, RISKS
from serving.memberships.stored_segments import SEGMENTS

Row = Mapping[str, Any]
MEASURES = (
    "users", "known", "valued", "leavers", "worth", "value_at_risk", "redemptions", "expected_cost", "expected_value",
    "leavers_variance", "loss_variance",
)  # fmt: skip
AT_RISK = ("high", "medium")


@dataclass(frozen=True)
class DayCubes:
    """What a day's pages read: the tables of `write_cubes`, as rows."""

    day: date
    cells: Sequence[Row]
    risk_bins: Sequence[Row]
    drivers: Sequence[Row]
    rules: Sequence[Row]
    segments: Sequence[Row]
    all_barred: Sequence[Row]
    messages: Sequence[Row]

    def total(self, measure: str, where: Callable[[Row], bool] = lambda _: True) -> float:
        """Add a measure up over the cells that are asked for."""
        return sum(cell[measure] for cell in self.cells if where(cell))

    def by(self, *names: str, where: Callable[[Row], bool] = lambda _: True) -> list[dict[str, Any]]:
        """Add all measures up by some dimensions; rows with most users first."""
        sums: dict[tuple[Any, ...], dict[str, Any]] = {}
        for cell in filter(where, self.cells):
            key = tuple(cell[name] for name in names)
            own = sums.setdefault(
                key, {**dict(zip(names, key, strict=True)), **dict.fromkeys((*MEASURES, "at_risk", "with_offer"), 0)}
            )
            for measure in MEASURES:
                own[measure] += cell[measure]
            own["at_risk"] += cell["users"] if cell["risk_band"] in AT_RISK else 0
            own["with_offer"] += cell["users"] if is_offered(cell) else 0
        return sorted(sums.values(), key=lambda row: (-row["users"], *(str(row[name]) for name in names)))


def is_offered(cell: Row) -> bool:
    """Tell whether the users of a cell are given something."""
    return bool(cell["offer_id"] != "none")


def cube_days(lake: Lake) -> list[date]:
    """Days that have cubes, in order."""
    return lake.days(CUBES)


def day_sums(lake: Lake, until: date) -> list[dict[str, Any]]:
    """Add up the measures of every day up to one, in order, in one query: ``day`` and all measures."""
    days = [day for day in cube_days(lake) if day <= until]
    if not days:
        return []
    lake.files.check(*(lake.partition_name(CUBES, day) for day in days))
    files = ", ".join(sql_text(lake.partition(CUBES, day)) for day in days)
    sums = ", ".join(f"CAST(sum({name}) AS DOUBLE) AS {name}" for name in MEASURES)
    with reading_session(lake) as connection:
        found = connection.execute(
            f"SELECT day, {sums} FROM read_parquet([{files}], hive_partitioning = true) GROUP BY day ORDER BY day"
        )
        names = [name for name, *_ in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def read_cubes(lake: Lake, as_of: date) -> DayCubes:
    """Read the cubes of a day.

    Raises
    ------
    InputError
        The day has none, or a file is damaged.
    """
    if as_of not in cube_days(lake):
        raise InputError(
            f"{lake.root} holds no cubes of {as_of}, which the pages are made of; run winback report --as-of {as_of}, "
            "which writes them"
        )

    def rows(name: str) -> Sequence[Row]:
        file = f"{CUBES}/day={as_of:%Y-%m-%d}/{name}.parquet"
        lake.files.check(file)
        found: Sequence[Row] = read_parquet(lake.path(file)).to_pylist()
        return found

    return DayCubes(as_of, *(rows(name) for name in (CUBES, RISKS, DRIVING, BARRED, SEGMENTS, ALL_BARRED, MESSAGES)))
