"""Users who had lapsed at past snapshots, and whether they came back: the training data of win-back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import ibis
import pandas as pd

from features.definitions.daily_measures import MICROS
from features.materialise.as_of_view import AsOfView

LAST, ENDED = "days_since_last_activity", "days_since_last_cancellation"


def closed_snapshots(history: AsOfView, most: int) -> list[date]:
    """Newest stored snapshots whose horizons of churn and of value are both over, oldest first."""
    horizon = max(history.settings.churn.horizon_days, history.settings.value.horizon_days)
    known = [day for day in history.lake.days("snapshots") if day + timedelta(days=horizon) <= history.as_of]
    return known[-most:]


def lapsed_frame(history: AsOfView, days: Sequence[date], columns: Sequence[str]) -> pd.DataFrame:
    """Collect who had lapsed or left on some snapshot days, with what was known then and what they did after.

    Returns
    -------
    One row per day and user: ``user_id, day``, `columns`, ``is_back`` (0 or 1, active within ``churn.horizon_days``)
    and ``margin`` (account currency, within ``value.horizon_days``); ordered by day and user.
    """
    parts = [_of_day(history, day, columns) for day in days]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["user_id", "day", *columns])


def _of_day(history: AsOfView, day: date, columns: Sequence[str]) -> pd.DataFrame:
    settings = history.settings
    history.lake.files.check(history.lake.partition_name("snapshots", day))
    path = str(history.lake.partition("snapshots", day))
    users = history.engine.read_parquet(path, table_name=f"lapsed_{day:%Y%m%d}")
    has_left = (users[ENDED] <= ibis.coalesce(users[LAST], float("inf"))).fill_null(False)
    is_active = (users[LAST] <= settings.churn.lookback_days).fill_null(False) & ~has_left
    lapsed = users.filter(~is_active).select("user_id", *columns)
    rows = history.aggregates
    after = rows.filter(rows.day >= day, rows.day < day + timedelta(days=settings.value.horizon_days))
    soon = after.day < day + timedelta(days=settings.churn.horizon_days)
    net = after.spend_micros - after.refund_micros
    known = after.group_by("user_id").aggregate(
        days_back=after.active_days.sum(where=soon), net=net.sum().cast("float64")
    )
    pairs = lapsed.left_join(known, "user_id")
    found = pairs.select(
        "user_id", *columns,
        is_back=(pairs.days_back > 0).fill_null(False).cast("int64"),
        margin=pairs.net.fill_null(0.0) * (settings.value.gross_margin / MICROS),
    )  # fmt: skip
    return history.collect(found.order_by("user_id")).assign(day=day)
