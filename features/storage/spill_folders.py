"""Where a DuckDB puts what it can no longer hold in memory, and libraries what is temporary: folders that are cleared.

Each has one of its own, as two DuckDBs in one folder would write to files of the same names.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

SPILL = "spill"  # what the names of spill folders begin with
ABANDONED_SECONDS = 86_400.0
_numbers = count()


@contextmanager
def spill_folder(root: Path) -> Iterator[Path]:
    """Name a folder below `root` that nobody else spills to; whoever spills makes it, and it goes with the block."""
    folder = root / f"{SPILL}-{os.getpid()}-{next(_numbers)}-{socket.gethostname()}"
    try:
        yield folder
    finally:
        with suppress(OSError):  # nothing was spilt, or the disk fails: the next writer tries again
            shutil.rmtree(folder)


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
    """Remove what processes that are gone have left; of another machine's nobody can tell for a day."""
    for folder in root.glob(f"{SPILL}-*"):
        _, process, _, host = [*folder.name.split("-", 3), "", "", ""][:4]
        is_of_another = host not in ("", socket.gethostname())
        with suppress(OSError):  # it vanishes meanwhile
            is_used = not _is_old(folder) if is_of_another else process.isdigit() and _is_alive(int(process))
            if not is_used and folder.is_dir():
                shutil.rmtree(folder)


def _is_old(folder: Path) -> bool:
    return time.time() - folder.stat().st_mtime > ABANDONED_SECONDS


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except PermissionError:  # somebody else's
        return True
    except OSError:
        return False
    return True
