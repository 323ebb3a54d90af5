"""Search for users in the files of a folder: every format is decoded, and the raw bytes are searched too.

Parquet pages, Arrow streams, SQLite tables, JSON and zip files are decoded and searched; the raw bytes of every file
are searched as well. Nothing is changed.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.erasure.erased_texts import JSON, LINES_OF_JSON, TABLES, erased_lines, without
from features.erasure.sought_ids import USER_COLUMNS, SoughtIds
from features.erasure.sqlite_rows import is_database, named_cells
from features.tables.parquet_files import CHECKED
from features.tables.raw_bytes import content_of, pieces_of

PARQUET, STREAMS = ".parquet", ".arrows"


class Trace(NamedTuple):
    """A place that names somebody: the file's name, where in it, and in how many cells, rows or pieces."""

    name: str
    where: str
    times: int

    def __str__(self) -> str:
        """Say it to people."""
        return f"{self.name} ({self.where}, {self.times:,})"


def traces(root: Path, names: Sequence[str], sought: SoughtIds) -> Iterator[Trace]:
    """Look for users in files below a folder; one that cannot be decoded is looked through as bytes alone."""
    for name in names:
        path = root / name
        found = [Trace(name, "its name", 1)] if sought.named_in(name) else []
        try:
            found += [Trace(name, where, count) for where, count in _decoded(path, sought) if count]
        except (OSError, ValueError, pa.ArrowException, zipfile.BadZipFile):
            found.append(Trace(name, "it cannot be decoded", 1))
        yield from found or [Trace(name, "bytes", count) for count in [_bytes_naming(path, sought)] if count]


def _decoded(path: Path, sought: SoughtIds) -> Iterator[tuple[str, int]]:
    if path.suffix == PARQUET:
        yield from _in_parquet(path, sought)
    elif path.suffix == STREAMS:
        yield from _in_streams(path, sought)
    elif is_database(path):
        yield from named_cells(path, sought)
    elif path.suffix == JSON:
        yield "JSON", int(_names(json.loads(content_of(path)), sought))
    elif path.suffix == LINES_OF_JSON:
        lines = content_of(path).decode().splitlines()
        yield "lines of JSON", sum(_names(json.loads(line), sought) for line in lines if line)
    elif path.suffix == TABLES:
        text = content_of(path).decode()
        yield "rows", text.count("\n") - erased_lines(text, sought).count("\n")
    elif zipfile.is_zipfile(path):
        yield from _in_zip(path, sought)


def _names(value: Any, sought: SoughtIds) -> bool:  # noqa: ANN401
    return bool(without(value, sought) != value)


def _in_parquet(path: Path, sought: SoughtIds) -> Iterator[tuple[str, int]]:
    schema = pq.read_schema(path)
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    counts = dict.fromkeys(schema.names, 0)
    with pq.ParquetFile(path, read_dictionary=texts, **CHECKED) as file:
        for number in range(file.num_row_groups):
            rows = file.read_row_group(number)
            for name in schema.names:
                counts[name] += _cells(name, rows[name], sought)
    yield from ((f"column {name}", count) for name, count in counts.items())


def _in_streams(path: Path, sought: SoughtIds) -> Iterator[tuple[str, int]]:
    """Read Arrow streams that follow one another in a file."""
    with pa.memory_map(str(path)) as source:
        while source.tell() < source.size():
            with pa.ipc.open_stream(source) as reader:
                rows = reader.read_all()
            yield from ((f"column {name}", _cells(name, rows[name], sought)) for name in rows.column_names)


def _cells(name: str, column: pa.ChunkedArray, sought: SoughtIds) -> int:
    """Count the cells of a column that name somebody, those of lists and structures one by one."""
    return sum(_cells_of(name, chunk, sought) for chunk in column.chunks)


def _cells_of(name: str, cells: pa.Array, sought: SoughtIds) -> int:
    kind = cells.type
    if pa.types.is_dictionary(kind):
        if not pa.types.is_string(kind.value_type):
            return 0
        is_named = _are_named(name, cells.dictionary, sought)
        return int(pc.sum(is_named.take(cells.indices), min_count=0).as_py())
    if pa.types.is_struct(kind):
        return sum(_cells_of(field.name, cells.field(place), sought) for place, field in enumerate(kind))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _cells_of(name, cells.flatten(), sought)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        return int(pc.sum(_are_named(name, cells, sought), min_count=0).as_py())
    return 0


def _are_named(name: str, texts: pa.Array, sought: SoughtIds) -> pa.Array:
    if name in USER_COLUMNS:
        return sought.are_users(texts)
    return sought.are_naming(texts)


def _in_zip(path: Path, sought: SoughtIds) -> Iterator[tuple[str, int]]:
    with zipfile.ZipFile(path) as archive:
        for part in archive.namelist():
            pieces = pa.array([archive.read(part)], pa.large_binary())
            yield f"part {part}", int(pc.sum(sought.are_naming(pieces), min_count=0).as_py())


def _bytes_naming(path: Path, sought: SoughtIds) -> int:
    """Count the pieces of a file whose bytes name somebody by an id that tells; pieces overlap by the longest id."""
    if not sought.telling:
        return 0
    overlap = 8 * max(map(len, sought.telling)) + 2
    pieces = (pa.array([piece], pa.large_binary()) for piece in pieces_of(path, overlap))
    return sum(int(pc.sum(sought.are_naming(piece), min_count=0).as_py()) for piece in pieces)
