"""Records of runs: one for every run that writes, with the reason why it did not end well."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from configs.errors import InputError
from configs.run_identity import run_id
from features.publishing.patience import LockedError
from features.storage.lake import Lake
from flows.runs import run_records
from flows.runs.run_records import recorded

STAY = """
import sys, time
from pathlib import Path
from features.storage.lake import Lake
from flows.runs.run_records import recorded
with recorded(Lake(Path(sys.argv[1])), "score-users"):
    print("runs", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "data")


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


def test_a_process_number_that_was_given_out_again_is_another_process(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recorded(lake, "ingest"):
        with monkeypatch.context() as patched:
            patched.setattr(run_records, "_born", lambda process: "another boot/1")
            assert [outcome for _, outcome, _ in ends(lake)] == ["killed"]
        with monkeypatch.context() as patched:
            patched.setattr(run_records.socket, "gethostname", lambda: "another machine")
            assert [outcome for _, outcome, _ in ends(lake)] == ["running"]  # of which nobody here can tell more


def test_records_do_not_pile_up_and_what_is_none_tells_nothing(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_records, "KEPT", 3)
    lake.files.write("runs/0000-garbage.json", b"null")
    for number in range(5):
        with recorded(lake, f"run {number}"):
            pass
    lake.files.write("runs/9999-garbage.json", b"\xff")
    assert [command for command, _, _ in ends(lake)] == ["run 2", "run 3", "run 4"]


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

    monkeypatch.setattr(lake.files, "write", full)
    with recorded(lake, "ingest"):
        pass
    assert "cannot be written (No space left on device)" in capsys.readouterr().err
