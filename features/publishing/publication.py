"""Files that appear together or not at all, also when the process is killed in between.

All are staged in a folder of their own below ``.publish``. One small file, the journal, is renamed into place: from
then on the publish counts, and its files are moved where they belong. Each move is a rename that may be repeated, so
whoever meets a journal can carry it out; a folder without one was never published, and is cleared.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from configs.errors import InputError
from configs.run_identity import run_id
from features.publishing.manifest import FileRecord, changed_manifests, manifests, paths_like, record_of

STAGED, JOURNAL, PART = ".publish", "journal.json", ".part"
AT_ONCE = 4  # files that are read back and brought to disk
Found = TypeVar("Found")
Share = Callable[[Mapping[str, FileRecord], Mapping[str, Path], Collection[str]], None]
_holds = threading.local()  # folders in which this thread is the one that moves files


class StagedFiles:
    """Files of one publication: below `staged` they have the names that they get below `root`."""

    def __init__(self, root: Path, place: Path) -> None:
        self.root, self.place, self.staged = root, place, place / "new"
        self.replaced: list[str] = []
        self.removed: set[str] = set()
        self.accepted: set[str] = set()  # files below `root` that are listed as they are

    def path(self, name: str) -> Path:
        """Place where a library is to write a file, which is added under `name`."""
        path = self.staged / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, name: str, content: bytes) -> None:
        """Add a file."""
        self.path(name).write_bytes(content)

    def folder(self, name: str) -> Path:
        """Place where a library is to write the files of a folder; what the folder holds else goes with the publish."""
        self.replaced.append(name)
        path = self.staged / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def remove(self, name: str) -> None:
        """Let a file, or a folder with all in it, go with the publish; nothing happens where there is none."""
        if (self.root / name).is_file():
            self.removed.add(name)
        elif (self.root / name).is_dir():
            self.replaced.append(name)

    def discard(self, name: str) -> None:
        """Take back a file that was added."""
        (self.staged / name).unlink()

    def list(self, pattern: str) -> Sequence[str]:
        """Names of the added files that match a pattern with ``*``, in order."""
        return sorted(path.relative_to(self.staged).as_posix() for path in self.staged.glob(pattern) if path.is_file())

    def commit(self, share: Share | None = None) -> None:
        """Let the publication count: the journal appears, once everything that it names is safely on disk.

        Where others share the folder, `share` lets it count for them first: what is added, where it lies, what goes.
        """
        added = _files_below(self.staged)
        earlier = {f"{name}/{file}" for name in self.replaced for file in _files_below(self.root / name)}
        with ThreadPoolExecutor(AT_ONCE) as pool:
            records = dict(zip(added, pool.map(self._kept, added), strict=True))
        records |= {name: record_of(self.root / name) for name in self.accepted if (self.root / name).exists()}
        gone = (earlier | self.removed | self.accepted) - set(records)
        if share is not None and (records or gone):
            share(records, {name: self._place(name) for name in records}, gone)
        for name, content in changed_manifests(self.root, records, gone).items():
            if content:
                self.write(name, content)
                _sync(self.staged / name)
                added.append(name)
            else:
                gone.add(name)
        part = self.place / f"{JOURNAL}.part"
        moves = {"run": run_id(), "added": sorted(added), "removed": sorted(gone - set(added))}
        part.write_text(json.dumps(moves), encoding="utf-8")
        _sync(part)
        os.replace(part, self.place / JOURNAL)  # noqa: PTH105 - tests break this very call
        with suppress(FileNotFoundError):  # a reader has carried it out already
            _sync(self.place)

    def _place(self, name: str) -> Path:
        staged = self.staged / name
        return staged if staged.exists() else self.root / name

    def _kept(self, name: str) -> FileRecord:
        _sync(self.staged / name)
        return record_of(self.staged / name)


@contextmanager
def published(root: Path, share: Share | None = None) -> Iterator[StagedFiles]:
    """Collect files; they appear together when the block ends well. The caller holds the folder's lock.

    `share` is asked before they appear, and what it raises lets none appear.
    """
    place = root / STAGED / uuid4().hex
    with _one_moves(root):
        place.mkdir(parents=True)
    files = StagedFiles(root, place)
    try:
        yield files
        files.commit(share)
    except BaseException:
        if not (place / JOURNAL).exists():
            with suppress(OSError):
                shutil.rmtree(place)
                place.parent.rmdir()
        raise
    settle(root)


def settle(root: Path) -> None:
    """Carry out every publication that counts; nothing happens where there is none.

    Raises
    ------
    InputError
        One cannot be carried out.
    """
    if (root / STAGED).exists():
        with _settled(root):
            pass


@contextmanager
def _settled(root: Path) -> Iterator[None]:
    """Carry out every publication that counts, and let nobody carry out another before the block ends."""
    with _one_moves(root):
        try:
            for journal in paths_like(root / STAGED, f"*/{JOURNAL}"):
                _carry_out(root, journal)
        except OSError as error:
            raise InputError(
                f"{root} holds a publish that was cut off and cannot be finished ({error.strerror}); "
                "see that the disk has room, and run any command once as somebody who may write there"
            ) from error
        _remove_empty(root / STAGED, below=root)
        yield


def clear(root: Path) -> None:
    """Remove what was staged and never published; for the one who holds the folder's lock and stages nothing yet."""
    settle(root)
    if (root / STAGED).is_file():  # nobody's
        (root / STAGED).unlink()
    shutil.rmtree(root / STAGED, ignore_errors=True)


