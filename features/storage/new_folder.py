"""Removal of a data folder that a refused run created and left empty."""

from __future__ import annotations

import atexit
import shutil
from contextlib import suppress
from pathlib import Path

from features.publishing.manifest import manifests
from features.storage.writer_lock import LOCK_FILE, is_locked

OF_NO_ACCOUNT = {LOCK_FILE, "prefect", "runs"}  # the lock, Prefect's own files, and why the one run was refused
FEW_RECORDS = 1  # of runs: more tell of a schedule, whose failures people look up


def goes_if_unfilled(root: Path) -> None:
    """Let a folder that does not exist yet go at the end of this process, if nothing was published in it by then."""
    if not root.exists():
        atexit.register(remove_unfilled, root)


def remove_unfilled(root: Path) -> None:
    """Remove a folder in which nothing but the traces of one refused run lies, and to which nobody writes."""
    with suppress(OSError):
        is_unfilled = not manifests(root) and {path.name for path in root.iterdir()} <= OF_NO_ACCOUNT
        if is_unfilled and len([*root.glob("runs/*")]) <= FEW_RECORDS and not is_locked(root):
            shutil.rmtree(root)
