"""An app's own columns: one table of the profile each, ``[features.custom.<name>]``."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from configs.section import Section, Word

OF_EVENTS = {"category": "item_category", "channel": "channel", "item": "item_id"}  # what a condition may ask
AMOUNT = "amount"
MOST = 10_000_000_000  # numbers of properties beyond it, such as instants in milliseconds, count as missing
PATH = re.compile(r"\$(\.[A-Za-z_][A-Za-z0-9_]*|\[[0-9]+\])+")
CONDITION = re.compile(r"(\S+)\s*(!=|<=|>=|=|<|>)\s*(.+)")
# Feast loses columns ending in _y
NAME = re.compile(r"[a-z][a-z0-9_]*(?<!_y)")

Measure = Literal["count", "sum", "distinct_days", "last", "max"]
Window = Annotated[int, Field(ge=1, le=365)]


@dataclass(frozen=True)
class Condition:
    """What an event must fulfil; `of` is a column of events or a JSON path of its properties.

    What an event lacks fulfils nothing, not even ``!=``.
    """

    of: str
    comparison: str
    value: str | float | bool

    @classmethod
    def parsed(cls, text: str) -> Condition:
        """Read a condition.

        Raises
        ------
        ValueError
            It is none.

        Examples
        --------
        >>> Condition.parsed('$.seconds > 180')
        Condition(of='$.seconds', comparison='>', value=180)
        >>> Condition.parsed('category = "tea"')
        Condition(of='item_category', comparison='=', value='tea')
        """
        found = CONDITION.fullmatch(text.strip())
        if not found:
            raise ValueError("a condition reads like 'category = \"tea\"' or '$.seconds > 180'")
        of, comparison, literal = found.groups()
        try:
            value = json.loads(literal)
        except ValueError:
            value = None
        if not isinstance(value, str | int | float):
            raise ValueError(f"{literal} is neither a number nor true, false or a text in double quotes")
        if isinstance(value, int | float) and not abs(value) <= MOST:
            raise ValueError(f"{literal[:40]} is no number up to {MOST:,}")
        if of not in OF_EVENTS:
            _check_path(of)
        elif not isinstance(value, str):
            raise ValueError(f"{of} is a text; compare it with a text in double quotes")
        if isinstance(value, bool) and comparison not in ("=", "!="):
            raise ValueError("true and false can be compared by = and != only")
        return cls(OF_EVENTS.get(of, of), comparison, value)


def _check_path(path: str) -> str:
    if not PATH.fullmatch(path):
        known = ", ".join(OF_EVENTS)
        raise ValueError(f"{path} is none of {known} and no JSON path of properties such as $.seconds or $.song.genre")
    return path


def _check_condition(text: str) -> str:
    Condition.parsed(text)
    return text


def _check_measured(of: str) -> str:
    return of if of == AMOUNT else _check_path(of)


class CustomFeature(Section):
    """A column of the app's own: events, counted or measured over windows."""

    meaning: str = Field(min_length=1, description="what the column says, in words for people; no window")
    role: str | None = Field(None, description="role whose events count; or name them in `events`")
    events: tuple[Word, ...] = Field((), description="names of the events that count")
    where: tuple[Annotated[str, AfterValidator(_check_condition)], ...] = Field(
        (), description="conditions that an event must fulfil, all of them: on category, channel, item or a JSON path"
    )
    measure: Measure = Field(description="what is made of the events of a window; `last` is the days since the last")
    of: Annotated[str, AfterValidator(_check_measured)] = Field(
        AMOUNT,
        description="what `sum` and `max` measure: the amount, or a number of properties up to 10 billion by its path",
    )
    windows: tuple[Window, ...] = Field((), description="lengths of the windows in days, the shortest first")
    view: Literal["behaviour", "contact"] = Field(
        "behaviour", description="`contact` is for events that our own messages bring about; the churn model skips it"
    )

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What an event must fulfil."""
        return tuple(map(Condition.parsed, self.where))

    @property
    def definition(self) -> str:
        """Everything that its values rest on, as a text."""
        return self.model_dump_json(exclude={"meaning", "view"})

    @model_validator(mode="after")
    def _is_whole(self) -> CustomFeature:
        if (self.role is None) == (not self.events):
            raise ValueError("name either a role or events")
        if self.measure == "last" and self.windows:
            raise ValueError("measure = 'last' looks back a year; leave out windows")
        if self.measure != "last" and not self.windows:
            raise ValueError(f"measure = {self.measure!r} needs windows, such as [7, 28]")
        if any(shorter >= longer for shorter, longer in pairwise(self.windows)):
            raise ValueError(f"windows = {list(self.windows)} must be given each once, the shortest first")
        if self.of != AMOUNT and self.measure not in ("sum", "max"):
            raise ValueError(f"of = {self.of!r} is for the measures sum and max, not for {self.measure}")
        return self


def check_names(custom: dict[str, CustomFeature]) -> dict[str, CustomFeature]:
    """Refuse names that cannot be part of a column's.

    Raises
    ------
    ValueError
        One has other signs than lower-case letters, digits and underscores, or ends in ``_y``.
    """
    for name in custom:
        if not NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} cannot name columns; take lower-case letters, digits and underscores, and no _y at the end"
            )
    return custom
