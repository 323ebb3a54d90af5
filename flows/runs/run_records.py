"""Records of runs: a small file in ``runs`` of the data folder for every run that writes, with how it ended.

Each run has a file of its own, so that a run that was refused because of the lock can leave a record. A run keeps
its record locked until it has written how it ended. An unfinished record that nobody has locked is of a run that was
killed, on whichever machine; the next run writes that down.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, date, datetime

from configs.errors import InputError, first_line
from configs.progress import announce
from configs.run_identity import one_run, run_id
from features.publishing.lock_wait import LockedError
from features.publishing.sealed_json import sealed, unsealed
from features.storage.lake import Lake
from features.storage.whole_writes import PART
from flows.runs.run_clock import run_begins, run_ends
from flows.runs.run_steps import steps_taken
from models.registry.database_note import DatabaseNote, renewed_note, stored_note

FOLDER = "runs"
KEPT = 1000  # files: a year of nights, and some; those of runs that go on stay beyond it
RUNNING, DONE, REFUSED, LOCKED, FAILED, INTERRUPTED, KILLED = (
    "running", "done", "refused", "locked", "failed", "interrupted", "killed"
)  # fmt: skip
KILLED_BECAUSE = "its process ended without a word: it was killed, or the machine went down"


@dataclass(frozen=True)
class RunRecord:
    """One run of a command that writes.

    `as_of` is the day that it was asked for, None where that was left to the profile or the calendar. `outcome` is one
    of running, done, refused (bad input), locked (somebody else wrote), failed, interrupted, killed; `reason` is why
    it did not end well, one line. Instants are ISO texts in UTC. `database` notes what MLflow's database was like.
    """

    run: str
    command: str
    as_of: str | None
    started: str
    ended: str | None
    outcome: str
    reason: str | None
    host: str
    process: int
    flow_run: str | None = None  # its name in Prefect
    steps: list[dict[str, object]] = field(default_factory=list)  # `run_steps.Step`, in order
    database: DatabaseNote | None = None

    @property
    def file(self) -> str:
        """Name of the record's file below the data folder; names are in the order of time."""
        return f"{FOLDER}/{self.started.replace(':', '')}-{self.run}.json"


@contextmanager
def recorded(lake: Lake, command: str, as_of: date | None = None) -> Iterator[None]:
    """Keep a record of the run in the block; a run within a run is part of the outer one's.

    A record that cannot be written is told, and stops nothing.
    """
    with one_run() as is_outer:
        if not is_outer:
            yield
            return
        begun = _begin(lake, command, as_of)
        with _held(lake, begun):
            steps_taken()
            try:
                yield
            except BaseException as error:
                outcome, reason = how_it_ended(error)
                reason = reason.replace(str(lake.root), lake.root.name)  # the folder may be moved
                _end(lake, replace(begun, outcome=outcome, reason=reason))
                raise
            _end(lake, replace(begun, outcome=DONE))


def how_it_ended(error: BaseException) -> tuple[str, str]:
    """Name the outcome of a run that ended by an error, and the reason in one line."""
    if isinstance(error, LockedError):
        return LOCKED, str(error)
    if isinstance(error, InputError):
        return REFUSED, str(error)
    if isinstance(error, Exception):
        return FAILED, f"{type(error).__name__}: {first_line(error)}"
    return INTERRUPTED, type(error).__name__


def run_records(lake: Lake, last: int | None = None) -> list[RunRecord]:
    """Read all records, or the newest, the oldest of them first; of a run whose process is gone it says so.

    What is damaged tells nothing here: `data_verification.damaged_records` names it.
    """
    found = []
    for name in lake.files.list(f"{FOLDER}/*.json")[-last if last else None :]:
        with suppress(ValueError, TypeError, FileNotFoundError):
            record = _read(lake, name)
            if record.outcome == RUNNING and not lake.files.is_held(name):
                record = _read(lake, name)  # nobody holds what it has become if it ended meanwhile
                is_gone = record.outcome == RUNNING
                record = replace(record, outcome=KILLED, reason=KILLED_BECAUSE) if is_gone else record
            found.append(record)
    return found


def _read(lake: Lake, name: str) -> RunRecord:
    told = unsealed(name, lake.files.read(name))
    known = {each.name: told[each.name] for each in fields(RunRecord) if each.name in told}
    return RunRecord(**known | {"database": stored_note(told)})


def _begin(lake: Lake, command: str, as_of: date | None) -> RunRecord:
    lake.files.require_writable()
    noted = None
    for record in run_records(lake, 100):
        noted = record.database or noted
        if record.outcome == KILLED and record.ended is None:
            keep_record(lake, replace(record, ended=_iso(datetime.now(UTC))))
    half_written = lake.files.list(f"{FOLDER}/.*{PART}")  # by a run that was killed before it could lock the folder
    with suppress(OSError):  # a folder that cannot be written: told where the record is kept
        for name in (*lake.files.list(f"{FOLDER}/*.json")[: -KEPT + 1], *half_written):
            if not lake.files.is_held(name):
                lake.files.remove(name)
    day, here = str(as_of) if as_of else None, (socket.gethostname(), os.getpid())
    return RunRecord(
        run_id(), command, day, _iso(run_begins()), None, RUNNING, None, *here, _flow_run(), database=noted
    )


@contextmanager
def _held(lake: Lake, begun: RunRecord) -> Iterator[None]:
    """Keep the record of a run that has begun, and hold it; what takes its place at the end nobody needs to hold."""
    file = None
    with _told_where_unwritable(begun):
        file = lake.files.write_held(begun.file, _sealed(begun))
    with file or nullcontext():
        yield


def _end(lake: Lake, record: RunRecord) -> None:
    """Keep how a run ended; nothing is written where its data folder is gone, as another one would begin there."""
    ended = replace(record, ended=_iso(run_ends()), steps=steps_taken(), database=renewed_note(lake, record.database))
    if lake.files.list("*") or lake.files.list(f"{FOLDER}/*"):
        keep_record(lake, ended)
    else:
        announce(f"the record of run {record.run} cannot be written (the data folder is gone)")


def _flow_run() -> str | None:
    if "prefect" not in sys.modules:
        return None
    from prefect.runtime import flow_run

    return flow_run.id


def keep_record(lake: Lake, record: RunRecord) -> None:
    """Write a record, in place of the one that the run had."""
    with _told_where_unwritable(record):
        lake.files.write_held(record.file, _sealed(record)).close()


@contextmanager
def _told_where_unwritable(record: RunRecord) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        announce(f"the record of run {record.run} cannot be written ({error.strerror})")


def _sealed(record: RunRecord) -> bytes:
    return sealed(record.file, asdict(record))


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")
