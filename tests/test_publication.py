"""Publishing: everything that belongs together appears at once, wherever the process is killed."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from configs.errors import InputError
from configs.run_identity import run_id
from features.publishing.manifest import MANIFEST, manifests, read_manifest, record_of
from features.publishing.publication import JOURNAL, STAGED
from features.storage.lake import Lake
from flows import configuration_questions
from flows.runs.opened_run import open_run

CALLS = ("replace", "rename", "unlink", "remove", "rmdir", "mkdir", "fsync", "open")
OLD = {"day/a.txt": "old a", "day/b.txt": "old b", "day/deep/c.txt": "old c", "ledger/1.txt": "old 1", "x.txt": "old"}
NEW = {"day/a.txt": "new a", "day/d.txt": "new d", "ledger/1.txt": "new 1", "ledger/2.txt": "new 2", "x.txt": "old"}
LOCK = ".lock"


class KilledError(BaseException):
    """The process is no more: whatever it still tries fails, too."""


def tree(root: Path) -> dict[str, str]:
    """Read what a folder holds; manifests list it as it is, which is asserted."""
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    own = {name: path.read_text() for name, path in found.items() if name != LOCK and path.name != MANIFEST}
    listed = {}
    for path in manifests(root):
        listed |= read_manifest(root, path.relative_to(root).as_posix())
    published = {name: path for name, path in found.items() if name in own and not name.startswith(STAGED)}
    if not any(root.glob(f"{STAGED}/*/{JOURNAL}")):
        assert listed == {name: record_of(path) for name, path in published.items()}
    return own


def folders(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_dir()}


def old_lake(root: Path) -> Lake:
    lake = Lake(root)
    with lake.files.publish() as publication:
        for name, text in OLD.items():
            publication.write(name, text.encode())
    return lake


def publish(lake: Lake) -> None:
    with lake.files.lock("a test"), lake.files.publish() as publication:
        (publication.folder("day") / "a.txt").write_text("new a")
        publication.write("day/d.txt", b"new d")
        for number in ("1", "2"):
            publication.path(f"ledger/{number}.txt").write_text(f"new {number}")
        publication.write("ledger/3.txt", b"never")
        assert publication.list("ledger/*.txt") == ["ledger/1.txt", "ledger/2.txt", "ledger/3.txt"]
        publication.discard("ledger/3.txt")


def killed_at(
    monkeypatch: pytest.MonkeyPatch, nth: int, run: Callable[[], object], calls: tuple[str, ...] = CALLS
) -> bool:
    """Kill a run at its nth file operation; tells whether it came to that."""
    made = 0

    def breaking(call: Callable[..., object]) -> Callable[..., object]:
        def broken(*args: object, **kwargs: object) -> object:
            nonlocal made
            made += 1
            if made >= nth:
                raise KilledError
            return call(*args, **kwargs)

        return broken

    with monkeypatch.context() as patch:
        for name in calls:
            patch.setattr(os, name, breaking(getattr(os, name)))
        try:
            run()
        except KilledError:
            return True
    return made >= nth  # a last operation may fail without anybody caring


def test_what_is_published_appears_together_and_replaces_whole_folders(tmp_path):
    lake = old_lake(tmp_path)
    publish(lake)
    assert tree(tmp_path) == NEW
    assert folders(tmp_path) == {"day", "ledger"}


def test_a_publish_that_fails_leaves_everything_as_it_was(tmp_path):
    lake = old_lake(tmp_path)
    with pytest.raises(OSError, match="disk full"), lake.files.publish() as publication:
        publication.folder("day")
        publication.write("day/a.txt", b"half")
        raise OSError("disk full")
    assert tree(tmp_path) == OLD
    assert folders(tmp_path) == {"day", "day/deep", "ledger"}


def test_wherever_a_publish_is_killed_the_next_writer_finds_old_or_new_and_no_strays(tmp_path, monkeypatch):
    states, nth = [], 1
    while True:
        lake = old_lake(tmp_path / str(nth))
        was_killed = killed_at(monkeypatch, nth, lambda lake=lake: publish(lake))
        with lake.files.lock("the next run"):
            found = tree(lake.root)
        assert found in (OLD, NEW), nth
        assert folders(lake.root) == ({"day", "day/deep", "ledger"} if found == OLD else {"day", "ledger"}), nth
        states.append(found == NEW)
        publish(lake)
        assert tree(lake.root) == NEW
        if not was_killed:
            break
        nth += 1
    assert states == sorted(states), "once it is published it stays so"
    assert states.count(False) >= 10
    assert states.count(True) >= 10


def test_a_reader_that_meets_a_journal_finishes_it_also_when_it_is_killed(tmp_path, monkeypatch):
    nth = 1
    while True:
        lake = old_lake(tmp_path / str(nth))
        with monkeypatch.context() as patch:
            patch.setattr("features.publishing.publication.settle", lambda _: None)
            publish(lake)
        assert list(lake.root.glob(f"{STAGED}/*/{JOURNAL}"))
        was_killed = killed_at(monkeypatch, nth, lake.files.settle)
        lake.files.settle()
        assert tree(lake.root).items() >= NEW.items(), nth
        assert not {name for name in tree(lake.root) if not name.startswith(STAGED)} - set(NEW), nth
        with lake.files.lock("the next run"):
            assert tree(lake.root) == NEW
        if not was_killed:
            break
        nth += 1
    assert nth > 10


def test_readers_see_each_file_old_or_new_while_files_are_moved(tmp_path, monkeypatch):
    lake, seen = old_lake(tmp_path), []
    replace = os.replace

    def watched(source: Path, target: Path) -> None:
        seen.append({name: lake.files.exists(name) for name in OLD.keys() & NEW.keys()})
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    publish(lake)
    assert len(seen) > 4
    assert all(all(each.values()) for each in seen)


def test_a_cut_off_publish_in_a_folder_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    lake = old_lake(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("features.publishing.publication.settle", lambda _: None)
        publish(lake)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(InputError, match=r"a publish that was cut off and cannot be finished \(Permission denied\)"):
        lake.files.settle()


def test_a_journal_names_files_by_their_place_in_the_folder(tmp_path, monkeypatch):
    lake = old_lake(tmp_path / "first")
    with monkeypatch.context() as patch:
        patch.setattr("features.publishing.publication.settle", lambda _: None)
        publish(lake)
    (journal,) = lake.root.glob(f"{STAGED}/*/{JOURNAL}")
    assert json.loads(journal.read_text()) == {
        "run": run_id(),
        "added": [
            "day/a.txt",
            "day/d.txt",
            "day/manifest.json",
            "ledger/1.txt",
            "ledger/2.txt",
            "ledger/manifest.json",
        ],
        "removed": ["day/b.txt", "day/deep/c.txt"],
    }
    lake.root.rename(tmp_path / "moved")
    with Lake(tmp_path / "moved").files.lock("the next run"):
        assert tree(tmp_path / "moved") == NEW


def read_all(lake: Lake) -> dict[str, str]:
    return {name: lake.path(name).read_text() for name in sorted(OLD | NEW) if lake.files.exists(name)}


@pytest.mark.parametrize("reads", range(6))
def test_a_reader_sees_one_publish_wherever_another_one_comes_in_between(tmp_path, monkeypatch, reads):
    """The publisher goes on to its nth move while the reader has read so many files, and then waits for the reader."""
    monkeypatch.setattr("features.publishing.publication._sync", lambda _: None)
    replace, nth, asked = os.replace, 0, []
    while True:
        lake, nth = old_lake(tmp_path / str(nth)), nth + 1
        has_come, may_go_on, moves = threading.Event(), threading.Event(), 0

        def halting(source: Path, target: Path, nth: int = nth, come=has_come, go_on=may_go_on) -> None:
            nonlocal moves
            moves += 1
            if moves == nth:
                come.set()
                assert go_on.wait(10)
            replace(source, target)

        def publish_all(lake: Lake = lake, come: threading.Event = has_come) -> None:
            publish(lake)
            come.set()

        publisher, looks = threading.Thread(target=publish_all), 0

        def look(lake: Lake = lake, publisher=publisher, come=has_come, go_on=may_go_on) -> dict[str, str]:
            nonlocal looks
            looks, found = looks + 1, {}
            try:
                for place, name in enumerate(sorted(OLD | NEW)):
                    if looks == 1 and place == reads:
                        publisher.start()
                        assert come.wait(10)
                    if lake.files.exists(name):
                        found[name] = lake.files.read(name).decode()
                assert looks == 1 or lake.files.listed()[0].keys() == found.keys()
            finally:
                threading.Timer(0.005, go_on.set).start()
            return found

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", halting)
            found = lake.files.of_one_publish(look)
            publisher.join()
        assert found in (OLD, NEW), (reads, nth)
        assert read_all(lake) == NEW
        asked.append(looks)
        if moves < nth:
            break
    assert set(asked) == {1, 2}  # before the journal appears nothing has happened yet
    assert len(asked) > 6


def test_an_error_of_a_look_counts_where_nothing_came_in_between(tmp_path):
    lake, looks = old_lake(tmp_path), []

    def look() -> str:
        looks.append(1)
        if len(looks) == 1:
            lake.files.publish_file("y.txt", b"new")
        raise FileNotFoundError("gone")

    with pytest.raises(FileNotFoundError, match="gone"):
        lake.files.of_one_publish(look)
    assert len(looks) == 2
    with pytest.raises(FileNotFoundError, match="gone"):
        lake.files.of_one_publish(look)
    assert len(looks) == 3
    assert Lake(tmp_path / "none").files.of_one_publish(lambda: "nothing") == "nothing"


def test_look_ups_of_the_command_line_are_answered_by_one_publish(tmp_path, monkeypatch):
    lake, looks = Lake(tmp_path), []

    def opened(*given: object) -> object:
        looks.append(given)
        if len(looks) == 1:
            lake.files.publish_file("x.txt", b"new")
        return open_run(*given)

    monkeypatch.setattr(configuration_questions, "open_run", opened)
    _, settings = configuration_questions.describe_settings(None, str(tmp_path))
    assert len(looks) == 2
    assert settings["data_dir"] == str(tmp_path)
