"""What the newest snapshot left about all users, on disk, so that the next one starts from there.

Files of Arrow streams, one stream per slice of users, in order, each number as short as those of its slice allow. They
are no result: where they do not fit what is known now, they are left aside and everything is computed from the daily
rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from features.arrays.array_types import Array
from features.engine.category_state import CategoryCounts, CategoryState, Favourites, RollingMaximum
from features.storage.lake import Lake
from features.storage.whole_writes import whole_folder, write_text

FOLDER, NOTES = "carried", "notes.json"
STATES, TASTES, FAVOURITES = "states", "tastes", "favourites"
MOST_USERS = 131_072  # of a slice
SHORT = (np.int8, np.uint8, np.int16, np.int32)
PACKED = pa.ipc.IpcWriteOptions()


class CheckpointError(Exception):
    """What was carried cannot be read."""


@dataclass(frozen=True)
class StateShard:
    """What is known about a range of users, who are in order: columns of states, tastes, and peaks by column."""

    users: pa.Array
    states: Mapping[str, Array]
    tastes: CategoryState
    peaks: Mapping[str, RollingMaximum]

    def cut(self, first: int, last: int) -> StateShard:
        """Take the users from place `first` to before `last`."""
        states = {name: values[first:last] for name, values in self.states.items()}
        peaks = {name: each.cut(first, last) for name, each in self.peaks.items()}
        return StateShard(self.users.slice(first, last - first), states, self.tastes.cut(first, last), peaks)

    def batches(self) -> dict[str, pa.RecordBatch]:
        """Write it down, by name of the file."""
        rows, favourites = self.tastes.rows, self.tastes.favourites
        count = np.bincount(rows.user, minlength=len(self.users))
        labels = pa.DictionaryArray.from_arrays(_arrow(rows.label), self.tastes.words)
        return {
            STATES: pa.record_batch({"user_id": self.users} | _arrows(self.states)),
            TASTES: pa.record_batch({"label": labels} | _arrows({"events": rows.events, "spend": rows.spend})),
            FAVOURITES: pa.record_batch(_arrows(favourites._asdict() | {"rows": count})),
            **{name: pa.record_batch(_arrows(vars(each))) for name, each in self.peaks.items()},
        }

    @classmethod
    def of(cls, batches: dict[str, pa.RecordBatch]) -> StateShard:
        """Read what `batches` wrote down."""
        states, tastes, favourites = (batches.pop(name) for name in (STATES, TASTES, FAVOURITES))
        columns = {name: states[name].to_numpy() for name in states.schema.names[1:]}
        *found, count = (column.to_numpy() for column in favourites.columns)
        user = np.repeat(np.arange(len(count)), count)
        label, events, spend = tastes.columns
        rows = CategoryCounts.of_any(user, *(column.to_numpy() for column in (label.indices, events, spend)))
        taste = CategoryState(rows, label.dictionary, Favourites(*(values.astype(np.int32) for values in found)))
        peaks = {
            name: RollingMaximum(*(column.to_numpy().astype(np.int64) for column in batch.columns))
            for name, batch in batches.items()
        }
        return cls(states["user_id"], columns, taste, peaks)


@dataclass(frozen=True)
class Checkpoint:
    """Slices of the morning of `day`, which rest on what `known` names; `edges` are the first users of all but one."""

    folder: Path
    day: date
    known: str
    edges: tuple[str, ...]
    files: tuple[str, ...]

    def shards(self) -> Iterator[StateShard]:
        """Read slice by slice.

        Raises
        ------
        CannotBeCarried
            A file is missing or damaged.
        """
        try:
            read = dict.fromkeys(self.files, 0)
            for _ in range(len(self.edges) + 1):
                found = {name: _read_stream(self.folder / name, start) for name, start in read.items()}
                read = {name: stop for name, (_, stop) in found.items()}
                yield StateShard.of({name: batch for name, (batch, _) in found.items()})
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError from error


def read_checkpoint(lake: Lake) -> Checkpoint | None:
    """Find what was carried; None where there is nothing that can be read."""
    folder = lake.path(FOLDER)
    try:
        notes = json.loads((folder / NOTES).read_text(encoding="utf-8"))
        day = date.fromisoformat(notes["day"])
        return Checkpoint(folder, day, notes["known"], tuple(notes["edges"]), tuple(notes["files"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def write_checkpoint(lake: Lake, day: date, known: str) -> Iterator[Callable[[StateShard], None]]:
    """Keep slices, in order; they take the place of what was carried when the block ends well."""
    with whole_folder(lake.path(FOLDER)) as folder, ExitStack() as files:
        first_users: list[str] = []
        sinks: dict[str, pa.OSFile] = {}

        def keep(shard: StateShard) -> None:
            edges = np.linspace(0, len(shard.users), -(-len(shard.users) // MOST_USERS) + 1).astype(int).tolist()
            for first, last in pairwise(edges):
                first_users.append(shard.users[first].as_py())
                for name, batch in shard.cut(first, last).batches().items():
                    if name not in sinks:
                        sinks[name] = files.enter_context(pa.OSFile(str(folder / name), "wb"))
                    with pa.ipc.new_stream(sinks[name], batch.schema, options=PACKED) as stream:
                        stream.write_batch(batch)

        yield keep
        notes = {"day": str(day), "known": known, "edges": first_users[1:], "files": list(sinks)}
        write_text(folder / NOTES, json.dumps(notes))


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
