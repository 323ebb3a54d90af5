"""A snapshot's rows: the declared columns, from the state of each user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa

from features.arrays.array_types import Array
from features.arrays.calendar_days import days_since_1970
from features.arrays.dictionaries import one_chunk
from features.definitions.event_roles import OnboardingStep
from features.definitions.onboarding_steps import NEXT_STEP, ONBOARDING_SHARE, SIGN_UP
from features.definitions.registry import Declarations
from features.definitions.snapshot_features import CATEGORY_SHARES
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
    One row per user of the shard, in its order: ``user_id``, ``as_of`` and ``created_at``, the columns of `catalogue`,
    shares of categories and the traits.
    """
    count = len(found.users)
    numbers = (
        behaviour(found.states, day, declared)
        | _largest(found, day, declared)
        | {"tenure_seen_days": _tenure(found, traits, day)}
    )
    numbers |= _signed_up(numbers, traits, day, declared.steps)
    users = SimpleNamespace(**{name: values.view(Column) for name, values in numbers.items()})
    for name, function in declared.derived.items():
        setattr(users, name, function(users).astype(float))
    columns = {name: _nullable(np.asarray(values)) for name, values in vars(users).items()}
    columns |= found.categories.columns() | _progress(numbers, count, declared.steps)
    as_of = pa.repeat(pa.scalar(start, pa.timestamp("us", "UTC")), count)
    return pa.record_batch(
        {"user_id": found.users, "as_of": as_of, "created_at": as_of}
        | {each.name: columns[each.name] for each in declared.catalogue()}
        | {CATEGORY_SHARES: found.categories.shares()}
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


def _signed_up(
    numbers: Mapping[str, Array], traits: pa.Table, day: date, steps: Sequence[OnboardingStep]
) -> dict[str, Array]:
    """Count the step of signing up as done by whom the users table says signed up before the day."""
    signed_up = traits["signed_up_on"].cast(pa.int32()).to_numpy().astype(float)
    is_before = signed_up < days_since_1970(day)  # False of a missing one
    own = [step.column for step in steps if step.event_name == SIGN_UP]
    return {column: np.maximum(numbers[column], is_before) for column in own}


def _progress(numbers: Mapping[str, Array], users: int, steps: Sequence[OnboardingStep]) -> dict[str, pa.Array]:
    """Tell the share of the first steps that are done, and the first of them that is not; null where there is none."""
    if not steps:
        return {ONBOARDING_SHARE: pa.nulls(users, pa.float64()), NEXT_STEP: pa.nulls(users, pa.string())}
    is_done = np.column_stack([numbers[step.column] for step in steps]) > 0
    events = pa.array([step.event_name for step in steps], pa.string())
    upcoming = pa.array(is_done.argmin(axis=1), mask=is_done.all(axis=1))
    return {ONBOARDING_SHARE: pa.array(is_done.sum(axis=1) / len(steps)), NEXT_STEP: events.take(upcoming)}
