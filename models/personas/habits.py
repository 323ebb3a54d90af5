"""Habits: columns of a snapshot that describe how a user buys and visits, on a common standardised scale.

Of every kind all columns count that are written down here; none was taken or left out for what came of it. Which sets
of them are tried, and in which order, is written down, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from features.arrays.array_types import Floats
from features.training_data.taste_shares import COLUMN as TASTE

if TYPE_CHECKING:
    import pandas as pd  # look-ups read a stored model without it

CLIPPED = 0.01  # share of users at either end who count as the one who stands there
LEAST_KNOWN = 0.5  # share of users of whom a column must say something
MOST_ALIKE = 0.9  # share of users who may have one and the same value
NIGHT_ENDS = 5  # o'clock: what is later belongs to the day before
MOSTLY = "mostly "  # begins the word for a taste
Kind = Literal["buying", "weekend", "taste"]
Shape = Literal["log", "root", "as it is"]


@dataclass(frozen=True)
class Habit:
    """A column with the words for who has much and who has little of it, None where little says nothing.

    A logarithm is taken of counts and money, a square root of tastes, whose spread grows with them.
    """

    column: str
    high: str
    low: str | None
    shape: Shape = "log"
    kind: Kind = "buying"


HABITS = (
    Habit("spend_sum_90d", "high-spending", "low-spending"),
    Habit("order_value_mean_365d", "large-basket", "small-basket"),
    Habit("active_days_count_90d", "frequent", "occasional"),
    Habit("days_since_last_activity", "long-absent", "recent"),
    Habit("gap_days_variation_365d", "irregular", "regular"),
    Habit("categories_count_90d", "broad", "narrow"),
    Habit("discount_share_90d", "deal-seeking", "full-price", "as it is"),
    Habit("favourite_hour_90d", "evening", "morning", "as it is"),
    Habit("open_share_90d", "message-reading", "message-skipping", "as it is"),
    Habit("redemptions_count_365d", "offer-using", "offer-skipping"),
    Habit("views_count_28d", "browsing", "purposeful"),
    Habit("weekend_share_90d", "weekend", "weekday", "as it is", "weekend"),
)
# kinds of columns that groups are sought in, richest first
SETS: tuple[tuple[Kind, ...], ...] = (("buying", "weekend", "taste"), ("buying", "weekend"), ("buying",))
_OF_COLUMN = {habit.column: habit for habit in HABITS}


def habit_of(column: str) -> Habit:
    """Find the habit that a column tells; a taste is one of each app's own.

    Examples
    --------
    >>> habit_of("weekend_share_90d").high, habit_of("taste_share_90d:coffee").high
    ('weekend', 'mostly coffee')
    """
    if column.startswith(TASTE):
        return Habit(column, f"{MOSTLY}{column.removeprefix(TASTE)}", None, "root", "taste")
    return _OF_COLUMN[column]


@dataclass(frozen=True)
class Scale:
    """How columns come on one scale: bounds of what counts, mean and spread within them; shapes (columns,)."""

    columns: tuple[str, ...]
    least: Floats
    most: Floats
    mean: Floats
    spread: Floats

    def points(self, frame: pd.DataFrame) -> Floats:
        """Place users, shape (users, columns): standard deviations above the mean; 0 where a column says nothing."""
        found = np.clip(measured(frame, self.columns), self.least, self.most)
        return np.nan_to_num((found - self.mean) / self.spread)

    def moved(self, points: Floats, to: Scale) -> Floats:
        """Place points of this scale on another one, of whose columns those count that both have, else 0."""
        own = {name: place for place, name in enumerate(self.columns)}
        moved = np.zeros((len(points), len(to.columns)))
        for place, name in enumerate(to.columns):
            if name in own:
                raw = points[:, own[name]] * self.spread[own[name]] + self.mean[own[name]]
                moved[:, place] = (raw - to.mean[place]) / to.spread[place]
        return moved


SHAPES: dict[Shape, Callable[[Floats], Floats]] = {
    "log": lambda values: np.log1p(np.maximum(values, 0.0)),
    "root": lambda values: np.sqrt(np.maximum(values, 0.0)),
    "as it is": lambda values: values,
}


def measured(frame: pd.DataFrame, columns: Sequence[str]) -> Floats:
    """Read columns as numbers, shape (users, columns), in the shape of their habits; hours from the night's end on.

    Examples
    --------
    >>> import pandas as pd
    >>> users = pd.DataFrame({"spend_sum_90d": [0.0, 99.0], "favourite_hour_90d": [2.0, 18.0]})
    >>> measured(users, ["spend_sum_90d", "favourite_hour_90d"]).round(1).tolist()
    [[0.0, 21.0], [4.6, 13.0]]
    """
    found = np.empty((len(frame), len(columns)))
    for place, name in enumerate(columns):
        values = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
        if name.startswith("favourite_hour"):
            values = (values - NIGHT_ENDS) % 24
        found[:, place] = SHAPES[habit_of(name).shape](values)
    return found


def known_habits(columns: Sequence[str], kinds: Sequence[Kind]) -> list[str]:
    """List the columns that tell a habit of some kinds, tastes last."""
    tastes = [name for name in columns if name.startswith(TASTE)]
    listed = [*(habit.column for habit in HABITS if habit.column in columns), *tastes]
    return [name for name in listed if habit_of(name).kind in kinds]


def scale_of(frame: pd.DataFrame, kinds: Sequence[Kind] = SETS[0]) -> Scale:
    """Take the habits that a snapshot knows of most users and that differ between them, with their scale."""
    names = known_habits(list(frame.columns), kinds)
    values = measured(frame, names)
    kept = [place for place in range(len(names)) if _tells(values[:, place])]
    values = values[:, kept]
    if not kept:
        return Scale((), *(np.zeros(0) for _ in range(4)))
    least, most = np.nanquantile(values, [CLIPPED, 1 - CLIPPED], axis=0)
    clipped = np.clip(values, least, most)
    return Scale(
        tuple(names[place] for place in kept), least, most, np.nanmean(clipped, axis=0), np.nanstd(clipped, axis=0)
    )


def _tells(values: Floats) -> bool:
    known = values[np.isfinite(values)]
    if len(known) < max(LEAST_KNOWN * len(values), 1):
        return False
    _, counts = np.unique(known, return_counts=True)
    least, most = np.quantile(known, [CLIPPED, 1 - CLIPPED])
    return bool(counts.max() <= MOST_ALIKE * len(known) and most - least > 1e-9)
