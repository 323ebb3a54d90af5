"""One writer per data folder: a lock that the system frees when its owner dies, and that says who holds it.

The lock is the system's, on an open file; what stands in the file is for people, and for the next owner: where it was
not wiped out, the former owner was killed or failed, and may have left something.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import IO
from uuid import uuid4

from configs.errors import InputError

LOCK_FILE = ".lock"
_depths: dict[Path, int] = {}  # of this process, by data folder
_one_changes = Lock()


class LockedError(InputError):
    """Somebody else writes to the data folder."""


@contextmanager
def writer_lock(root: Path, command: str) -> Iterator[bool | None]:
    """Be the one who writes to a data folder; readers never ask.

    Yields
    ------
    Whether the former owner did not end well; None where this process holds the lock already.

    Raises
    ------
    LockedError
        Another process writes.
    """
    place = root.resolve()
    with _one_changes:
        is_nested = place in _depths
        file, has_failed = (None, None) if is_nested else _taken(place / LOCK_FILE, command)
        _depths[place] = _depths.get(place, 0) + 1
    try:
        yield has_failed
        if file is not None:
            file.truncate(0)
    finally:
        with _one_changes:
            _depths[place] -= 1
            if not _depths[place]:
                del _depths[place]
        if file is not None:
            file.close()


def _taken(path: Path, command: str) -> tuple[IO[str], bool]:
    file = path.open("a+", encoding="utf-8")
    file.seek(0)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with file:
            raise LockedError(_who_holds(path.parent, file.read())) from None
    has_failed = bool(file.read())
    file.truncate(0)
    file.write(json.dumps(_owner(command)))
    file.flush()
    return file, has_failed


def _owner(command: str) -> dict[str, object]:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        "command": command, "run": uuid4().hex[:12], "host": socket.gethostname(), "process": os.getpid(),
        "since": since,
    }  # fmt: skip


def _who_holds(root: Path, text: str) -> str:
    try:
        who = "{command} (run {run}, process {process} on {host}, since {since})".format(**json.loads(text))
    except (ValueError, KeyError, TypeError):
        who = "another run"
    return f"{root} is being written by {who}; wait until that has ended, or choose another --data-dir"
