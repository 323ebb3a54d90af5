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
from features.engine.snapshot_builder import SnapshotBuilder
from features.engine.state_store import Checkpoint, CheckpointError, read_checkpoint, write_checkpoint
from features.engine.window_state import changes
from features.materialise.spark_executor import SparkEngine
from features.sql_oracle.snapshot_queries import snapshots
from features.storage.code_version import code_version
from features.storage.fingerprints import INPUT_HASH, Fingerprint, file_fingerprints, file_hashes, file_metadata
from features.storage.lake import Lake
from features.storage.parquet_files import write_batches
from features.storage.whole_writes import content_hash

if TYPE_CHECKING:
    from features.materialise.as_of_view import AsOfView

DAILY = ("aggregates", "facets")


@dataclass(frozen=True)
class Lineage:
    """What the daily rows said by when: the stamps of their files, by table and day, and how features are computed."""

    fingerprints: dict[str, dict[date, Fingerprint]]
    declarations: str

    @classmethod
    def of(cls, lake: Lake, declarations: str) -> Lineage:
        """Read the stamps of a lake."""
        with file_fingerprints(lake) as fingerprint_of:
            fingerprints = {
                name: {day: fingerprint_of(lake.partition(name, day)) for day in lake.days(name)} for name in DAILY
            }
        return cls(fingerprints, declarations)

    def hash_before(self, day: date) -> str:
        """Name everything that was known by the start of a day."""
        known = (
            f"{name}{past}{known_on}{digest}"
            for name, fingerprints in self.fingerprints.items()
            for past, fingerprint in fingerprints.items()
            for known_on, digest in fingerprint.digests.items()
            if max(past, known_on) < day
        )
        return content_hash(text=self.declarations + "".join(known))


def build_snapshots(history: AsOfView, days: list[date]) -> list[date]:
    """Write the snapshot of each day whose input changed; returns the days that were computed."""
    lake = history.lake
    lineage = Lineage.of(lake, f"{code_version(__name__)}{history.traits}{history.settings.time_zone}")
    notes = _notes(history, lineage, days)
    stale = [
        day for day in days if file_metadata(lake.partition("snapshots", day)).get(INPUT_HASH) != notes[day][INPUT_HASH]
    ]
    if stale and isinstance(history.engine, SparkEngine):
        rows = snapshots(history.aggregates, history.facets, history.users, history.spine(stale))
        history.engine.write_days(rows, ["user_id"], len(stale), partial(_write_pieces, lake, notes))
        return stale
    for day in track(stale, "snapshots"):
        checkpoint = _fitting(read_checkpoint(lake), lineage, day)
        try:
            _carry_on(history, lineage, day, checkpoint, notes[day])
        except CheckpointError:
            _carry_on(history, lineage, day, None, notes[day])
    return stale


def _carry_on(
    history: AsOfView, lineage: Lineage, day: date, checkpoint: Checkpoint | None, notes: dict[bytes, bytes]
) -> None:
    """Write a day's snapshot, and keep what the next one starts from."""
    settings, lake = history.settings, history.lake
    morning = SnapshotBuilder(
        lake, day, settings.time_zone, lineage.fingerprints["aggregates"], checkpoint, history.traits
    )
    with write_checkpoint(lake, day, lineage.hash_before(day)) as keep:
        _write(lake, notes, day, morning.snapshot(keep, settings.threads or os.cpu_count() or 1))


def _write(lake: Lake, notes: dict[bytes, bytes], day: date, batches: Iterator[pa.RecordBatch]) -> None:
    first = next(batches)
    schema = _in_utc(first.schema).with_metadata(notes)
    write_batches(chain([first], batches), schema, lake.partition("snapshots", day), key="user_id")


def _write_pieces(lake: Lake, notes: dict[date, dict[bytes, bytes]], day: date, pieces: Iterator[pa.Table]) -> None:
    """Write a day's snapshot where Spark has it."""
    _write(lake, notes[day], day, (batch for piece in pieces for batch in piece.to_batches()))


def _notes(history: AsOfView, lineage: Lineage, days: list[date]) -> dict[date, dict[bytes, bytes]]:
    """Hash what each snapshot rests on: the daily rows known by then, and those with the users table."""
    path = history.lake.path("users", "users.parquet")
    with file_hashes(history.lake) as hash_of:
        users = hash_of(path) if path.exists() else ""
    return {day: {INPUT_HASH: content_hash(text=users + lineage.hash_before(day)).encode()} for day in days}


def _fitting(checkpoint: Checkpoint | None, lineage: Lineage, day: date) -> Checkpoint | None:
    """Take what was carried if it still holds and spares work."""
    if checkpoint is None or checkpoint.day > day or checkpoint.known != lineage.hash_before(checkpoint.day):
        return None
    fingerprints = lineage.fingerprints["aggregates"]
    return (
        checkpoint if len(changes(fingerprints, checkpoint.day, day)) < len(changes(fingerprints, None, day)) else None
    )


def _in_utc(schema: pa.Schema) -> pa.Schema:
    instant = pa.timestamp("us", "UTC")
    return pa.schema([field.with_type(instant) if pa.types.is_timestamp(field.type) else field for field in schema])
