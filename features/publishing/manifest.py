"""Manifests: size and digest of every published file, written in the same publish, checked where a file is read whole.

Each folder of a data folder has one, ``<folder>/manifest.json``, and ``manifest.json`` lists what lies beside the
folders. Names are relative to the data folder, so that it may be moved and copied with all in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from configs.errors import InputError
from features.publishing.recovery import DELETE, recovery_hint

MANIFEST = "manifest.json"
LOOKS = 100  # at a folder, while others write to it and clear up
SETTLED_SECONDS = 1.0  # a file that changed just now may change again within one tick of the clock of its time
Stamp = tuple[int, int, int, int]
_digests: dict[Stamp, str] = {}  # of files that this process has read, by device, inode, size and time of change


class FileRecord(NamedTuple):
    """What a file was when it was published: bytes, and SHA-256 in hexadecimal."""

    size: int
    sha256: str


Manifest = dict[str, FileRecord]


class DamagedError(InputError):
    """A file is not what was published."""


def manifest_name(name: str) -> str:
    """Name the manifest that lists a file.

    Examples
    --------
    >>> manifest_name("events/day=2024-07-01/events.parquet"), manifest_name("profile.json")
    ('events/manifest.json', 'manifest.json')
    """
    folder, slash, _ = name.partition("/")
    return f"{folder}{slash}{MANIFEST}" if slash else MANIFEST


def record_of(path: Path) -> FileRecord:
    """Read a file whole, once in a process as long as it does not change."""
    stamp = _stamp(path.stat())
    digest = _digests.get(stamp)
    if digest is None:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if _is_settled(stamp):
            _digests[stamp] = digest
    return FileRecord(stamp[2], digest)


def _stamp(stat: os.stat_result) -> Stamp:
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def _is_settled(stamp: Stamp) -> bool:
    return time.time_ns() - stamp[3] > SETTLED_SECONDS * 1e9


def paths_like(folder: Path, pattern: str) -> list[Path]:
    """Find what a folder holds under names of a pattern, in order; where a folder in it vanishes, it looks again."""
    for _ in range(LOOKS):
        with suppress(FileNotFoundError):
            return sorted(folder.glob(pattern))
    return sorted(folder.glob(pattern))


def manifests(root: Path) -> list[Path]:
    """Find the manifests of a data folder, in order."""
    return sorted([*root.glob(MANIFEST), *paths_like(root, f"*/{MANIFEST}")])


def read_manifest(root: Path, name: str) -> Mapping[str, FileRecord]:
    """Read a manifest by its name; nothing where there is none, as in a folder that was filled before there were any.

    Raises
    ------
    DamagedError
        It cannot be read, or is not what was written.
    """
    path = root / name
    try:
        stamp = _stamp(path.stat())
        return _kept(path, stamp) if _is_settled(stamp) else _parsed(path)
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError, IsADirectoryError) as error:
        raise DamagedError(
            f"{path} is damaged, so that the files that it lists cannot be checked; restore it from a backup, or take "
            f"the files as they are with winback verify --accept {name}"
        ) from error


def listed_files(root: Path) -> tuple[Manifest, list[str]]:
    """Read all manifests; of one that is damaged the second part says so."""
    found: Manifest = {}
    faults = []
    for path in manifests(root):
        try:
            found |= read_manifest(root, path.relative_to(root).as_posix())
        except DamagedError as error:
            faults.append(str(error))
    return found, faults


@lru_cache(64)
def _kept(path: Path, _: Stamp) -> Manifest:
    return _parsed(path)


def _parsed(path: Path) -> Manifest:
    kept = json.loads(path.read_bytes())
    if hashlib.sha256(_listing(kept["files"])).hexdigest() != kept["sha256"]:
        raise ValueError(path)
    return {name: FileRecord(int(size), str(digest)) for name, (size, digest) in kept["files"].items()}


def _listing(manifest: Mapping[str, Sequence[object]]) -> bytes:
    return json.dumps({name: list(record) for name, record in sorted(manifest.items())}, indent=0).encode()


def changed_manifests(root: Path, added: Mapping[str, FileRecord], removed: Iterable[str]) -> dict[str, bytes]:
    """Write the manifests that a publish changes, by name; one that lists nothing any more is empty.

    Each holds a digest of itself; the same files make the same bytes.
    """
    changes: defaultdict[str, dict[str, FileRecord | None]] = defaultdict(dict)
    for name, record in (*dict.fromkeys(removed).items(), *added.items()):
        changes[manifest_name(name)][name] = record
    written = {}
    for name, own in changes.items():
        files = {file: record for file, record in {**read_manifest(root, name), **own}.items() if record}
        listing = _listing(files)
        digest = hashlib.sha256(listing).hexdigest().encode()
        written[name] = b'{"sha256": "%b",\n"files": %b}\n' % (digest, listing) if files else b""
    return written


def check_file(root: Path, name: str) -> None:
    """Read a file whole and compare it with what was published; one that no manifest lists is not checked.

    Raises
    ------
    DamagedError
        It is another file, or gone.
    """
    listed, path = read_manifest(root, manifest_name(name)).get(name), root / name
    if listed is None:
        return
    try:
        is_whole = path.stat().st_size == listed.size and record_of(path) == listed
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        way = recovery_hint(name).removeprefix(DELETE)
        raise DamagedError(f"{path} is missing, and was written; {way}") from None
    if not is_whole:
        raise DamagedError(f"{path} is damaged: it is not what was written; {recovery_hint(name)}")
