"""Daily aggregates: what each user did on each day, computed once and again only for days that changed.

Rows are keyed by ``user_id, day, known_on``: an event that became known later than its day gets a row of its
own, so that a snapshot can leave out what was not known yet.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial
from typing import cast

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow as pa

from configs.progress import track
from configs.settings import Roles, Settings
from features.lake import Lake, content_hash, count_rows, duckdb_session, split_by_day
from features.measures import MEASURES, RARE_MEASURES, RARE_ROLES, TREATMENT, cents
from features.spark import SparkEngine
from features.stamps import file_hashes, write_stamped
from features.stamps import stored_input as stored_input

KEYS = ("user_id", "day", "known_on")
DAY_OF_USER = ("user_id", "day")
CHUNK_EVENTS = 600_000
EVENTS = ibis.schema(
    dict.fromkeys(("user_id", "event_name", "item_category", "session_id", "event_id"), "string")
    | dict.fromkeys(("occurred_at", "received_at"), "timestamp('UTC')")
    | {"day": "date", "clock": "timestamp", "amount": "float64", "discount": "float64"}
)
TREATMENTS = ibis.schema({"user_id": "string", "day": "date", "offer_id": "string", "decision_id": "string"})


def daily_aggregates(events: ir.Table) -> ir.Table:
    """Sum events to one row per user, day and day of becoming known.

    Columns are KEYS, MEASURES and three that make a day whole however late some of its events came:
    ``active_days`` and ``purchase_days`` are 1 on the row by which the day first counts, so that their sum counts
    distinct days; ``spend_of_day_cents`` is the day's spend as far as known by the row, so that its maximum is
    that of whole days.
    """
    late = events.filter(events.known_on > events.day).select(*DAY_OF_USER).distinct()
    return _of_days_on_time(events).anti_join(late, DAY_OF_USER).union(_of_days_with_late(events, late))


def daily_facets(events: ir.Table) -> ir.Table:
    """Count what a user's activity was about: one row per KEYS, ``facet`` (category or hour) and its ``label``."""
    about = events.filter(events.is_activity)
    return ibis.union(
        _facet(about.filter(about.item_category.notnull()), "category", lambda table: table.item_category),
        _facet(about, "hour", lambda table: table.clock.hour()),
    )


def with_roles(events: ir.Table, treatments: ir.Table | None, roles: Roles) -> ir.Table:
    """Mark each event with its roles and the day it became known; treatments join as events of their own.

    ``clock`` is the local time of the event: a column of `events` where the engine has it at hand, else the instant
    itself, which an engine reads in the time zone of its session.
    """
    columns = ["user_id", "day", "event_name", "received_at", "amount", "discount", "item_category"]
    clock = events.clock if "clock" in events.columns else events.occurred_at
    rows = events.select(*columns, clock=clock, session_key=ibis.coalesce(events.session_id, events.event_id))
    if treatments is not None:
        rows = rows.union(_as_events(treatments, rows))
    known_on = ibis.ifelse(rows.received_at.isnull(), rows.day, ibis.greatest(rows.day, rows.received_at.date()))
    # one look at the name yields a whole number with one bit per role, which is cheaper than a list of names per role
    named = {role: set(names) for role, names in roles} | {"rare": {TREATMENT}}
    named["rare"] = named["rare"].union(*(named[role] for role in RARE_ROLES))
    bits = {role: 1 << place for place, role in enumerate(named)}
    every = sorted(set().union(*named.values()))
    codes = {name: sum(bits[role] for role, names in named.items() if name in names) for name in every}
    rows = rows.mutate(known_on=known_on, role_bits=rows.event_name.cases(*codes.items(), else_=0).cast("int64"))
    return rows.mutate(**{f"is_{role}": (rows.role_bits & bit) != 0 for role, bit in bits.items()}).drop("role_bits")


