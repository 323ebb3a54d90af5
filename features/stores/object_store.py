"""Object storage: uploads and downloads, many at a time. Only this module imports fsspec.

The key of an object ends in its digest, so the bytes under a key never change, and a copy never has to be checked for
changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from configs.errors import InputError, first_line
from configs.progress import announce
from configs.stores import Stores
from features.publishing.manifest import FileRecord
from features.stores.database import StoreAwayError, require_driver

POLL_SECONDS = 2.0
DRIVERS = {"s3": "s3fs"}
# of storage that will not let us in, however long we wait
HOPELESS = (FileNotFoundError, PermissionError, ImportError)
HOPELESS_NAMES = ("NoCredentialsError", "PartialCredentialsError", "NoSuchBucket")


def object_key(name: str, record: FileRecord) -> str:
    """Name the object of a file: where people look for it, and what it holds.

    Examples
    --------
    >>> object_key("events/day=2024-07-01/events.parquet", FileRecord(3, "0123456789abcdef" * 4))
    'events/day=2024-07-01/events.0123456789abcdef.parquet'
    """
    path = PurePosixPath(name)
    return str(path.with_name(f"{path.stem}.{record.sha256[:16]}{path.suffix}"))


class ObjectStore:
    """Objects below one address."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._opened: tuple[Any, str] | None = None

    def put(self, files: Mapping[str, Path]) -> None:
        """Write objects, by key, from files; one that is there already is written again.

        Raises
        ------
        StoreAwayError
            The storage does not answer.
        InputError
            It refuses us.
        """
        if files:
            self._ask(lambda storage, root: storage.put([*map(str, files.values())], _below(root, files)))

    def get(self, files: Mapping[str, Path]) -> None:
        """Read objects, by key, into files; raises like `put`, and FileNotFoundError where an object is gone."""
        if files:
            self._ask(lambda storage, root: storage.get(_below(root, files), [*map(str, files.values())]))

    def remove(self, keys: Collection[str]) -> None:
        """Remove objects; one that is gone already is no matter."""

        def remove(storage: Any, root: str) -> None:  # noqa: ANN401
            for path in _below(root, keys):
                if storage.exists(path):
                    storage.rm(path)

        if keys:
            self._ask(remove)

    def _ask(self, ask: Callable[[Any, str], object]) -> None:
        ends, is_told = time.monotonic() + self._stores.wait_seconds, False
        while True:
            try:
                ask(*self._storage())
            except FileNotFoundError:
                raise
            except Exception as error:  # each driver has its own
                is_hopeless = isinstance(error, HOPELESS) or type(error).__name__ in HOPELESS_NAMES
                if is_hopeless or time.monotonic() >= ends:
                    raise self._refusal(error, is_hopeless=is_hopeless) from error
                if not is_told:
                    announce(f"waiting for {self._stores.files}: {first_line(error)}")
                    is_told = True
            else:
                return
            time.sleep(POLL_SECONDS)

    def _storage(self) -> tuple[Any, str]:
        if self._opened is None:
            scheme = urlsplit(self._stores.files).scheme
            require_driver(DRIVERS.get(scheme, "fsspec"))
            import fsspec

            own = {"auto_mkdir": True} if scheme == "file" else {}
            self._opened = fsspec.url_to_fs(self._stores.files, **own)
        return self._opened

    def _refusal(self, error: Exception, *, is_hopeless: bool) -> InputError:
        said = f"{self._stores.files} {'lets us not in' if is_hopeless else 'does not answer'} ({first_line(error)})"
        if is_hopeless:
            return InputError(f"{said}; mend stores.files, or the keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        return StoreAwayError(f"{said}; what was published before is untouched: run the command again when it does")


def _below(root: str, keys: Collection[str]) -> list[str]:
    return [f"{root}/{key}" for key in keys]
