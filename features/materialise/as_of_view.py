"""The as-of view: every table of the lake as it stood at one moment, open for Ibis; nothing later can be reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from itertools import pairwise

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pyarrow as pa
from ibis.backends.duckdb import Backend

from configs.errors import InputError
from configs.settings import Settings
from features.arrays.calendar_days import start_of
from features.definitions.app_declarations import declarations_of
from features.definitions.registry import LONGEST, Declarations, Feature, trait_column
from features.definitions.watermark import known_before
from features.ingestion.contract import EVENTS, OF_EXPERIMENTS, TREATMENTS
from features.materialise.spark_executor import SparkEngine
from features.materialise.user_traits import user_traits
from features.storage.lake import USER_VERSIONS_FILE, USERS_FILE, Lake, literal
from features.tables.duckdb_sessions import duckdb_session, ibis_engine
from features.tables.parquet_files import count_rows

STRAYS = 0.05  # share of the events
_KINDS = {"text": "string", "instant": "timestamp('UTC', 6)", "number": "float64", "flag": "boolean"}
_NO_EVENTS = ibis.schema({**{column.name: _KINDS[column.kind] for column in EVENTS.columns}, "day": "date"})
_OF_EXPERIMENTS = {column.name: _KINDS[column.kind] for column in TREATMENTS.columns if column.name in OF_EXPERIMENTS}


@dataclass(frozen=True)
class AsOfView:
    """Contract tables and aggregates cut at the start of `as_of`; a file is opened when somebody asks for its table.

    `traits` maps columns of the users table to whether they are text; `users` carries them, each under the name that
    it has in a snapshot, and ``signed_up_on``.
    """

    settings: Settings
    lake: Lake
    as_of: date
    engine: Backend
    users: ir.Table
    traits: dict[str, bool]

    @cached_property
    def events(self) -> ir.Table:
        """Events that had arrived; none where experiments came without any."""
        if not has_events(self.lake):
            return self.engine.create_table("events", schema=_NO_EVENTS, temp=True, overwrite=True)
        events, start = self._rows("events"), start_of(self.as_of, self.settings.time_zone)
        arrived = ibis.coalesce(events.received_at, events.occurred_at)
        return events.filter(known_before(start, events.occurred_at, arrived))

    @cached_property
    def treatments(self) -> ir.Table | None:
        """Decisions that were carried out; None where there are none."""
        if not self.lake.days("treatments"):
            return None
        rows = self._rows("treatments")
        lacking = {name: kind for name, kind in _OF_EXPERIMENTS.items() if name not in rows.columns}
        return rows.mutate(**{name: ibis.null(kind) for name, kind in lacking.items()}) if lacking else rows

    @cached_property
    def aggregates(self) -> ir.Table:
        """Aggregates that had become known."""
        return self._daily_rows("aggregates")

    @cached_property
    def category_hour_counts(self) -> ir.Table:
        """Counts by category and hour that had become known."""
        return self._daily_rows("category_hour_counts")

    def _daily_rows(self, name: str) -> ir.Table:
        rows = self._rows(name)
        return rows.filter(known_before(self.as_of, rows.day, rows.known_on))

    def _rows(self, name: str) -> ir.Table:
        self.lake.require_whole(name)
        more = {"union_by_name": True} if name == "treatments" else {}  # older files lack what experiments say
        rows = self.engine.read_parquet(self.lake.glob(name), table_name=name, hive_partitioning=True, **more)
        return rows.filter(rows.day < self.as_of)

    def spine(self, days: list[date], name: str = "spine") -> ir.Table:
        """Spine (entity frame): snapshot days (``day``) and the instants at which they start (``as_of``)."""
        starts = [start_of(day, self.settings.time_zone) for day in days]
        rows = pa.table({"day": pa.array(days, pa.date32()), "as_of": pa.array(starts, pa.timestamp("us", "UTC"))})
        return self.engine.create_table(name, obj=rows, temp=True, overwrite=True)

    def collect(self, rows: ir.Table) -> pd.DataFrame:
        """Bring the rows of an expression into memory."""
        return self.engine.collect(rows) if isinstance(self.engine, SparkEngine) else rows.to_pandas()

    def collect_table(self, rows: ir.Table) -> pa.Table:
        """Bring the rows of an expression into memory as Arrow holds them, which takes less than a frame."""
        return self.engine.arrow(rows) if isinstance(self.engine, SparkEngine) else rows.to_pyarrow()

    def micros(self, instant: ir.TimestampValue) -> ir.IntegerValue:
        """Count microseconds from 1970: DuckDB counts anything else by the clock of its session, which is the app's."""
        name = "unix_micros" if isinstance(self.engine, SparkEngine) else "epoch_us"
        own: ir.IntegerValue = ibis.udf.scalar.builtin(_micros, name=name, signature=((instant.type(),), "int64"))(
            instant
        )
        return own

    @property
    def declared(self) -> Declarations:
        """What this app's snapshots hold, traits aside."""
        return declarations_of(self.settings)

    @property
    def features(self) -> list[Feature]:
        """The data catalogue with this history's traits."""
        return self.declared.catalogue(self.traits)

    @property
    def first_day(self) -> date:
        """First day of the history."""
        return first_event_day(self.lake, self.as_of)


