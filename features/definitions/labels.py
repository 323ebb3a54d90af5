"""Labels: what happened after a snapshot, counted only once its horizon is over."""

from __future__ import annotations

from datetime import date, timedelta

import ibis
import ibis.expr.types as ir

from configs.settings import Settings
from features.definitions.contract_labels import contract_parts, ended, under_contract
from features.definitions.daily_measures import MICROS, micros
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

    Who had ended the contract by then and was not active on a later day had left already: there is nothing to predict.
    With ``churn.kind = "cancellation"`` they are those under contract, who leave when it ends (`contract_labels`), and
    ``is_involuntary`` says for whom failed payments are why; ``is_retained`` is then the opposite of leaving.

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
    ``value.horizon_days`` (``margin``), of its days before retention is counted (``margin_soon``: `effect_days`, which
    may reach beyond that window) and of those after (``margin_later``). What offers gave away is added back, because
    the value formula charges it to every redeemer; ``discount_soon`` is what they gave away while ``margin_soon`` was
    counted.
    """
    rows = aggregates.rename(happened_on="day")
    churn, has_contracts = settings.churn, settings.churn.kind == "cancellation"
    wide = max(churn.lookback_days, churn.horizon_days, settings.value.horizon_days)
    wide = max(wide, churn.contract_days) if has_contracts else wide
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
    net = pairs.spend_micros + pairs.offer_discount_micros - pairs.refund_micros
    labels = pairs.group_by("user_id", "day").aggregate(
        last_active=pairs.offset.max(where=was_active & (pairs.active_days > 0)),
        last_ended=pairs.offset.max(where=was_active & (pairs.cancellations_count > 0)),
        active_after=pairs.active_days.sum(where=stays).fill_null(0),
        active_later=pairs.active_days.sum(where=settled).fill_null(0),
        margin=_margin(net.sum(where=pays), settings),
        margin_soon=_margin(net.sum(where=soon), settings),
        margin_later=_margin(net.sum(where=pays & ~soon), settings),
        discount_soon=_margin(pairs.offer_discount_micros.sum(where=soon)),
        **(contract_parts(pairs, was_known, churn) if has_contracts else {}),
    )
    money = ("user_id", "day", "margin", "margin_soon", "margin_later", "discount_soon")
    if has_contracts:
        return labels.filter(under_contract(labels, churn)).select(*money, **ended(labels, churn))
    return labels.filter(labels.last_active > labels.last_ended.fill_null(-wide - 1)).select(
        *money,
        is_churned=(labels.active_after == 0).cast("int64"),
        is_retained=(labels.active_later > 0).cast("int64"),
    )


def _margin(net: ir.IntegerScalar, settings: Settings | None = None) -> ir.FloatingScalar:
    # whole millionths are summed first: a sum of floats depends on its order
    return net.fill_null(0).cast("float64") / float(MICROS) * (settings.value.gross_margin if settings else 1.0)


def redemption_labels(
    treatments: ir.Table, events: ir.Table, settings: Settings, valid_days: dict[str, int], as_of: ir.Value
) -> ir.Table:
    """Say for every closed treatment whether its offer was redeemed, and at what cost.

    Parameters
    ----------
    treatments
        Contract table; ``offer_id = none`` is left out.
    events
        Contract table; a redemption counts for one treatment (`attributed_redemptions`).
    valid_days
        Days an offer is open where the treatment does not say (``valid_until``).
    as_of
        Instant before which an offer must have ended to be labelled.

    Returns
    -------
    One row per closed treatment: ``decision_id, user_id, day, decided_at, offer_id, discount, channel, propensity,
    closed_at``, ``is_redeemed`` (0 or 1), ``covered_spend``, ``discount_given`` (account currency), and of the latter
    ``discount_later``, given after the days over which an offer's margin is counted (`effect_days`).
    """
    given = _given(treatments, settings, valid_days)
    closed = given.filter(given.closed_at <= as_of)
    used = attributed_redemptions(treatments, events, settings, valid_days)
    pairs = closed.left_join(used, closed.decision_id == used.treatment)
    is_later = pairs.used_on.delta(pairs.day, unit="day") >= effect_days(settings)
    keys = ["decision_id", "user_id", "day", "decided_at", "offer_id", "discount", "channel", "propensity", "closed_at"]
    return pairs.group_by(*keys).aggregate(
        is_redeemed=(pairs.event_id.count() > 0).cast("int64"),
        covered_spend=_money(pairs.spent),
        discount_given=_money(pairs.given),
        discount_later=_money(pairs.given, is_later),
    )


def attributed_redemptions(
    treatments: ir.Table, events: ir.Table, settings: Settings, valid_days: dict[str, int]
) -> ir.Table:
    """Give every redemption to one treatment of its user: the one that it names, else the latest open one of its offer.

    Returns
    -------
    One row per redemption: ``event_id``, ``used_on``, ``spent`` and ``given`` (amount and discount), ``treatment`` (a
    ``decision_id``; missing where no treatment was open) and ``is_foreign`` (it names a decision that there is not).
    """
    given = _given(treatments, settings, valid_days)
    used = events.filter(events.event_name.isin(settings.roles.offer_redeem)).select(
        "event_id", "occurred_at", by_user="user_id", by_decision="decision_id", by_offer="offer_id", used_on="day",
        spent="amount", given="discount",
    )  # fmt: skip
    own = given.select(named="decision_id").distinct()
    used = used.left_join(own, used.by_decision == own.named)
    # an inner join on the user and a filter: an outer join on all of it compares every redemption with every treatment
    met = used.join(given, used.by_user == given.user_id)
    days_after = met.used_on.delta(met.day, unit="day")
    met = met.filter(
        (met.named == met.decision_id) | (met.named.isnull() & (met.by_offer == met.offer_id)),
        met.occurred_at >= met.decided_at,
        ibis.coalesce(met.occurred_at < met.valid_until, days_after <= met.open_days),
    )
    latest = ibis.row_number().over(group_by=met.event_id, order_by=[met.decided_at.desc(), met.decision_id.desc()])
    latest_open = met.mutate(nth=latest).filter(lambda rows: rows.nth == 0).select("decision_id", answers="event_id")
    first = used.left_join(latest_open, used.event_id == latest_open.answers)
    is_foreign = first.by_decision.notnull() & first.named.isnull()
    return first.select("event_id", "used_on", "spent", "given", treatment="decision_id", is_foreign=is_foreign)


def _given(treatments: ir.Table, settings: Settings, valid_days: dict[str, int]) -> ir.Table:
    """Treatments that gave something, with the days for which they are open and the instant at which that is over.

    Without ``valid_until`` an offer is open to the end of its last day, whatever the hour at which it was given.
    """
    given = treatments.filter(treatments.offer_id != "none")
    horizon = settings.churn.horizon_days
    days = given.offer_id.cases(*valid_days.items(), else_=horizon) if valid_days else ibis.literal(horizon)
    ends = ibis.coalesce(given.valid_until, given.decided_at + (days + 1).as_interval("D"))
    return given.mutate(open_days=days, closed_at=ends)


def _money(amount: ir.Value, where: ir.BooleanValue | None = None) -> ir.Value:
    """Add amounts up as whole millionths, which gives the same bits in whatever order they come."""
    return micros(amount).cast("int64").sum(where=where).cast("float64").fill_null(0.0) / float(MICROS)