def build_aggregates(settings: Settings, lake: Lake) -> list[date]:
    """Bring ``aggregates`` and ``facets`` up to date with the events; returns the days that were computed.

    A day is computed again when its events, its treatments or the declarations above changed. Each thread takes a few
    days at a time: their users fit the processor's cache, and a group-by of one thread keeps the order of the files.
    """
    stale = _stale_days(settings, lake)
    if stale and settings.engine == "spark":
        _build_on_spark(SparkEngine(settings), settings.roles, lake, stale)
        return sorted(stale)
    workers = settings.threads or os.cpu_count() or 1
    chunks = list(_chunks(lake, stale))
    queries = _queries(settings.roles)

    def compute(days: list[date]) -> None:
        with duckdb_session(settings, share_of=workers) as connection:
            _open_events(connection, settings, lake, days)
            for table, query in queries.items():
                _write_days(connection, lake, table, query, {day: stale[day] for day in days})

    with ThreadPoolExecutor(workers) as pool:
        for _ in track(pool.map(compute, chunks), "daily aggregates", total=len(chunks)):
            pass
    return sorted(stale)


def _of_days_on_time(events: ir.Table) -> ir.Table:
    """Sum events of days of which nothing became known late: whatever is on a row is there for the first time."""
    rows = _sums(events.mutate(opens_session=events.is_activity, opens_basket=events.is_value))
    return rows.mutate(
        active_days=(rows.activity_count > 0).cast("int64"),
        purchase_days=(rows.purchases_count > 0).cast("int64"),
        spend_of_day_cents=rows.spend_cents,
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
        spend_of_day_cents=_whole(rows.spend_cents.sum().over(so_far)),
    )


def _sums(events: ir.Table) -> ir.Table:
    few = events.filter(events.is_rare)
    usual = {name: _whole(function(events)) for name, function in MEASURES.items() if name not in RARE_MEASURES}
    rare = {name: _whole(MEASURES[name](few)) for name in MEASURES if name in RARE_MEASURES}
    rows = events.group_by(*KEYS).aggregate(**usual).left_join(few.group_by(*KEYS).aggregate(**rare), KEYS)
    return rows.select(*KEYS, **{name: rows[name].fill_null(0) for name in MEASURES})


def _whole(value: ir.Value) -> ir.IntegerValue:
    # DuckDB sums BIGINT to HUGEINT, which Parquet would store as DOUBLE
    return cast(ir.IntegerValue, value.cast("float64").cast("int64"))


def _is_first(rows: ir.Table, happened: ir.BooleanValue, *keys: str) -> ir.BooleanValue:
    first = rows.known_on.min(where=happened).over(group_by=list(keys))
    return (happened & (rows.known_on == first)).fill_null(False)


def _facet(events: ir.Table, facet: str, label: Callable[[ir.Table], ir.Value]) -> ir.Table:
    spend = _whole(cents(events.amount).sum(where=events.is_value)).fill_null(0)
    rows = events.group_by(*KEYS, label=label(events)).aggregate(events_count=events.count(), spend_cents=spend)
    counts = {name: rows[name] for name in ("events_count", "spend_cents")}
    return rows.select(*KEYS, facet=ibis.literal(facet), label=rows.label.cast("string"), **counts)


def _as_events(treatments: ir.Table, events: ir.Table) -> ir.Table:
    given = treatments.filter(treatments.offer_id != "none")
    known: dict[str, ir.Value] = {
        "user_id": given.user_id,
        "day": given.day,
        "event_name": ibis.literal(TREATMENT),
        "session_key": given.decision_id,
    }
    return given.select(
        **{name: known.get(name, ibis.null(events[name].type())).cast(events[name].type()) for name in events.columns}
    )


# each table of daily rows: how it is computed, and the order of its files
TABLES: dict[str, tuple[Callable[[ir.Table], ir.Table], tuple[str, ...]]] = {
    "facets": (daily_facets, ("known_on", "facet", "user_id", "label")),
    "aggregates": (daily_aggregates, ("known_on", "user_id")),
}


