"""Columns of a snapshot that say how somebody buys and visits, on one scale: logarithms, clipped and standardised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from features.arrays.array_types import Floats

if TYPE_CHECKING:
    import pandas as pd  # look-ups read a stored model without it

CLIPPED = 0.01  # share of users at either end who count as the one who stands there
LEAST_KNOWN = 0.5  # share of users of whom a column must say something
MOST_ALIKE = 0.9  # share of users who may have one and the same value
NIGHT_ENDS = 5  # o'clock: what is later belongs to the day before


@dataclass(frozen=True)
class Habit:
    """A column with the words for who has much and who has little of it; a logarithm is taken of counts and money."""

    column: str
    high: str
    low: str
    is_log: bool = True


HABITS = (
    Habit("spend_sum_90d", "high-spending", "low-spending"),
    Habit("order_value_mean_365d", "large-basket", "small-basket"),
    Habit("active_days_count_90d", "frequent", "occasional"),
    Habit("days_since_last_activity", "long-absent", "recent"),
    Habit("gap_days_variation_365d", "irregular", "regular"),
    Habit("categories_count_90d", "broad", "narrow"),
    Habit("discount_share_90d", "deal-seeking", "full-price", is_log=False),
    Habit("favourite_hour_90d", "evening", "morning", is_log=False),
    Habit("open_share_90d", "message-reading", "message-skipping", is_log=False),
    Habit("redemptions_count_365d", "offer-using", "offer-skipping"),
    Habit("views_count_28d", "browsing", "purposeful"),
)
OF_COLUMN = {habit.column: habit for habit in HABITS}


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


def measured(frame: pd.DataFrame, columns: Sequence[str]) -> Floats:
    """Read columns as numbers, shape (users, columns): logarithms of counts and money, hours from the night's end on.

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
        found[:, place] = np.log1p(np.maximum(values, 0.0)) if OF_COLUMN[name].is_log else values
    return found


def scale_of(frame: pd.DataFrame) -> Scale:
    """Take the habits that a snapshot knows of most users and that differ between them, with their scale."""
    names = [habit.column for habit in HABITS if habit.column in frame.columns]
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
