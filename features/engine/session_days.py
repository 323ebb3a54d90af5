"""Sessions and baskets that cross midnight are counted once, on the day on which they began.

Events after midnight join the rows of the evening's day, but count as known a day later: a snapshot at midnight does
not see them, and no later snapshot sees a second visit. An event that became known before those of the evening stays
on its own day.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.arrays.array_types import Flags, Integers
from features.arrays.calendar_days import DAY, HOUR, local_time
from features.arrays.dictionaries import DICTIONARY, encoded_together, one_chunk, used_values_only
from features.tables.parquet_files import readable

EVENING, MORNING = 18, 6  # from the one hour to the other a session goes on: ids that are used for days are no session
KEYS = ["user_id", "session_id", "occurred_at", "received_at"]  # what is read of the events of both days
OpenSession = tuple[str, str, int]  # user, session, and the day on which its evening became known, counted from 1970


def night_sessions(path: Path, time_zone: str) -> tuple[pa.Array, pa.Array]:
    """Find the sessions with events in the morning and in the evening of a file of one day.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    with readable(path):
        rows = pq.read_table(
            path, columns=["occurred_at", "session_id"], read_dictionary=["session_id"], partitioning=None
        )
    sessions, hour = one_chunk(rows["session_id"]), _hours(rows["occurred_at"], time_zone)
    nights = [sessions.filter(pa.array(near)).drop_null() for near in (hour < MORNING, hour >= EVENING)]
    morning, evening = (used_values_only(each.cast(DICTIONARY)).dictionary for each in nights)
    return morning, evening


def open_sessions(evening: pa.Table, morning: pa.Table, time_zone: str) -> list[OpenSession]:
    """Find what goes on in the morning of the day after: `KEYS` of the events of both days."""
    near = _hours(evening["occurred_at"], time_zone) >= EVENING
    begun = evening.append_column("known", pa.array(_known(evening, time_zone))).filter(pa.array(near))
    known = begun.group_by(KEYS[:2]).aggregate([("known", "min")]).drop_null()
    found = sorted(tuple(row.values()) for row in known.to_pylist())
    goes_on = morning.filter(pa.array(go_on(morning, found, time_zone)))
    still = set(zip(goes_on["user_id"].to_pylist(), goes_on["session_id"].to_pylist(), strict=True))
    return [each for each in found if each[:2] in still]


def go_on(events: pa.Table, begun: Sequence[OpenSession], time_zone: str) -> Flags:
    """Mark the events that go on with a session of the evening before, known by then, shape (events,)."""
    if not begun:
        return np.zeros(len(events), bool)
    users, sessions, known = (pa.array(column) for column in zip(*begun, strict=True))
    at, asked = _keys((users, sessions), (events["user_id"], events["session_id"]))
    order = np.argsort(at)
    place = order[np.minimum(np.searchsorted(at[order], asked), len(at) - 1)]
    is_known = known.to_numpy()[place] <= _known(events, time_zone)
    return (at[place] == asked) & is_known & (_hours(events["occurred_at"], time_zone) < MORNING)


def _keys(*pairs: tuple[pa.Array | pa.ChunkedArray, ...]) -> list[Integers]:
    """Name pairs of texts by whole numbers, the same for the same pair; -1 of a missing text."""
    (_, first), (words, second) = (
        encoded_together([one_chunk(pa.chunked_array([text]) if isinstance(text, pa.Array) else text).cast(pa.string())
                          for text in texts])
        for texts in zip(*pairs, strict=True)
    )  # fmt: skip
    return [np.where(b < 0, -1, a * len(words) + b) for a, b in zip(first, second, strict=True)]


def _hours(instants: pa.ChunkedArray, time_zone: str) -> Integers:
    return local_time(instants, time_zone, 0) // HOUR % 24


def _known(events: pa.Table, time_zone: str) -> Integers:
    """Day on which each event became known, counted from 1970."""
    happened, arrived = (local_time(events[name], time_zone, 0) for name in KEYS[2:])
    return np.maximum(happened, arrived) // DAY
