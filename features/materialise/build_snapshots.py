"""Files of snapshots: each day computed once, a shard of users at a time, and again only when its input changed.

A snapshot starts from the checkpoint that the one before it left (`state_store`), where that still fits what is known.
Threads and Spark's machines build the same shards: either executor takes over from the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from configs.progress import announce, track
from features.definitions.app_declarations import definitions_of
from features.definitions.registry import Declarations
from features.definitions.watermark import known_before
from features.engine.snapshot_builder import SnapshotBuilder
from features.engine.state_store import (
    FOLDER,
    Checkpoint,
    CheckpointError,
    ShardFile,
    read_checkpoint,
    write_notes,
    write_shard,
)
from features.engine.window_state import changes
from features.materialise.executor import Batches, Executor, open_executor
from features.storage.lake import USER_VERSIONS_FILE, USERS_FILE, Lake
from features.storage.whole_writes import content_hash
from features.tables.code_version import code_version
from features.tables.fingerprints import (
    DAILY_TABLES,
    INPUT_HASH,
    Fingerprint,
    file_fingerprints,
    file_hashes,
    file_metadata,
    is_whole,
)
from features.tables.parquet_files import write_batches

if TYPE_CHECKING:
    from features.materialise.as_of_view import AsOfView


@dataclass(frozen=True)
class Lineage:
    """What the daily rows said by when: their files' fingerprints, by table and day, and how features are computed."""

    fingerprints: dict[str, dict[date, Fingerprint]]
    declarations: str

    @classmethod
    def of(cls, lake: Lake, declarations: str) -> Lineage:
        """Read the fingerprints of a lake."""
        with file_fingerprints(lake) as fingerprint_of:
            fingerprints = {
                name: {day: fingerprint_of(lake.partition(name, day)) for day in lake.days(name)}
                for name in DAILY_TABLES
            }
        return cls(fingerprints, declarations)

    def hash_before(self, day: date) -> str:
        """Name everything that was known by the start of a day."""
        known = (
            f"{name}{past}{known_on}{digest}"
            for name, fingerprints in self.fingerprints.items()
            for past, fingerprint in fingerprints.items()
            for known_on, digest in fingerprint.digests.items()
            if known_before(day, past, known_on)
        )
        return content_hash(text=self.declarations + "".join(known))


def build_snapshots(history: AsOfView, days: list[date]) -> list[date]:
    """Write the snapshot of each day whose input changed; returns the days that were computed."""
    lake = history.lake
    definitions = f"{history.traits}{history.settings.time_zone}{definitions_of(history.settings)}"
    lineage = Lineage.of(lake, code_version(__name__) + definitions)
    notes = _notes(history, lineage, days)
    paths = {day: lake.partition("snapshots", day) for day in days}
    stale = [
        day
        for day, path in paths.items()
        if file_metadata(path).get(INPUT_HASH) != notes[day][INPUT_HASH] or not is_whole(lake, path)
    ]
    if not stale:
        return []
    executor = open_executor(history.settings)
    for day in track(stale, "snapshots"):
        checkpoint = _fitting(read_checkpoint(lake), lineage, day, history.declared)
        try:
            _build(history, executor, lineage, day, checkpoint, notes[day])
        except CheckpointError as error:
            announce(f"{error}, and the state of everybody is computed anew")
            _build(history, executor, lineage, day, None, notes[day])
    return stale


def _build(
    history: AsOfView,
    executor: Executor,
    lineage: Lineage,
    day: date,
    checkpoint: Checkpoint | None,
    notes: dict[bytes, bytes],
) -> None:
    """Write a day's snapshot, and the checkpoint that the next one starts from."""
    lake, time_zone = history.lake, history.settings.time_zone
    builder = SnapshotBuilder(
        lake, day, time_zone, lineage.fingerprints["aggregates"], checkpoint, history.traits, history.declared
    )
    with lake.files.publish() as publication:
        folder = publication.folder(FOLDER)
        work, numbers = partial(_build_shard, builder, folder), range(len(builder.shards))
        shards: list[ShardFile] = []
        batches = _gathered(executor.batches(work, numbers, is_light=checkpoint is not None), shards)
        _write(batches, notes, publication.path(lake.partition_name("snapshots", day)))
        write_notes(folder, day, lineage.hash_before(day), shards)


def _build_shard(builder: SnapshotBuilder, folder: Path, number: int) -> tuple[list[ShardFile], list[pa.RecordBatch]]:
    """Build a shard where the data folder is seen, and keep its state for the next snapshot."""
    shard, batches = builder.build(number)
    return write_shard(folder, number, shard), batches


def _gathered(found: Iterable[tuple[list[ShardFile], Batches]], shards: list[ShardFile]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of all shards, in order, and note which files their states are in."""
    for files, batches in found:
        shards += files
        yield from batches


def _write(batches: Iterator[pa.RecordBatch], notes: dict[bytes, bytes], path: Path) -> None:
    first = next(batches)
    write_batches(chain([first], batches), first.schema.with_metadata(notes), path, key="user_id")


def _notes(history: AsOfView, lineage: Lineage, days: list[date]) -> dict[date, dict[bytes, bytes]]:
    """Hash what each snapshot rests on: the daily rows known by then, and those with the users table."""
    files = [name for name in (USERS_FILE, USER_VERSIONS_FILE) if history.lake.files.exists(name)]
    with file_hashes(history.lake) as hash_of:
        users = "".join(hash_of(history.lake.path(name)) for name in files)
    return {day: {INPUT_HASH: content_hash(text=users + lineage.hash_before(day)).encode()} for day in days}


def _fitting(checkpoint: Checkpoint | None, lineage: Lineage, day: date, declared: Declarations) -> Checkpoint | None:
    """Take the checkpoint if it still holds and spares work."""
    if checkpoint is None or checkpoint.day > day or checkpoint.known != lineage.hash_before(checkpoint.day):
        return None
    fingerprints = lineage.fingerprints["aggregates"]
    carried, anew = (changes(fingerprints, since, day, declared) for since in (checkpoint.day, None))
    return checkpoint if len(carried) < len(anew) else None
