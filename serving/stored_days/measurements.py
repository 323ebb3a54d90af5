"""Stored measurements: one JSON file per kind and day of measuring."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

from features.storage.lake import Lake

MEASUREMENTS = "measurements"
RANDOMISED = "lots"  # the subject of what was given at random; that of one offer is lots_<offer>


def newest_measurement(lake: Lake, as_of: date, file: str) -> tuple[date, dict[str, Any]] | None:
    """Read the file of a kind that was measured last, on or before a day, and that day; None before there was one.

    Raises
    ------
    DamagedError
        The file is not the one that was written.
    """
    names = lake.files.list(f"{MEASUREMENTS}/day=*/{file}")
    days = sorted(date.fromisoformat(name.split("/")[1].removeprefix("day=")) for name in names)
    known = [day for day in days if day <= as_of]
    if not known:
        return None
    name = f"{MEASUREMENTS}/day={known[-1]}/{file}"
    lake.files.check(name)
    return known[-1], json.loads(lake.files.read(name))
