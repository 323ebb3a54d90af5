"""The list of published files in PostgreSQL, and the writer's lock, which belongs to a database session.

A publication is one transaction that takes the next number, in the same session that holds the lock: a process that
has lost the lock cannot publish. If the server went away meanwhile, the lock is acquired again; the publication
counts if it had already been committed, or if nobody else has published in between, and is refused otherwise.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from configs.errors import InputError
from configs.progress import announce
from configs.run_identity import run_id
from configs.stores import Stores
from features.publishing.lock_wait import locked_by, retry_until_free
from features.publishing.manifest import FileRecord
from features.stores.database import connect, is_away, named_when_away
from features.stores.object_store import ObjectStore, object_key
from features.stores.row_tables import replace_rows

if TYPE_CHECKING:
    from psycopg import Connection

LOCK_KEY = 0x77696E6261636B  # "winback"; an advisory lock is the database's own
KEPT_DAYS = 7  # for which an object that counts no more stays, for who reads or restores
TABLES = """
CREATE TABLE IF NOT EXISTS winback.publications (
    generation bigint PRIMARY KEY, publication text UNIQUE NOT NULL, command text NOT NULL, run text NOT NULL,
    host text NOT NULL, published_at timestamptz NOT NULL DEFAULT now(), files int NOT NULL, bytes bigint NOT NULL);
CREATE TABLE IF NOT EXISTS winback.files (
    name text PRIMARY KEY, size bigint NOT NULL, sha256 text NOT NULL, object_key text NOT NULL,
    is_listed boolean NOT NULL, generation bigint NOT NULL);
CREATE TABLE IF NOT EXISTS winback.unused_objects (
    object_key text PRIMARY KEY, since timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS winback.writer (
    is_one boolean PRIMARY KEY DEFAULT true CHECK (is_one), command text NOT NULL, run text NOT NULL,
    host text NOT NULL, process int NOT NULL, since timestamptz NOT NULL DEFAULT now());
"""
OUR_LOCK = f"""
(classid::bigint << 32) + objid::bigint = {LOCK_KEY}
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
THIS = "pid = %s AND backend_start = %s"
COUNTED = """
INSERT INTO winback.publications (generation, publication, command, run, host, files, bytes)
VALUES (%s, %s, %s, %s, %s, %s, %s)
"""
COUNTS = """
INSERT INTO winback.files (name, size, sha256, object_key, is_listed, generation)
SELECT *, %s, %s FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::text[])
"""
NOTED_UNUSED = """
INSERT INTO winback.unused_objects (object_key) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING
"""
USED_NO_MORE = """
INSERT INTO winback.unused_objects (object_key) SELECT object_key FROM winback.files WHERE name = ANY(%s)
ON CONFLICT DO NOTHING
"""
OUTDATED = "SELECT object_key FROM winback.unused_objects WHERE since < now() - make_interval(days => %s)"
NEWEST = "SELECT coalesce(max(generation), 0) FROM winback.publications"


class SharedFile(NamedTuple):
    """A file that counts: what it is, the object that holds it, and whether a manifest lists it."""

    record: FileRecord
    object_key: str
    is_listed: bool


def generation(session: Connection) -> int:
    """Count the publishes so far."""
    if session.execute("SELECT to_regclass('winback.publications')").fetchone() == (None,):
        return 0
    row = session.execute(NEWEST).fetchone()
    return int(row[0]) if row else 0


def shared_files(session: Connection) -> tuple[int, dict[str, SharedFile]]:
    """Read the number of the newest publish, and every file that counts by name."""
    with session.transaction():
        session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        newest = generation(session)
        if not newest:
            return 0, {}
        rows = session.execute("SELECT name, size, sha256, object_key, is_listed FROM winback.files ORDER BY name")
        files = {name: SharedFile(FileRecord(size, digest), *rest) for name, size, digest, *rest in rows}
        return newest, files


class Writer:
    """The one who writes, from `writer`."""

    def __init__(self, stores: Stores, session: Connection, command: str) -> None:
        self.session, self.generation = session, generation(session)
        self._stores, self._command, self._known_as = stores, command, _known_as(session)
        self._objects = ObjectStore(stores) if stores.files else None

    def publish(
        self, added: Mapping[str, FileRecord], paths: Mapping[str, Path], gone: Collection[str], *, is_listed: bool
    ) -> None:
        """Let files count, and others no more, in one transaction.

        Parameters
        ----------
        added
            What the files are, by name.
        paths
            Where they lie, by name.
        is_listed
            Whether manifests list them.

        Raises
        ------
        InputError
            Somebody else published since this one became the one who writes.
        """
        publication, done = uuid4().hex, set[str]()
        keys = {name: object_key(name, record) for name, record in added.items()}
        with named_when_away(self._stores):
            while True:
                try:
                    if not self._has_counted(publication):
                        self._upload({keys[name]: paths[name] for name in added}, done)
                        self._commit(publication, added, paths, keys, gone, is_listed)
                    break
                except Exception as error:
                    if not is_away(error):
                        raise
                    self._lock_again()
        self.generation += 1
        with suppress(Exception):  # what cannot be removed now is removed another time
            self.sweep()

    def _has_counted(self, publication: str) -> bool:
        known = "SELECT 1 FROM winback.publications WHERE publication = %s"
        return self.session.execute(known, [publication]).fetchone() is not None

    def _upload(self, files: Mapping[str, Path], done: set[str]) -> None:
        """Bring objects to the storage; until they count they are known as unused, so that none is forgotten."""
        if self._objects is None:
            return
        there = self.session.execute("SELECT object_key FROM winback.files WHERE object_key = ANY(%s)", [[*files]])
        done.update(key for (key,) in there)
        lacking = {key: path for key, path in files.items() if key not in done}
        self.session.execute(NOTED_UNUSED, [[*lacking]])
        self._objects.put(lacking)
        done.update(lacking)

    def _commit(
        self, publication: str, added: Mapping[str, FileRecord], paths: Mapping[str, Path], keys: Mapping[str, str],
        gone: Collection[str], is_listed: bool,
    ) -> None:  # fmt: skip
        session, number = self.session, self.generation + 1
        records = [added[name] for name in keys]
        size = sum(record.size for record in records)
        with session.transaction():
            if generation(session) != self.generation:
                raise InputError(
                    f"another run published to {self._stores.database} while this one had lost its connection; "
                    "nothing of this one counts: run the command again"
                )
            who = (self._command, run_id(), socket.gethostname())
            session.execute(COUNTED, [number, publication, *who, len(added), size])
            session.execute(USED_NO_MORE, [[*keys, *gone]])
            session.execute("DELETE FROM winback.files WHERE name = ANY(%s)", [[*keys, *gone]])
            columns = [[*keys], [each.size for each in records], [each.sha256 for each in records], [*keys.values()]]
            session.execute(COUNTS, [is_listed, number, *columns])
            session.execute("DELETE FROM winback.unused_objects WHERE object_key = ANY(%s)", [[*keys.values()]])
            replace_rows(session, paths, gone)

    def _lock_again(self) -> None:
        """Become the one who writes again, after the server went away."""
        with suppress(Exception):
            self.session.close()
        with connect(self._stores) as session:  # of the server that did not notice; a restart has ended it
            session.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE " + THIS, self._known_as
            )
        self.session = retry_until_free(partial(_locked_session, self._stores, self._command))
        self._known_as = _known_as(self.session)
        announce(f"{self._stores.database} is there again")

    def sweep(self, kept_days: int | None = None) -> None:
        """Remove objects that have not counted for so many days, `KEPT_DAYS` unless it is said."""
        if self._objects is None:
            return
        rows = self.session.execute(OUTDATED, [KEPT_DAYS if kept_days is None else kept_days]).fetchall()
        self._objects.remove([key for (key,) in rows])
        gone = "DELETE FROM winback.unused_objects WHERE object_key = ANY(%s)"
        self.session.execute(gone, [[key for (key,) in rows]])