def _micros(instant: ir.TimestampValue) -> ir.IntegerValue:
    """Stand for a function of the engine."""


@contextmanager
def open_as_of(settings: Settings, lake: Lake, as_of: date) -> Iterator[AsOfView]:
    """Open the lake as it stood at the start of `as_of`.

    Raises
    ------
    InputError
        Nothing was ingested or aggregated, or no event lies before `as_of`.
    """
    first_event_day(lake, as_of)
    if not lake.days("aggregates"):
        raise InputError(f"{lake.root} holds no daily aggregates; run winback build-features first")
    with _open_engine(settings) as engine:
        yield AsOfView(settings, lake, as_of, engine, *_users(engine, lake, settings, as_of))


def has_events(lake: Lake) -> bool:
    """Tell whether there is a history of events, or experiments alone, which say themselves what came of them."""
    return bool(lake.days("events")) or not lake.days("treatments")


def first_event_day(lake: Lake, as_of: date) -> date:
    """Find the first day of the history: that of the first event which is no stray.

    Strays are few events (`STRAYS` of all at most) before a pause that is longer than any window: clocks that were
    reset, not a beginning. Of experiments without events it is the day of the first treatment.

    Raises
    ------
    InputError
        There is no event at all, or none before `as_of`.
    """
    is_history = has_events(lake)
    days = lake.days("events" if is_history else "treatments")
    if not days:
        raise InputError(f"{lake.root} holds no events; run winback ingest first")
    if days[0] >= as_of:
        what = "event" if is_history else "treatment"
        raise InputError(
            f"no {what} lies before as_of = {as_of}; the history runs from {days[0]} to {days[-1]}, choose a later day"
        )
    if not is_history:
        return days[0]
    past = [day for day in days if day < as_of]
    starts = [place for place, (day, later) in enumerate(pairwise(past), 1) if (later - day).days > LONGEST]
    if not starts:
        return past[0]
    counts = np.cumsum([count_rows(lake.partition("events", day)) for day in past])
    return past[next((start for start in reversed(starts) if counts[start - 1] <= STRAYS * counts[-1]), 0)]


def stray_note(lake: Lake, as_of: date) -> list[str]:
    """Say which events are strays; nothing where there are none."""
    first = first_event_day(lake, as_of)
    strays = [day for day in lake.days("events") if day < first]
    if not strays:
        return []
    count = sum(count_rows(lake.partition("events", day)) for day in strays)
    return [
        f"{count:,} events on {len(strays):,} days from {strays[0]} to {strays[-1]} are no history: all others begin "
        f"on {first}, more than {LONGEST} days later; check the clocks that told them"
    ]


