"""Records of runs: one for every run that writes, with the reason why it did not end well."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from datetime import date, datetime
from pathlib import Path
from typing import IO

import pytest

from configs.errors import InputError
from configs.run_identity import run_id
from features.publishing.lock_wait import LockedError
from features.publishing.sealed_json import sealed
from features.storage.lake import Lake
from flows.runs import run_records
from flows.runs.run_clock import command_begins, seconds_taken
from flows.runs.run_records import RunRecord, recorded
from serving.lookups.data_verification import damaged_records

STAY = """
import sys, time
from pathlib import Path
from features.storage.lake import Lake
from flows.runs.run_records import RunRecord, recorded
with recorded(Lake(Path(sys.argv[1])), "score-users"):
    print("runs", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "data")


def held_record(lake: Lake, command: str, started: str) -> IO[bytes]:
    """Write and hold the record of a run, as another process does."""
    record = RunRecord("elsewhere", command, None, started, None, "running", None, "another machine", 1)
    return lake.files.write_held(record.file, sealed(record.file, asdict(record)))


def ends(lake: Lake) -> list[tuple[str, str, str | None]]:
    return [(record.command, record.outcome, record.reason) for record in run_records.run_records(lake)]


def test_a_run_within_a_run_is_part_of_it_and_bears_its_name(lake: Lake) -> None:
    with recorded(lake, "score-daily"):
        outer = run_id()
        assert ends(lake) == [("score-daily", "running", None)]
        with recorded(lake, "ingest"):
            assert run_id() == outer
    (record,) = run_records.run_records(lake)
    assert (record.run, record.outcome, record.reason) == (outer, "done", None)
    assert record.ended is not None and record.started < record.ended


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (InputError("no such source"), "refused", "no such source"),
        (LockedError("written by another"), "locked", "written by another"),
        (RuntimeError("first\nsecond"), "failed", "RuntimeError: first"),
        (KeyboardInterrupt(), "interrupted", "KeyboardInterrupt"),
    ],
)
def test_why_a_run_ended_is_kept(lake: Lake, error: BaseException, outcome: str, reason: str) -> None:
    with pytest.raises(type(error)), recorded(lake, "ingest"):
        raise error
    assert ends(lake) == [("ingest", outcome, reason)]


def test_a_reason_does_not_say_where_the_data_folder_lies(lake: Lake) -> None:
    with pytest.raises(LockedError), recorded(lake, "ingest"):
        raise LockedError(f"{lake.root} is being written by another run")
    assert ends(lake) == [("ingest", "locked", "data is being written by another run")]


def test_a_run_whose_process_was_killed_is_told_at_once_and_written_down_by_the_next(lake: Lake) -> None:
    words = [sys.executable, "-c", STAY, str(lake.root)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(Path.cwd())}) as run:
        assert run.stdout and run.stdout.readline()
        assert [outcome for _, outcome, _ in ends(lake)] == ["running"]
        run.send_signal(signal.SIGKILL)
    assert [outcome for _, outcome, _ in ends(lake)] == ["killed"]
    with recorded(lake, "score-users"):
        pass
    killed, done = run_records.run_records(lake)
    assert (killed.outcome, done.outcome) == ("killed", "done")
    assert killed.ended is not None and "without a word" in str(killed.reason)


def test_a_run_goes_on_as_long_as_it_holds_its_record_whatever_its_machine_is_called(lake: Lake) -> None:
    with held_record(lake, "ingest", "2024-07-01T00:00:00+00:00"):
        assert [outcome for _, outcome, _ in ends(lake)] == ["running"]
    assert [outcome for _, outcome, _ in ends(lake)] == ["killed"]  # the system lets go of it like this