def _queries(roles: Roles) -> dict[str, str]:
    """Write the SQL of both tables for views named ``events`` and ``treatments``, each in the order of its file."""
    events = with_roles(ibis.table(EVENTS, name="events"), ibis.table(TREATMENTS, name="treatments"), roles)
    return {
        name: str(ibis.to_sql(table(events).order_by("day", *order), dialect="duckdb"))
        for name, (table, order) in TABLES.items()
    }


def _build_on_spark(engine: SparkEngine, roles: Roles, lake: Lake, stale: dict[date, str]) -> None:
    """Let Spark compute days; each is written where its rows are."""
    inputs = {}
    for name, schema in (("events", EVENTS), ("treatments", TREATMENTS)):
        paths = [path for day in stale if (path := lake.partition(name, day)).exists()]
        if paths:
            inputs[name] = engine.read_parquet(paths, table_name=name, hive_partitioning=True)
        else:
            inputs[name] = engine.create_table(name, obj=schema.to_pyarrow().empty_table())
    events = with_roles(inputs["events"], inputs["treatments"], roles)
    for name, (table, order) in TABLES.items():
        rows = table(events)
        written = engine.write_days(rows, order, len(stale), partial(_write_pieces, lake, name, stale))
        nothing = rows.schema().to_pyarrow().empty_table().drop_columns("day")
        for day in stale.keys() - written:
            write_stamped(nothing, lake.partition(name, day), stale[day])


def _write_pieces(lake: Lake, table: str, inputs: dict[date, str], day: date, pieces: Iterator[pa.Table]) -> None:
    write_stamped(pa.concat_tables(pieces).combine_chunks(), lake.partition(table, day), inputs[day])


def _stale_days(settings: Settings, lake: Lake) -> dict[date, str]:
    """Days whose stored rows do not rest on today's input, each with the hash of that input."""
    declarations = "".join(_queries(settings.roles).values()) + settings.time_zone
    stale = {}
    inputs = {table: set(lake.days(table)) for table in ("events", "treatments")}
    with file_hashes(lake) as hash_of:
        for day in sorted(set().union(*inputs.values())):
            hashes = [hash_of(lake.partition(table, day)) for table, days in inputs.items() if day in days]
            wanted = content_hash(text=declarations + "".join(hashes))
            if any(stored_input(lake.partition(table, day)) != wanted for table in ("facets", "aggregates")):
                stale[day] = wanted
    return stale


def _chunks(lake: Lake, days: Iterable[date]) -> Iterator[list[date]]:
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


def _open_events(connection: duckdb.DuckDBPyConnection, settings: Settings, lake: Lake, days: list[date]) -> None:
    """Put views on the files of some days; a table without any is empty."""
    # an instant of UTC is a clock time as it stands; every other zone costs a look into its rules
    clock = "make_timestamp(epoch_us(occurred_at))" if settings.time_zone == "UTC" else "occurred_at::TIMESTAMP"
    for table, schema, extra in (("events", EVENTS, f", {clock} AS clock"), ("treatments", TREATMENTS, "")):
        paths = [str(path) for day in days if (path := lake.partition(table, day)).exists()]
        if paths:
            connection.execute(
                f"CREATE TEMP VIEW {table} AS SELECT *{extra} FROM read_parquet({paths}, hive_partitioning = true)"
            )
        else:
            connection.register(table, schema.to_pyarrow().empty_table())


def _write_days(
    connection: duckdb.DuckDBPyConnection, lake: Lake, table: str, query: str, inputs: dict[date, str]
) -> None:
    reader = connection.execute(query).to_arrow_reader(1_000_000)
    nothing = reader.schema.remove(reader.schema.get_field_index("day")).empty_table()
    written = set()
    for day, rows in split_by_day(reader):
        write_stamped(rows, lake.partition(table, day), inputs[day])
        written.add(day)
    for day in inputs.keys() - written:
        write_stamped(nothing, lake.partition(table, day), inputs[day])
