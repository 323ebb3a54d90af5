"""The state store: a checkpoint of the newest snapshot's state on disk, so that the next one starts from there.

A shard is the state of a range of users: a file of Arrow streams, each number as short as those of its shard allow.
Whoever has the data folder reads and writes shards alone, threads of one machine or Spark's. A checkpoint is no result:
where it does not fit what is known now, it is left aside and everything is computed from the daily rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from configs.progress import announce
from features.arrays.array_types import Array
from features.engine.category_state import CategoryCounts, CategoryState, Favourites, RollingMaximum
from features.publishing.manifest import DamagedError, check_file
from features.storage.lake import Lake
from features.storage.whole_writes import write_text

FOLDER, NOTES = "checkpoint", "notes.json"
WINDOWS, CATEGORIES, FAVOURITES = "windows", "categories", "favourites"
MOST_USERS = 131_072  # of a stored shard
SHORT = (np.int8, np.uint8, np.int16, np.int32)
PACKED = pa.ipc.IpcWriteOptions()


class CheckpointError(Exception):
    """A checkpoint cannot be read."""


@dataclass(frozen=True)
class StateShard:
    """State of a range of users, who are in order: window states, category state, and rolling maxima by column."""

    users: pa.Array
    states: Mapping[str, Array]
    categories: CategoryState
    maxima: Mapping[str, RollingMaximum]

    def cut(self, first: int, last: int) -> StateShard:
        """Take the users from place `first` to before `last`."""
        states = {name: values[first:last] for name, values in self.states.items()}
        maxima = {name: each.cut(first, last) for name, each in self.maxima.items()}
        return StateShard(self.users.slice(first, last - first), states, self.categories.cut(first, last), maxima)

    def batches(self) -> dict[str, pa.RecordBatch]:
        """Write it down, by name of the file."""
        rows, favourites = self.categories.rows, self.categories.favourites
        count = np.bincount(rows.user, minlength=len(self.users))
        labels = pa.DictionaryArray.from_arrays(_arrow(rows.label), self.categories.words)
        return {
            WINDOWS: pa.record_batch({"user_id": self.users} | _arrows(self.states)),
            CATEGORIES: pa.record_batch({"label": labels} | _arrows({"events": rows.events, "spend": rows.spend})),
            FAVOURITES: pa.record_batch(_arrows(favourites._asdict() | {"rows": count})),
            **{name: pa.record_batch(_arrows(vars(each))) for name, each in self.maxima.items()},
        }

    @classmethod
    def of(cls, batches: dict[str, pa.RecordBatch]) -> StateShard:
        """Read what `batches` wrote down."""
        states, categories, favourites = (batches.pop(name) for name in (WINDOWS, CATEGORIES, FAVOURITES))
        columns = {name: states[name].to_numpy() for name in states.schema.names[1:]}
        *found, count = (column.to_numpy() for column in favourites.columns)
        user = np.repeat(np.arange(len(count)), count)
        label, events, spend = categories.columns
        rows = CategoryCounts.of_any(user, *(column.to_numpy() for column in (label.indices, events, spend)))
        state = CategoryState(rows, label.dictionary, Favourites(*(values.astype(np.int32) for values in found)))
        maxima = {
            name: RollingMaximum(*(column.to_numpy().astype(np.int64) for column in batch.columns))
            for name, batch in batches.items()
        }
        return cls(states["user_id"], columns, state, maxima)


class ShardFile(NamedTuple):
    """A stored shard: its first user, its file, and the names of the streams in it, one after another."""

    first_user: str
    file: str
    streams: list[str]


@dataclass(frozen=True)
class Checkpoint:
    """Shards of the state at the start of `day`, which rests on what `known` names."""

    folder: Path
    day: date
    known: str
    shards: tuple[ShardFile, ...]

    @property
    def edges(self) -> list[str]:
        """First users of all shards but the first."""
        return [shard.first_user for shard in self.shards[1:]]

    def shard(self, number: int) -> StateShard:
        """Read a shard.

        Raises
        ------
        CheckpointError
            Its file is missing or damaged.
        """
        try:
            _, file, names = self.shards[number]
            check_file(self.folder.parent, f"{self.folder.name}/{file}")
            found, start = {}, 0
            for name in names:
                found[name], start = _read_stream(self.folder / file, start)
            return StateShard.of(found)
        except (OSError, ValueError, LookupError, DamagedError) as error:
            raise CheckpointError(f"shard {number} of {self.folder} cannot be read") from error


def read_checkpoint(lake: Lake) -> Checkpoint | None:
    """Find the checkpoint; None where there is none that can be read."""
    folder = lake.path(FOLDER)
    try:
        if not lake.files.exists(f"{FOLDER}/{NOTES}"):
            return None
        notes = json.loads(lake.files.read(f"{FOLDER}/{NOTES}"))
        shards = tuple(ShardFile(*shard) for shard in notes["shards"])
        return Checkpoint(folder, date.fromisoformat(notes["day"]), notes["known"], shards)
    except (OSError, ValueError, KeyError, TypeError, DamagedError):
        announce(f"{lake.path(FOLDER, NOTES)} is damaged, and the state of everybody is computed anew")
        return None


def write_shard(folder: Path, number: int, shard: StateShard) -> list[ShardFile]:
    """Write a shard, cut where it has more than `MOST_USERS`; returns its files, in order."""
    edges = np.linspace(0, len(shard.users), -(-len(shard.users) // MOST_USERS) + 1).astype(int).tolist()
    written = []
    for place, (first, last) in enumerate(pairwise(edges)):
        path, batches = folder / f"{number:05d}-{place:03d}.arrows", shard.cut(first, last).batches()
        with pa.OSFile(str(path), "wb") as sink:
            for batch in batches.values():
                with pa.ipc.new_stream(sink, batch.schema, options=PACKED) as stream:
                    stream.write_batch(batch)
        written.append(ShardFile(shard.users[first].as_py(), path.name, list(batches)))
    return written


def write_notes(folder: Path, day: date, known: str, shards: list[ShardFile]) -> None:
    """Say what the shards of a folder are: with it they are a checkpoint."""
    write_text(folder / NOTES, json.dumps({"day": str(day), "known": known, "shards": shards}))


def _read_stream(path: Path, start: int) -> tuple[pa.RecordBatch, int]:
    """Read the stream that starts at some byte of a file; returns where it stops, too."""
    with pa.memory_map(str(path)) as source:  # one map per stream, so that what was read can be let go
        source.seek(start)
        with pa.ipc.open_stream(source) as reader:
            (batch,) = reader
        return batch, source.tell()


def _arrows(columns: Mapping[str, Array]) -> dict[str, pa.Array]:
    return {name: _arrow(values) for name, values in columns.items()}


def _arrow(values: Array) -> pa.Array:
    low, high = values.min(initial=0), values.max(initial=0)
    fitting = (kind for kind in SHORT if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
    return pa.array(values.astype(next(fitting, values.dtype), copy=False))
