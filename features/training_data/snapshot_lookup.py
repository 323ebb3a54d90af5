"""Lookup of users' rows in a single snapshot, which equals the point-in-time join for one day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.arrays.array_types import Flags
from features.tables.parquet_files import CHECKED, readable

KEY, KNOWN = "user_id", ("as_of", "created_at")


def looked_up(path: Path, user_ids: pa.Array, instants: pa.Array, names: Sequence[str], valid: timedelta) -> pa.Table:
    """Read the columns `names` of some users as known at instants, in their order; nulls where nothing was known.

    A row of a snapshot is known from its ``as_of`` and ``created_at`` on, and for as long as it is `valid`. Only row
    groups are read that may hold one of the users.

    Raises
    ------
    InputError
        The snapshot is missing or cannot be read.
    """
    pieces: list[pa.Table] = []
    place = np.full(len(user_ids), -1)
    with readable(path):
        file = pq.ParquetFile(path, **CHECKED)
        for group in _groups_with(file, user_ids):
            rows = file.read_row_group(group, columns=[KEY, *KNOWN, *names])
            at = pc.index_in(user_ids, value_set=rows[KEY].combine_chunks())
            here = np.flatnonzero(at.is_valid())
            place[here] = np.arange(len(here)) + sum(map(len, pieces))
            pieces.append(rows.take(at.take(pa.array(here))).drop_columns([KEY]))
        found = pa.concat_tables([file.schema_arrow.empty_table().select([*KNOWN, *names]), *pieces])
    there = np.flatnonzero(place >= 0)
    place[there[~_is_known(found.take(pa.array(place[there])), instants.take(pa.array(there)), valid)]] = -1
    return found.select(list(names)).take(pa.array(place, mask=place < 0))


def _groups_with(file: pq.ParquetFile, user_ids: pa.Array) -> list[int]:
    """Find the row groups that may hold one of some users, by what the footer says of the first and last of each."""
    ends, groups = pc.min_max(user_ids), list[int]()
    first, last = ends["min"].as_py(), ends["max"].as_py()
    column = file.schema_arrow.names.index(KEY)
    for group in range(file.num_row_groups):
        held = file.metadata.row_group(group).column(column).statistics
        is_told = held is not None and held.has_min_max
        if first is not None and not (is_told and (held.max < first or held.min > last)):
            groups.append(group)
    return groups


def _is_known(rows: pa.Table, instants: pa.Array, valid: timedelta) -> Flags:
    as_of, created = (rows[name].cast(pa.timestamp("us", "UTC")) for name in KNOWN)
    is_known = pc.and_(pc.less_equal(as_of, instants), pc.less_equal(created, instants))
    is_valid = pc.greater_equal(pc.add(as_of, pa.scalar(valid, pa.duration("us"))), instants)
    return np.asarray(pc.fill_null(pc.and_(is_known, is_valid), False).to_numpy(zero_copy_only=False))