def of_one_publish(root: Path, look: Callable[[], Found]) -> Found:
    """Answer a question by what one publish left: where another one came in between, it is asked again.

    Readers wait for nobody but for files that are being moved; who publishes waits for those who are asked again.
    """
    if not root.exists():
        return look()
    settle(root)
    before = _stand(root)
    try:
        found = look()
    except Exception:
        if before is not None and before == _stand(root):
            raise
    else:
        if before is not None and before == _stand(root):
            return found
    with _settled(root):
        return look()


def _stand(root: Path) -> list[tuple[Path, int, int, int]] | None:
    """Tell one publish from the next by the manifests, which each of them writes; None while files are moved."""
    if paths_like(root / STAGED, f"*/{JOURNAL}"):
        return None
    try:
        stats = [(path, path.stat()) for path in manifests(root)]
    except FileNotFoundError:  # it listed nothing any more
        return None
    return [(path, stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in stats]


def _carry_out(root: Path, journal: Path) -> None:
    try:
        listed = json.loads(journal.read_text(encoding="utf-8"))
        added, removed = ([str(name) for name in listed[key]] for key in ("added", "removed"))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{journal} is damaged, so that what was published with it cannot be put in place; remove the folder "
            f"{journal.parent} and run the step that wrote last once more"
        ) from error
    for name in added:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # it was moved before
            _move(journal.parent / "new" / name, root / name)
    for name in removed:
        (root / name).unlink(missing_ok=True)
        _remove_empty((root / name).parent, below=root)
    journal.unlink()  # what is left from here on is of no account
    shutil.rmtree(journal.parent)


def _move(source: Path, target: Path) -> None:
    """Rename a file into place, where folders may be links to other disks."""
    try:
        os.replace(source, target)  # noqa: PTH105
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        part = target.with_name(f".{target.name}{PART}")
        shutil.copy2(source, part)
        _sync(part)
        part.replace(target)
        _sync(target.parent)  # no disk knows in which order another one keeps its changes
        source.unlink()


def _remove_empty(folder: Path, *, below: Path) -> None:
    """Remove a folder that holds nothing any more, and those around it."""
    while folder != below:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


@contextmanager
def _one_moves(root: Path) -> Iterator[None]:
    """Let one thread at a time move files; a matter of milliseconds, which the system ends when the process dies."""
    if str(root) in vars(_holds):
        yield
        return
    handle = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        vars(_holds)[str(root)] = handle
        yield
    finally:
        vars(_holds).pop(str(root), None)
        os.close(handle)


def _files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
