"""Predicted and actual churn of past decided days, as a cube of its own.

What is expected is estimated before any label is there, from calibrated chances alone (CBPE); what happened is counted
when the horizon of a day is over. Only who was given nothing counts, since an offer was to change what people do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date, timedelta
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from configs.errors import InputError
from configs.offers import NO_OFFER
from configs.settings import Settings
from features.storage.lake import Lake
from features.tables.duckdb_sessions import sql_text
from features.tables.parquet_files import read_parquet
from models.metrics.evaluation import auc
from serving.cubes.cube_queries import CHANCE, added
from serving.guards.realised_calibration import stayed_query
from serving.stored_days.day_tables import day_file, decided_days
from serving.stored_days.supersessions import supersessions

CALIBRATION, CUBES = "calibration", "cubes"
MOST_DAYS, MOST_NEW = (
    120,
    14,
)  # kept; read from decisions by one run, which are a few the first time and then one or two
SCHEMA = pa.schema(
    [("day", pa.date32()), ("users", pa.int64()), ("leavers", pa.float64()), ("leavers_variance", pa.float64()),
     ("expected_auc", pa.float64()), ("left_users", pa.int64()), ("auc", pa.float64())]
)  # fmt: skip
NOBODY_STAYED = "SELECT NULL::VARCHAR AS user_id WHERE false"
BY_CHANCE = f"""
    SELECT round(p_churn, 4) AS p, count(*) AS users, count(*) FILTER (stayed.user_id IS NULL) AS left_users,
           {added("p_churn", CHANCE)} AS leavers, {added("p_churn * (1 - p_churn)", CHANCE)} AS variance
    FROM (SELECT user_id, p_churn FROM {{decisions}} WHERE p_churn IS NOT NULL AND offer_id = {sql_text(NO_OFFER)})
    LEFT JOIN ({{stayed}}) AS stayed USING (user_id) GROUP BY ALL ORDER BY ALL
"""
Row = Mapping[str, Any]


def calibration_table(settings: Settings, lake: Lake, as_of: date, connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """List the decided days up to one with what was expected and what happened, by the cube of the day before.

    A day is read from its decisions when it is new and when its horizon is over, at most `MOST_NEW` of them in a run,
    the newest first. Days whose decisions were superseded are read anew.
    """
    earlier = [day for day in decided_days(lake) if day < as_of][-MOST_DAYS + 1 :]
    kept = {row["day"]: row for row in read_calibration(lake, max(earlier))} if earlier else {}
    anew = {each.day for each in supersessions(lake)}
    rows, left = [], MOST_NEW
    for day in (as_of, *reversed(earlier)):
        row = None if f"{day}" in anew else kept.get(day)
        is_over = day + timedelta(days=settings.churn.horizon_days) <= as_of
        if (row is None or (is_over and row["left_users"] is None)) and left > 0:
            left -= 1
            with suppress(InputError):  # damaged or gone, which stops no other day
                row = of_day(settings, lake, day, connection, is_over=is_over)
        if row is not None and row["users"]:
            rows.append(row)
    return pa.Table.from_pylist([dict(row) for row in reversed(rows)], schema=SCHEMA)


def of_day(
    settings: Settings, lake: Lake, day: date, connection: duckdb.DuckDBPyConnection, *, is_over: bool
) -> dict[str, Any]:
    """Add up one day: users, leavers expected with their variance, and, where its horizon is over, who left."""
    stayed = stayed_query(settings, lake, day) if is_over else None
    decisions = f"read_parquet({sql_text(day_file(lake, day, 'decisions'))})"
    asked = BY_CHANCE.format(decisions=decisions, stayed=stayed or NOBODY_STAYED)
    found = connection.execute(asked).to_arrow_table()
    names = ("p", "users", "left_users", "leavers", "variance")
    chance, users, gone, leavers, variance = (found[name].to_numpy().astype(np.float64) for name in names)
    told = {"left_users": int(gone.sum()), "auc": ranked(chance, gone, users - gone)} if stayed else {}
    return {
        "day": day, "users": int(users.sum()), "leavers": round(float(leavers.sum()), 9),
        "leavers_variance": round(float(variance.sum()), 9),
        "expected_auc": ranked(chance, chance * users, (1 - chance) * users), "left_users": None, "auc": None, **told,
    }  # fmt: skip


def ranked(chance: np.ndarray[Any, Any], has_left: np.ndarray[Any, Any], stayed: np.ndarray[Any, Any]) -> float | None:
    """AUC of chances with so many, or so likely, who left and stayed at each; None where nobody did either.

    With expected counts it is what calibrated chances promise (`models.metrics.drift.expected_auc`).

    Examples
    --------
    >>> round(ranked(np.array([0.1, 0.9]), np.array([0.1, 0.9]), np.array([0.9, 0.1])), 2)
    0.9
    >>> ranked(np.array([0.1]), np.array([0.0]), np.array([3.0])) is None
    True
    """
    if not has_left.sum() or not stayed.sum():
        return None
    ones = np.ones(len(chance))
    return round(float(auc(np.r_[ones, 0 * ones], np.r_[chance, chance], np.r_[has_left, stayed])), 9)


def read_calibration(lake: Lake, as_of: date) -> Sequence[dict[str, Any]]:
    """Read the days up to one; nothing where an older winback wrote its cubes."""
    name = f"{CUBES}/day={as_of:%Y-%m-%d}/{CALIBRATION}.parquet"
    if not lake.files.exists(name):
        return []
    lake.files.check(name)
    rows: list[dict[str, Any]] = read_parquet(lake.path(name)).to_pylist()
    return rows
