"""Settings of the guards: when data or a model look too wrong to decide by, and what happens then."""

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
    """What is looked at before a day is decided; where a guard of models stops, its model gives way for the day."""

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
    fall_back: bool = Field(
        description="whether a champion that cannot be read, or by which a guard stops, gives way to the last good one "
        "before it, then to the rule of recency; else the run ends"
    )
    constant_scores: Guard = Field(description="predictions of the sampled users differ by no more than the limit")
    score_drift: Guard = Field(
        description="PSI of the scores against those of the training, above the limit, chance and twice what they "
        "move by themselves"
    )
    input_drift: Guard = Field(description="the same of each column of a model")
    expected_auc: Guard = Field(
        description="AUC that the scores promise before labels are known (CBPE), below that of the training by more "
        "than the limit"
    )
    calibration: Guard = Field(
        description="share that left of those without an offer, once the horizon of an earlier day is over, beside the "
        "share that was expected to, further than the limit and than chance"
    )
