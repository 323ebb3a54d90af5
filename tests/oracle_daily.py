"""The oracle of daily rows: what each user did on each day, as Ibis queries of the same declarations.

Rows are keyed by ``user_id, day, known_on``: an event that became known later than its day gets a row of its own, so
that a snapshot can leave out what was not known yet. Production computes them by arrays
(`features.engine.daily_aggregation`); the tests hold those to these queries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import ibis
import ibis.expr.types as ir
from oracle_windows import what_is_declared

from configs.settings import Roles
from features.definitions.daily_measures import micros
from features.definitions.event_roles import TREATMENT, role_bits, role_codes

KEYS = ("user_id", "day", "known_on")
DAY_OF_USER = ("user_id", "day")
EVENTS = ibis.schema(
    dict.fromkeys(("user_id", "event_name", "item_category", "session_id", "event_id"), "string")
    | dict.fromkeys(("occurred_at", "received_at"), "timestamp('UTC')")
    | {"day": "date", "clock": "timestamp", "amount": "float64", "discount": "float64"}
)
TREATMENTS = ibis.schema({"user_id": "string", "day": "date", "offer_id": "string", "decision_id": "string"})


def daily_aggregates(events: ir.Table) -> ir.Table:
    """Sum events to one row per user, day and day of becoming known.

    Columns are KEYS, the measures and three that make a day whole however late some of its events came:
    ``active_days`` and ``purchase_days`` are 1 on the row by which the day first counts, so that their sum counts
    distinct days; ``spend_of_day_micros`` is the day's spend as far as known by the row, so that its maximum is
    that of whole days.
    """
    late = events.filter(events.known_on > events.day).select(*DAY_OF_USER).distinct()
    return _of_days_on_time(events).anti_join(late, DAY_OF_USER).union(_of_days_with_late(events, late))


def daily_category_hour_counts(events: ir.Table) -> ir.Table:
    """Count what a user's activity was about: one row per KEYS, ``dimension`` (category or hour) and its ``label``.

    ``row`` numbers the aggregates of the same day and ``known_on`` in the order of their users: whoever has read those
    need not read the users again.
    """
    about = events.filter(events.is_activity)
    found = ibis.union(
        _dimension(about.filter(about.item_category.notnull()), "category", lambda table: table.item_category),
        _dimension(about, "hour", lambda table: table.clock.hour()),
    )
    users = events.select(*KEYS).distinct()
    number = ibis.row_number().over(group_by=["day", "known_on"], order_by="user_id")
    found = found.inner_join(users.mutate(row=number.cast("int64")), KEYS)
    return found.select(*KEYS, "row", "dimension", "label", "events_count", "spend_micros")


def with_roles(events: ir.Table, treatments: ir.Table | None, roles: Roles) -> ir.Table:
    """Mark each event with its roles and the day it became known; treatments join as events of their own.

    ``clock`` is the local time of the event: a column of `events` where the engine has it at hand, else the instant
    itself, which an engine reads in the time zone of its session.
    """
    columns = ["user_id", "day", "event_name", "known_on", "amount", "discount", "item_category", "session_id"]
    clock = events.clock if "clock" in events.columns else events.occurred_at
    known_on = ibis.ifelse(
        events.received_at.isnull(), events.day, ibis.greatest(events.day, events.received_at.date())
    )
    rows = events.mutate(known_on=known_on).select(*columns, clock=clock, session_key=_session(events))
    rows = on_day_of_session(rows).drop("session_id")
    if treatments is not None:
        rows = rows.union(_as_events(treatments, rows))
    # one look at the name yields a whole number with one bit per role, which is cheaper than a list of names per role
    rows = rows.mutate(role_bits=rows.event_name.cases(*role_codes(roles).items(), else_=0).cast("int64"))
    flags = {f"is_{role}": (rows.role_bits & bit) != 0 for role, bit in role_bits(roles).items()}
    return rows.mutate(**flags).drop("role_bits")


def on_day_of_session(events: ir.Table) -> ir.Table:
    """Date what goes on after midnight with a session of the evening before, known by then, by that evening."""
    evening = events.filter((events.clock.hour() >= 18) & events.session_id.notnull())
    begun = evening.group_by("user_id", "session_id", evening_before="day").aggregate(
        first_known=evening.known_on.min()
    )
    keys = [
        events.user_id == begun.user_id,
        events.session_id == begun.session_id,
        events.day.delta(begun.evening_before, unit="day") == 1,
        begun.first_known <= events.known_on,
        events.clock.hour() < 6,
    ]
    found = events.left_join(begun, keys)
    return found.select(
        *(name for name in events.columns if name != "day"), day=found.evening_before.coalesce(found.day)
    )


def _session(events: ir.Table) -> ir.Value:
    """Name the session of an event; an event without one is a session of its own."""
    return ibis.coalesce(events.session_id, ibis.literal("event ") + events.event_id)


def _of_days_on_time(events: ir.Table) -> ir.Table:
    """Sum events of days of which nothing became known late: whatever is on a row is there for the first time."""
    rows = _sums(events.mutate(opens_session=events.is_activity, opens_basket=events.is_value))
    return rows.mutate(
        active_days=(rows.activity_count > 0).cast("int64"),
        purchase_days=(rows.purchases_count > 0).cast("int64"),
        spend_of_day_micros=rows.spend_micros,
    )


def _of_days_with_late(events: ir.Table, late: ir.Table) -> ir.Table:
    """Sum events of the days in `late`; a session, a basket and a day count on the row that makes them known first."""
    found = events.semi_join(late, DAY_OF_USER)
    rows = _sums(
        found.mutate(
            opens_session=_is_first(found, found.is_activity, *DAY_OF_USER, "session_key"),
            opens_basket=_is_first(found, found.is_value, *DAY_OF_USER, "session_key"),
        )
    )
    so_far = ibis.cumulative_window(group_by=list(DAY_OF_USER), order_by="known_on")
    return rows.mutate(
        active_days=_is_first(rows, rows.activity_count > 0, *DAY_OF_USER).cast("int64"),
        purchase_days=_is_first(rows, rows.purchases_count > 0, *DAY_OF_USER).cast("int64"),
        spend_of_day_micros=_whole(rows.spend_micros.sum().over(so_far)),
    )


def _sums(events: ir.Table) -> ir.Table:
    rows = events.group_by(*KEYS).aggregate(
        **{name: _whole(measure(events)) for name, measure in what_is_declared().measures.items()}
    )
    return rows.select(*KEYS, **{name: rows[name].fill_null(0) for name in what_is_declared().measures})


def _whole(value: ir.Value) -> ir.IntegerValue:
    # DuckDB sums BIGINT to HUGEINT, which Parquet would store as DOUBLE
    return cast(ir.IntegerValue, value.cast("float64").cast("int64"))


def _is_first(rows: ir.Table, happened: ir.BooleanValue, *keys: str) -> ir.BooleanValue:
    first = rows.known_on.min(where=happened).over(group_by=list(keys))
    return (happened & (rows.known_on == first)).fill_null(False)


def _dimension(events: ir.Table, dimension: str, label: Callable[[ir.Table], ir.Value]) -> ir.Table:
    spend = _whole(micros(events.amount).sum(where=events.is_value)).fill_null(0)
    rows = events.group_by(*KEYS, label=label(events)).aggregate(events_count=events.count(), spend_micros=spend)
    counts = {name: rows[name] for name in ("events_count", "spend_micros")}
    return rows.select(*KEYS, dimension=ibis.literal(dimension), label=rows.label.cast("string"), **counts)


def _as_events(treatments: ir.Table, events: ir.Table) -> ir.Table:
    given = treatments.filter(treatments.offer_id != "none")
    known: dict[str, ir.Value] = {
        "user_id": given.user_id,
        "day": given.day,
        "known_on": given.day,
        "event_name": ibis.literal(TREATMENT),
        "session_key": given.decision_id,
    }
    return given.select(
        **{name: known.get(name, ibis.null(events[name].type())).cast(events[name].type()) for name in events.columns}
    )


# each table of daily rows: how it is computed, and the order of its files
TABLES: dict[str, tuple[Callable[[ir.Table], ir.Table], tuple[str, ...]]] = {
    "category_hour_counts": (daily_category_hour_counts, ("known_on", "dimension", "user_id", "label")),
    "aggregates": (daily_aggregates, ("known_on", "user_id")),
}
