"""What ran, when, and why it ended: a small file for every run that writes, below ``runs`` in the data folder.

A file each, so that a run that is refused because another writes can leave its word, too. A run whose process is gone
without a word was killed; the next run writes that down.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path

from configs.errors import InputError, first_line
from configs.progress import announce
from configs.run_identity import one_run, run_id
from features.publishing.patience import LockedError
from features.publishing.sealed_json import sealed, unsealed
from features.storage.lake import Lake
from features.storage.whole_writes import PART
from flows.runs.run_clock import run_begins, run_ends
from flows.runs.run_steps import steps_taken

FOLDER = "runs"
KEPT = 1000  # files: a year of nights, and some
RUNNING, DONE, REFUSED, LOCKED, FAILED, INTERRUPTED, KILLED = (
    "running", "done", "refused", "locked", "failed", "interrupted", "killed"
)  # fmt: skip
KILLED_BECAUSE = "its process ended without a word: it was killed, or the machine went down"


@dataclass(frozen=True)
class RunRecord:
    """One run of a command that writes.

    `as_of` is the day that it was asked for, None where that was left to the profile or the calendar. `outcome` is one
    of running, done, refused (bad input), locked (somebody else wrote), failed, interrupted, killed; `reason` is why
    it did not end well, one line. Instants are ISO texts in UTC.
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
    born: str  # when the process began, as the system tells: a process number alone is given out again
    flow_run: str | None = None  # its name in Prefect
    steps: list[dict[str, object]] = field(default_factory=list)  # `run_steps.Step`, in order

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


def run_records(lake: Lake, last: int = KEPT) -> list[RunRecord]:
    """Read the newest records, the oldest of them first; of a run whose process is gone it says that it was killed.

    What is damaged tells nothing here: `data_verification.damaged_records` names it.
    """
    found = []
    for name in lake.files.list(f"{FOLDER}/*.json")[-last:]:
        with suppress(ValueError, TypeError, FileNotFoundError):
            record = RunRecord(**unsealed(name, lake.files.read(name)))
            found.append(replace(record, outcome=KILLED, reason=KILLED_BECAUSE) if _is_gone(record) else record)
    return found


def _begin(lake: Lake, command: str, as_of: date | None) -> RunRecord:
    lake.files.require_writable()
    for record in run_records(lake, 100):
        if record.outcome == KILLED and record.ended is None:
            keep_record(lake, replace(record, ended=_iso(datetime.now(UTC))))
    half_written = lake.files.list(f"{FOLDER}/.*{PART}")  # by a run that was killed before it could lock the folder
    with suppress(OSError):  # a folder that cannot be written: told where the record is kept
        for name in (*lake.files.list(f"{FOLDER}/*.json")[: -KEPT + 1], *half_written):
            lake.files.remove(name)
    day, here = str(as_of) if as_of else None, (socket.gethostname(), os.getpid(), _born(os.getpid()))
    begun = RunRecord(run_id(), command, day, _iso(run_begins()), None, RUNNING, None, *here, _flow_run())
    keep_record(lake, begun)
    return begun


def _end(lake: Lake, record: RunRecord) -> None:
    """Keep how a run ended; nothing is written where its data folder is gone, as another one would begin there."""
    ended = replace(record, ended=_iso(run_ends()), steps=steps_taken())
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
    try:
        lake.files.write(record.file, sealed(record.file, asdict(record)))
    except OSError as error:
        announce(f"the record of run {record.run} cannot be written ({error.strerror})")


def _is_gone(record: RunRecord) -> bool:
    """Whether a run that has not ended cannot end any more; of another machine's runs nobody can tell."""
    if record.outcome != RUNNING or record.host != socket.gethostname():
        return False
    return _born(record.process) != record.born


def _born(process: int) -> str:
    """When a process began, since which start of the machine; empty where it does not run (or the system is silent)."""
    try:
        of_machine = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return _answers(process)
    return f"{of_machine}/{fields[19]}" if fields[0] != "Z" else ""


def _answers(process: int) -> str:
    """Stand in for the moment of birth on systems without ``/proc``."""
    try:
        os.kill(process, 0)
    except OSError:
        return ""
    return "runs" if not Path("/proc/self").exists() else ""


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")
