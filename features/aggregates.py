"""Daily aggregates: what each user did on each day, computed once and again only for days that changed.

Rows are keyed by ``user_id, day, known_on``: an event that became known later than its day gets a row of its
own, so that a snapshot can leave out what was not known yet. Every measure is additive over rows. Money is
summed as integer cents, so that every engine gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from typing import cast

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from configs.progress import track
from configs.settings import Roles, Settings
from features.lake import Lake, content_hash, count_rows, duckdb_session, ibis_engine, split_by_day, write_parquet

Measure = Callable[[ir.Table], ir.IntegerScalar]
KEYS = ("user_id", "day", "known_on")
DAY_OF_USER = ("user_id", "day")
CHUNK_EVENTS = 4_000_000
TREATMENT = "winback:treatment"
INPUT_HASH = b"winback_input"

MEASURES: dict[str, Measure] = {}


def measure(function: Measure) -> Measure:
    """Declare a daily measure; its name is the column, its docstring the meaning."""
    MEASURES[function.__name__] = function
    return function


@measure
def activity_count(events: ir.Table) -> ir.IntegerScalar:
    """Events that show the user is here."""
    return events.count(where=events.is_activity)


@measure
def sessions_count(events: ir.Table) -> ir.IntegerScalar:
    """Sessions or baskets with activity."""
    return events.session_key.nunique(where=events.opens_session)


@measure
def purchases_count(events: ir.Table) -> ir.IntegerScalar:
    """Baskets paid for."""
    return events.session_key.nunique(where=events.opens_basket)


@measure
def items_count(events: ir.Table) -> ir.IntegerScalar:
    """Purchase lines."""
    return events.count(where=events.is_value)


@measure
def spend_cents(events: ir.Table) -> ir.IntegerScalar:
    """Money received for purchases."""
    return _cents(events.amount).sum(where=events.is_value)


@measure
def refund_cents(events: ir.Table) -> ir.IntegerScalar:
    """Money paid back, as a positive number."""
    return _cents(-events.amount).sum(where=events.is_refund)


@measure
def discount_cents(events: ir.Table) -> ir.IntegerScalar:
    """Money given away inside purchases."""
    return _cents(events.discount).sum(where=events.is_value)


@measure
def offer_discount_cents(events: ir.Table) -> ir.IntegerScalar:
    """Money given away through offers (part of the discount inside purchases)."""
    return _cents(events.discount).sum(where=events.is_offer_redeem)


@measure
def discounted_items_count(events: ir.Table) -> ir.IntegerScalar:
    """Purchase lines with a discount."""
    return events.count(where=events.is_value & (events.discount > 0))


@measure
def views_count(events: ir.Table) -> ir.IntegerScalar:
    """Items looked at."""
    return events.count(where=events.is_view)


@measure
def carts_count(events: ir.Table) -> ir.IntegerScalar:
    """Items put into the cart."""
    return events.count(where=events.is_cart)


@measure
def checkouts_count(events: ir.Table) -> ir.IntegerScalar:
    """Payments begun."""
    return events.count(where=events.is_checkout)


@measure
def onboarding_count(events: ir.Table) -> ir.IntegerScalar:
    """First steps completed."""
    return events.count(where=events.is_onboarding)


@measure
def messages_sent_count(events: ir.Table) -> ir.IntegerScalar:
    """Messages of ours received."""
    return events.count(where=events.is_message_sent)


@measure
def messages_opened_count(events: ir.Table) -> ir.IntegerScalar:
    """Messages of ours opened."""
    return events.count(where=events.is_message_opened)


@measure
def treatments_count(events: ir.Table) -> ir.IntegerScalar:
    """Offers given."""
    return events.count(where=events.event_name == TREATMENT)


@measure
def redemptions_count(events: ir.Table) -> ir.IntegerScalar:
    """Offers used."""
    return events.count(where=events.is_offer_redeem)


@measure
def payment_failures_count(events: ir.Table) -> ir.IntegerScalar:
    """Payments that failed."""
    return events.count(where=events.is_payment_failure)


@measure
def cancellations_count(events: ir.Table) -> ir.IntegerScalar:
    """Contracts ended."""
    return events.count(where=events.is_cancellation)


def daily_aggregates(events: ir.Table) -> ir.Table:
    """Sum events to one row per user, day and day of becoming known.

    Columns are KEYS, MEASURES and three that make a day whole however late some of its events came:
    ``active_days`` and ``purchase_days`` are 1 on the row by which the day first counts, so that their sum counts
    distinct days; ``spend_of_day_cents`` is the day's spend as far as known by the row, so that its maximum is
    that of whole days.
    """
    sums = {name: _whole(function(events)).fill_null(0) for name, function in MEASURES.items()}
    rows = events.group_by(*KEYS).aggregate(**sums)
    so_far = ibis.cumulative_window(group_by=list(DAY_OF_USER), order_by="known_on")
    return rows.mutate(
        active_days=_is_first(rows, rows.activity_count > 0, *DAY_OF_USER).cast("int64"),
        purchase_days=_is_first(rows, rows.purchases_count > 0, *DAY_OF_USER).cast("int64"),
        spend_of_day_cents=_whole(rows.spend_cents.sum().over(so_far)),
    )


def daily_facets(events: ir.Table) -> ir.Table:
    """Count what a user's activity was about: one row per KEYS, ``facet`` (category or hour) and its ``label``."""
    about = events.filter(events.is_activity)
    return ibis.union(
        _facet(about.filter(about.item_category.notnull()), "category", lambda table: table.item_category),
        _facet(about, "hour", lambda table: table.occurred_at.hour().cast("string")),
    )


