"""File locks that the system releases when the process that holds them ends, however it ends.

The owner is never identified by process number or host name, because a restarted container has new ones.
"""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from features.storage.whole_writes import write_file


def write_held(path: Path, content: bytes) -> IO[bytes]:
    """Write one file whole, which is held before anybody sees it, and until what is returned is closed."""
    held: list[IO[bytes]] = []

    def write(part: Path) -> None:
        held.append(part.open("wb"))
        fcntl.flock(held[0], fcntl.LOCK_EX)
        held[0].write(content)
        held[0].flush()

    write_file(path, write)
    return held[0]


def is_file_held(path: Path) -> bool:
    """Whether any process holds a file; none holds one that is not there, and of somebody else's nobody can tell."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, IsADirectoryError):
        return False
    except (BlockingIOError, PermissionError):
        return True
    return False
