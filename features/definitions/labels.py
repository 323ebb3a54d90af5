"""Labels: what happened after a snapshot, counted only once its horizon is over."""

from __future__ import annotations

from datetime import date, timedelta

import ibis
import ibis.expr.types as ir

from configs.settings import Settings
from features.definitions.watermark import known_before


def closed_days(days: list[date], as_of: date, horizon_days: int) -> list[date]:
    """Snapshot days whose horizon is over at the start of `as_of`; only these may be labelled.

    Examples
    --------
    >>> closed_days([date(2017, 9, 3), date(2017, 9, 4)], date(2017, 10, 1), 28)
    [datetime.date(2017, 9, 3)]
    """
    return [day for day in days if day + timedelta(days=horizon_days) <= as_of]


def effect_days(settings: Settings) -> int:
    """Days over which an offer's margin is counted: until retention is, else the whole churn horizon."""
    return settings.response.retained_from_day or settings.churn.horizon_days


def outcome_labels(aggregates: ir.Table, spine: ir.Table, settings: Settings) -> ir.Table:
    """Say for every user active before each instant of the spine whether they left, and what they were worth.

    Parameters
    ----------
    aggregates
        Daily aggregates, already cut at the day on which the models are trained.
    spine
        ``day``, one row per snapshot.

    Returns
    -------
    One row per snapshot day and user with activity in the ``churn.lookback_days`` before it: ``user_id``, ``day``,
    ``is_churned`` (0 or 1, no activity in ``churn.horizon_days`` from the day on), ``is_retained`` (0 or 1, activity
    from ``response.retained_from_day`` of that horizon on) and gross margin in account currency over
    ``value.horizon_days`` (``margin``) and until retention is counted (``margin_soon``: `effect_days`). What offers
    gave away is added back, because the value formula charges it to every redeemer.
    """
    rows = aggregates.rename(happened_on="day")
    wide = max(settings.churn.lookback_days, settings.churn.horizon_days, settings.value.horizon_days)
    near = [
        rows.happened_on >= spine.day - ibis.interval(days=wide),
        rows.happened_on < spine.day + ibis.interval(days=wide),
    ]
    pairs = spine.select("day").inner_join(rows, near)
    pairs = pairs.mutate(offset=pairs.happened_on.delta(pairs.day, unit="day").cast("int64"))
    was_known = known_before(pairs.day, pairs.happened_on, pairs.known_on)
    was_active = was_known & (pairs.offset >= -settings.churn.lookback_days)
    stays = (pairs.offset >= 0) & (pairs.offset < settings.churn.horizon_days)
    pays = (pairs.offset >= 0) & (pairs.offset < settings.value.horizon_days)
    settled = stays & (pairs.offset >= settings.response.retained_from_day)
    soon = (pairs.offset >= 0) & (pairs.offset < effect_days(settings))
    cents = pairs.spend_cents + pairs.offer_discount_cents - pairs.refund_cents
    labels = pairs.group_by("user_id", "day").aggregate(
        active_before=pairs.active_days.sum(where=was_active).fill_null(0),
        active_after=pairs.active_days.sum(where=stays).fill_null(0),
        active_later=pairs.active_days.sum(where=settled).fill_null(0),
        margin=_margin(cents.sum(where=pays), settings),
        margin_soon=_margin(cents.sum(where=soon), settings),
    )
    return labels.filter(labels.active_before > 0).select(
        "user_id",
        "day",
        "margin",
        "margin_soon",
        is_churned=(labels.active_after == 0).cast("int64"),
        is_retained=(labels.active_later > 0).cast("int64"),
    )


def _margin(cents: ir.IntegerScalar, settings: Settings) -> ir.FloatingScalar:
    # whole cents are summed first: a sum of floats depends on its order
    return cents.fill_null(0).cast("float64") / 100.0 * settings.value.gross_margin


def redemption_labels(
    treatments: ir.Table, events: ir.Table, settings: Settings, valid_days: dict[str, int], as_of: ir.Value
) -> ir.Table:
    """Say for every closed treatment whether its offer was redeemed, and at what cost.

    Parameters
    ----------
    treatments
        Contract table; ``offer_id = none`` is left out.
    events
        Contract table; redemptions point at their treatment by ``decision_id``, or by user and offer.
    valid_days
        Days an offer is open where the treatment does not say (``valid_until``).
    as_of
        Instant before which an offer must have ended to be labelled.

    Returns
    -------
    One row per closed treatment: ``decision_id, user_id, day, decided_at, offer_id, discount, channel, propensity,
    closed_at``, ``is_redeemed`` (0 or 1), ``covered_spend`` and ``discount_given`` (account currency).
    """
    given = treatments.filter(treatments.offer_id != "none")
    days = (
        given.offer_id.cases(*valid_days.items(), else_=settings.churn.horizon_days)
        if valid_days
        else ibis.literal(settings.churn.horizon_days)
    )
    ends = ibis.coalesce(given.valid_until, given.decided_at + days.as_interval("D"))
    closed = given.mutate(closed_at=ends).filter(ends <= as_of)
    used = events.filter(events.event_name.isin(settings.roles.offer_redeem)).select(
        "event_id",
        "occurred_at",
        by_user="user_id",
        by_decision="decision_id",
        by_offer="offer_id",
        spent="amount",
        given="discount",
    )
    meets = [
        closed.user_id == used.by_user,
        (closed.decision_id == used.by_decision) | (used.by_decision.isnull() & (closed.offer_id == used.by_offer)),
        used.occurred_at >= closed.decided_at,
        used.occurred_at < closed.closed_at,
    ]
    pairs = closed.left_join(used, meets)
    keys = ["decision_id", "user_id", "day", "decided_at", "offer_id", "discount", "channel", "propensity", "closed_at"]
    return pairs.group_by(*keys).aggregate(
        is_redeemed=(pairs.event_id.count() > 0).cast("int64"),
        covered_spend=_money(pairs.spent),
        discount_given=_money(pairs.given),
    )


def _money(amount: ir.Value) -> ir.Value:
    """Add amounts up as whole cents, which gives the same bits in whatever order they come."""
    cents = (amount * 100.0).round().cast("int64").sum()
    return cents.cast("float64").fill_null(0.0) / 100.0
