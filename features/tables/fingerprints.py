"""Fingerprints: what a stored file rests on and what was known when, in its metadata: only stale files are built.

A file of daily aggregates holds one run of row groups per ``known_on`` and a digest of each. What was known before a
moment is named by the digests alone: an event that becomes known later leaves the earlier ones as they are.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from configs.errors import InputError
from configs.progress import announce
from features.arrays.dictionaries import DICTIONARY, with_sorted_dictionaries
from features.arrays.group_by import run_starts
from features.publishing.manifest import DamagedError
from features.storage.lake import Lake
from features.storage.whole_writes import content_hash, write_file
from features.tables.parquet_files import read_notes

INPUT_HASH = b"winback_input"
KNOWN_DIGESTS = b"winback_known"
ROW_GROUP_ROWS = 16_384
DAILY_TABLES = ("aggregates", "category_hour_counts")  # tables of daily rows
LABELS = ("dimension", "label")  # columns of daily rows with few words
Stamp = tuple[str, int, int]  # of a file: path, size, time of change


@dataclass(frozen=True)
class Fingerprint:
    """Hash of the input that a stored file was computed from, and a digest of its rows for each ``known_on``."""

    input: str | None = None
    digests: dict[date, str] = field(default_factory=dict)


def file_stamps(paths: Iterable[Path]) -> list[Stamp]:
    """Tell size and time of change of some files, by which a reader knows whether what it has read still holds."""
    stats = [(str(path), path.stat()) for path in paths]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]


def file_metadata(path: Path) -> dict[bytes, bytes]:
    """Read what was noted in the footer of a file; nothing where there is no readable file."""
    try:
        return read_notes(path)
    except InputError:
        return {}


def read_fingerprint(path: Path) -> Fingerprint:
    """Read the fingerprint of a file; an empty one where there is no readable file."""
    notes = file_metadata(path)
    if not notes:
        return Fingerprint()
    try:
        digests = json.loads(notes.get(KNOWN_DIGESTS, b"{}"))
        return Fingerprint(
            notes.get(INPUT_HASH, b"").decode(), {date.fromisoformat(day): text for day, text in digests.items()}
        )
    except (ValueError, AttributeError):
        return Fingerprint()


def stored_input(path: Path) -> str | None:
    """Hash of the input that a stored file was computed from, None where there is no file."""
    return read_fingerprint(path).input


def write_daily_rows(rows: pa.Table, path: Path, wanted: str) -> None:
    """Write daily rows, sorted by ``known_on`` first, with the hash of their input and a digest per ``known_on``."""
    file = io.BytesIO()
    digests = {}
    schema = pa.schema([_stored(field) for field in rows.schema])
    numbers = [field.name for field in schema if pa.types.is_int64(field.type)]
    others = [name for name in schema.names if name not in numbers]
    labels = [name for name in others if name in LABELS]
    with pq.ParquetWriter(
        file,
        schema,
        # counts of a few are packed well by their differences, and are written twice as fast as through a dictionary
        column_encoding=dict.fromkeys(numbers, "DELTA_BINARY_PACKED"),
        compression=dict.fromkeys(numbers, "none") | dict.fromkeys(others, "lz4"),
        use_dictionary=labels,
        write_statistics=others,
        store_schema=False,
        write_page_checksum=True,
    ) as writer:
        for known_on, part in _by_known_on(rows):
            start = file.tell()
            for run in (
                _runs(part, "dimension") if "dimension" in rows.column_names else [part]
            ):  # users are in order in each
                writer.write_table(with_sorted_dictionaries(run, labels).cast(schema), row_group_size=ROW_GROUP_ROWS)
            digests[str(known_on)] = hashlib.sha256(file.getbuffer()[start:]).hexdigest()[:16]
        writer.add_key_value_metadata({INPUT_HASH: wanted.encode(), KNOWN_DIGESTS: json.dumps(digests).encode()})
    write_file(path, lambda part: part.write_bytes(file.getbuffer()))


def _stored(field: pa.Field) -> pa.Field:
    """Say how a column of daily rows is stored; none has a missing value."""
    return pa.field(field.name, DICTIONARY if field.name in LABELS else field.type, nullable=False)


def _by_known_on(rows: pa.Table) -> Iterator[tuple[date, pa.Table]]:
    for part in _runs(rows, "known_on"):
        yield part["known_on"][0].as_py(), part


def _runs(rows: pa.Table, column: str) -> Iterator[pa.Table]:
    values = rows[column].combine_chunks()
    codes = values.indices if pa.types.is_dictionary(values.type) else pc.rank(values, tiebreaker="dense")
    edges = [*run_starts(codes.to_numpy()).tolist(), len(rows)]
    for start, stop in pairwise(edges):
        yield rows.slice(start, stop - start)


@contextmanager
def file_hashes(lake: Lake) -> Iterator[Callable[[Path], str]]:
    """Hash contents of files of the lake; a file that was hashed before is not read again, a damaged one is named."""

    def checked_hash(path: Path) -> str:
        lake.files.check(path.relative_to(lake.root).as_posix())
        return content_hash(path)

    with remembered(lake, "hashes.json", checked_hash) as hash_of:
        yield hash_of


@contextmanager
def file_fingerprints(lake: Lake) -> Iterator[Callable[[Path], Fingerprint]]:
    """Read fingerprints of files of the lake; a file whose fingerprint was read before is not read again.

    A damaged file has none, which is said.
    """

    def noted(path: Path) -> list[object]:
        if not is_whole(lake, path):
            return [None, {}]
        fingerprint = read_fingerprint(path)
        return [fingerprint.input, {str(day): digest for day, digest in fingerprint.digests.items()}]

    def fingerprint_of(path: Path) -> Fingerprint:
        if not path.exists():
            return Fingerprint()
        wanted, digests = notes_of(path)
        return Fingerprint(wanted, {date.fromisoformat(day): digest for day, digest in digests.items()})

    with remembered(lake, "fingerprints.json", noted) as notes_of:
        yield fingerprint_of


def is_whole(lake: Lake, path: Path) -> bool:
    """Tell whether a file that can be computed again is what was written; say so where it is not."""
    try:
        lake.files.check(path.relative_to(lake.root).as_posix())
    except DamagedError:
        announce(f"{path} is damaged and is computed again")
        return False
    return True


@contextmanager
def remembered(lake: Lake, name: str, look: Callable[..., Any], *about: str) -> Iterator[Callable[..., Any]]:
    """Look at files of the lake; what was found, in JSON, holds as long as each file's size and time of change.

    It is kept under the first file of a call; `about` says what else it rests on. Where what was kept is damaged, it
    is looked at again, and that is said.
    """
    before = _kept(lake, name)
    asked: dict[str, list[Any]] = {}

    def found(*paths: Path) -> Any:  # noqa: ANN401
        place, seen = str(paths[0].relative_to(lake.root)), [path.stat() for path in paths]
        stamp = [*about, *(number for each in seen for number in (each.st_size, each.st_mtime_ns))]
        known = before.get(place)
        if known is None or known[:-1] != stamp:
            known = [*stamp, look(*paths)]
        asked[place] = known
        return known[-1]

    yield found
    merged = before | asked
    kept = {place: known for place, known in sorted(merged.items()) if lake.path(place).exists()}
    if kept != before:
        lake.files.publish_file(name, json.dumps(kept, indent=0).encode())


def _kept(lake: Lake, name: str) -> dict[str, list[Any]]:
    if not lake.files.exists(name):
        return {}
    try:
        kept = json.loads(lake.files.read(name))
        if isinstance(kept, dict) and all(isinstance(each, list) and each for each in kept.values()):
            return kept
    except (ValueError, DamagedError):
        pass
    announce(f"{lake.path(name)} is damaged and is written again")
    return {}
