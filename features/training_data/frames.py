"""Frames that models read: examples with their labels, joined by Feast to what was known at their instant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

import ibis
import ibis.expr.types as ir
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from configs.errors import InputError
from configs.offers import Catalogue
from features.arrays.calendar_days import start_of
from features.definitions.daily_measures import MICROS, micros
from features.definitions.labels import attributed_redemptions, closed_days, outcome_labels, redemption_labels
from features.definitions.registry import TRAINING_SERVICE
from features.definitions.watermark import known_before
from features.ingestion.contract import LEAST_PROPENSITY
from features.materialise.as_of_view import AsOfView
from features.training_data.feature_store import (
    EVENT_TIMESTAMP,
    FeatureStore,
    point_in_time_frame,
    text_columns,
)

UserFilter = Callable[[pd.Series], npt.NDArray[np.bool_]]
NOTHING_USED = {"decision_id": [""], "is_redeemed": [np.nan], "discount_later": [0.0]}
KNOWN_BEFORE = ("pre_spend", "pre_active_days", "pre_purchases")


@dataclass(frozen=True)
class RedemptionCounts:
    """Redemptions `found`, those `counted` for a treatment, and those that name a `foreign` decision."""

    found: int = 0
    counted: int = 0
    foreign: int = 0


def all_users(user_ids: pd.Series) -> npt.NDArray[np.bool_]:
    """Keep all users."""
    return np.ones(len(user_ids), dtype=bool)


def outcome_frame(
    history: AsOfView, store: FeatureStore, days: list[date], *, horizon_days: int, user_filter: UserFilter = all_users
) -> pd.DataFrame:
    """Collect what became of the users active before each day, with their features of that day.

    Parameters
    ----------
    history
        Cut at the day of training, so that no label can look past it.
    days
        Snapshot days; those whose `horizon_days` are not over are left out.
    user_filter
        Says of user ids which to learn from.

    Returns
    -------
    One row per day and active user: ``user_id``, ``day``, ``event_timestamp``, ``is_churned``, ``margin`` and the
    features of the ``training`` service (every model's columns are among them), ordered by day and user.

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
    labels = outcome_labels(history.aggregates, history.spine(closed), history.settings)
    rows = history.collect(labels.order_by("day", "user_id"))
    if rows.empty:
        raise InputError(
            f"the history before {history.as_of} has no user active within churn.lookback_days = "
            f"{history.settings.churn.lookback_days} of a snapshot; check roles.activity and the events"
        )
    rows = rows[user_filter(rows["user_id"])].reset_index(drop=True)
    rows["day"] = pd.to_datetime(rows["day"]).dt.date
    return joined_to_features(history, store, rows)


def redemption_frame(
    history: AsOfView, store: FeatureStore, catalogue: Catalogue, *, user_filter: UserFilter = all_users
) -> pd.DataFrame:
    """Collect the closed treatments, whether they were redeemed, and what was known at the start of their day.

    `user_filter` says of user ids which to learn from.

    Returns
    -------
    One row per treatment, ordered by instant and user: the columns of `redemption_labels` and the features of the
    ``training`` service; empty when the app has no closed treatment.
    """
    if history.treatments is None:
        return pd.DataFrame()
    now = ibis.literal(start_of(history.as_of, history.settings.time_zone), type="timestamp('UTC', 6)")
    valid_days = {offer.offer_id: offer.valid_days for offer in catalogue.offers}
    labels = redemption_labels(history.treatments, history.events, history.settings, valid_days, now)
    rows = history.collect(labels.order_by("decided_at", "user_id", "decision_id"))
    rows = rows[user_filter(rows["user_id"])].reset_index(drop=True)
    if rows.empty:
        return rows
    return joined_to_features(history, store, rows)


def joined_to_features(history: AsOfView, store: FeatureStore, rows: pd.DataFrame) -> pd.DataFrame:
    """Join rows with a ``user_id`` and a ``day`` to what was known at the start of that day."""
    days = pd.to_datetime(rows["day"]).dt.date
    rows = rows.assign(**{EVENT_TIMESTAMP: _starts(days, history.settings.time_zone)})
    return with_categories(store, TRAINING_SERVICE, point_in_time_frame(store, TRAINING_SERVICE, rows))


def with_snapshot(frame: pd.DataFrame) -> pd.DataFrame:
    """Leave out the examples of a frame whose user is in no snapshot of their day: all of their features are missing.

    They were given something before their first event or the whole history, and would teach what missing means.
    """
    if frame.empty:
        return frame
    features = frame.loc[:, EVENT_TIMESTAMP:].columns[1:]
    return frame.dropna(subset=features, how="all").reset_index(drop=True)


def _starts(days: pd.Series, time_zone: str) -> pd.Series:
    """First instants of days, of which those are 25 hours long on which clocks are put back."""
    return pd.to_datetime(days.map({day: start_of(day, time_zone) for day in days.unique()}), utc=True)


def redemption_counts(history: AsOfView, catalogue: Catalogue) -> RedemptionCounts:
    """Count the redemptions that had become known, and those that no treatment answers for."""
    if history.treatments is None:
        return RedemptionCounts()
    valid_days = {offer.offer_id: offer.valid_days for offer in catalogue.offers}
    used = attributed_redemptions(history.treatments, history.events, history.settings, valid_days)
    row = history.collect(
        used.aggregate(found=used.count(), counted=used.treatment.count(), foreign=used.is_foreign.sum().fill_null(0))
    ).iloc[0]
    return RedemptionCounts(*(int(row[name]) for name in ("found", "counted", "foreign")))


def given_offers(history: AsOfView, closed: pd.DataFrame) -> pd.DataFrame:
    """List every treatment before `history.as_of`, open ones too: ``user_id, day, offer_id, is_redeemed``.

    `closed` is the `redemption_frame`; a treatment that is still open has no ``is_redeemed``.
    """
    if history.treatments is None:
        return pd.DataFrame()
    given = history.treatments.filter(history.treatments.offer_id != "none")
    in_turn = given.order_by("day", "user_id", "decided_at", "decision_id")  # of a day's triggers the first comes first
    rows = history.collect(in_turn.select("decision_id", "user_id", "day", "offer_id"))
    rows["day"] = pd.to_datetime(rows["day"]).dt.date
    return rows.merge(closed[["decision_id", "is_redeemed"]], on="decision_id", how="left")


def experiment_frame(history: AsOfView, outcomes: pd.DataFrame, closed: pd.DataFrame) -> pd.DataFrame:
    """Collect what users were given at random (propensity known and below 1, *nothing* included), and what came of it.

    Parameters
    ----------
    outcomes
        `outcome_frame` on the days of treatments.
    closed
        `redemption_frame`, for redemptions and what they gave away later.

    Returns
    -------
    The randomised rows of `outcomes`: ``offer_id, discount, propensity, is_redeemed`` (missing while the offer is open)
    and ``discount_given``, instead of anything of those names; ordered by day and user. Given is what all offers of
    the user gave away while the margin was counted, which holds it, and what the drawn one gave later. Of a user's
    draws on a day the first counts, which is the night's where there is one, as the features are those of the start of
    the day; who has two at that instant is left out.
    """
    if history.treatments is None:
        return pd.DataFrame()
    given = history.treatments
    drawn = given.filter((given.propensity > 0) & (given.propensity < 1) & given.outcome.isnull())  # noqa: PD003
    names = ["decision_id", "user_id", "day", "decided_at", "offer_id", "discount", "propensity"]
    rows = history.collect(drawn.select(*names).order_by("day", "user_id"))
    check_propensities(rows)
    rows["day"] = pd.to_datetime(rows["day"]).dt.date
    is_first = rows["decided_at"] == rows.groupby(["user_id", "day"])["decided_at"].transform("min")
    rows = rows[is_first].drop_duplicates(["user_id", "day"], keep=False)
    used = closed[["decision_id", "is_redeemed", "discount_later"]] if len(closed) else pd.DataFrame(NOTHING_USED)
    rows = rows.merge(used, on="decision_id", how="left").drop(columns=["decision_id", "decided_at"])
    rows["is_redeemed"] = rows["is_redeemed"].mask(rows["offer_id"] == "none", 0.0)
    kept = outcomes.drop(columns=rows.columns.drop(["user_id", "day"]), errors="ignore").merge(
        rows, on=["user_id", "day"]
    )
    kept["discount_given"] = kept.pop("discount_soon") + kept.pop("discount_later").fillna(0.0)
    return kept


def check_propensities(rows: pd.DataFrame) -> None:
    """Refuse chances that ingestion refuses, too: their inverse weights overflow.

    Raises
    ------
    InputError
        An earlier winback took them.
    """
    impossible = rows["propensity"] < float(LEAST_PROPENSITY)
    if impossible.any():
        raise InputError(
            f"{impossible.sum():,} treatments state a propensity below {LEAST_PROPENSITY}, the least is "
            f"{rows['propensity'].min():g}; correct them and run winback ingest --replace"
        )


def measured_frame(history: AsOfView, entries: pd.DataFrame) -> pd.DataFrame:
    """Say what became of the users of some ledger entries in the ``churn.horizon_days`` from the decision on.

    Unlike in `outcome_labels` the user pays for nothing by formula: discounts of offers that were really used are
    taken off, and so are the contacts that were really made (``cost`` of the treatments). Who left counts too, as 0.

    Parameters
    ----------
    history
        Cut at the day of measuring; an entry whose window is not over by then is left out.
    entries
        Rows of the ledger: ``user_id``, ``as_of`` and any columns to keep.

    Returns
    -------
    One row per closed entry, ordered by day and user: the columns of `entries`, ``day``, ``revenue`` (what was paid),
    ``margin`` (account currency, after discounts of offers and contacts), ``is_converted`` (0 or 1, any purchase),
    ``is_retained`` (0 or 1, activity from ``response.retained_from_day`` on) and `KNOWN_BEFORE`: spend and
    purchases of the 90 days and active days of the 28 days before the *first* closed entry of the user, because
    whatever precedes a later one may be an effect already.
    """
    settings = history.settings
    decided_at = pd.to_datetime(entries["as_of"], utc=True).dt.tz_convert(settings.time_zone)
    rows = entries.assign(day=decided_at.dt.date)
    rows = rows[rows["day"] <= history.as_of - timedelta(days=settings.churn.horizon_days)]
    if rows.empty:
        return rows.assign(revenue=0.0, margin=0.0, is_converted=0, is_retained=0, **dict.fromkeys(KNOWN_BEFORE, 0.0))
    keys = rows[["user_id", "day"]].drop_duplicates()
    keys = keys.assign(first_day=keys.groupby("user_id")["day"].transform("min"))
    fields = [("user_id", pa.string()), ("day", pa.date32()), ("first_day", pa.date32())]
    table = pa.Table.from_pandas(keys, pa.schema(fields), preserve_index=False)
    spine = history.engine.create_table("measured", obj=table, temp=True, overwrite=True)
    found = history.collect(_money_and_activity(history, spine))
    users_and_days = pd.MultiIndex.from_frame(found[["user_id", "day"]])
    found["margin"] -= _contact_costs(history, spine).reindex(users_and_days, fill_value=0.0).to_numpy()
    found["day"] = pd.to_datetime(found["day"]).dt.date
    return rows.merge(found, on=["user_id", "day"]).sort_values(["day", "user_id"], ignore_index=True)


def _money_and_activity(history: AsOfView, spine: ir.Table) -> ir.Table:
    """Sum the daily aggregates in and before the windows of `spine`; a user without any has zeros."""
    settings = history.settings
    days = history.aggregates.select(
        "known_on", "active_days", "purchases_count", "spend_micros", "refund_micros", "offer_discount_micros",
        by_user="user_id", happened_on="day",
    )  # fmt: skip
    near = [
        spine.user_id == days.by_user,
        days.happened_on >= spine.first_day - ibis.interval(days=90),
        days.happened_on < spine.day + ibis.interval(days=settings.churn.horizon_days),
    ]
    pairs = spine.left_join(days, near)
    since = pairs.happened_on.delta(pairs.day, unit="day")
    before = pairs.happened_on.delta(pairs.first_day, unit="day")
    is_after, settled = since >= 0, since >= settings.response.retained_from_day
    was_known = known_before(pairs.first_day, pairs.happened_on, pairs.known_on)
    net = pairs.spend_micros + pairs.offer_discount_micros - pairs.refund_micros
    given = _in_money(pairs.offer_discount_micros.sum(where=is_after))
    return pairs.group_by("user_id", "day").aggregate(
        revenue=_in_money(pairs.spend_micros.sum(where=is_after)),
        margin=_in_money(net.sum(where=is_after)) * settings.value.gross_margin - given,
        is_converted=(pairs.purchases_count.sum(where=is_after) > 0).fill_null(False).cast("int64"),
        is_retained=(pairs.active_days.sum(where=settled) > 0).fill_null(False).cast("int64"),
        pre_spend=_in_money(pairs.spend_micros.sum(where=was_known)),
        pre_active_days=pairs.active_days.sum(where=was_known & (before >= -28)).fill_null(0).cast("float64"),
        pre_purchases=pairs.purchases_count.sum(where=was_known).fill_null(0).cast("float64"),
    )


def _contact_costs(history: AsOfView, spine: ir.Table) -> pd.Series:
    """Sum what the contacts in the windows of `spine` cost, by user and day."""
    names = ["user_id", "day"]
    if history.treatments is None:
        return pd.Series([], index=pd.MultiIndex.from_arrays([[], []], names=names), dtype="float64")
    contacts = history.treatments.select("cost", by_user="user_id", contacted_on="day")
    ends = spine.day + ibis.interval(days=history.settings.churn.horizon_days)
    meets = [
        spine.user_id == contacts.by_user,
        contacts.contacted_on >= spine.day,
        contacts.contacted_on < ends,
    ]
    pairs = spine.inner_join(contacts, meets)
    costs = pairs.group_by(*names).aggregate(cost=_in_money(micros(pairs.cost).cast("int64").sum()))
    return history.collect(costs).set_index(names)["cost"]


def _in_money(whole: ir.IntegerScalar) -> ir.FloatingScalar:
    return whole.fill_null(0).cast("float64") / float(MICROS)


def with_categories(store: FeatureStore, service: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Turn the texts of a service, and a treatment's offer, into categories, which is how the models read them."""
    texts = {"offer_id", *text_columns(store, service)}
    return frame.astype({name: "category" for name in frame.columns if name in texts}, copy=False)
