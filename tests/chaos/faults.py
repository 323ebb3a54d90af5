"""Faults of a process, put in from inside: it dies at a file operation or in the midst of a write, or is denied one.

File operations are seen by Python's audit events and by the few calls that have none: what SQLite, Arrow and Python do
to files below one folder. What libraries write beside Python is met by the limit of a file's size, which the kernel
keeps: a process that may not let a file grow beyond it is killed within that very write, or is told that it failed.
"""

from __future__ import annotations

import errno
import mmap
import os
import resource
import signal
import sqlite3
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq
from pyarrow import feather

Kind = Literal["count", "kill", "full", "tear", "limit"]
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link")
GROWS = ("open", "os.mkdir", "write")  # what a full disk denies
STATEMENTS = ("INSERT", "UPDATE", "DELETE", "COMMIT", "CREATE")


@dataclass(frozen=True)
class Fault:
    """What is done to a process.

    ``kill`` ends it at its `at`-th file operation and ``full`` denies every growth from then on; ``tear`` ends it where
    a file outgrows `at` bytes and ``limit`` denies that.
    """

    kind: Kind = "count"
    at: int = 0


class FileOperations:
    """Counts the file operations of this process below one folder, and breaks it at one of them.

    Made once, before processes are forked: the hook cannot be taken out again, and sleeps until it is armed.
    """

    def __init__(self) -> None:
        self.root, self.fault, self.made = "", Fault(), mmap.mmap(-1, 8)
        sys.addaudithook(self._audited)
        os.fsync = self._counted(os.fsync, "fsync")
        pq.ParquetWriter.write_table = self._counted(pq.ParquetWriter.write_table, "write")
        pq.ParquetWriter.close = self._counted(pq.ParquetWriter.close, "write")
        feather.write_feather = self._counted(feather.write_feather, "write")
        sqlite3.connect = sqlite3.dbapi2.connect = self._watched(sqlite3.connect)

    def arm(self, root: Path, fault: Fault, made: mmap.mmap) -> None:
        """Begin to count in this process, where its parent can read it, and to break it."""
        self.root, self.fault, self.made = str(root), fault, made
        if fault.kind in ("tear", "limit"):
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL if fault.kind == "tear" else signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (fault.at, fault.at))

    def _audited(self, event: str, given: tuple[object, ...]) -> None:
        if not self.root:
            return
        if (event in CHANGES or (event == "open" and self._writes(given))) and self._is_below(given):
            self._met(event)

    def _writes(self, given: tuple[object, ...]) -> bool:
        return isinstance(given[2], int) and bool(given[2] & WRITES)

    def _is_below(self, given: tuple[object, ...]) -> bool:
        if given and isinstance(given[-1], int) and given[-1] >= 0 and not str(given[0]).startswith("/"):
            return True  # relative to an open folder, as shutil.rmtree does
        return any(isinstance(each, str | os.PathLike) and str(each).startswith(self.root) for each in given)

    def _watched(self, connect: Callable[..., sqlite3.Connection]) -> Callable[..., sqlite3.Connection]:
        @wraps(connect)
        def connected(*args: object, **kwargs: object) -> sqlite3.Connection:
            connection = connect(*args, **kwargs)
            if self.root:
                connection.set_trace_callback(self._traced)
            return connection

        return connected

    def _traced(self, statement: str) -> None:
        if statement.lstrip().upper().startswith(STATEMENTS):
            self._met("sqlite")

    def _counted(self, call: Callable[..., object], what: str) -> Callable[..., object]:
        @wraps(call)
        def counted(*args: object, **kwargs: object) -> object:
            if self.root:
                self._met(what)
            return call(*args, **kwargs)

        return counted

    def _met(self, what: str) -> None:
        made = number_in(self.made) + 1
        self.made[:] = struct.pack("q", made)
        if self.fault.kind == "kill" and made == self.fault.at:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault.kind == "full" and made >= self.fault.at and what in GROWS:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def number_in(shared: mmap.mmap) -> int:
    """Read the number of operations that a process shares."""
    return int(struct.unpack("q", shared[:])[0])
