"""Parquet files without the rows of some users; every other row, and the way the file is laid out, stays as it was."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.erasure.sought_ids import USER_COLUMNS, SoughtIds
from features.tables.parquet_files import CHECKED, readable

CONTENT_DIGEST = b"winback.content"  # of rows, some of which are gone
SCHEMA_KEY = b"ARROW:schema"
DICTIONARIES = {"RLE_DICTIONARY", "PLAIN_DICTIONARY"}
DELTA = "DELTA_BINARY_PACKED"
NOT_COPIED = {SCHEMA_KEY, CONTENT_DIGEST}


Change = Callable[[pa.Table], pa.Table]


class KeptRows(NamedTuple):
    """Which rows of each row group of a file stay, and whose do not."""

    masks: list[pa.ChunkedArray]
    held: frozenset[str]


def kept_rows(path: Path, sought: SoughtIds) -> KeptRows | None:
    """Say which rows of a file stay; None where no row is one of the users'.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    with readable(path), pq.ParquetFile(path, **CHECKED) as file:
        columns = [name for name in USER_COLUMNS if name in file.schema_arrow.names]
        if not columns:
            return None
        masks, held = [], set[str]()
        for number in range(file.num_row_groups):
            rows = file.read_row_group(number, columns=columns)
            is_theirs = [sought.are_users(rows[name]) for name in columns]
            for name, mask in zip(columns, is_theirs, strict=True):
                held.update(pc.unique(rows[name].filter(mask)).to_pylist())
            masks.append(pc.invert(functools.reduce(pc.or_, is_theirs)))
    return KeptRows(masks, frozenset(held)) if held else None


def unchanged(rows: pa.Table) -> pa.Table:
    """Leave rows as they are."""
    return rows


def write_kept(path: Path, kept: list[pa.ChunkedArray], place: Path, change: Change = unchanged) -> int:
    """Write a file again with the rows that stay, a row group at a time; returns how many those are.

    `change` is done to the rows of each group.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    left = 0
    with readable(path), pq.ParquetFile(path, **CHECKED) as file:
        notes = {key: text for key, text in (file.metadata.metadata or {}).items() if key not in NOT_COPIED}
        schema = file.schema_arrow
        with pq.ParquetWriter(place, schema.remove_metadata(), **_layout(file)) as writer:
            for number, mask in enumerate(kept):
                rows = _with_own_words(change(file.read_row_group(number).filter(mask)), schema)
                left += len(rows)
                if len(rows):
                    writer.write_table(rows, row_group_size=len(rows))
            writer.add_key_value_metadata(notes)
    return left


def _with_own_words(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Leave the words that only the erased rows had out of the dictionaries of columns."""
    for place, field in enumerate(schema):
        if pa.types.is_dictionary(field.type):
            words = pc.dictionary_encode(rows.column(place).cast(field.type.value_type)).cast(field.type)
            rows = rows.set_column(place, field, words)
    return rows.replace_schema_metadata(None)


def _layout(file: pq.ParquetFile) -> Mapping[str, Any]:
    """Say how a file was written, so that its readers find what they found before."""
    metadata = file.metadata
    if not metadata.num_row_groups:
        return {"compression": "zstd", "write_page_checksum": True}
    group = metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    packed = {each.path_in_schema: each.compression.lower().replace("uncompressed", "none") for each in columns}
    delta = [each.path_in_schema for each in columns if DELTA in each.encodings]
    return {
        "compression": packed,
        "use_dictionary": [each.path_in_schema for each in columns if DICTIONARIES & set(each.encodings)],
        "column_encoding": dict.fromkeys(delta, DELTA) or None,
        "write_statistics": [each.path_in_schema for each in columns if each.is_stats_set],
        "store_schema": SCHEMA_KEY in (metadata.metadata or {}),
        "write_page_checksum": True,
    }


def renumbered(aggregates: Path, kept: list[pa.ChunkedArray]) -> Change:
    """Say what the numbers of daily aggregates are after some went: counts by category and hour refer to them.

    They are numbered from 0 for each day of becoming known, whose rows follow one another.
    """
    with readable(aggregates):
        known_on = pq.read_table(aggregates, columns=["known_on"], partitioning=None)["known_on"]
    known = known_on.cast(pa.int32()).to_numpy()
    stays = np.concatenate([each.to_numpy() for each in kept])
    days, first = np.unique(known, return_index=True)
    after = np.concatenate([[0], np.cumsum(stays)])

    def change(rows: pa.Table) -> pa.Table:
        begins = first[np.searchsorted(days, rows["known_on"].cast(pa.int32()).to_numpy())]
        number = after[begins + rows["row"].to_numpy()] - after[begins]
        place = rows.column_names.index("row")
        return rows.set_column(place, rows.schema.field("row"), pa.array(number, pa.int64()))

    return change
