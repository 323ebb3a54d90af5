"""What the plays of the starter catalogue claim of their readers, told anew from a user's events alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np
import pandas as pd

from features.storage.lake import Lake
from features.tables.parquet_files import read_parquet

ACTIVE = {"session_start", "view_item", "add_to_cart", "begin_checkout", "purchase", "app_store_subscription_renew"}
PAID = {"purchase", "app_store_subscription_renew"}
ENDED = {"app_store_subscription_cancel", "app_remove"}

Events = pd.DataFrame  # of one user, before the day: event_name, occurred_at, item_category, ago (days, 1 = yesterday)
Claim = Callable[[Events], bool]


def last(events: Events, *names: str) -> pd.Timestamp:
    found = events.loc[events["event_name"].isin(names), "occurred_at"]
    return found.max() if len(found) else pd.Timestamp.min.tz_localize("UTC")


def within(events: Events, days: int, *names: str) -> Events:
    return events[events["event_name"].isin(names) & (events["ago"] <= days)]


def active_days(events: Events, days: int) -> int:
    return within(events, days, *ACTIVE)["ago"].nunique()


def usual_gap(events: Events) -> float:
    days = np.sort(within(events, 365, *ACTIVE)["ago"].unique())
    return float(np.diff(days).mean()) if len(days) > 1 else np.inf


def owes(events: Events) -> bool:
    """Tell whether a payment failed on a later day than the last one that was made."""
    return last(events, "payment_failed").date() > last(events, *PAID).date()


CLAIMS: dict[str, Claim] = {
    "finish_onboarding": lambda e: not {"sign_up", "tutorial_complete"} <= set(e["event_name"]),
    "viewed_not_carted": lambda e: len(within(e, 7, "view_item")) >= 3 and within(e, 7, "add_to_cart").empty,
    "cart_open": lambda e: last(e, "add_to_cart") > last(e, *PAID),
    "checkout_hesitated": lambda e: last(e, "begin_checkout") > last(e, *PAID),
    "trial_extension": lambda e: len(within(e, 14, "sign_up")) > 0,
    "thanks": lambda e: len(within(e, 3, *PAID)) > 0,
    "habit_broken": lambda e: within(e, 365, *ACTIVE)["ago"].min() > 1.5 * usual_gap(e),
    "streak_at_stake": lambda e: active_days(e, 7) >= 5,
    "resume_progress": lambda e: last(e, "level_start") > last(e, "level_end"),
    "something_new": lambda e: e.loc[e["ago"] <= 90, "item_category"].nunique() < 8,
    "early_access": lambda e: active_days(e, 90) >= 12,
    "win_back": lambda e: active_days(e, 28) == 0,
    "payment_recovery": lambda e: owes(e) and len(within(e, 28, "payment_failed")) > 0,
    "lost_by_payment": lambda e: (
        owes(e) and min(map(len, (within(e, 28, "payment_failed"), within(e, 28, *ENDED)))) > 0
    ),
    "subscription_ends": lambda e: (
        within(e, 365, "app_store_subscription_renew")["ago"].min() in range(23, 30) and within(e, 29, *ENDED).empty
    ),
    "save_offer": lambda e: len(within(e, 28, *ENDED)) > 0 and within(e, 28, "payment_failed").empty,
    "feedback": lambda e: active_days(e, 90) >= 8,
}


def events_by_user(lake: Lake, as_of: date) -> dict[str, Events]:
    """Read what each user did before a day."""
    columns = ["user_id", "event_name", "occurred_at", "item_category"]
    before = [day for day in lake.days("events") if day < as_of]
    days = [read_parquet(lake.partition("events", day), columns).to_pandas() for day in before]
    events = pd.concat(days, ignore_index=True)
    events["ago"] = (pd.Timestamp(as_of, tz="UTC") - events["occurred_at"].dt.floor("D")).dt.days
    return dict(tuple(events.groupby("user_id")))
