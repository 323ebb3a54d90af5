"""History: every table of the lake as it stood at one moment, open for Ibis; nothing later can be reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow as pa
from ibis.backends.duckdb import Backend

from configs.errors import InputError
from configs.progress import track
from configs.settings import Settings
from features.aggregates import INPUT_HASH, stored_input
from features.columns import Feature, catalogue
from features.contract import AUDIT_ONLY, USERS
from features.lake import Lake, content_hash, duckdb_session, ibis_engine, split_by_day, write_parquet
from features.snapshots import snapshots, start_of

TRAITS_OF_THE_CONTRACT = ("country", "device", "acquisition_source", "language")
PAIRS_AT_ONCE = 40_000_000


@dataclass(frozen=True)
class History:
    """Contract tables and aggregates cut at the start of `as_of`.

    `traits` maps each trait's column to whether it is text; `users` carries those columns and ``signed_up_on``.
    """

    settings: Settings
    lake: Lake
    as_of: date
    engine: Backend
    events: ir.Table
    treatments: ir.Table | None
    aggregates: ir.Table
    facets: ir.Table
    users: ir.Table
    traits: dict[str, bool]

    def moments(self, days: list[date]) -> ir.Table:
        """Table of snapshot days (``day``) and the instants at which they start (``as_of``)."""
        starts = [start_of(day, self.settings.time_zone) for day in days]
        rows = pa.table({"day": pa.array(days, pa.date32()), "as_of": pa.array(starts, pa.timestamp("us", "UTC"))})
        return self.engine.create_table("moments", obj=rows, temp=True, overwrite=True)

    @property
    def features(self) -> list[Feature]:
        """The data catalogue with this history's traits."""
        return catalogue(self.traits)

    @property
    def first_day(self) -> date:
        """First day with an event."""
        return first_event_day(self.lake, self.as_of)


@contextmanager
def open_history(settings: Settings, lake: Lake, as_of: date) -> Iterator[History]:
    """Open the lake as it stood at the start of `as_of`.

    Raises
    ------
    InputError
        Nothing was ingested or aggregated, or no event lies before `as_of`.
    """
    first_event_day(lake, as_of)
    if not lake.days("aggregates"):
        raise InputError(f"{lake.root} holds no daily aggregates; run winback build-features first")
    with duckdb_session(settings) as connection:
        engine = ibis_engine(connection, settings)
        tables = {name: _cut(connection, engine, lake, name, as_of) for name in ("aggregates", "facets")}
        users, traits = _users(engine, lake, settings)
        start = start_of(as_of, settings.time_zone)
        events = engine.read_parquet(lake.glob("events"), table_name="events", hive_partitioning=True)
        treatments = (
            engine.read_parquet(lake.glob("treatments"), table_name="treatments", hive_partitioning=True)
            if lake.days("treatments")
            else None
        )
        yield History(
            settings, lake, as_of, engine,
            events=events.filter(events.day < as_of, ibis.coalesce(events.received_at, events.occurred_at) < start),
            treatments=None if treatments is None else treatments.filter(treatments.day < as_of),
            users=users, traits=traits, **tables,
        )  # fmt: skip


def first_event_day(lake: Lake, as_of: date) -> date:
    """Find the first day with an event.

    Raises
    ------
    InputError
        There is no event at all, or none before `as_of`.
    """
    days = lake.days("events")
    if not days:
        raise InputError(f"{lake.root} holds no events; run winback ingest first")
    if days[0] >= as_of:
        raise InputError(
            f"no event lies before as_of = {as_of}; the history runs from {days[0]} to {days[-1]}, choose a later day"
        )
    return days[0]


