"""A data folder on this machine does what the interface to storage promises."""

from __future__ import annotations

import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import pytest

from configs.errors import InputError
from features.publishing import publication
from features.publishing.lock_wait import WAIT_VARIABLE, LockedError
from features.publishing.manifest import MANIFEST, DamagedError
from features.storage import writer_lock
from features.storage.local_folder import LocalFolder
from features.storage.new_folder import remove_unfilled
from features.storage.storage_interface import Storage
from features.storage.writer_lock import LOCK_FILE


@pytest.fixture
def files(tmp_path: Path) -> Storage:
    return LocalFolder(tmp_path / "data")


@pytest.mark.parametrize("name", ["what?", "a%41b", "50%20off"])
def test_a_name_that_no_address_can_hold_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"the data folder .* has '(\?|%41|%20)' in its name, .*; choose another"):
        LocalFolder(tmp_path / name).require_writable()
    assert not (tmp_path / name).exists()
    LocalFolder(tmp_path / "50% off [1] #2: it's {a} & b*").require_writable()


def test_files_are_written_appended_listed_read_and_removed(files):
    files.write("a/b.txt", b"1")
    files.append("a/b.txt", b"2")
    files.append("a/c.txt", b"3")
    files.write("d.txt", b"4")
    assert files.read("a/b.txt") == b"12"
    assert files.list("a/*.txt") == ["a/b.txt", "a/c.txt"]
    assert files.list("*/*.txt") == ["a/b.txt", "a/c.txt"]
    assert files.list("gone/*") == []
    assert [files.exists(name) for name in ("d.txt", "a", "gone.txt")] == [True, False, False]
    for name in ("d.txt", "a", "gone.txt"):
        files.remove(name)
    assert files.list("**/*") == [LOCK_FILE]
    with pytest.raises(FileNotFoundError):
        files.read("d.txt")


def other_process(root: Path, *, then: str = "time.sleep(60)") -> subprocess.Popen[str]:
    """Process that holds the lock, has half a file and half a publish, and says so."""
    script = f"""
        import sys, time
        from pathlib import Path
        from features.storage.lake import Lake
        lake = Lake(Path({str(root)!r}))
        with lake.files.lock("winback score-users"), lake.files.publish() as publication:
            publication.write("day/half.txt", b"half")
            lake.files.publish_file("whole.txt", b"whole")
            lake.path("deep").mkdir()
            lake.path("deep", ".x.parquet.0123.part").write_bytes(b"half")
            lake.path("tmp").mkdir()
            lake.path("tmp", "spill").write_bytes(b"spill")
            print("holds", flush=True)
            {then}
    """
    run = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    assert run.stdout.readline() == "holds\n"
    return run


def test_a_second_writer_is_told_who_writes_and_readers_do_not_wait(files):
    root = files.local_path()
    run = other_process(root)
    try:
        told = rf"is being written by winback score-users \(run [0-9a-f]{{12}}, process {run.pid} on .*, since 20.*\);"
        started = time.perf_counter()
        with pytest.raises(LockedError, match=told), files.lock("another"):
            pass
        with pytest.raises(LockedError, match=told), files.publish():
            pass
        files.settle()
        assert files.read("whole.txt") == b"whole"
        assert time.perf_counter() - started < 5
    finally:
        run.kill()
        run.wait()


def test_a_patient_writer_waits_for_the_other_and_says_so_once(files, monkeypatch, capsys):
    monkeypatch.setenv(WAIT_VARIABLE, "60")
    monkeypatch.setattr("features.publishing.lock_wait.POLL_SECONDS", 0.05)
    run = other_process(files.local_path())
    ending = threading.Timer(0.4, run.kill)
    ending.start()
    with files.lock("the patient"):
        assert json.loads(files.read(LOCK_FILE))["command"] == "the patient"
    run.wait()
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert "waiting for up to 60 s, as" in told[0]
    assert "is being written by winback score-users" in told[0]


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf"])
def test_patience_is_a_number_of_seconds(files, monkeypatch, text):
    monkeypatch.setenv(WAIT_VARIABLE, text)
    with pytest.raises(InputError, match="is no number of seconds; give 0 or more"), files.lock("a command"):
        pass


def test_a_damaged_journal_is_named_with_a_way_out(files):
    files.write(".publish/0123/journal.json", b"null")
    with pytest.raises(InputError, match=r"journal.json is damaged.*remove the folder .*0123 and run the step"):
        files.settle()


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=str)
def test_the_lock_goes_with_its_owner_and_what_it_left_is_cleared(files, way):
    run = other_process(files.local_path())
    run.send_signal(way)
    run.wait()
    with files.lock("the next"):
        assert [name for name in files.list("**/*") if name != LOCK_FILE] == [MANIFEST, "whole.txt"]
        assert not files.local_path("tmp").exists()
        assert json.loads(files.read(LOCK_FILE))["process"] == os.getpid()
    assert files.read(LOCK_FILE) == b""


