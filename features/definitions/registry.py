"""How a column of a snapshot is declared, what is known about it, and the list of all that were.

A column is a function: its name is the column's, its docstring explains it, and a decorator says its kind, its windows
and the events that it rests on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from configs.errors import InputError
from features.definitions.daily_measures import MICROS, Measure
from features.definitions.event_filters import EventFilter
from features.definitions.event_roles import OnboardingStep

if TYPE_CHECKING:
    import ibis.expr.types as ir

WINDOWS = (7, 28, 90, 365)
LONGEST = 365
WEEKEND = (6, 7)  # Saturday and Sunday, Monday being 1
ALWAYS = 100_000  # days of a window that no row leaves
View = Literal["behaviour", "contact", "taste", "habits", "contract", "onboarding", "traits"]
# who reads which families of columns: what we sent is a consequence of what we believed, and says nothing of leaving
VIEWS: dict[str, tuple[View, ...]] = {
    "churn": ("behaviour", "traits"),
    "value": ("behaviour", "traits"),
    "redemption": ("behaviour", "contact", "traits"),
    "training": ("behaviour", "contact", "traits", "taste"),
    "scoring": ("behaviour", "contact", "traits", "taste", "habits", "contract", "onboarding"),
}
TRAINING_SERVICE = "training"  # what models learn from, and what offers would have cost, is read by this one
Kind = Literal["sum", "max", "last", "first", "ever"]
Unit = Literal["count", "money", "days", "share", "ratio", "flag", "hour", "name", "own"]
Missing = Literal["zero", "never", "unknown"]
Daily = Callable[["ir.Table"], "ir.Value"]
Derived = Callable[["ir.Table"], "ir.Value"]
NEVER_DAYS = 400.0  # stands for days since something that never happened, in models that read numbers only
NO_VALUE = -(2.0**62)  # of a largest number, where there is none
DAILY_KEYS = ("user_id", "day", "known_on", "spend_of_day_micros")
MISSING: dict[Kind, Missing] = {"sum": "zero", "max": "unknown", "last": "never", "first": "never", "ever": "zero"}


@dataclass(frozen=True)
class Feature:
    """One column of a snapshot, as the data catalogue prints it.

    Parameters
    ----------
    role, view
        The events that it rests on, and the family that it is served in.
    unit
        What its numbers count; ``own`` is whatever the app holds. A ``name`` is a text, which models read as a
        category.
    missing
        What stands where nothing happened: ``zero`` is written as 0; else the column is null, because it ``never``
        happened or is ``unknown``.
    says_window
        Whether people are told the window.
    plain
        What people call it, where that is not its meaning.
    """

    name: str
    meaning: str
    window: str
    role: str
    view: View
    unit: Unit = "own"
    missing: Missing = "unknown"
    says_window: bool = False
    plain: str | None = None

    @property
    def is_text(self) -> bool:
        """Whether it holds texts, else float64."""
        return self.unit == "name"

    @property
    def filler(self) -> float | None:
        """Number that stands for a missing one in models that read no gaps; None is the usual value."""
        return NEVER_DAYS if self.missing == "never" else None

    @property
    def fact(self) -> str:
        """Its name without the window."""
        return without_window(self.name)

    @property
    def label(self) -> str:
        """Name of the column for people: its meaning without what stands in brackets, and the window last.

        Examples
        --------
        >>> meaning = "Money spent (account currency)."
        >>> Feature("spend_sum_28d", meaning, "28 days", "value", "behaviour", "money", says_window=True).label
        'money spent, last 28 days'
        """
        words = self.plain or self.meaning.split(" (")[0].rstrip(".")
        return words[0].lower() + words[1:] + (f", last {self.window}" if self.says_window else "")


def without_window(column: str) -> str:
    """Name a column without its window: what several windows say in common.

    Examples
    --------
    >>> without_window("spend_sum_28d"), without_window("tenure_days")
    ('spend_sum', 'tenure_days')
    """
    return re.sub(r"_\d+d$", "", column)


def trait_column(name: str) -> str:
    """Spell the column of a snapshot that holds a column of the users table."""
    return f"trait_{name}"


def trait(name: str, *, is_text: bool) -> Feature:
    """Declare a column of the users table as a feature.

    Examples
    --------
    >>> trait("home_owner", is_text=False).label
    'home owner'
    """
    return Feature(
        trait_column(name), "Trait from the users table.", "current", "users", "traits",
        unit="name" if is_text else "own", plain=name.replace("_", " "),
    )  # fmt: skip


def null_fillers(features: Iterable[Feature]) -> dict[str, float]:
    """List the numbers that stand for missing ones, by column; columns without one are left out."""
    return {feature.name: feature.filler for feature in features if feature.filler is not None}


@dataclass(frozen=True)
class Windowed:
    """What a window makes of the daily rows in it.

    `of` yields a whole number of a row (``sum`` adds it up, ``max`` takes the largest) or whether something happened
    (``last`` and ``first`` take the days since, ``ever`` looks back to the first row of all). The column holds it
    divided by `scale`: whole millionths become money. At weekends alone, it counts rows of Saturdays and Sundays.
    """

    name: str
    kind: Kind
    of: Daily
    windows: tuple[int, ...]
    scale: int = 1
    at_weekends: bool = False

    def __post_init__(self) -> None:
        longest = ALWAYS if self.kind == "ever" else LONGEST
        if not self.windows or self.windows[0] < 1 or self.windows[-1] > longest or not _rises(self.windows):
            raise InputError(
                f"{self.name} has the windows {list(self.windows)}; give whole days from 1 to {LONGEST}, each once, "
                "the shortest first"
            )

    def counts(self, day: date) -> bool:
        """Whether the rows of a day count."""
        return not self.at_weekends or day.isoweekday() in WEEKEND

    def column(self, days: int) -> str:
        """Name of the column of one window."""
        return f"{self.name}_{days}d" if self.kind in ("sum", "max") else self.name

    @property
    def columns(self) -> list[str]:
        """Names of the columns, one per window."""
        return [self.column(days) for days in self.windows]


@dataclass(frozen=True)
class Declarations:
    """The columns of one app: measures of a day, windows over daily rows, what is derived, and what each column is.

    `day_marks` are 1 on the row by which a measure of a day first counts something, so that their sum counts days.
    `features` are all columns of a snapshot but for the traits; `filters` say which events the app's own ones mean,
    `steps` which are its first steps.
    """

    measures: Mapping[str, Measure]
    day_marks: Mapping[str, str]
    windowed: Mapping[str, Windowed]
    derived: Mapping[str, Derived]
    features: Mapping[str, Feature]
    filters: tuple[EventFilter, ...] = ()
    steps: tuple[OnboardingStep, ...] = ()

    @property
    def names(self) -> set[str]:
        """Names of all columns, of daily rows and of snapshots."""
        return {*DAILY_KEYS, *self.measures, *self.day_marks, *self.features}

    def of_kind(self, kind: Kind) -> list[Windowed]:
        """List what windows make in one way."""
        return [declared for declared in self.windowed.values() if declared.kind == kind]

    def window_edges(self) -> tuple[int, ...]:
        """Ages in days at which a row leaves a window, shortest first; those of the grid are always among them."""
        within = (each.windows for each in self.windowed.values() if each.kind != "ever")
        return tuple(sorted({*WINDOWS}.union(*within)))

    def catalogue(self, traits: Mapping[str, bool] | None = None) -> list[Feature]:
        """List every column of a snapshot, traits included (`traits` maps columns of the users table to "is text")."""
        own = [trait(name, is_text=is_text) for name, is_text in (traits or {}).items()]
        for each in own:
            if each.name in self.features:
                raise InputError(f"the users table and features.custom both make the column {each.name!r}; rename one")
        return [*self.features.values(), *own]


WINDOWED: dict[str, Windowed] = {}
DERIVED: dict[str, Derived] = {}
CATALOGUE: dict[str, Feature] = {}


def summed(
    *windows: int, role: str, view: View = "behaviour", unit: Unit = "count", at_weekends: bool = False
) -> Callable[[Daily], Daily]:
    """Declare the sum of a daily measure, once per window in days; columns are named ``<function>_<window>d``.

    A measure of money counts whole millionths.
    """
    return _windowed("sum", windows, role, view, unit, at_weekends=at_weekends)


def largest(*windows: int, role: str, view: View = "behaviour", unit: Unit = "count") -> Callable[[Daily], Daily]:
    """Declare the largest daily measure, once per window in days; columns are named ``<function>_<window>d``."""
    return _windowed("max", windows, role, view, unit)


def last_seen(*, role: str, view: View = "behaviour") -> Callable[[Daily], Daily]:
    """Declare the days since something last happened within the longest window; the column is the function's name."""
    return _windowed("last", (LONGEST,), role, view, "days")


