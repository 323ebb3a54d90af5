"""A morning's snapshot by arrays: what `snapshot_queries` declares, from the rows that changed since the last one.

Users are taken slice by slice, so that memory does not grow with them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property, partial
from itertools import pairwise, repeat, starmap

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from configs.progress import in_turn
from features.arrays.calendar_days import start_of
from features.engine.row_group_reader import DailyReader, KeyRange
from features.engine.snapshot_columns import snapshot_rows
from features.engine.state_store import Checkpoint, StateShard
from features.engine.state_update import StateUpdate
from features.engine.users_reader import USERS_AT_ONCE, in_order_of, users_in_order
from features.engine.window_state import Change, changes
from features.sql_oracle.snapshot_queries import TASTE_DAYS
from features.storage.fingerprints import Fingerprint
from features.storage.lake import Lake
from features.storage.parquet_files import count_rows

# daily rows of a slice: its users fit the memory with everything that is summed about them
ROWS_AT_ONCE = 2_500_000


@dataclass(frozen=True)
class SnapshotBuilder:
    """The start of a day: what had become known, what was carried so far, and what of the users table counts.

    `fingerprints` are those of the aggregates, by day; `traits` maps columns of a snapshot to "is text".
    """

    lake: Lake
    day: date
    time_zone: str
    fingerprints: Mapping[date, Fingerprint]
    checkpoint: Checkpoint | None
    traits: Mapping[str, bool]

    def snapshot(self, keep: Callable[[StateShard], None], workers: int = 1) -> Iterator[pa.RecordBatch]:
        """Compute the snapshot in the order of the users, as many slices at once as there are workers.

        `keep` gets every slice, in order, too. To carry slices on is no more work than to read and to write them,
        which keeps a worker busy: there is one fewer.
        """
        reader = DailyReader(self.lake)
        edges = self.checkpoint.edges if self.checkpoint else _edges(self.lake, self.day)
        before = self.checkpoint.shards() if self.checkpoint else repeat(None)
        ranges = starmap(KeyRange, pairwise([None, *edges, None]))
        shards = (
            partial(self._computed, reader, users, checkpoint, signed_up)
            for users, checkpoint, signed_up in zip(ranges, before, self._signed_up([*edges, None]), strict=False)
        )
        for found, batches in in_turn(shards, max(workers - 1, 1) if self.checkpoint else workers):
            keep(found)
            yield from batches

    def _computed(
        self,
        reader: DailyReader,
        users: KeyRange[str],
        checkpoint: StateShard | None,
        signed_up: pa.Table,
    ) -> tuple[StateShard, list[pa.RecordBatch]]:
        """Carry a slice on, and make its part of the snapshot."""
        rows = {each: part for each in self._changes if (part := reader.rows(each.day, each.known_on, users)).groups}
        facets = {
            each: part
            for each, of in rows.items()
            if each.is_move((TASTE_DAYS,)) and (part := reader.facets(each.day, each.known_on, users, of)).groups
        }
        there = signed_up.filter(pc.field("signed_up_on") < pa.scalar(self.day, pa.date32()))["user_id"]
        found = StateUpdate(self.day, rows, facets, there.combine_chunks(), checkpoint).apply()
        traits = in_order_of(found.users, signed_up)
        start = start_of(self.day, self.time_zone)
        edges = [*range(0, max(len(found.users), 1), USERS_AT_ONCE), len(found.users)]  # nobody is one piece, too
        return found, [
            snapshot_rows(found.cut(first, last), traits.slice(first, last - first), self.day, start)
            for first, last in pairwise(edges)
        ]

    @cached_property
    def _changes(self) -> list[Change]:
        """Daily rows that enter or leave a window."""
        return changes(self.fingerprints, self.checkpoint.day if self.checkpoint else None, self.day)

    def _signed_up(self, edges: Iterable[str | None]) -> Iterator[pa.Table]:
        """Read the users table in order, once, in pieces that end before each of some users; None is the end."""
        batches = users_in_order(self.lake, self.traits, self.time_zone)
        held = next(batches)
        for edge in edges:
            while edge is None or not len(held) or held["user_id"][-1].as_py() < edge:
                batch = next(batches, None)
                if batch is None:
                    break
                held = pa.concat_tables([held, batch])
            here = KeyRange(high=edge).among(held["user_id"], 0, len(held)).stop
            yield held.slice(0, here)
            held = held.slice(here)


def _edges(lake: Lake, day: date) -> list[str]:
    """Cut the users into slices of about `ROWS_AT_ONCE` daily rows, by the users of the latest day with any."""
    paths = [lake.partition("aggregates", past) for past in lake.days("aggregates") if past < day]
    shards = math.ceil(sum(map(count_rows, paths)) / ROWS_AT_ONCE)
    latest = next((path for path in reversed(paths) if count_rows(path)), None)
    if latest is None or shards < 2:
        return []
    users = sorted(set(pq.ParquetFile(latest).read(columns=["user_id"])["user_id"].to_pylist()))
    return sorted({users[len(users) * number // shards] for number in range(1, shards)})