def test_a_process_may_nest_what_it_holds_and_lets_go_at_the_end(files):
    with files.lock("demo"):
        with files.lock("ingest"), files.publish() as publication:
            publication.write("a.txt", b"1")
        assert files.exists("a.txt")
        assert json.loads(files.read(LOCK_FILE))["command"] == "demo"
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from pathlib import Path; from features.storage.lake import Lake\n"
             f"with Lake(Path({str(files.local_path())!r})).files.lock('other'): pass"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "LockedError" in done.stderr
        assert "is being written by demo (run" in done.stderr
    run = other_process(files.local_path(), then="pass")
    assert run.wait() == 0
    assert files.read("day/half.txt") == b"half"


def test_a_lock_file_that_nobody_can_read_still_locks(files):
    run = other_process(files.local_path())
    try:
        files.local_path(LOCK_FILE).write_bytes(b"{}")
        with pytest.raises(LockedError, match="is being written by another run; wait until"), files.lock("another"):
            pass
    finally:
        run.kill()
        run.wait()


@pytest.mark.parametrize(
    "failure", [OSError(28, os.strerror(28)), sqlite3.OperationalError("database or disk is full")]
)
def test_a_disk_that_fails_is_one_sentence_whoever_met_it(files, failure):
    with pytest.raises(InputError, match=r"the disk of .* failed \(.*full|No space.*\); make room"), files.lock("a"):
        try:
            raise failure
        except (OSError, sqlite3.Error) as error:
            raise RuntimeError("MLflow gave up") from error
    with pytest.raises(RuntimeError, match="something else"), files.lock("a"):
        raise RuntimeError("something else")


def test_a_folder_that_was_moved_while_it_was_written_to_is_not_begun_anew(files):
    moved = files.root.with_name("moved")
    with pytest.raises(InputError, match=r"was moved, removed or replaced while this run wrote to it"):  # noqa: SIM117
        with files.lock("a run"), files.publish() as publication:
            publication.write("a.txt", b"1")
            files.root.rename(moved)
    assert not files.root.exists()
    with LocalFolder(moved).lock("the next"):
        assert not LocalFolder(moved).exists("a.txt")
        assert LocalFolder(moved).list("**/*") == [LOCK_FILE]
    with files.lock("a run"):
        files.root.rename(files.root.with_name("moved too"))
        with pytest.raises(InputError, match=r"where the folder lies now"):
            files.publish_file("a.txt", b"1")
        files.root.mkdir()  # somebody begins another one
        with pytest.raises(InputError, match=r"was moved, removed or replaced"):
            files.publish_file("a.txt", b"1")
    assert files.list("**/*") == []


def test_an_error_for_which_a_moved_folder_is_to_blame_says_so_and_any_other_stays_what_it_is(files):
    with pytest.raises(ValueError, match="other"), files.lock("a run"):
        raise ValueError("other")
    told = pytest.raises(InputError, match="was moved, removed or replaced while this run wrote to it")
    with told as error, files.lock("a run"), files.lock("a step of it"):
        files.root.rename(files.root.with_name("moved"))
        raise FileNotFoundError("no such snapshot")
    assert "no such snapshot" in str(error.value.__context__)


def test_a_lock_s_file_that_was_removed_while_it_was_waited_for_locks_nobody_out(files, monkeypatch):
    files.require_writable()
    lock = files.local_path(LOCK_FILE)
    locked, opened = [], []

    def remove_once(*given):
        locked.append(given)
        if len(locked) == 1:
            opened.append(lock.open())  # keeps the inode from being given out again
            lock.unlink()  # as a refused first run does with all of its folder
            lock.touch()

    monkeypatch.setattr(writer_lock.fcntl, "flock", remove_once)
    with files.lock("a run"):
        assert b"a run" in lock.read_bytes()
    assert len(locked) == 2


def test_a_folder_that_is_a_link_to_another_disk_is_published_into(files, monkeypatch, tmp_path):
    replace = os.replace

    def other_disk(source, target):
        if "/.publish/" in str(source) and not str(source).endswith(".part"):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        replace(source, target)

    monkeypatch.setattr(os, "replace", other_disk)
    kept, sync = [], publication._sync
    monkeypatch.setattr(publication, "_sync", lambda path: (kept.append((path, path.is_dir())), sync(path)))
    (tmp_path / "disk").mkdir()
    files.require_writable()
    files.local_path("events").symlink_to(tmp_path / "disk")
    files.publish_file("events/day=2024-07-01/events.parquet", b"1")
    files.publish_file("events/day=2024-07-01/events.parquet", b"22")
    assert files.read("events/day=2024-07-01/events.parquet") == b"22"
    assert kept.count((files.local_path("events/day=2024-07-01"), True)) == 2, "it is safe there before it goes here"
    files.check(*files.listed()[0])
    assert [path.name for path in sorted((tmp_path / "disk").rglob("*")) if path.is_file()] == [
        "events.parquet", MANIFEST,
    ]  # fmt: skip


