"""The interface of a data folder, which a local folder and shared stores both implement.

A name is a path with slashes, relative to the data folder. Writes are atomic: a reader finds either the old content or
the new one and, if it asks for that, files of one publication only. Size and digest of published files are stored, and
a file that no longer has them is reported. Only `local_path` and `Publication.path` give paths of this
machine, for libraries that open files themselves (DuckDB, Feast, MLflow, Parquet writers).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Protocol, TypeVar

from features.publishing.manifest import FileRecord

Found = TypeVar("Found")


class Publication(Protocol):
    """Files that appear together when the block that opened it ends well, or not at all."""

    def write(self, name: str, content: bytes) -> None:
        """Add a file."""

    def path(self, name: str) -> Path:
        """Place where a library is to write a file, which is added under `name`."""

    def folder(self, name: str) -> Path:
        """Place where a library is to write the files of a folder; what the folder holds else goes with the publish."""

    def remove(self, name: str) -> None:
        """Let a file, or a folder with all in it, go with the publish; nothing happens where there is none."""

    def discard(self, name: str) -> None:
        """Take back a file that was added."""

    def list(self, pattern: str) -> Sequence[str]:
        """Names of the added files that match a pattern with ``*``, in order."""


class Storage(Protocol):
    """One data folder."""

    def local_path(self, name: str = "") -> Path:
        """Path of a file or folder, for libraries that open it themselves."""

    def exists(self, name: str) -> bool:
        """Tell whether there is a file of this name."""

    def read(self, name: str) -> bytes:
        """Read a file; FileNotFoundError where there is none, DamagedError where it is not what was written."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole that is not listed; it needs no lock."""

    def write_held(self, name: str, content: bytes) -> IO[bytes]:
        """Write a file whole that is not listed, and hold it until what is returned is closed or this process ends."""

    def is_held(self, name: str) -> bool:
        """Tell whether any process, on whichever machine, holds a file."""

    def publish_file(self, name: str, content: bytes) -> None:
        """Publish one file."""

    def check(self, *names: str) -> None:
        """Read files whole and compare them with what was published; DamagedError names one that is another."""

    def listed(self) -> tuple[Mapping[str, FileRecord], Sequence[str]]:
        """Size and digest of every file that was published, by name, and what is wrong with the list itself."""

    def suspects(self, *folders: str) -> Sequence[str]:
        """Names of the published files, of some folders or of all, that are gone or of another size; none is read."""

    def unlisted(self) -> Sequence[str]:
        """Names of the files that nobody published, but for those of frameworks and what the next run clears."""

    def accept(self, name: str) -> Sequence[str]:
        """Take a file, or all that a folder holds or a manifest lists, for what was published; returns their names."""

    def share(self, *folders: str) -> None:
        """Let the files of folders that a library wrote, which nobody lists, be found on other machines, too."""

    def make_folder(self, name: str) -> None:
        """Make a folder for a library that writes its own files there."""

    def append(self, name: str, content: bytes) -> None:
        """Add to the end of a published file, whole or not at all."""

    def remove(self, name: str) -> None:
        """Remove a file that is not listed, or a folder with all in it; nothing happens where there is none."""

    def list(self, pattern: str) -> Sequence[str]:
        """Names of the files that match a pattern with ``*``, in order."""

    def sizes(self) -> dict[str, int]:
        """Bytes of each folder in it, and of the files beside them together as ``files``."""

    def lock(self, command: str) -> AbstractContextManager[None]:
        """Be the one who writes; what a killed writer left is finished or cleared first. May be nested in a process."""

    def of_one_publish(self, look: Callable[[], Found]) -> Found:
        """Answer a question by what one publish left; it is asked again where another one came in between."""

    def publish(self) -> AbstractContextManager[Publication]:
        """Collect files, and let them appear together."""

    def require_writable(self) -> None:
        """Make the folder, or say why it cannot be used."""

    def settle(self) -> None:
        """Finish what a killed writer had published but not carried out; readers call it before they read."""

    def drop_unused(self) -> None:
        """Remove for good what counts no more and is kept for a while for whoever reads or restores."""
