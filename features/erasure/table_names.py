"""The table to which a file of the data folder belongs, by its usual name."""

from __future__ import annotations

from pathlib import PurePath

SEND_LISTS = "send_lists"  # folder of who is to be written to, by day
DESK_LOG = "desk/log"  # folder of who took what away from the desk
LISTS = ("reports", SEND_LISTS)  # folders of files for spreadsheets
LEDGER, SUPERSEDED = "ledger", "superseded"


def table_of(name: str) -> str:
    """Name the table of a file.

    Examples
    --------
    >>> files = ["events/day=2024-01-01/events.parquet", "decisions/day=2024-01-01/hours.parquet"]
    >>> files += ["users/versions.parquet", "ledger/superseded/day=2024-01-01/a-0001.parquet"]
    >>> [table_of(each) for each in files]
    ['events', 'hours', 'users/versions', 'superseded']
    """
    path = PurePath(name)
    if path.parts[0] == LEDGER:
        return SUPERSEDED if path.parts[1] == SUPERSEDED else LEDGER
    if path.parts[0] in ("quarantine", *LISTS):
        return path.parts[0]
    if path.parts[0] == path.stem or "/day=" in name:
        return path.stem
    return f"{path.parts[0]}/{path.stem}"