def test_a_folder_that_a_refused_run_made_goes_and_no_other(files, tmp_path):
    files.require_writable()
    remove_unfilled(files.root)
    assert not files.root.exists()
    for name in (LOCK_FILE, "prefect/prefect.db", "runs/1.json"):
        files.write(name, b"1")
    with files.lock("a run"):
        remove_unfilled(files.root)
        assert files.root.exists()
    files.write("runs/2.json", b"failures of a schedule are looked up")
    remove_unfilled(files.root)
    assert files.exists("runs/2.json")
    files.remove("runs/2.json")
    files.write("mine.csv", b"1")
    remove_unfilled(files.root)
    assert files.exists("mine.csv")
    files.remove("mine.csv")
    files.publish_file("a.txt", b"1")
    remove_unfilled(files.root)
    assert files.exists("a.txt")
    remove_unfilled(tmp_path / "there is none")


@pytest.mark.parametrize("kind", ["folder", "file"])
@pytest.mark.parametrize(
    "name", [LOCK_FILE, ".publish", MANIFEST, f"events/{MANIFEST}", "tmp", "runs", "spill-1-0-x", ".spill-x"]
)
def test_a_folder_where_a_file_should_be_or_the_other_way_round_is_no_traceback(files, name, kind):
    files.publish_file("events/a.txt", b"1")
    files.publish_file("b.txt", b"1")
    files.remove(name)
    files.local_path(name).mkdir() if kind == "folder" else files.write(name, b"what?")
    try:
        files.publish_file("events/a.txt", b"22")
        files.publish_file("b.txt", b"22")
    except InputError as error:
        assert name in str(error), error
        if MANIFEST in name:
            files.accept(name)
        else:
            files.remove(name)
        files.publish_file("events/a.txt", b"22")
        files.publish_file("b.txt", b"22")
    assert [files.read(each) for each in ("events/a.txt", "b.txt")] == [b"22", b"22"]
    files.check(*files.listed()[0])


def test_temporary_files_of_a_writer_lie_in_the_data_folder_and_go_with_it_or_with_the_next(files, monkeypatch):
    usual = tempfile.gettempdir()
    monkeypatch.delenv("TMPDIR", raising=False)
    with files.lock("a run"), files.lock("a step of it"):
        own = Path(tempfile.mkdtemp())
        assert own.is_relative_to(files.root)
        assert files.unlisted() == []
    assert (tempfile.gettempdir(), own.parent.exists()) == (usual, False)
    then = 'import tempfile; Path(tempfile.mkdtemp(), "x").touch(); time.sleep(60)'
    run = other_process(files.root, then=then)
    while not (left := [*files.root.glob("spill-*/*/x")]):
        time.sleep(0.01)
    run.kill()
    run.wait()
    with files.lock("the next"):
        assert not left[0].exists()
    monkeypatch.setenv("TMPDIR", usual)
    with files.lock("a run"):
        assert tempfile.gettempdir() == usual


def test_a_folder_that_vanishes_while_it_is_looked_through_is_not_there(files, monkeypatch):
    for day in "12":
        files.write(f"events/day={day}/events.parquet", b"1")
    scandir = os.scandir

    def vanishing(path):
        if str(path).endswith("day=1"):
            monkeypatch.setattr(os, "scandir", scandir)
            files.remove("events/day=1")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    assert files.list("events/**/*") == ["events/day=2/events.parquet"]
    assert os.scandir is scandir


def test_a_reader_comes_while_the_last_publish_is_cleared_up(files, monkeypatch):
    files.publish_file("a.txt", b"1")
    place, scandir = files.local_path(".publish"), os.scandir
    place.mkdir()

    def vanishing(path):
        if str(path) == str(place):
            place.rmdir()
        return scandir(path)

    monkeypatch.setattr("features.publishing.publication.settle", lambda _: None)
    monkeypatch.setattr(os, "scandir", vanishing)
    assert files.of_one_publish(lambda: files.read("a.txt")) == b"1"
    assert not place.exists()


def test_a_file_that_goes_while_it_is_read_is_missing(files, monkeypatch):
    files.publish_file("events/a.txt", b"1")
    monkeypatch.setattr("features.publishing.manifest.record_of", lambda path: path.unlink() or path.stat())
    with pytest.raises(DamagedError, match=r"a.txt is missing, and was written"):
        files.check("events/a.txt")


def test_what_another_one_publishes_while_files_are_listed_is_known(files, monkeypatch):
    files.publish_file("events/a.txt", b"1")
    look = files.list

    def publishing(pattern):
        monkeypatch.setattr(files, "list", look)
        files.publish_file("events/b.txt", b"2")
        return look(pattern)

    monkeypatch.setattr(files, "list", publishing)
    assert files.unlisted() == []