def with_roles(events: ir.Table, treatments: ir.Table | None, roles: Roles) -> ir.Table:
    """Mark each event with its roles and the day it became known; treatments join as events of their own."""
    columns = ["user_id", "day", "event_name", "occurred_at", "received_at", "amount", "discount", "item_category"]
    rows = events.select(*columns, session_key=ibis.coalesce(events.session_id, events.event_id))
    if treatments is not None:
        rows = rows.union(_as_events(treatments, rows))
    known_on = ibis.greatest(rows.day, ibis.coalesce(rows.received_at, rows.occurred_at).date())
    flags = {f"is_{role}": rows.event_name.isin(names) for role, names in roles if names}
    flags |= {f"is_{role}": ibis.literal(False) for role, names in roles if not names}
    marked = rows.mutate(known_on=known_on, **flags)
    # a session counts once, on the row by which it first became known
    return marked.mutate(
        opens_session=_is_first(marked, marked.is_activity, *DAY_OF_USER, "session_key"),
        opens_basket=_is_first(marked, marked.is_value, *DAY_OF_USER, "session_key"),
    )


def build_aggregates(settings: Settings, lake: Lake) -> list[date]:
    """Bring ``aggregates`` and ``facets`` up to date with the events; returns the days that were computed.

    A day is computed again when its events, its treatments or the declarations above changed.
    """
    stale = _stale_days(settings, lake)
    with duckdb_session(settings) as connection:
        for chunk in track(list(_chunks(lake, list(stale))), "daily aggregates"):
            events = _events_of(connection, settings, lake, chunk)
            for table, query in (("facets", daily_facets(events)), ("aggregates", daily_aggregates(events))):
                _write_days(connection, lake, table, query, {day: stale[day] for day in chunk})
    return sorted(stale)


def _cents(amount: ir.Value) -> ir.IntegerColumn:
    return cast(ir.IntegerColumn, (amount * 100.0).round().cast("int64"))


def _whole(value: ir.Value) -> ir.IntegerValue:
    # DuckDB sums BIGINT to HUGEINT, which Parquet would store as DOUBLE
    return cast(ir.IntegerValue, value.cast("float64").cast("int64"))


def _is_first(rows: ir.Table, happened: ir.BooleanValue, *keys: str) -> ir.BooleanValue:
    first = rows.known_on.min(where=happened).over(group_by=list(keys))
    return (happened & (rows.known_on == first)).fill_null(False)


