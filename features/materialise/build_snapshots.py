"""Files of snapshots: each day computed once, a slice of users at a time, and again only when its input changed.

On one machine a snapshot starts from the states that the one before it left (`state_store`), where they still
fit what is known; Spark computes it from the expressions of `features.sql_oracle.snapshot_queries`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import pyarrow as pa

from configs.progress import track
from features.engine.snapshot_builder import Morning
from features.engine.state_store import CannotBeCarried, Carried, carry, read_carried
from features.engine.window_state import changes
from features.materialise.spark_executor import SparkEngine
from features.sql_oracle.snapshot_queries import snapshots
from features.storage.code_version import code_version
from features.storage.fingerprints import INPUT_HASH, Stamp, file_hashes, file_stamps, footer
from features.storage.lake import Lake, content_hash, write_batches

if TYPE_CHECKING:
    from features.materialise.as_of_view import History

DAILY = ("aggregates", "facets")


@dataclass(frozen=True)
class Past:
    """What the daily rows said by when: the stamps of their files, by table and day, and how features are computed."""

    stamps: dict[str, dict[date, Stamp]]
    declarations: str

    @classmethod
    def of(cls, lake: Lake, declarations: str) -> Past:
        """Read the stamps of a lake."""
        with file_stamps(lake) as stamp_of:
            stamps = {name: {day: stamp_of(lake.partition(name, day)) for day in lake.days(name)} for name in DAILY}
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
    past = Past.of(lake, f"{code_version(__name__)}{history.traits}{history.settings.time_zone}")
    notes = _notes(history, past, days)
    stale = [day for day in days if footer(lake.partition("snapshots", day)).get(INPUT_HASH) != notes[day][INPUT_HASH]]
    if stale and isinstance(history.engine, SparkEngine):
        rows = snapshots(history.aggregates, history.facets, history.users, history.moments(stale))
        history.engine.write_days(rows, ["user_id"], len(stale), partial(_write_pieces, lake, notes))
        return stale
    for day in track(stale, "snapshots"):
        carried = _fitting(read_carried(lake), past, day)
        try:
            _carry_on(history, past, day, carried, notes[day])
        except CannotBeCarried:
            _carry_on(history, past, day, None, notes[day])
    return stale


def _carry_on(history: History, past: Past, day: date, carried: Carried | None, notes: dict[bytes, bytes]) -> None:
    """Write a day's snapshot, and keep what the next one starts from."""
    settings, lake = history.settings, history.lake
    morning = Morning(lake, day, settings.time_zone, past.stamps["aggregates"], carried, history.traits)
    with carry(lake, day, past.hash_before(day)) as keep:
        _write(lake, notes, day, morning.snapshot(keep, settings.threads or os.cpu_count() or 1))


def _write(lake: Lake, notes: dict[bytes, bytes], day: date, batches: Iterator[pa.RecordBatch]) -> None:
    first = next(batches)
    schema = _in_utc(first.schema).with_metadata(notes)
    write_batches(chain([first], batches), schema, lake.partition("snapshots", day), key="user_id")


def _write_pieces(lake: Lake, notes: dict[date, dict[bytes, bytes]], day: date, pieces: Iterator[pa.Table]) -> None:
    """Write a day's snapshot where Spark has it."""
    _write(lake, notes[day], day, (batch for piece in pieces for batch in piece.to_batches()))


def _notes(history: History, past: Past, days: list[date]) -> dict[date, dict[bytes, bytes]]:
    """Hash what each snapshot rests on: the daily rows known by then, and those with the users table."""
    path = history.lake.path("users", "users.parquet")
    with file_hashes(history.lake) as hash_of:
        users = hash_of(path) if path.exists() else ""
    return {day: {INPUT_HASH: content_hash(text=users + past.hash_before(day)).encode()} for day in days}


def _fitting(carried: Carried | None, past: Past, day: date) -> Carried | None:
    """Take what was carried if it still holds and spares work."""
    if carried is None or carried.day > day or carried.known != past.hash_before(carried.day):
        return None
    stamps = past.stamps["aggregates"]
    return carried if len(changes(stamps, carried.day, day)) < len(changes(stamps, None, day)) else None


def _in_utc(schema: pa.Schema) -> pa.Schema:
    instant = pa.timestamp("us", "UTC")
    return pa.schema([field.with_type(instant) if pa.types.is_timestamp(field.type) else field for field in schema])
