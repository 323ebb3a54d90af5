"""The recency rule: churn risk by days since the last activity, used when no model may decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from configs.settings import Settings
from features.arrays.array_types import Floats
from models.estimator_families.estimators import Estimator, Link
from models.metrics.recency_table import RecencyTable

RECENCY = "days_since_last_activity"
BINS = 10


def recency_table(frame: pd.DataFrame, target: str) -> RecencyTable:
    """Count who left in ten bins of recency; each has one user more, half of whom left, so that no share is 0 or 1."""
    days = frame[RECENCY].fillna(np.inf).to_numpy(dtype=np.float64)
    edges = np.unique(np.quantile(days, np.arange(1, BINS) / BINS, method="lower"))
    edges = edges[np.isfinite(edges)]
    place = np.searchsorted(edges, days, side="left")
    rows = np.bincount(place, minlength=len(edges) + 1)
    left = np.bincount(place, frame[target].to_numpy(dtype=np.float64), minlength=len(edges) + 1)
    return RecencyTable(tuple(edges.tolist()), tuple(((left + 0.5) / (rows + 1)).tolist()), tuple(rows.tolist()))


@dataclass(frozen=True)
class RecencyRule(Estimator):
    """A model of one column; `core` is a `RecencyTable`. It is never registered."""

    family: ClassVar[str] = "recency_rule"
    flavour: ClassVar[str] = "none"

    @classmethod
    def fit(
        cls, frame: pd.DataFrame, target: str, columns: list[str], settings: Settings, *, link: Link = "logit",  # noqa: ARG003
        rising: tuple[str, ...] = (),  # noqa: ARG003
    ) -> Self:  # fmt: skip
        """Count the table; the columns are always the one."""
        return cls.of(recency_table(frame, target), target)

    @classmethod
    def of(cls, table: RecencyTable, target: str) -> Self:
        """Make the rule of a table that was kept."""
        return cls(target, "logit", (RECENCY,), table)

    def raw_score(self, frame: pd.DataFrame) -> Floats:
        """Score rows on the scale of the link; shape (rows,)."""
        return np.asarray(self.raw_contributions(self.inputs(frame)).sum(axis=1))

    def raw_contributions(self, inputs: pd.DataFrame) -> Floats:
        """Split each score into what recency adds and the average; shape (rows, 2)."""
        shares, rows = np.array(self.core.shares), np.array(self.core.rows)
        odds = np.log(shares / (1 - shares))
        base = float(np.average(odds, weights=rows))
        days = inputs[RECENCY].fillna(np.inf).to_numpy(dtype=np.float64)
        found = odds[np.searchsorted(np.array(self.core.edges), days, side="left")]
        return np.stack([found - base, np.full(len(found), base)], axis=1)
