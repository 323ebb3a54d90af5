"""Frames that models read: examples with their labels, joined by Feast to what was known at their moment."""

from __future__ import annotations

from datetime import date

import ibis
import pandas as pd

from configs.errors import InputError
from configs.offers import Catalogue
from features.history import History
from features.labels import closed_days, outcome_labels, redemption_labels
from features.lake import Lake, read_parquet
from features.snapshots import start_of
from features.store import EVENT_TIMESTAMP, FeatureStore, point_in_time_frame


def outcome_frame(history: History, store: FeatureStore, days: list[date], *, horizon_days: int) -> pd.DataFrame:
    """Collect what became of the users active before each day, with their features of that day.

    Parameters
    ----------
    history
        Cut at the day of training, so that no label can look past it.
    days
        Snapshot days; those whose `horizon_days` are not over are left out.

    Returns
    -------
    One row per day and active user: ``user_id``, ``day``, ``event_timestamp``, ``is_churned``, ``margin`` and the
    features of the ``redemption`` service (every model's columns are among them), ordered by day and user.

    Raises
    ------
    InputError
        No day is closed.
    """
    closed = closed_days(days, history.as_of, horizon_days)
    if not closed:
        raise InputError(
            f"no snapshot before as_of = {history.as_of} has a label whose {horizon_days} days are over; "
            "choose a later as_of or a shorter horizon"
        )
    labels = outcome_labels(history.aggregates, history.moments(closed), history.settings)
    rows = labels.order_by("day", "user_id").to_pandas()
    if rows.empty:
        raise InputError(
            f"the history before {history.as_of} has no user active within churn.lookback_days = "
            f"{history.settings.churn.lookback_days} of a snapshot; check roles.activity and the events"
        )
    rows["day"] = pd.to_datetime(rows["day"]).dt.date
    starts = {day: start_of(day, history.settings.time_zone) for day in closed}
    rows[EVENT_TIMESTAMP] = pd.to_datetime(rows["day"].map(starts), utc=True)
    return with_categories(point_in_time_frame(store, "redemption", rows))


def redemption_frame(history: History, store: FeatureStore, catalogue: Catalogue) -> pd.DataFrame:
    """Collect the closed treatments, whether they were redeemed, and what was known when they were decided.

    Returns
    -------
    One row per treatment, ordered by instant and user: the columns of `redemption_labels` and the features of the
    ``redemption`` service; empty when the app has no closed treatment.
    """
    if history.treatments is None:
        return pd.DataFrame()
    now = ibis.literal(start_of(history.as_of, history.settings.time_zone), type="timestamp('UTC', 6)")
    valid_days = {offer.offer_id: offer.valid_days for offer in catalogue.offers}
    labels = redemption_labels(history.treatments, history.events, history.settings, valid_days, now)
    rows = labels.order_by("decided_at", "user_id", "decision_id").to_pandas()
    if rows.empty:
        return rows
    rows[EVENT_TIMESTAMP] = rows["decided_at"]
    return with_categories(point_in_time_frame(store, "redemption", rows))


def given_offers(history: History, closed: pd.DataFrame) -> pd.DataFrame:
    """List every treatment before `history.as_of`, open ones too: ``user_id, day, offer_id, is_redeemed``.

    `closed` is the `redemption_frame`; a treatment that is still open has no ``is_redeemed``.
    """
    if history.treatments is None:
        return pd.DataFrame()
    given = history.treatments.filter(history.treatments.offer_id != "none")
    rows = given.select("decision_id", "user_id", "day", "offer_id").order_by("day", "user_id").to_pandas()
    rows["day"] = pd.to_datetime(rows["day"]).dt.date
    return rows.merge(closed[["decision_id", "is_redeemed"]], on="decision_id", how="left")


def lot_frame(history: History, outcomes: pd.DataFrame, closed: pd.DataFrame) -> pd.DataFrame:
    """Collect what users were given by lot (propensity known and below 1, *nothing* included), and what came of it.

    Parameters
    ----------
    outcomes
        `outcome_frame` on the days of treatments.
    closed
        `redemption_frame`, for redemptions and what they gave away.

    Returns
    -------
    The rows of `outcomes` with a lot: ``offer_id, discount, propensity, is_redeemed, discount_given``, instead of
    anything of those names; ordered by day and user. A user with two lots on a day is left out.
    """
    if history.treatments is None:
        return pd.DataFrame()
    given = history.treatments
    drawn = given.filter((given.propensity > 0) & (given.propensity < 1))
    names = ["decision_id", "user_id", "day", "offer_id", "discount", "propensity"]
    rows = drawn.select(*names).order_by("day", "user_id").to_pandas()
    rows["day"] = pd.to_datetime(rows["day"]).dt.date
    rows = rows.drop_duplicates(["user_id", "day"], keep=False)
    known = closed[["decision_id", "is_redeemed", "discount_given"]] if len(closed) else None
    rows = rows.merge(known, on="decision_id", how="left") if known is not None else rows
    rows = rows.assign(**{name: rows.get(name, 0.0) for name in ("is_redeemed", "discount_given")})
    rows = rows.fillna({"is_redeemed": 0.0, "discount_given": 0.0}).drop(columns="decision_id")
    kept = outcomes.drop(columns=[name for name in rows.columns[2:] if name in outcomes.columns])
    return kept.merge(rows, on=["user_id", "day"]).reset_index(drop=True)


def treatment_days(lake: Lake, as_of: date) -> list[date]:
    """List the days before `as_of` that have treatments and a snapshot."""
    return [day for day in lake.days("treatments") if day < as_of and lake.partition("snapshots", day).exists()]


def scoring_frame(history: History, store: FeatureStore, user_ids: pd.Series) -> pd.DataFrame:
    """Read what is known about some users at the start of `history.as_of`; one row per user, in their order."""
    now = pd.Timestamp(start_of(history.as_of, history.settings.time_zone)).tz_convert("UTC")
    entities = pd.DataFrame({"user_id": user_ids.to_numpy(), EVENT_TIMESTAMP: now})
    return with_categories(point_in_time_frame(store, "scoring", entities))


def known_users(history: History) -> pd.Series:
    """Ids of every user with a snapshot at `history.as_of`, sorted.

    Raises
    ------
    InputError
        That snapshot was not built.
    """
    path = history.lake.partition("snapshots", history.as_of)
    if not path.exists():
        raise InputError(f"there is no snapshot of {history.as_of}; run winback build-features --as-of {history.as_of}")
    return read_parquet(path).column("user_id").to_pandas().sort_values(ignore_index=True)


def with_categories(frame: pd.DataFrame) -> pd.DataFrame:
    """Turn the text features into categories, which is how the models read them."""
    texts = [name for name in frame.columns if name.startswith(("trait_", "favourite_", "offer_id"))]
    return frame.astype({name: "category" for name in texts if not pd.api.types.is_numeric_dtype(frame[name])})
