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
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Lock
from typing import IO

from configs.errors import InputError
from configs.run_identity import run_id
from features.publishing.lock_wait import locked_by, retry_until_free
from features.storage.held_files import is_file_held

LOCK_FILE = ".lock"
_depths: dict[Path, int] = {}  # of this process, by data folder
_held: dict[Path, tuple[int, int]] = {}  # device and inode of the lock's file, by data folder
_one_changes = Lock()


@contextmanager
def writer_lock(root: Path, command: str) -> Iterator[bool | None]:
    """Hold the lock of the one writer to a data folder; readers need none. Waits as `lock_wait.wait_seconds` says.

    Yields
    ------
    Whether the former owner did not end well; None where this process holds the lock already.

    Raises
    ------
    LockedError
        Another process writes, and goes on writing.
    InputError
        The lock's file belongs to somebody who does not share it.
    """
    place = root.resolve()
    with _one_changes:
        is_nested = place in _depths
        take = partial(_taken_at_once, place / LOCK_FILE, command)
        file, has_failed = (None, None) if is_nested else retry_until_free(take)
        _depths[place] = _depths.get(place, 0) + 1
        if file is not None:
            _held[place] = _identity(os.fstat(file.fileno()))
    try:
        yield has_failed
        if file is not None:
            file.truncate(0)
    except Exception:
        if file is not None:
            require_still_held(root)  # where it was moved, that is why
        raise
    finally:
        with _one_changes:
            _depths[place] -= 1
            if not _depths[place]:
                del _depths[place], _held[place]
        if file is not None:
            file.close()


def is_held(root: Path) -> bool:
    """Whether this process is the one that writes to a data folder."""
    return root.resolve() in _depths


def require_still_held(root: Path) -> None:
    """Refuse to write into a folder that is not the one that was locked: it was moved, removed or replaced meanwhile.

    Raises
    ------
    InputError
        It is another one, or gone.
    """
    place = root.resolve()
    try:
        found = _identity((place / LOCK_FILE).stat())
    except OSError:
        found = None
    if found != _held.get(place):
        raise InputError(
            f"{root} was moved, removed or replaced while this run wrote to it, so that nothing of the rest of it "
            "counts; run the command again with --data-dir where the folder lies now"
        )


def is_locked(root: Path) -> bool:
    """Whether any process writes to a data folder."""
    return is_file_held(root / LOCK_FILE)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _opened(path: Path) -> IO[str]:
    try:
        return path.open("a+", encoding="utf-8")
    except PermissionError as error:
        raise InputError(
            f"{path} may not be written by this user; run winback as the user to whom the data folder belongs"
        ) from error
    except FileNotFoundError as error:
        raise InputError(f"the data folder {path.parent} is gone: it was moved or removed meanwhile") from error
    except IsADirectoryError as error:
        raise InputError(f"{path} is a folder, and must be a file of winback's; remove it") from error


def _locked(path: Path) -> IO[str]:
    """Lock the file that bears the name: one that was removed while it was waited for locks nobody out."""
    while True:
        file = _opened(path)
        file.seek(0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with file:
                raise locked_by(path.parent, _owner_named(file.read())) from None
        with suppress(FileNotFoundError):
            if _identity(path.stat()) == _identity(os.fstat(file.fileno())):
                return file
        file.close()


def _taken_at_once(path: Path, command: str) -> tuple[IO[str], bool]:
    file = _locked(path)
    has_failed = bool(file.read())
    file.truncate(0)
    file.write(json.dumps(_owner(command)))
    file.flush()
    return file, has_failed


def _owner(command: str) -> dict[str, object]:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        "command": command, "run": run_id(), "host": socket.gethostname(), "process": os.getpid(),
        "since": since,
    }  # fmt: skip


def _owner_named(text: str) -> str:
    try:
        return "{command} (run {run}, process {process} on {host}, since {since})".format(**json.loads(text))
    except (ValueError, KeyError, TypeError):
        return "another run"
