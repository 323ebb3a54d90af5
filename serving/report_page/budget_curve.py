"""The budget curve of a day: the expected gain at other budgets."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from configs.settings import Settings
from features.storage.lake import Lake
from features.tables.parquet_files import read_parquet
from serving.charts.chart_frame import Chart
from serving.charts.line_chart import Point, line_chart
from serving.report_page.page_environment import chart_words
from serving.stored_days.day_tables import day_file
from serving.wording.rendering import Words

SHOWN = (0.1, 0.25, 0.5, 0.75, 1.0)  # where on the curve the points in the table lie
WORTH_SAYING = 0.005


@dataclass(frozen=True)
class BudgetCurve:
    """Budget curve of a day.

    `points` has columns ``budget, value, spent, shadow_price``, budgets rising; the day's own budget stands at `place`.
    `earns` is what one more unit of it would have earned, after paying for itself.
    """

    points: pd.DataFrame
    place: int
    earns: float

    @property
    def enough(self) -> float | None:
        """Money that buys everything that pays; None where even the highest budget does not."""
        is_enough = self.points["shadow_price"].iloc[-1] < WORTH_SAYING
        return float(self.points["spent"].max()) if is_enough else None

    @property
    def rows(self) -> list[dict[Hashable, Any]]:
        """Some points and today's, which `is_today` tells."""
        places = np.unique([*(np.array(SHOWN) * (len(self.points) - 1)).round().astype(int), self.place])
        return self.points.iloc[places].assign(is_today=places == self.place).to_dict("records")

    def chart(self, words: Words) -> Chart:
        """Draw the curve with today's budget on it."""
        shown = words.figures.money
        rows = self.points.to_dict("records")
        points = [Point(shown(row["budget"]), float(row["value"])) for row in rows]
        at = [float(row["budget"]) for row in rows]
        columns = (words.say("budget"), words.say("gain after cost"))
        return line_chart(
            words.say("Expected gain by budget"), columns, points, format_value=shown, marked=self.place, at=at,
            words=chart_words(words),
        )  # fmt: skip


def curve_of(lake: Lake, as_of: date, settings: Settings) -> BudgetCurve | None:
    """Read the budget curve of a day; None when there is none, or when no budget would bring anything."""
    points = _read(lake, as_of, "budget_curve")
    if points is None or points.empty or points["value"].max() <= 0:
        return None
    budgets = points["budget"].to_numpy(dtype=np.float64)
    place = int(np.abs(budgets - min(settings.scoring.budget, budgets.max())).argmin())
    spending = _read(lake, as_of, "spending")
    # explorers take a part of the budget, so that the allocation pays a higher price than the curve says
    earns = points["shadow_price"].iloc[place] if spending is None else spending["shadow_price"].iloc[0]
    return BudgetCurve(points, place, float(earns))


def _read(lake: Lake, as_of: date, name: str) -> pd.DataFrame | None:
    found = lake.files.exists(f"decisions/day={as_of:%Y-%m-%d}/{name}.parquet")
    return read_parquet(day_file(lake, as_of, name)).to_pandas() if found else None