def test_a_run_that_ends_while_somebody_looks_was_not_killed(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    file = held_record(lake, "ingest", "2026-01-01T00:00:00+00:00")
    (record,) = run_records.run_records(lake)
    is_held = type(lake.files).is_held

    def ends_first(files: object, name: str) -> bool:
        run_records.keep_record(lake, replace(record, outcome="done", ended="2026-01-01T00:01:00+00:00"))
        file.close()
        return is_held(files, name)

    monkeypatch.setattr(type(lake.files), "is_held", ends_first)
    assert [each.outcome for each in run_records.run_records(lake)] == ["done"]


def test_the_record_of_a_run_that_goes_on_stays_however_many_came_after_it(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_records, "KEPT", 3)
    with held_record(lake, "schedule", "2024-07-01T00:00:00+00:00"):
        for number in range(5):
            with recorded(lake, f"run {number}"):
                pass
    assert [command for command, _, _ in ends(lake)] == ["schedule", "run 2", "run 3", "run 4"]


def test_records_do_not_pile_up_and_what_is_none_tells_nothing(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_records, "KEPT", 3)
    lake.files.write("runs/0000-garbage.json", b"null")
    for number in range(5):
        with recorded(lake, f"run {number}"):
            pass
    lake.files.write("runs/9999-garbage.json", b"\xff")
    assert [command for command, _, _ in ends(lake)] == ["run 2", "run 3", "run 4"]


def test_a_record_in_which_any_bit_flips_or_that_is_another_s_is_noticed(lake: Lake) -> None:
    for command in ("ingest", "report"):
        with recorded(lake, command, date(2024, 7, 1)):
            pass
    own, other = (lake.path(name) for name in lake.files.list("runs/*.json"))
    whole = own.read_bytes()
    for place in range(len(whole)):
        own.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        assert [each.name for each in damaged_records(lake)] == [f"runs/{own.name}"], whole[place - 9 : place + 9]
        assert [command for command, _, _ in ends(lake)] == ["report"]
    for content in (b"", b"null", whole[:-1], other.read_bytes()):
        own.write_bytes(content)
        assert len([*damaged_records(lake)]) == 1
    own.write_bytes(whole)
    assert [*damaged_records(lake)] == []


def test_a_record_of_before_there_were_digests_is_taken_as_it_is(lake: Lake) -> None:
    with recorded(lake, "ingest"):
        pass
    (record,) = run_records.run_records(lake)
    lake.files.write(record.file, json.dumps(asdict(record)).encode())
    assert run_records.run_records(lake) == [record]
    assert [*damaged_records(lake)] == []


def test_records_that_cannot_be_written_or_removed_stop_nothing(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lake.files.write("runs/.2024-07-01T000000-0123.json.4567.part", b"{")

    def read_only(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(lake.files, "write_held", read_only)
    monkeypatch.setattr(lake.files, "remove", read_only)
    with recorded(lake, "ingest"):
        pass
    assert "cannot be written (Permission denied)" in capsys.readouterr().err


def test_no_record_begins_another_data_folder_where_the_own_was_moved(
    lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    with recorded(lake, "ingest"):
        lake.root.rename(lake.root.with_name("moved"))
    assert not lake.root.exists()
    assert "the data folder is gone" in capsys.readouterr().err


def test_the_screen_and_the_record_tell_one_time(lake: Lake) -> None:
    command_begins()
    time.sleep(0.05)
    with recorded(lake, "ingest"):
        pass
    time.sleep(0.05)
    (record,) = run_records.run_records(lake)
    began, ended = (datetime.fromisoformat(each or "") for each in (record.started, record.ended))
    assert seconds_taken() == (ended - began).total_seconds() >= 0.05
    with recorded(lake, "report"):  # a second run of the command has a beginning of its own
        pass
    assert run_records.run_records(lake)[1].started > str(record.ended)


def test_half_a_record_of_a_killed_run_goes_with_the_next(lake: Lake) -> None:
    lake.files.write("runs/.2024-07-01T000000-0123.json.4567.part", b"{")
    with recorded(lake, "the next"):
        pass
    assert not lake.files.list("runs/.*")


def test_a_record_that_cannot_be_written_stops_nothing(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lake.files.require_writable()

    def full(name: str, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lake.files, "write_held", full)
    with recorded(lake, "ingest"):
        pass
    assert "cannot be written (No space left on device)" in capsys.readouterr().err
