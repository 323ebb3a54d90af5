"""A data folder that is a local copy of shared stores; what is published counts in the stores first.

Libraries can open only local files, so every published file is copied to this machine as soon as it differs, by the
next process that writes or reads. A published file never changes under its digest. What only this machine needs
(batches, Prefect's home, records of runs) is not shared.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from configs.errors import InputError
from configs.progress import announce
from configs.stores import Stores
from features.publishing.lock_wait import LockedError
from features.publishing.manifest import DamagedError, FileRecord, listed_files, record_of
from features.publishing.publication import Found, StagedFiles, of_one_publish, published, settle
from features.storage.local_folder import LocalFolder
from features.storage.whole_writes import PART, write_text
from features.storage.writer_lock import require_still_held, writer_lock
from features.stores.database import StoreAwayError, connect, named_when_away
from features.stores.object_store import ObjectStore
from features.stores.published_files import SharedFile, Writer, generation, shared_files, writer

GENERATION_FILE = ".generation"  # of the publish that the folder is a copy of
_writers: dict[Path, Writer] = {}  # of this process, by data folder


class SharedFolder(LocalFolder):
    """The copy of what some stores share; see `storage_interface.Storage`."""

    def __init__(self, root: Path, stores: Stores) -> None:
        super().__init__(root)
        self.stores = stores

    @contextmanager
    def lock(self, command: str) -> Iterator[None]:
        """Be the one who writes on any machine; what others published is brought first. May be nested in a process.

        Raises
        ------
        InputError
            As of a folder of this machine; or a store does not answer, or the folder holds what was never published.
        """
        with super().lock(command):
            place = self.root.resolve()
            if place in _writers:
                yield
                return
            with named_when_away(self.stores), writer(self.stores, command) as found:
                _writers[place] = found
                try:
                    self._bring(*shared_files(found.session), found)
                    yield
                finally:
                    del _writers[place]

    @contextmanager
    def publish(self) -> Iterator[StagedFiles]:
        """Collect files, and let them appear together, for everybody."""
        with self.lock("a publish"):
            with published(self.root, self._share) as files:
                yield files
                require_still_held(self.root)
            self._note(_writers[self.root.resolve()].generation)

    def check(self, *names: str) -> None:
        """Compare files with what was published, and read one that is another by now from the storage again.

        Raises
        ------
        DamagedError
            One is another, and cannot be read again.
        """
        for name in names:
            try:
                super().check(name)
            except DamagedError:
                if not self._is_mended(name):
                    raise

    def share(self, *folders: str) -> None:
        """Let the files of folders that a library wrote, which no manifest lists, be found on other machines, too."""
        if not self.stores.files:
            return
        names = [name for folder in folders for name in self.list(f"{folder}/**/*")]
        paths = {name: self.local_path(name) for name in names}
        with self.lock("sharing files"):
            found = _writers[self.root.resolve()]
            found.publish({name: record_of(path) for name, path in paths.items()}, paths, (), is_listed=False)
            self._note(found.generation)

    def of_one_publish(self, look: Callable[[], Found]) -> Found:
        """Answer a question by what one publish left, the newest where the database answers."""
        self._refresh()
        return of_one_publish(self.root, look)

    def drop_unused(self) -> None:
        """Remove objects that count no more from the storage, without the days for which they are kept otherwise."""
        with self.lock("removing objects"):
            _writers[self.root.resolve()].sweep(kept_days=0)

    def settle(self) -> None:
        """Finish what a killed writer left, and bring what others published."""
        self._refresh()
        settle(self.root)

    def _share(self, added: Mapping[str, FileRecord], paths: Mapping[str, Path], gone: Collection[str]) -> None:
        require_still_held(self.root)
        _writers[self.root.resolve()].publish(added, paths, gone, is_listed=True)

    def _refresh(self) -> None:
        """Bring what others published, for a reader: who waits neither for a writer here, nor for a server."""
        if self.root.resolve() in _writers:
            return
        try:
            with named_when_away(self.stores), connect(self.stores, wait_seconds=0) as session:
                if generation(session) == self._generation():
                    return
                self.require_writable()
                with writer_lock(self.root, "bringing published files"):
                    self._bring(*shared_files(session), None)
        except LockedError:
            return  # who writes here has brought it
        except StoreAwayError as error:
            _tell_once(f"{self.root} is as of the last time that it was brought up to date: {error}")

    def _bring(self, number: int, shared: Mapping[str, SharedFile], writer: Writer | None) -> None:
        """Make the folder a copy of what counts; at first, where nothing counts yet, what it holds is published."""
        listed = listed_files(self.root)[0]
        if self._generation() is None and listed:
            self._begin(number, listed, shared, writer)
            return
        lacking = {name: each for name, each in shared.items() if not self._has(name, each, listed)}
        wanted = {name for name, each in shared.items() if each.is_listed}
        gone = set(listed) - wanted
        for name in [name for name, each in lacking.items() if not each.is_listed]:
            self._fetch({name: lacking.pop(name)}, self.local_path)
        if lacking or gone:
            with published(self.root) as files:
                self._fetch(lacking, files.path)
                for name in gone:
                    files.removed.add(name)
        self._note(number)

    def _is_mended(self, name: str) -> bool:
        if not self.stores.files:
            return False
        with named_when_away(self.stores), connect(self.stores, wait_seconds=0) as session:
            _, shared = shared_files(session)
        if name not in shared or listed_files(self.root)[0].get(name) != shared[name].record:
            return False
        self._fetch({name: shared[name]}, self.local_path)
        announce(f"{self.local_path(name)} was damaged or gone, and is read again from {self.stores.files}")
        return True

    def _begin(
        self, number: int, listed: Mapping[str, FileRecord], shared: Mapping[str, SharedFile], writer: Writer | None
    ) -> None:
        """Publish what a folder held before it shared anything."""
        if {name: each.record for name, each in shared.items() if each.is_listed} != dict(listed):
            if number:
                raise InputError(
                    f"{self.root} holds other files than {self.stores.database} lists; choose an empty --data-dir, "
                    "which is filled from there"
                )
            if writer is None:
                return
            self.check(*listed)
            paths = {name: self.local_path(name) for name in listed}
            writer.publish(listed, paths, (), is_listed=True)
            number = writer.generation
        self._note(number)

    def _has(self, name: str, wanted: SharedFile, listed: Mapping[str, FileRecord]) -> bool:
        if wanted.is_listed and listed.get(name) != wanted.record:
            return False
        path = self.local_path(name)  # where no storage keeps it, one that is gone is recovered as in any folder
        return not self.stores.files or (path.is_file() and path.stat().st_size == wanted.record.size)

    def _fetch(self, files: Mapping[str, SharedFile], place: Callable[[str], Path]) -> None:
        """Read files from the storage, each compared with what was published."""
        if not files:
            return
        if not self.stores.files:
            raise InputError(
                f"{next(iter(files))} and {len(files) - 1:,} other files were published by another data folder, and "
                "no object storage keeps them; set stores.files, or give each data folder a database of its own"
            )
        parts = {name: _part(place(name)) for name in files}
        try:
            ObjectStore(self.stores).get({each.object_key: parts[name] for name, each in files.items()})
        except FileNotFoundError as error:
            raise InputError(
                f"an object of {self.stores.files} is gone ({error}); restore it, or run the command again if files "
                "were published meanwhile"
            ) from error
        for name, each in files.items():
            if record_of(parts[name]) != each.record:
                raise DamagedError(f"{self.stores.files}/{each.object_key} is not what was published; restore it")
            parts[name].replace(place(name))

    def _generation(self) -> int | None:
        path = self.local_path(GENERATION_FILE)
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return int(text) if text.isdecimal() else None

    def _note(self, number: int) -> None:
        write_text(self.local_path(GENERATION_FILE), str(number))


@cache
def _tell_once(sentence: str) -> None:
    announce(sentence)


def _part(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}{PART}")
