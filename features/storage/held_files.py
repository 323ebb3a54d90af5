"""Files that a process holds as long as it lives: the system lets go of them when it ends, however it ends.

Nobody needs to know its number, its machine or its name: a container that begins again has others.
"""

from __future__ import annotations

import fcntl
from contextlib import suppress
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
    """Whether any process holds a file; none holds one that is not there."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
