"""What the newest snapshot left about all users, on disk, so that the next one starts from there.

Streams of Arrow batches, one batch per slice of users, in order. They are no result: where they do not fit what is
known now, they are left aside and everything is computed from the daily rows.
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

from features.grouped import Array
from features.lake import Lake, whole_folder, write_text
from features.tallies import About, Favourites, Peaks, Tastes

FOLDER, NOTES = "carried", "notes.json"
STATES, TASTES, FAVOURITES = "states", "tastes", "favourites"
MOST_USERS = 65_536  # of a slice
PACKED = pa.ipc.IpcWriteOptions(compression="lz4")


class CannotBeCarried(Exception):  # noqa: N818
    """What was carried cannot be read."""


@dataclass(frozen=True)
class Slice:
    """What is known about a range of users, who are in order: columns of states, tastes, and peaks by column."""

    users: pa.Array
    states: Mapping[str, Array]
    tastes: Tastes
    peaks: Mapping[str, Peaks]

    def cut(self, first: int, last: int) -> Slice:
        """Take the users from place `first` to before `last`."""
        states = {name: values[first:last] for name, values in self.states.items()}
        peaks = {name: each.cut(first, last) for name, each in self.peaks.items()}
        return Slice(self.users.slice(first, last - first), states, self.tastes.cut(first, last), peaks)

    def batches(self) -> dict[str, pa.RecordBatch]:
        """Write it down, by name of the stream."""
        states = {name: _arrow(values) for name, values in self.states.items()}
        rows = self.tastes.rows
        labels = pa.DictionaryArray.from_arrays(rows.label, self.tastes.words)
        return {
            STATES: pa.record_batch({"user_id": self.users, **states}),
            TASTES: pa.record_batch(rows._asdict() | {"label": labels}),
            FAVOURITES: pa.record_batch(self.tastes.favourites._asdict()),
            **{name: pa.record_batch(vars(each)) for name, each in self.peaks.items()},
        }

    @classmethod
    def of(cls, batches: dict[str, pa.RecordBatch]) -> Slice:
        """Read what `batches` wrote down."""
        states, tastes, favourites = (batches.pop(name) for name in (STATES, TASTES, FAVOURITES))
        columns = dict(zip(states.schema.names[1:], _arrays(*states.columns[1:]), strict=True))
        user, label, events, spend = tastes.columns
        rows = About(*_arrays(user, label.indices, events, spend))
        taste = Tastes(rows, label.dictionary, Favourites(*_arrays(*favourites.columns)))
        peaks = {name: Peaks(*_arrays(*batch.columns)) for name, batch in batches.items()}
        return cls(states["user_id"], columns, taste, peaks)


@dataclass(frozen=True)
class Carried:
    """Slices of the morning of `day`, which rest on what `known` names; `edges` are the first users of all but one."""

    folder: Path
    day: date
    known: str
    edges: tuple[str, ...]
    streams: tuple[str, ...]

    def slices(self) -> Iterator[Slice]:
        """Read slice by slice.

        Raises
        ------
        CannotBeCarried
            A file is missing or damaged.
        """
        try:
            with ExitStack() as files:
                sources = [files.enter_context(pa.OSFile(str(self.folder / name))) for name in self.streams]
                readers = [files.enter_context(pa.ipc.open_stream(source)) for source in sources]
                for batches in zip(*readers, strict=True):
                    yield Slice.of(dict(zip(self.streams, batches, strict=True)))
        except (OSError, ValueError, KeyError) as error:
            raise CannotBeCarried from error


def read_carried(lake: Lake) -> Carried | None:
    """Find what was carried; None where there is nothing that can be read."""
    folder = lake.path(FOLDER)
    try:
        notes = json.loads((folder / NOTES).read_text(encoding="utf-8"))
        day = date.fromisoformat(notes["day"])
        return Carried(folder, day, notes["known"], tuple(notes["edges"]), tuple(notes["streams"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def carry(lake: Lake, day: date, known: str) -> Iterator[Callable[[Slice], None]]:
    """Keep slices, in order; they take the place of what was carried when the block ends well."""
    with whole_folder(lake.path(FOLDER)) as folder, ExitStack() as files:
        first_users: list[str] = []
        streams: dict[str, pa.RecordBatchStreamWriter] = {}

        def keep(slice_: Slice) -> None:
            edges = np.linspace(0, len(slice_.users), -(-len(slice_.users) // MOST_USERS) + 1).astype(int).tolist()
            for first, last in pairwise(edges):
                first_users.append(slice_.users[first].as_py())
                for name, batch in slice_.cut(first, last).batches().items():
                    if name not in streams:
                        file = files.enter_context(pa.OSFile(str(folder / name), "wb"))
                        streams[name] = files.enter_context(pa.ipc.new_stream(file, batch.schema, options=PACKED))
                    streams[name].write_batch(batch)

        yield keep
        notes = {"day": str(day), "known": known, "edges": first_users[1:], "streams": list(streams)}
        write_text(folder / NOTES, json.dumps(notes))


def _arrow(values: Array) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values)
    flat = pa.py_buffer(np.ascontiguousarray(values))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(values.shape[1]), len(values), [None, flat])


def _arrays(*columns: pa.Array) -> Iterator[Array]:
    return map(_array, columns)


def _array(column: pa.Array) -> Array:
    if not pa.types.is_fixed_size_binary(column.type):
        return column.to_numpy()
    flat = np.frombuffer(column.buffers()[1], np.uint8).reshape(-1, column.type.byte_width)
    return flat[column.offset : column.offset + len(column)]
