"""Atomic writes of files, and hashes of their contents."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO
from uuid import uuid4

PART = ".part"


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid4().hex}{PART}")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Make a folder that every machine sees, and that vanishes with the block."""
    parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def clear_folder(folder: Path, *, keep: str = "") -> None:
    """Remove all that a folder holds of no account but what is named `keep`, and the folder itself if nothing is."""
    for path in folder.glob("*"):
        if path.name != keep:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if not keep and folder.exists():
        folder.rmdir()


def write_text(path: Path, text: str) -> None:
    """Write one text file whole."""
    write_file(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write one file whole."""
    write_file(path, lambda part: part.write_bytes(content))


def appended_file(path: Path) -> IO[bytes]:
    """Open a log of somebody else's, which goes on at its end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("ab")


def content_hash(*paths: Path, text: str = "") -> str:
    """Digest of a text and the bytes of files, 16 hexadecimal digits."""
    digest = hashlib.sha256(text.encode())
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
