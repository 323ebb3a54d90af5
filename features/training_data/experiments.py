"""Randomised treatments and their outcomes, stated by the experiment itself or derived from later events.

Treatments that are held out of training (`is_holdout`) are included and marked.
"""

from __future__ import annotations

from datetime import date

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from features.arrays.calendar_days import start_of
from features.materialise.as_of_view import AsOfView
from features.storage.lake import Lake
from features.training_data.feature_store import FeatureStore
from features.training_data.frames import (
    UserFilter,
    all_users,
    check_propensities,
    joined_to_features,
    measured_frame,
    with_snapshot,
)

OF_RANDOMISED = ("decision_id", "user_id", "day", "decided_at", "offer_id", "discount", "channel", "propensity", "cost")


def stated_treatments(history: AsOfView, store: FeatureStore, *, user_filter: UserFilter = all_users) -> pd.DataFrame:
    """Collect the randomised treatments that state an outcome known by `history.as_of`, with the features of before.

    Returns
    -------
    One row per user and day, ordered by both: `OF_RANDOMISED`, ``outcome`` (account currency, after what the offer gave
    away and before ``cost``), ``is_holdout`` and the features of the ``redemption`` service; empty when there is none.
    Of two treatments of a user on a day the first counts; users with two at one instant, or without a snapshot of the
    day, are left out.
    """
    if history.treatments is None:
        return pd.DataFrame()
    return _with_features(history, store, _stated(history, history.treatments), user_filter)


def measured_treatments(history: AsOfView, store: FeatureStore, *, user_filter: UserFilter = all_users) -> pd.DataFrame:
    """Collect the randomised treatments whose outcome events show: money of ``churn.horizon_days``, less all costs.

    Returns
    -------
    As `stated_treatments`; ``outcome`` is the margin of `frames.measured_frame`, from which all contacts of the window
    are deducted, with the contact of the treatment itself added back: that is in ``cost``.
    """
    if history.treatments is None:
        return pd.DataFrame()
    drawn = randomised_treatments(history.treatments)
    rows = _firsts(history.collect(drawn.filter(~drawn.is_stated).order_by("decided_at", "user_id")))
    if rows.empty:
        return rows
    measured = measured_frame(history, rows.drop(columns=["day", "outcome"]).assign(as_of=rows["decided_at"]))
    outcome = measured["margin"] + measured["cost"].fillna(0.0)
    rows = measured[[*OF_RANDOMISED, "is_holdout"]].assign(outcome=outcome)
    return _with_features(history, store, rows, user_filter)


def training_treatments(stated: pd.DataFrame) -> pd.DataFrame:
    """Turn treatments that state their outcome into the frame that effects are learnt from (`frames.experiment_frame`).

    Holdout rows are left out. The outcome is the only target: retention is not known and set to 1 for all, and the
    discount has been deducted from the outcome already (``is_net``).
    """
    if stated.empty:
        return stated
    rows = stated[~stated["is_holdout"]].reset_index(drop=True)
    others = ["decision_id", "decided_at", "channel", "cost", "outcome", "is_holdout"]
    taught = rows.drop(columns=others).assign(margin_soon=rows["outcome"], is_redeemed=np.nan, discount_given=0.0)
    return taught.assign(is_retained=1, is_net=True)


def treatment_days(lake: Lake, as_of: date) -> list[date]:
    """List the days before `as_of` that have treatments and a snapshot."""
    return [day for day in lake.days("treatments") if day < as_of and lake.has_partition("snapshots", day)]


def held_out_keys(history: AsOfView) -> pd.DataFrame:
    """List the treatments that no training may see: ``decision_id``, ``user_id`` and ``day``."""
    if history.treatments is None:
        return pd.DataFrame({"decision_id": [], "user_id": [], "day": []})
    kept_out = history.treatments.filter(history.treatments.is_holdout)
    rows = history.collect(kept_out.select("decision_id", "user_id", "day"))
    return rows.assign(day=pd.to_datetime(rows["day"]).dt.date)


def randomised_treatments(treatments: ir.Table) -> ir.Table:
    """Pick randomised treatments: `OF_RANDOMISED`, ``outcome``, ``outcome_at``, ``is_holdout`` and ``is_stated``."""
    drawn = treatments.filter((treatments.propensity > 0) & (treatments.propensity < 1))
    kept_out = drawn.is_holdout.fill_null(False)
    return drawn.select(*OF_RANDOMISED, "outcome", "outcome_at", is_holdout=kept_out, is_stated=drawn.outcome.notnull())  # noqa: PD004


def _stated(history: AsOfView, treatments: ir.Table) -> pd.DataFrame:
    drawn, horizon = randomised_treatments(treatments), history.settings.churn.horizon_days
    now = ibis.literal(start_of(history.as_of, history.settings.time_zone), type="timestamp('UTC', 6)")
    known_at = ibis.coalesce(drawn.outcome_at, drawn.decided_at + ibis.interval(days=horizon))
    return _firsts(history.collect(drawn.filter(drawn.is_stated & (known_at <= now)).order_by("decided_at", "user_id")))


def _firsts(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep each user's first treatment of a day; who has two at that instant is left out."""
    check_propensities(rows)
    rows = rows.drop(columns=["outcome_at", "is_stated"]).assign(day=pd.to_datetime(rows["day"]).dt.date)
    is_first = rows["decided_at"] == rows.groupby(["user_id", "day"])["decided_at"].transform("min")
    return rows[is_first].drop_duplicates(["user_id", "day"], keep=False)


def _with_features(history: AsOfView, store: FeatureStore, rows: pd.DataFrame, user_filter: UserFilter) -> pd.DataFrame:
    rows = rows[user_filter(rows["user_id"])].sort_values(["day", "user_id"], ignore_index=True)
    return with_snapshot(joined_to_features(history, store, rows)) if len(rows) else rows
