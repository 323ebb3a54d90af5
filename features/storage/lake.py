"""Where tables live: Parquet files under the data folder, each written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.backends.duckdb import Backend

from configs.errors import InputError
from configs.settings import Settings
from features.arrays.dictionaries import DICTIONARY, with_sorted_dictionaries

# what one step may hold before it spills to the data folder
ROW_GROUP_ROWS = 131_072
MEMORY_GIB = 2.0
# what DuckDB raises for a file that is missing, cut short or damaged
UNREADABLE = (duckdb.IOException, duckdb.InvalidInputException, duckdb.Error)


class Lake:
    """Paths of one data folder; a partitioned table is ``<table>/<key>=<day>/<table>.parquet``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, *parts: str) -> Path:
        """Any file or folder of the lake."""
        return self.root.joinpath(*parts)

    def partition(self, table: str, day: date, key: str = "day") -> Path:
        """File of one day of a partitioned table."""
        return self.root / table / f"{key}={day:%Y-%m-%d}" / f"{table}.parquet"

    def glob(self, table: str, key: str = "day") -> str:
        """Pattern that matches every partition of a table."""
        return str(self.root / table / f"{key}=*" / f"{table}.parquet")

    def days(self, table: str, key: str = "day") -> list[date]:
        """Days of which a table has a partition, in order."""
        found = (self.root / table).glob(f"{key}=*/{table}.parquet")
        return sorted(date.fromisoformat(path.parent.name.removeprefix(f"{key}=")) for path in found)

    def require_writable(self) -> None:
        """Create the data folder, or say why it cannot be used.

        Raises
        ------
        InputError
            The folder cannot be made or written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise InputError(
                f"the data folder {self.root} cannot be written ({error.strerror}); choose another with --data-dir"
            ) from error


def write_parquet(table: pa.Table, path: Path, row_group_rows: int | None = None) -> None:
    """Write one Parquet file whole: a temporary file beside it, then an atomic rename; instants are kept in UTC.

    `row_group_rows` cuts it into row groups for readers who want some of the rows.
    """
    schema = pa.schema([_in_utc(field) for field in table.schema], table.schema.metadata)
    rows = table.cast(schema)
    write_file(path, lambda part: pq.write_table(rows, part, compression="zstd", row_group_size=row_group_rows))


def write_batches(batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path, *, key: str | None = None) -> None:
    """Write one Parquet file whole, a row group at a time; the same rows make the same file however they are cut.

    Parameters
    ----------
    key
        Column by which alone rows are looked up, each value once: such a file is packed for speed, not for size.
        Its other texts may come as dictionaries, too, and are read as plain texts.
    """
    options: dict[str, Any] = {"compression": "zstd"}
    texts: list[str] = []
    if key is not None:
        others = [name for name in schema.names if name != key]
        options = {
            "compression": dict.fromkeys(others, "none") | {key: "lz4"},  # a dictionary's places are packed already
            "use_dictionary": others,
            "dictionary_pagesize_limit": 2**17,  # bytes: what takes more values is written faster without
            "write_statistics": [key],
            "store_schema": False,
        }
        texts = [name for name in others if _is_text(schema.field(name).type)]
    stored = pa.schema(
        [field.with_type(DICTIONARY) if field.name in texts else field for field in schema], schema.metadata
    )

    def write(part: Path) -> None:
        with pq.ParquetWriter(part, stored, **options) as writer:
            for group in _row_groups(batches):
                writer.write_table(with_sorted_dictionaries(group, texts).cast(stored), row_group_size=ROW_GROUP_ROWS)
            writer.add_key_value_metadata(schema.metadata or {})

    write_file(path, write)


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


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Fill a hidden folder; it takes the place of `folder` when the block ends well, and vanishes when not."""
    part, aside = (folder.with_name(f".{folder.name}.{role}") for role in ("part", "old"))
    for leftover in (part, aside):
        shutil.rmtree(leftover, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    if folder.exists():
        folder.rename(aside)
    part.rename(folder)
    shutil.rmtree(aside, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write one text file whole."""
    write_file(path, lambda part: part.write_text(text, encoding="utf-8"))


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
        file = pq.ParquetFile(path, read_dictionary=list(words))
        names = None if columns is None else list(columns)
        if rows is None:
            return file.read(columns=names, use_threads=not words)
        edges = np.cumsum([0, *(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))])
        groups = np.flatnonzero((edges[:-1] < rows.stop) & (edges[1:] > rows.start))
        found = file.read_row_groups(groups.tolist(), columns=names, use_threads=not words)
        return found.slice(rows.start - int(edges[groups].min(initial=rows.start)), len(rows))


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
        raise InputError(
            f"{path} is not a readable Parquet file; delete it and run the step that writes it again"
        ) from error


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


def content_hash(*paths: Path, text: str = "") -> str:
    """Digest of a text and the bytes of files, 16 hexadecimal digits."""
    digest = hashlib.sha256(text.encode())
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def duckdb_limits(root: Path) -> dict[str, str | bool | int | float | list[str]]:
    """Keep a DuckDB's memory within bounds, and let it spill below the data folder `root`."""
    return {"memory_limit": f"{int(1024 * MEMORY_GIB)}MiB", "temp_directory": str(root / "tmp")}


@contextmanager
def duckdb_session(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an in-memory DuckDB in the configured time zone, and close it."""
    threads = {"threads": settings.threads} if settings.threads else {}
    connection = duckdb.connect(config={**duckdb_limits(settings.data_dir), **threads})
    try:
        connection.execute(f"SET TimeZone = '{settings.time_zone}'")
        with named_when_unreadable(settings.data_dir):
            yield connection
    finally:
        connection.close()


@contextmanager
def named_when_unreadable(root: Path) -> Iterator[None]:
    """Turn what DuckDB says about a missing or damaged file below `root` into one sentence.

    Raises
    ------
    InputError
        DuckDB could not read a file inside the block.
    """
    try:
        yield
    except duckdb.Error as error:
        if type(error) not in UNREADABLE:
            raise
        place = "" if ".parquet" in str(error) else _first_unreadable(root)
        raise InputError(
            f"a file of {root} cannot be read ({first_line(error)}{place}); "
            "delete it and run the step that writes it again"
        ) from error


def _first_unreadable(root: Path) -> str:
    for path in sorted(root.rglob("*.parquet")):
        try:
            read_parquet(path)
        except InputError:
            return f": {path}"
    return ""


def ibis_engine(connection: duckdb.DuckDBPyConnection, settings: Settings) -> Backend:
    """Open a session for Ibis, which sets the time zone of the session to UTC: set it back."""
    engine = ibis.duckdb.from_connection(connection)
    connection.execute(f"SET TimeZone = '{settings.time_zone}'")
    return engine


def sql_text(text: object) -> str:
    """Quote a text for SQL.

    Examples
    --------
    >>> sql_text("Bob's data")
    "'Bob''s data'"
    """
    return "'" + str(text).replace("'", "''") + "'"


def first_line(error: Exception) -> str:
    """First line of an error's text."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
