"""A snapshot's rows: the declared columns, from the state of each user."""

from __future__ import annotations

from datetime import date, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa

from features.arrays.array_types import Array
from features.arrays.calendar_days import days_since_1970
from features.arrays.dictionaries import one_chunk
from features.definitions.registry import Declarations
from features.engine.state_store import StateShard
from features.engine.users_reader import OF_USERS
from features.engine.window_state import NEVER, behaviour


class Column(np.ndarray[Any, Any]):
    """An array of one value per user, NaN where it is missing; methods are named like those of Ibis."""

    def cast(self, name: str) -> Column:
        """Turn the values into another type."""
        return self.astype(name).view(Column)

    def nullif(self, value: float) -> Column:
        """Leave out one value."""
        return np.where(np.equal(self, value), np.nan, self).view(Column)

    def fill_null(self, value: float) -> Column:
        """Put a value where there is none; a comparison with a missing number is False already."""
        return np.where(np.isnan(self), value, self).view(Column)

    def clip(self, *, lower: float) -> Column:  # type: ignore[override]
        """Raise values to a lower bound."""
        return np.maximum(self, lower).view(Column)


def snapshot_rows(
    found: StateShard, traits: pa.Table, day: date, start: datetime, declared: Declarations
) -> pa.RecordBatch:
    """Make the rows of a shard of users.

    Parameters
    ----------
    traits
        ``signed_up_on`` and the traits, one row per user of the shard, in its order; texts may be dictionaries.
    day, start
        Day of the snapshot, and the instant at which it starts.

    Returns
    -------
    One row per user of the shard, in its order: ``user_id``, ``as_of`` and ``created_at``, the columns of `catalogue`
    and the traits.
    """
    count = len(found.users)
    numbers = (
        behaviour(found.states, day, declared)
        | _largest(found, day, declared)
        | {"tenure_seen_days": _tenure(found, traits, day)}
    )
    users = SimpleNamespace(**{name: values.view(Column) for name, values in numbers.items()})
    for name, function in declared.derived.items():
        setattr(users, name, function(users).astype(float))
    columns = {name: _nullable(np.asarray(values)) for name, values in vars(users).items()}
    columns |= found.categories.columns()
    as_of = pa.repeat(pa.scalar(start, pa.timestamp("us", "UTC")), count)
    return pa.record_batch(
        {"user_id": found.users, "as_of": as_of, "created_at": as_of}
        | {each.name: columns[each.name] for each in declared.catalogue()}
        | {name: one_chunk(traits[name]) for name in traits.column_names if name not in OF_USERS}
    )


def _nullable(values: Array) -> pa.Array:
    missing = np.isnan(values)
    return pa.array(values, mask=missing) if missing.any() else pa.array(values)


def _largest(found: StateShard, day: date, declared: Declarations) -> dict[str, Array]:
    numbers = {}
    for each in declared.of_kind("max"):
        for days in each.windows:
            largest = found.maxima[each.name].largest(days_since_1970(day) - days, len(found.users))
            numbers[each.column(days)] = largest / each.scale
    return numbers


def _tenure(found: StateShard, traits: pa.Table, day: date) -> Array:
    first_day = found.states["first_day"]
    seen = np.where(first_day == NEVER, np.nan, first_day)
    signed_up = traits["signed_up_on"].cast(pa.int32()).to_numpy().astype(float)
    return days_since_1970(day) - np.fmin(seen, signed_up)
