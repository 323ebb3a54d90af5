"""The oracle of windows over daily rows: every declared column of a window, from one pass over the rows.

Rows are first added up by band of age (1 to 7 days, 8 to 28, ...), then every window is made of the bands within it:
a row is touched once per measure and not once per column.
"""

from __future__ import annotations

from typing import cast

import ibis
import ibis.expr.types as ir

from configs.settings import load_settings
from features.definitions.app_declarations import declarations_of
from features.definitions.registry import LONGEST, Declarations, Windowed

KEYS = ("user_id", "day")
SETTINGS = load_settings()


def what_is_declared() -> Declarations:
    """What the snapshots hold of an app that names nothing of its own."""
    return declarations_of(SETTINGS)


def seen(rows: ir.Table, spine: ir.Table, within_days: int | None = None) -> ir.Table:
    """Pair each instant with the rows known by then and at most `within_days` old (yesterday is 1 day old)."""
    past = rows.rename(happened_on="day")
    is_known = [past.happened_on < spine.day, past.known_on < spine.day]
    if within_days is not None:
        past = past.mutate(expires_on=past.happened_on + ibis.interval(days=within_days))
        is_known = [past.happened_on < spine.day, past.known_on < spine.day, past.expires_on >= spine.day]
    pairs = spine.select("day").inner_join(past, is_known)
    return pairs.mutate(age_days=pairs.day.delta(pairs.happened_on, unit="day").cast("int64"))


def windows(recent: ir.Table) -> ir.Table:
    """Compute the columns of windows by user and instant, and ``first_day``, the first day with a row."""
    band = ibis.cases(*((recent.age_days <= days, days) for days in what_is_declared().window_edges()), else_=LONGEST)
    within = [declared for declared in what_is_declared().windowed.values() if declared.kind != "ever"]
    parts = {declared.name: of_rows(recent, declared) for declared in within}
    bands = recent.group_by(*KEYS, band=band.cast("int16")).aggregate(first_day=recent.happened_on.min(), **parts)
    columns = {
        declared.column(days): _of_bands(bands, declared, days) for declared in within for days in declared.windows
    }
    return bands.group_by(*KEYS).aggregate(first_day=bands.first_day.min(), **columns)


def of_rows(rows: ir.Table, declared: Windowed) -> ir.Value:
    """Add the rows of a group up, as far as windows can be made of it."""
    value = declared.of(rows)
    if declared.at_weekends:
        value = ibis.ifelse(rows.happened_on.day_of_week.index() >= 5, value, 0)
    if declared.kind == "last":
        return rows.age_days.min(where=cast(ir.BooleanValue, value)).cast("float64")
    if declared.kind == "first":
        return rows.age_days.max(where=cast(ir.BooleanValue, value)).cast("float64")
    # whole numbers as floats: their sum is exact in any order, and DuckDB adds floats faster than integers
    number = cast(ir.NumericColumn, value.cast("float64"))
    return number.sum() if declared.kind == "sum" else number.max()


def _of_bands(bands: ir.Table, declared: Windowed, days: int) -> ir.Value:
    within = bands.band <= days
    value = cast(ir.NumericColumn, bands[declared.name])
    if declared.kind == "sum":
        found = value.sum(where=within).fill_null(0.0)
    else:
        found = value.min(where=within) if declared.kind == "last" else value.max(where=within)
    return found / declared.scale if declared.scale > 1 else found
