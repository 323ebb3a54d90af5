"""The moment of a decision: its instant and trigger; a user has at most one decision per moment."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime

from configs.errors import InputError
from features.arrays.calendar_days import start_of

NIGHTLY = "nightly"


@dataclass(frozen=True)
class DecisionMoment:
    """Instant and trigger of decisions that rest on the snapshot of `day`; the night is one trigger of several.

    Examples
    --------
    >>> DecisionMoment.of_night(date(2024, 7, 1), "Asia/Tokyo").name
    '20240630T150000Z-nightly'
    >>> DecisionMoment(date(2024, 7, 1), datetime(2024, 7, 1, tzinfo=UTC), "at noon")
    Traceback (most recent call last):
        ...
    configs.errors.InputError: trigger 'at noon' is not a name; write it with small letters, digits and _ only
    >>> DecisionMoment(date(2024, 7, 1), datetime(2024, 7, 1, 12), "noon")
    Traceback (most recent call last):
        ...
    configs.errors.InputError: the instant 2024-07-01 12:00:00 names no time zone; write ...12:00:00+00:00
    """

    day: date
    instant: datetime
    trigger: str = NIGHTLY

    def __post_init__(self) -> None:
        if not re.fullmatch("[a-z0-9_]+", self.trigger):
            raise InputError(f"trigger {self.trigger!r} is not a name; write it with small letters, digits and _ only")
        if self.instant.utcoffset() is None:
            raise InputError(f"the instant {self.instant} names no time zone; write ...{self.instant:%H:%M:%S}+00:00")

    @classmethod
    def of_night(cls, day: date, time_zone: str) -> DecisionMoment:
        """Moment of the nightly decisions: the start of a day in the app's time zone."""
        return cls(day, start_of(day, time_zone))

    @property
    def in_utc(self) -> datetime:
        """The instant, in UTC."""
        return self.instant.astimezone(UTC)

    @property
    def name(self) -> str:
        """Name that files carry and ids are derived from; names of a trigger sort by instant."""
        fraction = f".{self.in_utc.microsecond:06d}" if self.in_utc.microsecond else ""
        return f"{self.in_utc:%Y%m%dT%H%M%S}{fraction}Z-{self.trigger}"

    @property
    def place(self) -> str:
        """Name of what is kept of it among days: the night's is the day's own."""
        return f"day={self.day:%Y-%m-%d}" if self.trigger == NIGHTLY else self.name

    @property
    def folder(self) -> str:
        """Name of the folder of what was decided."""
        return f"decisions/{self.place}"
