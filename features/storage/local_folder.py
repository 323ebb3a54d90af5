"""A data folder on this machine."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path, PurePath
from typing import IO

from configs.errors import InputError
from features.publishing.manifest import (
    MANIFEST,
    DamagedError,
    FileRecord,
    check_file,
    listed_files,
    manifest_name,
    paths_like,
    read_manifest,
)
from features.publishing.publication import Found, StagedFiles, clear, of_one_publish, published, settle
from features.storage.held_files import is_file_held, write_held
from features.storage.kept_stores import STORES_FILE
from features.storage.spill_folders import SPILL, clear_spills, temporary_files
from features.storage.whole_writes import PART, write_bytes
from features.storage.writer_lock import is_held, require_still_held, writer_lock

NO_ADDRESS = re.compile(r"\?|%[0-9A-Fa-f]{2}")  # SQLAlchemy and MLflow read them as parts of an address
FAILURES = [*map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO))]
FAILURES += ["database or disk is full", "disk I/O error"]  # as SQLite says it
SCRATCH = "tmp"  # what a writer makes on the way, and Spark
OF_OTHERS = {"mlflow", "prefect"}  # folders whose frameworks clear up themselves
UNLOCKED = "runs"  # folder that is written to without the lock
ABANDONED_SECONDS = 600.0
# frameworks', and what the next run clears
OF_NOBODY = (
    "mlflow/",
    "prefect/",
    "feast/",
    "runs/",
    "scoring/",
    "desk/",
    f"{SCRATCH}/",
    f"{SPILL}-",
    STORES_FILE,
    ".",
)
PUBLISHED_AMONG_THEM = ("mlflow/promotions.jsonl",)  # which winback writes


class LocalFolder:
    """The files below one folder; see `storage_interface.Storage`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def local_path(self, name: str = "") -> Path:
        """Path of a file or folder, for libraries that open it themselves."""
        return self.root / name

    def exists(self, name: str) -> bool:
        """Tell whether there is a file of this name."""
        return self.local_path(name).is_file()

    def read(self, name: str) -> bytes:
        """Read a file; FileNotFoundError where there is none, DamagedError where it is not what was written."""
        self.check(name)
        return self.local_path(name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole that no manifest lists; it needs no lock."""
        write_bytes(self.local_path(name), content)

    def write_held(self, name: str, content: bytes) -> IO[bytes]:
        """Write a file whole that no manifest lists; this process holds it until what is returned is closed."""
        return write_held(self.local_path(name), content)

    def is_held(self, name: str) -> bool:
        """Tell whether any process holds a file."""
        return is_file_held(self.local_path(name))

    def publish_file(self, name: str, content: bytes) -> None:
        """Publish one file."""
        with self.publish() as publication:
            publication.write(name, content)

    def share(self, *folders: str) -> None:
        """Let files that a library wrote be found on other machines, too: of a folder alone there are none."""

    def make_folder(self, name: str) -> None:
        """Make a folder for a library that writes its own files there."""
        self.local_path(name).mkdir(parents=True, exist_ok=True)

    def append(self, name: str, content: bytes) -> None:
        """Add to the end of a published file, whole or not at all."""
        self.publish_file(name, (self.read(name) if self.exists(name) else b"") + content)

    def remove(self, name: str) -> None:
        """Remove a file that no manifest lists, or a folder with all in it; nothing happens where there is none."""
        path = self.local_path(name)
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def check(self, *names: str) -> None:
        """Read files whole and compare them with what was published; DamagedError names one that is another."""
        for name in names:
            check_file(self.root, name)

    def listed(self) -> tuple[Mapping[str, FileRecord], Sequence[str]]:
        """Size and digest of every file that was published, by name, and what is wrong with the list itself."""
        return self.of_one_publish(partial(listed_files, self.root))

    def accept(self, name: str) -> Sequence[str]:
        """Take a file, or all that a folder holds or a manifest lists, for what was published; ``.`` takes everything.

        Raises
        ------
        InputError
            There is no such file.
        """
        with self.lock("winback verify"):
            there = {*self.unlisted(), *self.listed()[0], *([name] if self.exists(name) else [])}
            meant = (each for each in there if name in (".", each, manifest_name(each)) or each.startswith(f"{name}/"))
            found = sorted(each for each in meant if PurePath(each).name != MANIFEST)
            if not found:
                raise InputError(f"{self.root} holds no file {name!r}; winback verify names those that it means")
            for each in {manifest_name(each) for each in found}:
                try:
                    read_manifest(self.root, each)
                except DamagedError:  # what else it listed is not known any more
                    self.remove(each)
            with self.publish() as publication:
                publication.accepted.update(found)
        return found

    def suspects(self, *folders: str) -> Sequence[str]:
        """Names of the published files, of some folders or of all, that are gone or of another size; none is read."""
        listed, _ = self.listed()
        of_folders = (name for name in listed if not folders or name.partition("/")[0] in folders)
        return sorted(name for name in of_folders if _size(self.root / name) != listed[name].size)

    def unlisted(self) -> Sequence[str]:
        """Names of the files that no manifest lists, but for those of frameworks and what the next run clears."""
        listed, there = self.of_one_publish(lambda: (self.listed()[0], self.list("**/*")))
        names = (name for name in there if name in PUBLISHED_AMONG_THEM or not name.startswith(OF_NOBODY))
        return [name for name in names if name not in listed and PurePath(name).name != MANIFEST]

    def of_one_publish(self, look: Callable[[], Found]) -> Found:
        """Answer a question by what one publish left; it is asked again where another one came in between."""
        return of_one_publish(self.root, look)

    def list(self, pattern: str) -> Sequence[str]:
        """Names of the files that match a pattern with ``*``, in order."""
        found = paths_like(self.root, pattern)
        return sorted(path.relative_to(self.root).as_posix() for path in found if path.is_file())

    def sizes(self) -> dict[str, int]:
        """Bytes of each folder in it, and of the files beside them together as ``files``."""
        found: dict[str, int] = {}
        for folder, _, names in os.walk(self.root):
            top = [*Path(folder).relative_to(self.root).parts, "files"][0]
            for name in names:
                with suppress(OSError):  # gone meanwhile
                    found[top] = found.get(top, 0) + Path(folder, name).lstat().st_size
        return found

    @contextmanager
    def lock(self, command: str) -> Iterator[None]:
        """Be the one who writes; what a killed writer left is finished or cleared first. May be nested in a process.

        Raises
        ------
        InputError
            The folder cannot be written, another process writes, or the disk fails within the block.
        """
        if is_held(self.root):
            require_still_held(self.root)
        else:
            self.require_writable()
        with named_when_disk_fails(self.root), writer_lock(self.root, command) as has_failed:
            if has_failed is not None:
                clear(self.root)
                clear_spills(self.root)
            if has_failed:
                self._clear_parts()
            self._clear_records()
            with nullcontext() if has_failed is None else temporary_files(self.root):
                yield

    @contextmanager
    def publish(self) -> Iterator[StagedFiles]:
        """Collect files, and let them appear together."""
        with self.lock("a publish"), published(self.root, lambda *_: require_still_held(self.root)) as files:
            yield files
            require_still_held(self.root)

    def drop_unused(self) -> None:
        """Remove for good what counts no more: a folder alone keeps nothing of the kind."""

    def settle(self) -> None:
        """Finish what a killed writer had published but not carried out; readers call it before they read.

        Raises
        ------
        InputError
            Something is left to do in a folder that cannot be written.
        """
        settle(self.root)

    def require_writable(self) -> None:
        """Create the data folder, or say why it cannot be used.

        Raises
        ------
        InputError
            The folder cannot be made or written, or its name is none for the databases in it.
        """
        if sign := NO_ADDRESS.search(str(self.root)):
            raise InputError(
                f"the data folder {self.root} has {sign[0]!r} in its name, which the addresses of the databases in it "
                "cannot hold; choose another with --data-dir"
            )
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise InputError(
                f"the data folder {self.root} cannot be written ({error.strerror}); choose another with --data-dir"
            ) from error

    def _clear_records(self) -> None:
        """Remove halves of files that are written without the lock, once nobody can be writing them any more."""
        for part in self.local_path(UNLOCKED).glob(f".*{PART}"):
            with suppress(FileNotFoundError):
                if time.time() - part.stat().st_mtime > ABANDONED_SECONDS:
                    part.unlink()

    def _clear_parts(self) -> None:
        """Remove what a writer that did not end well left half written."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self.root / SCRATCH)
        for folder, folders, names in os.walk(self.root):
            folders[:] = [name for name in folders if name not in {*OF_OTHERS, UNLOCKED}]
            for name in names:
                if name.startswith(".") and name.endswith(PART):
                    Path(folder, name).unlink(missing_ok=True)


def _size(path: Path) -> int | None:
    """Bytes of a file; None where there is none."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 - of thousands of files at a time
    except OSError:
        return None


@contextmanager
def named_when_disk_fails(root: Path) -> Iterator[None]:
    """Turn what any library says about a disk that is full, over its quota or broken into one sentence.

    Raises
    ------
    InputError
        The disk below `root` failed inside the block.
    """
    try:
        yield
    except Exception as error:
        told: BaseException | None = error
        while told is not None:  # libraries wrap each other's errors
            if found := next((failure for failure in FAILURES if failure in str(told)), None):
                raise InputError(
                    f"the disk of {root} failed ({found}); make room or mend it, then run the command again: what was "
                    "there before is untouched, and what is half done is finished or cleared"
                ) from error
            told = told.__cause__ or told.__context__
        raise
