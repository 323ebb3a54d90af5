"""The first day that a table still holds in full, after older days were removed by retention."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date

from features.storage.lake import Lake
from features.storage.storage_interface import Publication

FILE = "retention.json"


def first_kept_days(lake: Lake) -> dict[str, date]:
    """Read from which day on tables are kept; those of which nothing was removed are not named.

    Raises
    ------
    DamagedError
        The note is not what was written.
    """
    if not lake.files.exists(FILE):
        return {}
    return {table: date.fromisoformat(day) for table, day in json.loads(lake.files.read(FILE)).items()}


def keep_from(lake: Lake, publication: Publication, days: Mapping[str, date]) -> None:
    """Note from which day on tables are kept; a later day than before counts."""
    before = first_kept_days(lake)
    after = before | {table: max(day, before.get(table, day)) for table, day in days.items()}
    if after != before:
        publication.write(FILE, json.dumps({table: str(day) for table, day in sorted(after.items())}).encode())
