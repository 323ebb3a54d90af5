"""The stored result of the comeback model: plain numbers that need no library to be read."""

from __future__ import annotations

from dataclasses import dataclass

from models.metrics.metric import Metric
from models.metrics.recency_table import RecencyTable


@dataclass(frozen=True)
class ComebackNote:
    """Who comes back, and what those bring.

    `table` holds the share that was active again within the horizon, by days since last active. Where a logistic was
    proven better, `logistic` holds its intercept and a number for each of its columns (log of 1 + it, less the mean and
    over the spread of `scale`); else both are empty. `margin` is what a user who came back brought within
    ``value.horizon_days``, account currency.
    """

    table: RecencyTable
    margin: Metric
    metrics: dict[str, Metric]
    logistic: tuple[float, ...] = ()
    scale: tuple[tuple[float, float], ...] = ()

    def __str__(self) -> str:
        rate, kind = self.metrics["comeback.rate"], "a logistic" if self.logistic else "the table of recency"
        return f"{rate.value:.1%} of {rate.n:,} who had lapsed came back, and brought {self.margin}; {kind} says who"
