"""The incremental snapshot builder: a snapshot from a checkpoint and the daily rows that changed since, or from all.

Users are taken shard by shard, so that memory does not grow with them; shards know nothing of each other, so that each
may be built on another machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.arrays.calendar_days import start_of
from features.definitions.registry import Declarations
from features.definitions.snapshot_features import TASTE_DAYS
from features.engine.snapshot_columns import snapshot_rows
from features.engine.state_store import Checkpoint, StateShard
from features.engine.state_update import StateUpdate
from features.engine.users_reader import in_order_of, known_on, read_traits
from features.engine.window_state import Change, changes
from features.storage.lake import Lake
from features.tables.fingerprints import Fingerprint
from features.tables.parquet_files import count_rows
from features.tables.row_group_reader import DailyReader, KeyRange

# daily rows of a shard: its users fit the memory with everything that is summed about them
ROWS_AT_ONCE = 2_500_000
USERS_AT_ONCE = 65_536  # of a record batch


@dataclass(frozen=True)
class SnapshotBuilder:
    """Builds the snapshot of a day, shard by shard.

    `fingerprints` are those of the aggregates, by day; without a `checkpoint` the state starts from nothing; `traits`
    maps columns of the users table to "is text".
    """

    lake: Lake
    day: date
    time_zone: str
    fingerprints: Mapping[date, Fingerprint]
    checkpoint: Checkpoint | None
    traits: Mapping[str, bool]
    declared: Declarations

    @cached_property
    def shards(self) -> list[KeyRange[str]]:
        """Ranges of users, in order: those of the checkpoint, or as few as the memory allows."""
        edges = self.checkpoint.edges if self.checkpoint else _edges(self.lake, self.day)
        return [KeyRange(*each) for each in pairwise([None, *edges, None])]

    def build(self, number: int) -> tuple[StateShard, list[pa.RecordBatch]]:
        """Bring the state of a shard to the day, and make its rows of the snapshot.

        Raises
        ------
        CheckpointError
            The checkpoint cannot be read.
        """
        users = self.shards[number]
        before = self.checkpoint.shard(number) if self.checkpoint else None
        reader = DailyReader(self.lake)
        rows = {each: part for each in self._changes if (part := reader.rows(each.day, each.known_on, users)).groups}
        counts = {
            each: part
            for each, of in rows.items()
            if each.is_move((TASTE_DAYS,))
            and (part := reader.category_hour_counts(each.day, each.known_on, users, of)).groups
        }
        signed_up = read_traits(self.lake, self.traits, self.time_zone, users, start_of(self.day, self.time_zone))
        there = signed_up.filter(pc.field("signed_up_on") < pa.scalar(self.day, pa.date32()))["user_id"]
        if not self.lake.days("events"):  # an experiment alone: whoever is known takes part, signed up or not
            there = pa.chunked_array([known_on(self.lake, users, start_of(self.day, self.time_zone))])
        shard = StateUpdate(self.day, rows, counts, there.combine_chunks(), before, self.declared).apply()
        return shard, self._rows(shard, in_order_of(shard.users, signed_up))

    def _rows(self, shard: StateShard, traits: pa.Table) -> list[pa.RecordBatch]:
        start = start_of(self.day, self.time_zone)
        edges = [*range(0, max(len(shard.users), 1), USERS_AT_ONCE), len(shard.users)]  # nobody is one batch, too
        return [
            snapshot_rows(shard.cut(first, last), traits.slice(first, last - first), self.day, start, self.declared)
            for first, last in pairwise(edges)
        ]

    @cached_property
    def _changes(self) -> list[Change]:
        """Daily rows that enter or leave a window."""
        return changes(self.fingerprints, self.checkpoint.day if self.checkpoint else None, self.day, self.declared)


def _edges(lake: Lake, day: date) -> list[str]:
    """Cut the users into shards of about `ROWS_AT_ONCE` daily rows, by the users of the latest day with any."""
    paths = [lake.partition("aggregates", past) for past in lake.days("aggregates") if past < day]
    shards = math.ceil(sum(map(count_rows, paths)) / ROWS_AT_ONCE)
    latest = next((path for path in reversed(paths) if count_rows(path)), None)
    if latest is None or shards < 2:
        return []
    users = sorted(set(pq.ParquetFile(latest).read(columns=["user_id"])["user_id"].to_pylist()))
    return sorted({users[len(users) * number // shards] for number in range(1, shards)})
