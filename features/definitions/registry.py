"""How a column of a snapshot is declared, what is known about it, and the list of all that were.

A column is a function: its name is the column's, its docstring explains it, and a decorator says its kind, its windows
and the events that it rests on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from configs.errors import InputError

if TYPE_CHECKING:
    import ibis.expr.types as ir

WINDOWS = (7, 28, 90, 365)
LONGEST = 365
View = Literal["behaviour", "contact", "taste", "traits"]
Kind = Literal["sum", "max", "last", "first"]
Daily = Callable[["ir.Table"], "ir.Value"]
Derived = Callable[["ir.Table"], "ir.Value"]


@dataclass(frozen=True)
class Feature:
    """One column of a snapshot, as the data catalogue prints it.

    `role` names the events that it rests on, `view` the family that it is served in; text is read as categories.
    """

    name: str
    meaning: str
    window: str
    role: str
    view: View
    is_text: bool = False

    @property
    def label(self) -> str:
        """Name of the column for people: its meaning without what stands in brackets, and the window last.

        Examples
        --------
        >>> Feature("spend_sum_28d", "Money spent (account currency).", "28 days", "value", "behaviour").label
        'money spent, last 28 days'
        """
        if self.view == "traits":
            return self.name.removeprefix("trait_").replace("_", " ")
        words = self.meaning.split(" (")[0].rstrip(".")
        window = f", last {self.window}" if re.search(r"_\d+d$", self.name) and self.window[0].isdigit() else ""
        return words[0].lower() + words[1:] + window


@dataclass(frozen=True)
class Windowed:
    """What a window makes of the daily rows in it.

    `of` yields a whole number of a row (``sum`` adds it up, ``max`` takes the largest) or whether something happened
    (``last`` and ``first`` take the days since). Whole numbers of cents become money in the column.
    """

    name: str
    kind: Kind
    of: Daily
    windows: tuple[int, ...]
    in_cents: bool = False

    def __post_init__(self) -> None:
        if not self.windows or self.windows[0] < 1 or self.windows[-1] > LONGEST or not _rises(self.windows):
            raise InputError(
                f"{self.name} has the windows {list(self.windows)}; give whole days from 1 to {LONGEST}, each once, "
                "the shortest first"
            )

    def column(self, days: int) -> str:
        """Name of the column of one window."""
        return f"{self.name}_{days}d" if self.kind in ("sum", "max") else self.name

    @property
    def columns(self) -> list[str]:
        """Names of the columns, one per window."""
        return [self.column(days) for days in self.windows]


WINDOWED: dict[str, Windowed] = {}
DERIVED: dict[str, Derived] = {}
CATALOGUE: dict[str, Feature] = {}


def summed(*windows: int, role: str, view: View = "behaviour", in_cents: bool = False) -> Callable[[Daily], Daily]:
    """Declare the sum of a daily measure, once per window in days; columns are named ``<function>_<window>d``."""
    return _windowed("sum", windows, role, view, in_cents)


def largest(*windows: int, role: str, view: View = "behaviour", in_cents: bool = False) -> Callable[[Daily], Daily]:
    """Declare the largest daily measure, once per window in days; columns are named ``<function>_<window>d``."""
    return _windowed("max", windows, role, view, in_cents)


def last_seen(*, role: str, view: View = "behaviour") -> Callable[[Daily], Daily]:
    """Declare the days since something last happened within the longest window; the column is the function's name."""
    return _windowed("last", (LONGEST,), role, view)


def first_seen(*, role: str, view: View = "behaviour") -> Callable[[Daily], Daily]:
    """Declare the days since something first happened within the longest window."""
    return _windowed("first", (LONGEST,), role, view)


def window_edges() -> tuple[int, ...]:
    """Ages in days at which a row leaves a declared window, shortest first; the longest is always among them."""
    return tuple(sorted({LONGEST, *WINDOWS}.union(*(declared.windows for declared in WINDOWED.values()))))


def _rises(windows: tuple[int, ...]) -> bool:
    return all(shorter < longer for shorter, longer in pairwise(windows))


def _windowed(
    kind: Kind, windows: tuple[int, ...], role: str, view: View, in_cents: bool = False
) -> Callable[[Daily], Daily]:
    def declare(function: Daily) -> Daily:
        declared = Windowed(function.__name__, kind, function, windows, in_cents)
        WINDOWED[function.__name__] = declared
        for days in windows:
            _enter(declared.column(days), function.__doc__, f"{days} days", role, view)
        return function

    return declare


def derived(window: str, *, role: str, view: View = "behaviour") -> Callable[[Derived], Derived]:
    """Declare a feature of the columns declared before it; the column is the function's name."""

    def declare(function: Derived) -> Derived:
        DERIVED[function.__name__] = function
        _enter(function.__name__, function.__doc__, window, role, view)
        return function

    return declare


def _enter(name: str, docstring: str | None, window: str, role: str, view: View) -> None:
    CATALOGUE[name] = Feature(name, (docstring or "").splitlines()[0], window, role, view)
