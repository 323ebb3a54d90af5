"""Publishing: everything that belongs together appears at once, wherever the process is killed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from configs.errors import InputError
from configs.run_identity import run_id
from features.storage.lake import Lake
from features.storage.publication import JOURNAL, STAGED

CALLS = ("replace", "rename", "unlink", "remove", "rmdir", "mkdir", "fsync", "open")
OLD = {"day/a.txt": "old a", "day/b.txt": "old b", "day/deep/c.txt": "old c", "ledger/1.txt": "old 1", "x.txt": "old"}
NEW = {"day/a.txt": "new a", "day/d.txt": "new d", "ledger/1.txt": "new 1", "ledger/2.txt": "new 2", "x.txt": "old"}
LOCK = ".lock"


class KilledError(BaseException):
    """The process is no more: whatever it still tries fails, too."""


def tree(root: Path) -> dict[str, str]:
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    return {name: path.read_text() for name, path in found.items() if name != LOCK}


def folders(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_dir()}


def old_lake(root: Path) -> Lake:
    lake = Lake(root)
    for name, text in OLD.items():
        lake.files.write(name, text.encode())
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
            patch.setattr("features.storage.publication.settle", lambda _: None)
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
        patch.setattr("features.storage.publication.settle", lambda _: None)
        publish(lake)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(InputError, match=r"a publish that was cut off and cannot be finished \(Permission denied\)"):
        lake.files.settle()


def test_a_journal_names_files_by_their_place_in_the_folder(tmp_path, monkeypatch):
    lake = old_lake(tmp_path / "first")
    with monkeypatch.context() as patch:
        patch.setattr("features.storage.publication.settle", lambda _: None)
        publish(lake)
    (journal,) = lake.root.glob(f"{STAGED}/*/{JOURNAL}")
    assert json.loads(journal.read_text()) == {
        "run": run_id(),
        "added": ["day/a.txt", "day/d.txt", "ledger/1.txt", "ledger/2.txt"],
        "removed": ["day/b.txt", "day/deep/c.txt"],
    }
    lake.root.rename(tmp_path / "moved")
    with Lake(tmp_path / "moved").files.lock("the next run"):
        assert tree(tmp_path / "moved") == NEW