def first_seen(*, role: str, view: View = "behaviour") -> Callable[[Daily], Daily]:
    """Declare the days since something first happened within the longest window."""
    return _windowed("first", (LONGEST,), role, view, "days")


def _windowed(
    kind: Kind, windows: tuple[int, ...], role: str, view: View, unit: Unit, *, at_weekends: bool = False
) -> Callable[[Daily], Daily]:
    def declare(function: Daily) -> Daily:
        scale = MICROS if unit == "money" else 1
        declared = Windowed(function.__name__, kind, function, windows, scale, at_weekends)
        WINDOWED[function.__name__] = declared
        CATALOGUE.update({each.name: each for each in columns_of(declared, _first_line(function), role, view, unit)})
        return function

    return declare


def columns_of(declared: Windowed, meaning: str, role: str, view: View, unit: Unit) -> list[Feature]:
    """Describe the columns that windows make."""
    return [
        Feature(
            declared.column(days), meaning, f"{days} days", role, view, unit, MISSING[declared.kind],
            says_window=declared.kind in ("sum", "max"),
        )
        for days in declared.windows
    ]  # fmt: skip


def derived(
    window: str, *, role: str, unit: Unit, view: View = "behaviour", says_window: bool = False
) -> Callable[[Derived], Derived]:
    """Declare a feature of the columns declared before it; the column is the function's name.

    A flag is never missing.
    """

    def declare(function: Derived) -> Derived:
        DERIVED[function.__name__] = function
        name = function.__name__
        missing: Missing = "zero" if unit == "flag" else "unknown"
        CATALOGUE[name] = Feature(
            name, _first_line(function), window, role, view, unit, missing, says_window=says_window
        )  # fmt: skip
        return function

    return declare


def _first_line(function: Callable[..., object]) -> str:
    return (function.__doc__ or "").splitlines()[0]


def _rises(windows: tuple[int, ...]) -> bool:
    return all(shorter < longer for shorter, longer in pairwise(windows))
