"""Notes of MLflow's database: its digest beside its count of commits, by which damage is told from writing.

Others than winback may write to that file (MLflow's pages), so that no list of files can hold its digest. SQLite counts
the commits in the file itself (https://www.sqlite.org/fileformat2.html#file_change_counter): where the count is that of
the note and the digest is not, nobody wrote, and the file is damaged, also in a value that SQLite reads as it is.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from features.storage.lake import Lake
from features.storage.sqlite_reads import one_state
from models.registry.registry_state import DATABASE

JOURNAL_MODE, COUNT = slice(18, 19), slice(24, 28)  # bytes of the file's header; an empty file has none
ROLLBACK = b"\1"  # with a write-ahead log commits are not counted
BYTES = 16


@dataclass(frozen=True)
class DatabaseNote:
    """What the database was like: its commits by then, and the digest of its bytes."""

    commits: int
    digest: str


def stored_note(record: Mapping[str, Any]) -> DatabaseNote | None:
    """Read the note of a run's record; None where it has none, as those of an older winback.

    Raises
    ------
    TypeError
        It holds something else.
    """
    noted = record.get("database")
    return DatabaseNote(**noted) if noted else None


def database_note(lake: Lake) -> DatabaseNote | None:
    """Note what the database is like, between two commits; None where there is no file that counts them.

    Raises
    ------
    sqlite3.DatabaseError
        It is no database, or somebody keeps it locked.
    """
    if lake.stores.database or not lake.files.exists(DATABASE):
        return None
    with one_state(lake.path(DATABASE)) as database:
        database.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # from here on nobody commits
        content = lake.files.read(DATABASE)
    if content[JOURNAL_MODE] != ROLLBACK:
        return None
    return DatabaseNote(int.from_bytes(content[COUNT]), hashlib.blake2b(content, digest_size=BYTES).hexdigest())


def renewed_note(lake: Lake, noted: DatabaseNote | None) -> DatabaseNote | None:
    """Note the database anew if somebody wrote to it; otherwise, or where it cannot be read, the earlier note stays."""
    try:
        now = database_note(lake)
    except (OSError, sqlite3.DatabaseError):  # which whoever reads the registry says
        return noted
    return noted if now and noted and now.commits == noted.commits else now


def is_damaged(lake: Lake, noted: DatabaseNote | None) -> bool:
    """Tell whether the bytes differ from a note, though nobody wrote since.

    Raises
    ------
    sqlite3.DatabaseError
        It is no database, or somebody keeps it locked.
    """
    now = database_note(lake) if noted else None
    return bool(now and noted and now.commits == noted.commits and now != noted)
