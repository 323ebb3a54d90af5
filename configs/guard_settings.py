"""When a day, or a model, looks too wrong to decide by, and what is done then."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from configs.section import Section

Mode = Literal["off", "warn", "stop"]
Limit = Annotated[float, Field(ge=0, le=3660)]


class Guard(Section):
    """One guard: what it does where it fires, and from where on it does."""

    mode: Mode = Field(description="off, warn (told by the run, `winback status` and the report), or stop")
    limit: Limit = Field(description="where it fires; what it counts is said of each guard")


class Guards(Section):
    """What is looked at before a day is decided."""

    weeks: int = Field(ge=2, le=52, description="how many of the same weekdays before the newest day say what is usual")
    min_weeks: int = Field(ge=2, le=52, description="fewer of them than this tell nothing")
    min_rows: int = Field(gt=0, description="shares of fewer events, or users, than this tell nothing")
    freshness: Guard = Field(description="days without any event before `as_of`, more than the limit")
    volume: Guard = Field(
        description="events of the newest day: less than this share of the median of the same weekdays, or more than "
        "the median over this share"
    )
    missing_values: Guard = Field(
        description="share of the day's events that lack a column, above the usual share by more than the limit"
    )
    unknown_values: Guard = Field(
        description="share of the day's events whose name no same weekday has, above the limit; and share of the "
        "day's users that are in no row of `users`, above the usual share by more than the limit"
    )
    schema_change: Guard = Field(
        description="event names of at least this share of the usual events that are gone, columns that came, and "
        "traits that models were taught and `users` has no more"
    )
    late_events: Guard = Field(
        description="share of the events that arrived on the day, of those of the eight days until then, which had "
        "happened before it, above the limit"
    )
