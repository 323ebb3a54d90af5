"""Days and instants as whole numbers since 1970, and conversion to local time."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from features.arrays.array_types import Integers

EPOCH = date(1970, 1, 1)
HOUR = 3_600_000_000  # microseconds
MINUTE, QUARTER, DAY = HOUR // 60, HOUR // 4, HOUR * 24
MANY = 2**22  # quarters of an hour: more than a hundred years


def days_since_1970(day: date) -> int:
    """Count the days from the first of January 1970 to a day.

    Examples
    --------
    >>> days_since_1970(date(1970, 1, 31))
    30
    """
    return (day - EPOCH).days


def start_of(day: date, time_zone: str) -> datetime:
    """First instant of a day in a time zone."""
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(time_zone))


def days_later(instant: datetime, days: int, time_zone: str) -> datetime:
    """First instant of the day so many days after that of an instant, by the clocks of a time zone.

    Examples
    --------
    >>> (days_later(start_of(date(2024, 10, 27), "Europe/Berlin"), 1, "Europe/Berlin")).isoformat()
    '2024-10-28T00:00:00+01:00'
    """
    return start_of(instant.astimezone(ZoneInfo(time_zone)).date() + timedelta(days=days), time_zone)


def local_time(instants: pa.Array | pa.ChunkedArray, time_zone: str, missing: int) -> Integers:
    """Read instants off the clocks of a time zone: microseconds since 1970, shape (instants,), `missing` for null."""
    micros = instants.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).fill_null(missing).to_numpy()
    if time_zone == "UTC":
        return micros
    zone = ZoneInfo(time_zone)
    number = micros // QUARTER  # clocks change on a quarter of an hour, or a minute after
    low, high = (int(number.min()), int(number.max())) if len(number) else (0, 0)
    if high - low < MANY:  # marked and not sorted
        quarters = low + np.flatnonzero(np.bincount(number - low))
        place = np.searchsorted(quarters, np.arange(low, high + 1))[number - low]
    else:
        quarters, place = np.unique(number, return_inverse=True)
    edges = np.union1d(quarters, quarters + 1)
    offsets = _offsets(edges * QUARTER, zone)
    first, after = (offsets[np.searchsorted(edges, each)] for each in (quarters, quarters + 1))
    local = micros + first[place]
    if (changes := np.flatnonzero((first != after)[place])).size:
        minutes, place = np.unique(micros[changes] // MINUTE, return_inverse=True)
        local[changes] = micros[changes] + _offsets(minutes * MINUTE, zone)[place]
    return local


def _offsets(instants: Integers, zone: ZoneInfo) -> Integers:
    """Read off how far ahead of UTC the clocks of a zone are at some instants; all in microseconds."""
    offsets = [datetime.fromtimestamp(each / 1e6, zone).utcoffset() for each in instants.tolist()]
    return np.array([each // timedelta(microseconds=1) for each in offsets if each is not None], np.int64)
