"""The declarations of one app: those that every app has, and those of its ``[features.custom]`` tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING

from configs.custom_features import AMOUNT, CustomFeature
from configs.errors import InputError
from configs.settings import Roles, Settings
from features.definitions.contract_labels import own_columns
from features.definitions.daily_measures import MICROS, Measure, whole_parts
from features.definitions.event_filters import EventFilter
from features.definitions.onboarding_steps import onboarding_steps, with_steps
from features.definitions.registry import LONGEST, NO_VALUE, Declarations, Feature, Unit, Windowed, columns_of
from features.definitions.snapshot_features import DECLARED

if TYPE_CHECKING:
    import ibis.expr.types as ir

THOUSANDTHS = 1000  # numbers of properties are added up in whole ones


@dataclass(frozen=True)
class CustomColumns:
    """What a table of the profile declares: the events, a measure of their day, and windows over it."""

    events: EventFilter
    measure: tuple[str, Measure]
    day_mark: str | None
    windowed: Windowed
    features: list[Feature]


def declarations_of(settings: Settings) -> Declarations:
    """Declare everything that an app's snapshots hold.

    Raises
    ------
    InputError
        A table of the profile makes a column that is there already.
    """
    titles = tuple(settings.onboarding.names.items())
    return _declared(settings.roles, titles, tuple(own_columns(settings).items()))


def definitions_of(settings: Settings) -> str:
    """Everything that the values of the app's own columns rest on, as a text."""
    own = "".join(f"{name}{custom.definition}" for name, custom in own_columns(settings).items())
    return f"{settings.roles.onboarding}{own}"


@cache
def _declared(
    roles: Roles, titles: tuple[tuple[str, str], ...], custom: tuple[tuple[str, CustomFeature], ...]
) -> Declarations:
    declared = with_steps(DECLARED, onboarding_steps(roles.onboarding, dict(titles)))
    for name, table in custom:
        declared = _with(declared, name, _columns(name, table, roles))
    return declared


def _with(declared: Declarations, name: str, own: CustomColumns) -> Declarations:
    daily, measure = own.measure
    new = [daily, *([own.day_mark] if own.day_mark else []), *own.windowed.columns]
    for column in [*new, own.windowed.name]:
        if column in declared.names or column in declared.windowed:
            raise InputError(
                f"features.custom.{name} would make the column {column!r}, which there is already; rename it"
            )
    return replace(
        declared,
        measures={**declared.measures, daily: measure},
        day_marks={**declared.day_marks, **({own.day_mark: daily} if own.day_mark else {})},
        windowed={**declared.windowed, own.windowed.name: own.windowed},
        features={**declared.features, **{each.name: each for each in own.features}},
        filters=(*declared.filters, own.events),
    )


def _columns(name: str, table: CustomFeature, roles: Roles) -> CustomColumns:
    measured = table.of if table.measure in ("sum", "max") else None
    names = table.events or getattr(roles, table.role or "")
    events = EventFilter(name, tuple(names), table.conditions, measured)
    scale = 1 if measured is None else MICROS if measured == AMOUNT else THOUSANDTHS
    unit: Unit = "count" if measured is None else "money" if measured == AMOUNT else "own"
    measure, day_mark, windowed = _BY_MEASURE[table.measure](events, table.windows, scale)
    unit = "days" if table.measure == "last" else unit
    meaning = table.meaning.rstrip(".") + "."
    role = table.role or ", ".join(table.events)
    return CustomColumns(
        events, measure, day_mark, windowed, columns_of(windowed, meaning, role, table.view, unit)
    )  # fmt: skip


Made = tuple[tuple[str, Measure], str | None, Windowed]


def _counted(events: EventFilter, windows: tuple[int, ...], _: int) -> Made:
    name = f"{events.name}_count"
    return (name, _count(events)), None, Windowed(name, "sum", attrgetter(name), windows)


def _summed(events: EventFilter, windows: tuple[int, ...], scale: int) -> Made:
    name = f"{events.name}_sum"

    def measure(rows: ir.Table) -> ir.NumericScalar:
        return whole_parts(getattr(rows, events.number), scale).sum(where=getattr(rows, events.flag))

    return (name, measure), None, Windowed(name, "sum", attrgetter(name), windows, scale)


def _largest(events: EventFilter, windows: tuple[int, ...], scale: int) -> Made:
    name = f"{events.name}_max"

    def measure(rows: ir.Table) -> ir.NumericScalar:
        return whole_parts(getattr(rows, events.number), scale).fill_null(NO_VALUE).max()

    return (name, measure), None, Windowed(name, "max", attrgetter(name), windows, scale)


def _days(events: EventFilter, windows: tuple[int, ...], _: int) -> Made:
    mark, name = f"{events.name}_days", f"{events.name}_days_count"
    return (f"{events.name}_count", _count(events)), mark, Windowed(name, "sum", attrgetter(mark), windows)


def _last(events: EventFilter, _: tuple[int, ...], __: int) -> Made:
    count = f"{events.name}_count"

    def has_happened(days: ir.Table) -> ir.Value:
        return getattr(days, count) > 0

    return (count, _count(events)), None, Windowed(f"days_since_last_{events.name}", "last", has_happened, (LONGEST,))


def _count(events: EventFilter) -> Measure:
    def measure(rows: ir.Table) -> ir.NumericScalar:
        return rows.count(where=getattr(rows, events.flag))

    return measure


_BY_MEASURE: dict[str, Callable[[EventFilter, tuple[int, ...], int], Made]] = {
    "count": _counted,
    "sum": _summed,
    "max": _largest,
    "distinct_days": _days,
    "last": _last,
}