def grid_days(settings: Settings, lake: Lake, as_of: date, *, holdouts: tuple[int, ...]) -> list[date]:
    """Days that models learn from: every ``features.snapshot_every_days`` back from `as_of`, and each holdout's cut."""
    earliest = first_event_day(lake, as_of) + timedelta(days=settings.features.min_history_days)
    step = timedelta(days=settings.features.snapshot_every_days)
    grid = {as_of - step * index for index in range((as_of - earliest) // step + 1)}
    return sorted(grid | {cut for back in holdouts if (cut := as_of - timedelta(days=back)) >= earliest})


def snapshot_days(settings: Settings, lake: Lake, as_of: date, *, holdouts: tuple[int, ...]) -> list[date]:
    """Days of which a snapshot is needed to train and score at `as_of`.

    They are `as_of` itself, the days of `grid_days` and every day on which a treatment was decided.
    """
    first = first_event_day(lake, as_of)
    treated = {day for day in lake.days("treatments") if first < day < as_of}
    return sorted({as_of, *grid_days(settings, lake, as_of, holdouts=holdouts)} | treated)


def build_snapshots(history: History, days: list[date]) -> list[date]:
    """Write the snapshot of each day whose input changed; returns the days that were computed."""
    tables = history.aggregates, history.facets, history.users
    query = str(ibis.to_sql(snapshots(*tables, history.moments(days)).order_by("day", "user_id"), dialect="duckdb"))
    wanted = _inputs_of(history, days, query)
    stale = [day for day in days if stored_input(history.lake.partition("snapshots", day)) != wanted[day]]
    rows = max(1, int(history.facets.count().execute()))
    size = max(1, PAIRS_AT_ONCE // rows)
    chunks = [stale[start : start + size] for start in range(0, len(stale), size)]
    for chunk in track(chunks, "snapshots"):
        history.moments(chunk)  # the query reads this table by its name
        for day, table in split_by_day(history.engine.con.execute(query).to_arrow_reader(500_000)):
            write_parquet(
                table.replace_schema_metadata({INPUT_HASH: wanted[day].encode()}),
                history.lake.partition("snapshots", day),
            )
    return stale


def _cut(connection: duckdb.DuckDBPyConnection, engine: Backend, lake: Lake, name: str, as_of: date) -> ir.Table:
    connection.execute(
        f"CREATE TEMP TABLE {name} AS SELECT * FROM read_parquet($2, hive_partitioning = true) "
        "WHERE day < $1 AND known_on < $1",
        [as_of, lake.glob(name)],
    )
    return engine.table(name)


def _users(engine: Backend, lake: Lake, settings: Settings) -> tuple[ir.Table, dict[str, bool]]:
    path = lake.path("users", "users.parquet")
    if not path.exists():
        nobody = pa.table({"user_id": pa.array([], pa.string()), "signed_up_on": pa.array([], pa.date32())})
        return engine.create_table("users", obj=nobody, temp=True), {}
    users = engine.read_parquet(path, table_name="users")
    kinds = {name: is_text for name in users.columns if (is_text := _trait(users, name, settings)) is not None}
    columns = {f"trait_{name}": users[name].cast("string" if is_text else "float64") for name, is_text in kinds.items()}
    traits = {f"trait_{name}": is_text for name, is_text in kinds.items()}
    return users.select("user_id", signed_up_on=users.signed_up_at.date(), **columns), traits


def _trait(users: ir.Table, name: str, settings: Settings) -> bool | None:
    """Tell whether a trait is text (True) or a number (False); None where it is no feature."""
    if name in AUDIT_ONLY or (name in USERS.names and name not in TRAITS_OF_THE_CONTRACT):
        return None
    column = users[name]
    values = int(column.nunique().execute())
    if values < 2 or (column.type().is_string() and values > settings.features.max_trait_values):
        return None
    if column.type().is_string():
        return True
    return False if column.type().is_numeric() or column.type().is_boolean() else None


def _inputs_of(history: History, days: list[date], query: str) -> dict[date, str]:
    """Hash of everything each snapshot rests on: the aggregates before it, the users, the query."""
    stored = [
        (past, stored_input(history.lake.partition("aggregates", past)) or "")
        for past in history.lake.days("aggregates")
    ]
    users = [path] if (path := history.lake.path("users", "users.parquet")).exists() else []
    fixed = content_hash(*users, text=query + history.settings.time_zone)
    return {day: content_hash(text=fixed + "".join(text for past, text in stored if past < day)) for day in days}
