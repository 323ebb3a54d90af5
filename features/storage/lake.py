"""The data folder: where tables live, a Parquet file per day below it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from configs.errors import InputError
from configs.stores import EMBEDDED, Stores
from features.storage.kept_stores import stores_of
from features.storage.local_folder import LocalFolder
from features.storage.storage_interface import Storage

USERS_FILE = "users/users.parquet"
USER_VERSIONS_FILE = "users/versions.parquet"  # what held before the rows of the users table did
TIME_ZONE_FILE = "time_zone.txt"
MEMORY_GIB = 2.0  # unless the settings say otherwise


def literal(path: Path | str) -> str:
    """Write a path as a pattern that matches nothing else, whatever signs its folders have.

    Examples
    --------
    >>> literal("data [1]/events.parquet")
    'data [[]1]/events.parquet'
    """
    return re.sub(r"[*?\[]", r"[\g<0>]", str(path))


def _shared_folder(root: Path, stores: Stores) -> Storage:
    from features.storage.shared_folder import SharedFolder  # whose drivers few need

    return SharedFolder(root, stores)


class Lake:
    """Names of tables in one data folder; a partitioned table is ``<table>/<key>=<day>/<table>.parquet``.

    `files` is how everything below it is read and written; paths are for libraries that open files themselves. `stores`
    says what others share it by. `memory_gib` is what a DuckDB that answers questions about it may hold.
    """

    def __init__(self, root: Path, memory_gib: float = MEMORY_GIB) -> None:
        self.root, self.memory_gib, self.stores = root, memory_gib, stores_of(root)
        self.files: Storage = LocalFolder(root) if self.stores == EMBEDDED else _shared_folder(root, self.stores)

    def path(self, *parts: str) -> Path:
        """Any file or folder of the lake."""
        return self.files.local_path("/".join(parts))

    def partition_name(self, table: str, day: date, key: str = "day") -> str:
        """Name of the file of one day of a partitioned table."""
        return f"{table}/{key}={day:%Y-%m-%d}/{table}.parquet"

    def partition(self, table: str, day: date, key: str = "day") -> Path:
        """File of one day of a partitioned table."""
        return self.files.local_path(self.partition_name(table, day, key))

    def has_partition(self, table: str, day: date) -> bool:
        """Tell whether a table has a partition of a day."""
        return self.files.exists(self.partition_name(table, day))

    def require_whole(self, *tables: str) -> None:
        """Refuse to go on where a file of some tables that was published is gone or of another size.

        No file is read but one that looks wrong: tables are read through engines that open thousands of files and a
        few columns, where a digest would cost a read of everything. Pages carry checksums of their own.

        Raises
        ------
        DamagedError
            One is.
        """
        self.files.check(*self.files.suspects(*tables))

    @property
    def time_zone(self) -> str | None:
        """Zone whose midnights cut the stored days; None where nothing says so."""
        self.files.check(TIME_ZONE_FILE)
        return self.files.read(TIME_ZONE_FILE).decode().strip() if self.files.exists(TIME_ZONE_FILE) else None

    def require_time_zone(self, wanted: str) -> None:
        """Refuse to mix days of two time zones.

        Raises
        ------
        InputError
            The stored days are those of another zone.
        """
        if self.time_zone not in (None, wanted):
            raise InputError(
                f"the days of {self.root} begin at midnight of {self.time_zone}, those of time_zone = {wanted!r} do "
                f"not; set {self.time_zone!r} again, or cut all days anew with winback ingest --replace"
            )

    def glob(self, table: str, key: str = "day") -> str:
        """Pattern that matches every partition of a table, for DuckDB, Ibis and Feast."""
        return f"{literal(self.path(table))}/{key}=*/{table}.parquet"

    def days(self, table: str, key: str = "day") -> list[date]:
        """Days of which a table has a partition, in order."""
        found = self.files.list(f"{table}/{key}=*/{table}.parquet")
        return sorted(date.fromisoformat(name.split("/")[1].removeprefix(f"{key}=")) for name in found)

    def newest_whole(self, table: str, until: date) -> Path | None:
        """Find the newest partition of a table up to a day, both included, held against what was published.

        Raises
        ------
        DamagedError
            It is not the file that was written.
        """
        days = [day for day in self.days(table) if day <= until]
        if not days:
            return None
        self.files.check(self.partition_name(table, days[-1]))
        return self.partition(table, days[-1])

    @contextmanager
    def whole_folder(self, *parts: str) -> Iterator[Path]:
        """Fill a folder; it takes the place of the one of that name when the block ends well, and vanishes when not."""
        with self.files.publish() as publication:
            yield publication.folder("/".join(parts))