def grid_days(settings: Settings, lake: Lake, as_of: date, *, holdouts: tuple[int, ...]) -> list[date]:
    """Days that models learn from: every ``features.snapshot_every_days`` back from `as_of`, and each holdout's cut."""
    earliest = max(
        first_event_day(lake, as_of) + timedelta(days=settings.features.min_history_days),
        first_snapshot_kept(settings, as_of),
    )
    step = timedelta(days=settings.features.snapshot_every_days)
    grid = {as_of - step * index for index in range((as_of - earliest) // step + 1)}
    return sorted(grid | {cut for back in holdouts if (cut := as_of - timedelta(days=back)) >= earliest})


def first_snapshot_kept(settings: Settings, as_of: date) -> date:
    """Day before which no snapshot is kept, by ``retention.snapshots``."""
    kept = settings.retention.snapshots
    return date.min + timedelta(days=1) if kept is None else as_of - timedelta(days=kept)


def snapshot_days(settings: Settings, lake: Lake, as_of: date, *, holdouts: tuple[int, ...]) -> list[date]:
    """Days of which a snapshot is needed to train and score at `as_of`.

    They are `as_of` itself, the days of `grid_days` and every day on which a treatment was decided.
    """
    first = first_event_day(lake, as_of)
    if not has_events(lake):
        return sorted({as_of, *(day for day in lake.days("treatments") if day < as_of)})
    first = max(first, first_snapshot_kept(settings, as_of) - timedelta(days=1))
    treated = {day for day in lake.days("treatments") if first < day < as_of}
    return sorted({as_of, *grid_days(settings, lake, as_of, holdouts=holdouts)} | treated)


@contextmanager
def _open_engine(settings: Settings) -> Iterator[Backend]:
    if settings.engine == "spark":
        yield SparkEngine(settings)
        return
    with duckdb_session(settings) as connection:
        yield ibis_engine(connection, settings)


def _users(engine: Backend, lake: Lake, settings: Settings, as_of: date) -> tuple[ir.Table, dict[str, bool]]:
    lake.files.check(USERS_FILE, USER_VERSIONS_FILE)  # one that is gone is not the same as none
    path = lake.path(USERS_FILE)
    if not lake.files.exists(USERS_FILE):
        nobody = pa.table({"user_id": pa.array([], pa.string()), "signed_up_on": pa.array([], pa.date32())})
        return engine.create_table("users", obj=nobody, temp=True), {}
    users = engine.read_parquet(literal(path), table_name="users")
    traits = user_traits(lake, settings)
    columns = {
        trait_column(name): users[name].cast("string" if is_text else "float64") for name, is_text in traits.items()
    }
    signed_up = users.select("user_id", signed_up_on=users.signed_up_at.date())
    if "known_from" not in users.columns:
        return users.select("user_id", signed_up_on=users.signed_up_at.date(), **columns), traits
    versions = users.select("user_id", "known_from", **columns)
    if lake.files.exists(USER_VERSIONS_FILE):
        older = engine.read_parquet(literal(lake.path(USER_VERSIONS_FILE)), table_name="versions")
        older_columns = {
            trait_column(name): (older[name] if name in older.columns else ibis.null()).cast(
                "string" if is_text else "float64"
            )
            for name, is_text in traits.items()
        }
        versions = versions.union(older.select("user_id", "known_from", **older_columns))
    start = ibis.literal(start_of(as_of, settings.time_zone), type="timestamp('UTC', 6)")
    held = versions.filter(versions.known_from.fill_null(start) <= start)
    place = ibis.row_number().over(group_by="user_id", order_by=held.known_from.desc())
    newest = held.mutate(place=place).filter(lambda rows: rows.place == 0).drop("place", "known_from")
    return signed_up.left_join(newest, "user_id").drop("user_id_right"), traits
