"""Temporary folders for DuckDB and other libraries, which are removed after a crash.

Each process has a folder of its own, because two DuckDBs in one folder would write to files of the same names. While
the folder is in use its process holds the lock on a hidden file beside it (`held_files`).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from uuid import uuid4

from features.storage.held_files import is_file_held, write_held

SPILL = "spill"  # what the names of spill folders begin with


@contextmanager
def spill_folder(root: Path) -> Iterator[Path]:
    """Name a folder below `root` that nobody else spills to; whoever spills makes it, and it goes with the block."""
    folder, held = root / f"{SPILL}-{uuid4().hex}", None
    with suppress(OSError):  # nothing may be written here, so that nothing will be spilt
        held = write_held(_sign(folder), b"") if root.is_dir() else None
    try:
        with held or nullcontext():
            yield folder
    finally:
        _remove(folder)


@contextmanager
def temporary_files(root: Path) -> Iterator[None]:
    """Let libraries put temporary files below `root`, where those of a killed process go when the next writer begins.

    Among the system's they would stay. Where the operator has set ``TMPDIR`` that counts.
    """
    if "TMPDIR" in os.environ:
        yield
        return
    with spill_folder(root) as folder:
        folder.mkdir()
        before, tempfile.tempdir = tempfile.tempdir, str(folder)
        try:
            yield
        finally:
            tempfile.tempdir = before


def clear_spills(root: Path) -> None:
    """Remove what processes that are gone have left, on whichever machine they ran."""
    signs = {root / path.name.removeprefix(".") for path in root.glob(f".{SPILL}-*")}
    for folder in {*root.glob(f"{SPILL}-*"), *signs}:
        if not is_file_held(_sign(folder)):
            _remove(folder)


def _sign(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}")


def _remove(folder: Path) -> None:
    with suppress(OSError):  # nothing was spilt, or the disk fails: the next writer tries again
        shutil.rmtree(folder)
    with suppress(OSError):
        _sign(folder).unlink()
