"""Consistent reads of the frameworks' SQLite databases while another process writes to them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

WAITS_SECONDS = 30.0  # for somebody else's commit


@contextmanager
def one_state(path: Path) -> Iterator[sqlite3.Connection]:
    """Answer all questions of the block from one state of a database; the caller changes nothing.

    What a process that was killed within a commit left half written is undone first, as by any other connection: one
    that is opened read-only refuses to read such a file (https://www.sqlite.org/rescode.html#readonly_rollback). Where
    the file may not be written, SQLite itself opens it for reading alone.

    Raises
    ------
    sqlite3.DatabaseError
        It is no database, is damaged, or somebody keeps it locked.
    """
    address = f"{path.absolute().as_uri()}?mode=rw"  # which makes none
    with closing(sqlite3.connect(address, uri=True, timeout=WAITS_SECONDS, isolation_level=None)) as database:
        database.execute("BEGIN")
        yield database