def _facet(events: ir.Table, facet: str, label: Callable[[ir.Table], ir.Value]) -> ir.Table:
    rows = events.mutate(facet=ibis.literal(facet), label=label(events))
    spend = _whole(_cents(rows.amount).sum(where=rows.is_value)).fill_null(0)
    return rows.group_by(*KEYS, "facet", "label").aggregate(events_count=rows.count(), spend_cents=spend)


def _as_events(treatments: ir.Table, events: ir.Table) -> ir.Table:
    given = treatments.filter(treatments.offer_id != "none")
    known: dict[str, ir.Value] = {
        "user_id": given.user_id,
        "day": given.day,
        "event_name": ibis.literal(TREATMENT),
        "occurred_at": given.decided_at,
        "session_key": given.decision_id,
    }
    return given.select(
        **{name: known.get(name, ibis.null(events[name].type())).cast(events[name].type()) for name in events.columns}
    )


def _stale_days(settings: Settings, lake: Lake) -> dict[date, str]:
    """Days whose stored rows do not rest on today's input, each with the hash of that input."""
    declarations = (
        str(ibis.to_sql(daily_aggregates(with_roles(_empty_events(), None, settings.roles)))) + settings.time_zone
    )
    stale = {}
    for day in sorted({*lake.days("events"), *lake.days("treatments")}):
        inputs = [path for path in (lake.partition(table, day) for table in ("events", "treatments")) if path.exists()]
        wanted = content_hash(*inputs, text=declarations)
        if any(stored_input(lake.partition(table, day)) != wanted for table in ("facets", "aggregates")):
            stale[day] = wanted
    return stale


def stored_input(path: object) -> str | None:
    """Hash of the input that a stored file was computed from, None where there is no file."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (FileNotFoundError, pa.ArrowInvalid):
        return None
    return cast(bytes, metadata.get(INPUT_HASH, b"")).decode()


def _empty_events() -> ir.Table:
    text = ("user_id", "event_name", "item_category", "session_id", "event_id")
    instants = ("occurred_at", "received_at")
    schema = dict.fromkeys(text, "string") | dict.fromkeys(instants, "timestamp('UTC')")
    return ibis.table(schema | {"day": "date", "amount": "float64", "discount": "float64"}, name="events")


def _chunks(lake: Lake, days: list[date]) -> Iterator[list[date]]:
    chunk: list[date] = []
    size = 0
    for day in days:
        path = lake.partition("events", day)
        rows = count_rows(path) if path.exists() else 0
        if chunk and size + rows > CHUNK_EVENTS:
            yield chunk
            chunk, size = [], 0
        chunk.append(day)
        size += rows
    if chunk:
        yield chunk


def _events_of(connection: duckdb.DuckDBPyConnection, settings: Settings, lake: Lake, days: list[date]) -> ir.Table:
    engine = ibis_engine(connection, settings)
    files = {
        table: [str(path) for day in days if (path := lake.partition(table, day)).exists()]
        for table in ("events", "treatments")
    }
    tables = {table: engine.read_parquet(paths, hive_partitioning=True) for table, paths in files.items() if paths}
    if "events" not in tables:
        tables["events"] = engine.create_table("no_events", schema=_empty_events().schema(), temp=True, overwrite=True)
    return with_roles(tables["events"], tables.get("treatments"), settings.roles)


def _write_days(
    connection: duckdb.DuckDBPyConnection, lake: Lake, table: str, query: ir.Table, inputs: dict[date, str]
) -> None:
    order = ["day", *(name for name in query.columns if name != "day")]
    reader = connection.execute(
        f"SELECT * FROM ({ibis.to_sql(query, dialect='duckdb')}) ORDER BY {', '.join(order)}"
    ).to_arrow_reader(1_000_000)
    nothing = reader.schema.remove(reader.schema.get_field_index("day")).empty_table()
    written = set()
    for day, rows in split_by_day(reader):
        _write_day(lake, table, day, rows, inputs[day])
        written.add(day)
    for day in inputs.keys() - written:
        _write_day(lake, table, day, nothing, inputs[day])


def _write_day(lake: Lake, table: str, day: date, rows: pa.Table, wanted: str) -> None:
    write_parquet(rows.replace_schema_metadata({INPUT_HASH: wanted.encode()}), lake.partition(table, day))
