"""The data folder: where tables live, a Parquet file per day below it."""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path

from configs.errors import InputError


class Lake:
    """Paths of one data folder; a partitioned table is ``<table>/<key>=<day>/<table>.parquet``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, *parts: str) -> Path:
        """Any file or folder of the lake."""
        return self.root.joinpath(*parts)

    def partition(self, table: str, day: date, key: str = "day") -> Path:
        """File of one day of a partitioned table."""
        return self.root / table / f"{key}={day:%Y-%m-%d}" / f"{table}.parquet"

    def glob(self, table: str, key: str = "day") -> str:
        """Pattern that matches every partition of a table."""
        return str(self.root / table / f"{key}=*" / f"{table}.parquet")

    def days(self, table: str, key: str = "day") -> list[date]:
        """Days of which a table has a partition, in order."""
        found = (self.root / table).glob(f"{key}=*/{table}.parquet")
        return sorted(date.fromisoformat(path.parent.name.removeprefix(f"{key}=")) for path in found)

    def require_writable(self) -> None:
        """Create the data folder, or say why it cannot be used.

        Raises
        ------
        InputError
            The folder cannot be made or written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise InputError(
                f"the data folder {self.root} cannot be written ({error.strerror}); choose another with --data-dir"
            ) from error
