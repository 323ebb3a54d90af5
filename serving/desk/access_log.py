"""The log of downloads and what-if questions: one small immutable file per entry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from features.erasure.table_names import DESK_LOG
from features.storage.lake import Lake
from serving.desk.visitors import Visitor


@dataclass(frozen=True)
class Entry:
    """Something that was taken away or asked: when, by whom, what, with which parameters, and how many rows."""

    at: str
    who: str
    role: str
    what: str
    given: Mapping[str, str]
    rows: int


def note(lake: Lake, visitor: Visitor, action: str, given: Mapping[str, str], rows: int) -> Entry:
    """Keep an entry; it is written whole, beside others that are written at the same time."""
    entry = Entry(
        datetime.now(UTC).isoformat(timespec="microseconds"), visitor.name, visitor.role, action, dict(given), rows
    )
    name = f"{DESK_LOG}/{entry.at.replace(':', '')}-{uuid4().hex[:8]}.json"
    lake.files.write(name, json.dumps(asdict(entry)).encode())
    return entry


def newest(lake: Lake, most: int = 20) -> list[dict[str, Any]]:
    """Read the newest entries, the last one first."""
    names = lake.files.list(f"{DESK_LOG}/*.json")[::-1][:most]
    return [json.loads(lake.files.read(name)) for name in names]
