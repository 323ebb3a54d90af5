"""Tables to Parquet files and back, each written whole; a missing or damaged one is named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import InputError
from features.arrays.dictionaries import DICTIONARY, with_sorted_dictionaries
from features.publishing.recovery import recovery_hint
from features.storage.whole_writes import write_file

ROW_GROUP_ROWS = 131_072
CHECKED: dict[str, Any] = {"page_checksum_verification": True}  # of readers: a page that is another is an error
PACKED: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}  # of writers


def write_parquet(table: pa.Table, path: Path, row_group_rows: int | None = None) -> None:
    """Write one Parquet file whole: a temporary file beside it, then an atomic rename; instants are kept in UTC.

    `row_group_rows` cuts it into row groups for readers who want some of the rows.
    """
    schema = pa.schema([_in_utc(field) for field in table.schema], table.schema.metadata)
    rows = table.cast(schema)
    write_file(path, lambda part: pq.write_table(rows, part, row_group_size=row_group_rows, **PACKED))


def write_batches(batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path, *, key: str | None = None) -> None:
    """Write one Parquet file whole, a row group at a time; the same rows make the same file however they are cut.

    Parameters
    ----------
    key
        Column by which alone rows are looked up, each value once: such a file is packed for speed, not for size.
        Its other texts may come as dictionaries, too, and are read as plain texts.
    """
    options: dict[str, Any] = dict(PACKED)
    texts: list[str] = []
    if key is not None:
        others = [leaf for field in schema if field.name != key for leaf in _leaves(field)]
        options |= {
            "compression": dict.fromkeys(others, "none") | {key: "lz4"},  # a dictionary's places are packed already
            "use_dictionary": others,
            "dictionary_pagesize_limit": 2**17,  # bytes: what takes more values is written faster without
            "write_statistics": [key],
            "store_schema": False,
        }
        texts = [name for name in schema.names if name != key and _is_text(schema.field(name).type)]
    stored = pa.schema(
        [field.with_type(DICTIONARY) if field.name in texts else field for field in schema], schema.metadata
    )

    def write(part: Path) -> None:
        with pq.ParquetWriter(part, stored, **options) as writer:
            for group in _row_groups(batches):
                writer.write_table(with_sorted_dictionaries(group, texts).cast(stored), row_group_size=ROW_GROUP_ROWS)
            writer.add_key_value_metadata(schema.metadata or {})

    write_file(path, write)


def _leaves(field: pa.Field) -> list[str]:
    """Name the columns that a file has for one: several of a list of structs."""
    if not pa.types.is_list(field.type):
        return [field.name]
    return [f"{field.name}.list.element.{name}" for name in field.type.value_type.names]


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_dictionary(kind)


def _row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        while sum(map(len, held)) >= ROW_GROUP_ROWS:
            rows = pa.Table.from_batches(held)
            yield rows.slice(0, ROW_GROUP_ROWS)
            held = rows.slice(ROW_GROUP_ROWS).to_batches()
    if held:
        yield pa.Table.from_batches(held)


def _in_utc(field: pa.Field) -> pa.Field:
    if not pa.types.is_timestamp(field.type):
        return field
    return field.with_type(pa.timestamp("us", field.type.tz and "UTC"))


def read_parquet(
    path: Path, columns: Sequence[str] | None = None, *, words: Sequence[str] = (), rows: range | None = None
) -> pa.Table:
    """Read one Parquet file; a corrupt one is named.

    Parameters
    ----------
    columns
        Those to read, all by default.
    words
        Columns of text that are wanted as dictionaries; such a read is left to the caller's thread.
    rows
        Places of the rows to read, one after another; all by default.

    Raises
    ------
    InputError
        The file is missing or not Parquet.
    """
    with readable(path):
        file = pq.ParquetFile(path, read_dictionary=list(words), **CHECKED)
        names = None if columns is None else list(columns)
        if rows is None:
            return file.read(columns=names, use_threads=not words)
        edges = np.cumsum([0, *(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))])
        groups = np.flatnonzero((edges[:-1] < rows.stop) & (edges[1:] > rows.start))
        found = file.read_row_groups(groups.tolist(), columns=names, use_threads=not words)
        return found.slice(rows.start - int(edges[groups].min(initial=rows.start)), len(rows))


def column_names(path: Path) -> list[str]:
    """List the columns of one Parquet file; a missing or corrupt one is named like in `read_parquet`."""
    with readable(path):
        return list(pq.read_schema(path).names)


def count_rows(path: Path) -> int:
    """Count the rows of one Parquet file by its footer; a missing or corrupt one is named like in `read_parquet`."""
    with readable(path):
        return int(pq.read_metadata(path).num_rows)


def read_notes(path: Path) -> dict[bytes, bytes]:
    """Read what was noted in the footer of one Parquet file; a missing or corrupt one is named."""
    with readable(path):
        return dict(pq.read_metadata(path).metadata or {})


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Name a file that is missing or cannot be read inside the block."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; run the step that writes it first") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} is not a readable Parquet file; {recovery_hint(path)}") from error


def split_by_day(reader: pa.RecordBatchReader) -> Iterator[tuple[date, pa.Table]]:
    """Cut a stream sorted by its ``day`` column into one table per day, without that column."""
    held: list[pa.Table] = []
    for batch in reader:
        rows = pa.Table.from_batches([batch])
        days = rows["day"].to_numpy()
        edges = [0, *(np.flatnonzero(days[1:] != days[:-1]) + 1).tolist(), len(rows)]
        for piece in (rows.slice(start, stop - start) for start, stop in pairwise(edges) if stop > start):
            if held and held[0]["day"][0] != piece["day"][0]:
                yield _one_day(held)
                held = []
            held.append(piece)
    if held:
        yield _one_day(held)


def _one_day(pieces: list[pa.Table]) -> tuple[date, pa.Table]:
    return pieces[0]["day"][0].as_py(), pa.concat_tables(pieces).combine_chunks().drop_columns(["day"])
