"""Files of snapshots: each day computed once, a slice of users at a time, and again only when its input changed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from itertools import chain, pairwise
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from configs.progress import track
from features.lake import Lake, content_hash, count_rows, sql_text, write_batches
from features.snapshots import TASTE_DAYS, snapshots
from features.spark import SparkEngine
from features.stamps import INPUT_HASH, Stamp, file_hashes, footer, read_stamp

if TYPE_CHECKING:
    from features.history import History

# daily rows of a slice: its users fit the memory with everything that is summed about them
ROWS_AT_ONCE = 4_000_000
DAILY = ("aggregates", "facets")
MOMENTS = ibis.schema({"day": "date", "as_of": "timestamp('UTC', 6)"})


@dataclass(frozen=True)
class Past:
    """What the daily rows said by when: the stamps of their files, by table and day, and how features are computed."""

    stamps: dict[str, dict[date, Stamp]]
    declarations: str

    @classmethod
    def of(cls, lake: Lake, declarations: str) -> Past:
        """Read the stamps of a lake."""
        stamps = {name: {day: read_stamp(lake.partition(name, day)) for day in lake.days(name)} for name in DAILY}
        return cls(stamps, declarations)

    def hash_before(self, day: date) -> str:
        """Name everything that was known by the start of a day."""
        known = (
            f"{name}{past}{known_on}{digest}"
            for name, stamps in self.stamps.items()
            for past, stamp in stamps.items()
            for known_on, digest in stamp.digests.items()
            if max(past, known_on) < day
        )
        return content_hash(text=self.declarations + "".join(known))


def build_snapshots(history: History, days: list[date]) -> list[date]:
    """Write the snapshot of each day whose input changed; returns the days that were computed."""
    lake = history.lake
    query = _query(history)
    past = Past.of(lake, query + history.settings.time_zone)
    notes = _notes(history, past, days)
    stale = [day for day in days if footer(lake.partition("snapshots", day)).get(INPUT_HASH) != notes[day][INPUT_HASH]]
    if stale and isinstance(history.engine, SparkEngine):
        rows = snapshots(history.aggregates, history.facets, history.users, history.moments(stale))
        history.engine.write_days(rows, ["user_id"], len(stale), partial(_write_pieces, lake, notes))
        return stale
    for day in track(stale, "snapshots"):
        _write(lake, notes, day, _computed(history, day, query))
    return stale


def _write(lake: Lake, notes: dict[date, dict[bytes, bytes]], day: date, batches: Iterator[pa.RecordBatch]) -> None:
    first = next(batches)
    schema = _in_utc(first.schema).with_metadata(notes[day])
    write_batches(chain([first], batches), schema, lake.partition("snapshots", day))


def _write_pieces(lake: Lake, notes: dict[date, dict[bytes, bytes]], day: date, pieces: Iterator[pa.Table]) -> None:
    """Write a day's snapshot where Spark has it."""
    _write(lake, notes, day, (batch for piece in pieces for batch in piece.to_batches()))


def _notes(history: History, past: Past, days: list[date]) -> dict[date, dict[bytes, bytes]]:
    """Hash what each snapshot rests on: the daily rows known by then, and those with the users table."""
    path = history.lake.path("users", "users.parquet")
    with file_hashes(history.lake) as hash_of:
        users = hash_of(path) if path.exists() else ""
    return {day: {INPUT_HASH: content_hash(text=users + past.hash_before(day)).encode()} for day in days}


def _query(history: History) -> str:
    """Write the SQL of a snapshot from the daily rows, over the views of `_open_slice`."""
    rows, facets, users = (_view(name, getattr(history, name)) for name in (*DAILY, "users"))
    return _sql(snapshots(rows, facets, users, ibis.table(MOMENTS, name="slice_moments")))


def _view(name: str, like: ir.Table) -> ir.Table:
    return ibis.table(like.schema(), name=f"slice_{name}")


def _sql(snapshot: ir.Table) -> str:
    return str(ibis.to_sql(snapshot.order_by("user_id").drop("day"), dialect="duckdb"))


def _computed(history: History, day: date, query: str) -> Iterator[pa.RecordBatch]:
    """Compute a day slice by slice, in the order of the users."""
    history.moments([day], name="slice_moments")
    for low, high in pairwise([None, *_edges(history.lake, day), None]):
        _open_slice(history, day, low, high)
        yield from history.engine.con.execute(query).to_arrow_reader(200_000)


def _edges(lake: Lake, day: date) -> list[str]:
    """Cut the users into slices of about `ROWS_AT_ONCE` daily rows, by the users of the latest day with any."""
    paths = [lake.partition("aggregates", past) for past in lake.days("aggregates") if past < day]
    slices = math.ceil(sum(map(count_rows, paths)) / ROWS_AT_ONCE)
    latest = next((path for path in reversed(paths) if count_rows(path)), None)
    if latest is None or slices < 2:
        return []
    users = sorted(set(pq.ParquetFile(latest).read(columns=["user_id"])["user_id"].to_pylist()))
    return sorted({users[len(users) * number // slices] for number in range(1, slices)})


def _open_slice(history: History, day: date, low: str | None, high: str | None) -> None:
    """Put views on what was known before a day of the users from `low` to before `high`."""
    lake = history.lake
    mine = [f"user_id >= {sql_text(low)}"] * (low is not None) + [f"user_id < {sql_text(high)}"] * (high is not None)
    known = [f"day < DATE '{day}'", f"known_on < DATE '{day}'", *mine]

    files = {name: f"read_parquet({sql_text(lake.glob(name))}, hive_partitioning = true)" for name in DAILY}
    views = {
        "aggregates": (files["aggregates"], known),
        "facets": (files["facets"], [*known, f"day >= DATE '{day - timedelta(days=TASTE_DAYS)}'"]),
        "users": (f"({ibis.to_sql(history.users, dialect='duckdb')})", mine),
    }
    for name, (source, filters) in views.items():
        where = " AND ".join(filters or ["true"])
        history.engine.con.execute(f"CREATE OR REPLACE TEMP VIEW slice_{name} AS SELECT * FROM {source} WHERE {where}")


def _in_utc(schema: pa.Schema) -> pa.Schema:
    instant = pa.timestamp("us", "UTC")
    return pa.schema([field.with_type(instant) if pa.types.is_timestamp(field.type) else field for field in schema])
