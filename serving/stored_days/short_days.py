"""Days that were missed, or decided before all of their events had arrived."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import takewhile

from features.storage.lake import Lake
from features.tables.known_rows import DAYS, known_rows
from serving.stored_days.day_basis import rows_known_then
from serving.stored_days.day_tables import decided_days

LATE_SHARE = 0.01  # of the daily rows of a month, a third of a day's: what trickles in late is less


def is_short(lake: Lake, day: date) -> bool:
    """Tell whether more events had arrived by a decided day, as is known now, than its decisions were made from.

    A day that noted no number, as an older winback decided it, counts as complete.

    Raises
    ------
    InputError
        A file is damaged.
    """
    then = rows_known_then(lake, day)
    return then is not None and known_rows(lake, day) > then * (1 + LATE_SHARE)


def days_since_complete(lake: Lake, as_of: date) -> list[date]:
    """List the days before `as_of`, oldest first, since the newest that was decided and not short; mostly none.

    They are days in a row up to the day before `as_of`, of which a snapshot is stored, `DAYS` at most, and none from
    before anything was decided.

    Raises
    ------
    InputError
        A file is damaged.
    """
    decided = decided_days(lake)

    def is_open(day: date) -> bool:
        if not decided or day < decided[0] or not lake.has_partition("snapshots", day):
            return False
        return day not in decided or is_short(lake, day)

    return sorted(takewhile(is_open, (as_of - timedelta(days=back) for back in range(1, DAYS + 1))))
