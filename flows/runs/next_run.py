"""The next time of a cron expression, without importing Prefect, which takes seconds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
FIELDS: tuple[tuple[int, int, Sequence[str]], ...] = (
    (0, 59, ()), (0, 23, ()), (1, 31, ()), (1, 12, ("", *MONTHS)), (0, 7, WEEKDAYS),
)  # fmt: skip
FARTHEST = timedelta(days=366 * 5)  # the 29th of February is never farther, but for centuries


def next_run(line: str, time_zone: str, after: datetime) -> datetime | None:
    """Find the first minute after an instant at which a cron line of five fields fires; None of another line.

    Lists, ranges, steps and names of months and weekdays are read. Where days of the month and of the week are named
    either will do, as cron has it. An hour that a clock skips is passed over.

    Examples
    --------
    >>> next_run("0 3 * * mon", "Europe/Berlin", datetime(2024, 7, 2, 12, tzinfo=ZoneInfo("UTC"))).isoformat()
    '2024-07-08T03:00:00+02:00'
    """
    words, zone = line.split(), ZoneInfo(time_zone)
    try:
        minutes, hours, days, months, weekdays = (_values(*each) for each in zip(words, FIELDS, strict=True))
    except ValueError:
        return None
    weekdays = {day % 7 for day in weekdays}
    # the scheduler takes a field that names all days for `*` where the other one has a star
    any_day = words[2] == "*" or (len(days) == 31 and "*" in words[4])
    any_weekday = words[4] == "*" or (len(weekdays) == 7 and "*" in words[2])
    either = not any_day and not any_weekday
    day = after.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    for offset in range(FARTHEST.days):
        date = (day.replace(tzinfo=None) + timedelta(days=offset)).replace(tzinfo=zone)
        in_month, in_week = date.day in days, date.isoweekday() % 7 in weekdays
        if date.month not in months or not (in_month or in_week if either else in_month and in_week):
            continue
        for hour in sorted(hours):
            for minute in sorted(minutes):
                moment = date.replace(hour=hour, minute=minute)
                is_real = moment.astimezone(ZoneInfo("UTC")).astimezone(zone).hour == hour
                if is_real and moment.astimezone(ZoneInfo("UTC")) > after.astimezone(ZoneInfo("UTC")):
                    return moment
    return None


def _values(text: str, field: tuple[int, int, Sequence[str]]) -> set[int]:
    low, high, names = field
    found: set[int] = set()
    for part in text.lower().split(","):
        span, _, every = part.partition("/")
        first, _, last = span.partition("-")
        if first == "*":
            start, end = low, high
        else:
            start = _number(first, names)
            end = _number(last, names) if last else high if every else start
        if not low <= start <= end <= high or (every and not int(every)):
            raise ValueError(part)
        found |= set(range(start, end + 1, int(every or 1)))
    return found


def _number(text: str, names: Sequence[str]) -> int:
    return list(names).index(text) if text in names and text else int(text)
