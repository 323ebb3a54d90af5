"""Removal of everything older than its retention period: days of tables, lists, records, refused rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from configs.counted import counted
from configs.settings import Settings
from features.arrays.calendar_days import start_of
from features.ingestion.contract import ALIASES, CONTRACT
from features.storage.lake import Lake
from features.storage.storage_interface import Publication
from features.tables.parquet_files import read_parquet, write_parquet
from features.tables.removed_days import first_kept_days, keep_from

DAY = re.compile(r"(\d{4}-\d{2}-\d{2})")
RUNS, QUARANTINE = "runs", "quarantine"
# files of each table, by pattern; the first day in a name is the file's
FILES: Mapping[str, tuple[str, ...]] = {
    "events": ("events/day=*/*",),
    "snapshots": ("snapshots/day=*/*",),
    "options": ("decisions/day=*/options.parquet",),
    "decisions": ("decisions/day=*/*", "segments/day=*/*", "audit/day=*/*"),
    "cubes": ("cubes/day=*/*",),
    "ledger": ("ledger/day=*/*.parquet", "ledger/superseded/day=*/*.parquet"),
    "reports": ("reports/*", "send_lists/day=*/*"),
    RUNS: ("runs/*.json",),
}
INSTANTS = {table.name: table.instant for table in (*CONTRACT, ALIASES) if table.instant}


def remove_expired(settings: Settings, lake: Lake, today: date) -> list[str]:
    """Remove what is older than ``retention`` says, in one publish; returns a sentence for each table that lost some.

    The caller holds the folder's lock.

    Raises
    ------
    InputError
        The quarantine cannot be read.
    """
    first = {table: today - timedelta(days=days) for table, days in settings.retention.periods.items()}
    expired = {table: _expired(lake, table, day) for table, day in first.items() if table in FILES}
    for name in expired.pop(RUNS, []):
        if not lake.files.is_held(name):  # of a run that goes on, such as the schedule
            lake.files.remove(name)
    if not any(expired.values()) and QUARANTINE not in first:
        return []
    with lake.files.publish() as publication:
        for name in {name for names in expired.values() for name in names}:
            publication.remove(name)
        refused = _expire_refused(lake, publication, first[QUARANTINE]) if QUARANTINE in first else 0
        keep_from(lake, publication, {table: day for table, day in first.items() if expired.get(table)})
    return list(_sentences(first, expired, refused))


def _expired(lake: Lake, table: str, first: date) -> list[str]:
    names = (name for pattern in FILES[table] for name in lake.files.list(pattern))
    dated = ((name, DAY.search(name)) for name in names)
    return [name for name, found in dated if found and date.fromisoformat(found[1]) < first]


def _expire_refused(lake: Lake, publication: Publication, first: date) -> int:
    """Remove refused rows of what happened before a day; those that do not say when stay."""
    edge, removed = pa.scalar(start_of(first, "UTC"), pa.timestamp("us", "UTC")), 0
    for name in lake.files.list(f"{QUARANTINE}/*/*.parquet"):
        instant = INSTANTS.get(name.rpartition("/")[2].removesuffix(".parquet"))
        lake.files.check(name)
        rows = read_parquet(lake.path(name))
        if instant is None or instant not in rows.column_names:
            continue
        is_old = pc.fill_null(pc.less(rows[instant].cast(pa.timestamp("us", "UTC")), edge), fill_value=False)
        if count := pc.sum(is_old, min_count=0).as_py():
            write_parquet(rows.filter(pc.invert(is_old)), publication.path(name))
            removed += count
    return removed


def _sentences(first: Mapping[str, date], expired: Mapping[str, list[str]], refused: int) -> Iterable[str]:
    for table, names in expired.items():
        days = sorted({found[1] for name in names if (found := DAY.search(name))})
        if days:
            span = f"{days[0]} to {days[-1]}"
            yield f"retention: {counted(len(days), 'day')} of {table} before {first[table]} removed ({span})"
    if refused:
        yield f"retention: {counted(refused, 'refused row')} of before {first[QUARANTINE]} removed"


def retention_line(settings: Settings, lake: Lake) -> str:
    """Say for how long what is kept, and from which day on, in one line."""
    kept_from = first_kept_days(lake)
    told = [
        f"{table} {counted(days, 'day')}" + (f" (from {kept_from[table]} on)" if table in kept_from else "")
        for table, days in settings.retention.periods.items()
    ]
    return ", ".join(told) or "everything is kept"
