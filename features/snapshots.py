"""Snapshots: what was known about each user at the start of a day, as windows over the daily aggregates.

Only rows with ``day < as_of`` and ``known_on < as_of`` ever reach a feature's function, so an event at or after
`as_of`, or one that became known only then, cannot be seen.
"""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir

from features.columns import DERIVED, LONGEST, WINDOWED, catalogue

KEYS = ("user_id", "day")
TASTE_DAYS = 90


def snapshots(aggregates: ir.Table, facets: ir.Table, users: ir.Table, moments: ir.Table) -> ir.Table:
    """Compute every feature of every user known at each moment.

    Parameters
    ----------
    aggregates, facets
        Tables of ``features.aggregates``; rows on or after a moment, or known only then, are ignored.
    users
        ``user_id``, ``signed_up_on`` and the traits, each named ``trait_…``.
    moments
        ``day`` (date) and ``as_of`` (the instant at which that day starts), one row per snapshot.

    Returns
    -------
    One row per moment and user: ``user_id``, ``day``, ``as_of``, ``created_at`` (instants) and the columns of
    `catalogue`; numbers are float64, a missing number is null.
    """
    recent = _seen(aggregates, moments, LONGEST)
    table = _known_users(aggregates, users, moments)
    for part in (_windows(recent), _gaps(recent), _tastes(_seen(facets, moments, TASTE_DAYS))):
        table = table.left_join(part, KEYS).drop([f"{name}_right" for name in KEYS])
    table = table.mutate(
        **{name: table[name].fill_null(0.0) for name in table.columns if "_count_" in name or "_sum_" in name}
    )
    for name, function in DERIVED.items():
        table = table.mutate(**{name: function(table).cast("float64")})
    columns = {
        each.name: table[each.name] if each.is_text else table[each.name].cast("float64") for each in catalogue()
    }
    traits = {name: table[name] for name in table.columns if name.startswith("trait_")}
    table = table.left_join(moments, "day")
    return table.select("user_id", "day", "as_of", created_at=table.as_of, **columns, **traits)


def start_of(day: date, time_zone: str) -> datetime:
    """First instant of a day in a time zone."""
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(time_zone))


def _seen(rows: ir.Table, moments: ir.Table, within_days: int) -> ir.Table:
    """Pair each moment with the rows known by then and at most `within_days` old (yesterday is 1 day old)."""
    past = rows.rename(happened_on="day").mutate(expires_on=rows.day + ibis.interval(days=within_days))
    is_known = [past.happened_on < moments.day, past.known_on < moments.day, past.expires_on >= moments.day]
    pairs = moments.select("day").inner_join(past, is_known)
    return pairs.mutate(age_days=pairs.day.delta(pairs.happened_on, unit="day").cast("int64"))


def _known_users(aggregates: ir.Table, users: ir.Table, moments: ir.Table) -> ir.Table:
    known_from = aggregates.mutate(known_from=ibis.greatest(aggregates.day, aggregates.known_on))
    days = known_from.group_by("user_id", "known_from").aggregate(earliest=known_from.day.min())
    seen = moments.select("day").inner_join(days, days.known_from < moments.day)
    first = seen.group_by(*KEYS).aggregate(first_day=seen.earliest.min())
    signed_up = moments.select("day").inner_join(users, users.signed_up_on < moments.day).select(*KEYS)
    known = first.select(*KEYS).union(signed_up, distinct=True)
    table = known.left_join(first, KEYS).drop([f"{name}_right" for name in KEYS])
    table = table.left_join(users, "user_id").drop("user_id_right")
    begun = ibis.coalesce(ibis.least(table.signed_up_on, table.first_day), table.signed_up_on, table.first_day)
    return table.mutate(tenure_seen_days=table.day.delta(begun, unit="day").cast("float64")).drop(
        "first_day", "signed_up_on"
    )


def _windows(recent: ir.Table) -> ir.Table:
    everything = recent.age_days <= LONGEST
    columns: dict[str, ir.Value] = {}
    for name, (function, windows) in WINDOWED.items():
        if not windows:
            columns[name] = function(recent, everything).cast("float64")
        for days in windows:
            columns[f"{name}_{days}d"] = function(recent, recent.age_days <= days).cast("float64")
    return recent.group_by(*KEYS).aggregate(**columns)


def _gaps(recent: ir.Table) -> ir.Table:
    active = recent.filter(recent.active_days > 0)
    before = active.happened_on.lag().over(group_by=list(KEYS), order_by="happened_on")
    paced = active.mutate(gap=active.happened_on.delta(before, unit="day").cast("int64"))
    # whole numbers add up to the same bits in whatever order threads meet them, an engine's own deviation does not
    sums = paced.group_by(*KEYS).aggregate(
        gaps=paced.gap.count().cast("float64"),
        days=paced.gap.sum().cast("float64"),
        squares=(paced.gap * paced.gap).sum().cast("float64"),
        gap_days_max_365d=paced.gap.max().cast("float64"),
    )
    spread = (sums.gaps * sums.squares - sums.days * sums.days) / (sums.gaps * (sums.gaps - 1.0)).nullif(0.0)
    return sums.select(*KEYS, "gap_days_max_365d", gap_days_std_365d=spread.sqrt())


def _tastes(seen: ir.Table) -> ir.Table:
    totals = seen.group_by(*KEYS, "facet", "label").aggregate(
        events=seen.events_count.sum().cast("int64"), spend=seen.spend_cents.sum().cast("int64")
    )
    spend_of_category = ibis.ifelse(totals.facet == "category", totals.spend, 0)
    rank = ibis.row_number().over(
        group_by=[*KEYS, "facet"], order_by=[spend_of_category.desc(), totals.events.desc(), totals.label]
    )
    ranked = totals.mutate(place=rank)
    is_category = ranked.facet == "category"
    return ranked.group_by(*KEYS).aggregate(
        categories_count_90d=ranked.count(where=is_category).cast("float64"),
        favourite_category_90d=ranked.label.max(where=is_category & (ranked.place == 0)),
        favourite_hour_90d=ranked.label.max(where=(ranked.facet == "hour") & (ranked.place == 0)).cast("float64"),
    )