@contextmanager
def writer(stores: Stores, command: str) -> Iterator[Writer]:
    """Hold the lock of the one writer to shared stores, on whatever machine; waits as `lock_wait.wait_seconds` says.

    Raises
    ------
    LockedError
        Another run writes, and goes on writing.
    """
    found = Writer(stores, retry_until_free(partial(_locked_session, stores, command)), command)
    try:
        yield found
    finally:
        with suppress(Exception):  # a session that is gone has left its lock
            found.session.execute("DELETE FROM winback.writer")
            found.session.close()


def who_writes(session: Connection) -> dict[str, object] | None:
    """Say who writes: the command, its run, host and process, and since when; None where nobody does."""
    if session.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND " + OUR_LOCK).fetchone() is None:
        return None
    row = session.execute("SELECT command, run, host, process, since FROM winback.writer").fetchone()
    return dict(zip(("command", "run", "host", "process", "since"), row, strict=True)) if row else {}


class StoresState(NamedTuple):
    """What the stores say of themselves: how often was published and when last, and who writes, if anybody does."""

    publishes: int
    published_at: datetime | None
    writer: dict[str, object] | None


def stores_state(stores: Stores) -> StoresState:
    """Ask the database what counts and who writes.

    Raises
    ------
    StoreAwayError
        It does not answer at once.
    """
    with named_when_away(stores), connect(stores, wait_seconds=0) as session:
        number = generation(session)
        last = "SELECT published_at FROM winback.publications WHERE generation = %s"
        row = session.execute(last, [number]).fetchone() if number else None
        return StoresState(number, row[0] if row else None, who_writes(session))


def _known_as(session: Connection) -> tuple[int, object]:
    """Tell a session from every other, also from one that gets its number after a restart."""
    row = session.execute("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()").fetchone()
    return row or (0, None)


def _locked_session(stores: Stores, command: str) -> Connection:
    session = connect(stores)
    try:
        row = session.execute("SELECT pg_try_advisory_lock(%s)", [LOCK_KEY]).fetchone()
        if row is None or not row[0]:
            named = "{command} (run {run}, process {process} on {host}, since {since})"
            raise locked_by(stores.database, named.format(**owner) if (owner := who_writes(session)) else "another run")
        session.execute(TABLES)  # who writes alone may make them
        owner_now = [command, run_id(), socket.gethostname(), os.getpid()]
        session.execute("DELETE FROM winback.writer")
        session.execute("INSERT INTO winback.writer (command, run, host, process) VALUES (%s, %s, %s, %s)", owner_now)
    except BaseException:
        session.close()
        raise
    return session
