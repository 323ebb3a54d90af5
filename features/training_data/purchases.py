"""On which days which users bought what: the categories of the daily rows, as far as they were known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from features.arrays.array_types import Integers, Places
from features.materialise.as_of_view import AsOfView


class Purchases(NamedTuple):
    """Days on which users bought of a category, one row each; all but the names have shape (rows,).

    `user` is a place among the users that were asked for and `category` one in `categories`; `day` and `known_on`, by
    which it was known, count from 1970.
    """

    user: Places
    category: Places
    day: Integers
    known_on: Integers
    categories: tuple[str, ...]

    def taken(self, rows: Places | slice) -> Purchases:
        """Take some of the rows."""
        columns = self.user[rows], self.category[rows], self.day[rows], self.known_on[rows]
        return Purchases(*columns, self.categories)


def read_purchases(
    history: AsOfView, user_ids: pd.Series, days: int, categories: Sequence[str] | None = None
) -> Purchases:
    """Find what some users bought in the `days` before a day; without money in the history, what they looked at.

    Parameters
    ----------
    categories
        Those that count; all by default.
    """
    table = pa.table({"user_id": pa.array(user_ids, pa.string()), "place": np.arange(len(user_ids), dtype=np.int32)})
    wanted = history.engine.create_table("wanted_buyers", obj=table, temp=True, overwrite=True)
    rows = history.category_hour_counts
    rows = rows.filter((rows.dimension == "category") & (rows.day >= history.as_of - timedelta(days=days)))
    rows = rows.inner_join(wanted, "user_id").mutate(is_paid=rows.spend_micros > 0)
    found = history.collect(rows.select("place", "label", "day", "known_on", "is_paid"))
    found = found[found["is_paid"]] if found["is_paid"].any() else found
    names = sorted(found["label"].unique()) if categories is None else list(categories)
    places = pd.Index(names, dtype=object).get_indexer(pd.Index(found["label"], dtype=object))
    found = found[places >= 0]
    day, known_on = (_since_1970(found[name]) for name in ("day", "known_on"))
    return Purchases(found["place"].to_numpy(np.intp), places[places >= 0], day, known_on, tuple(names))


def _since_1970(days: pd.Series) -> Integers:
    return days.to_numpy().astype("datetime64[D]").astype(np.int64)
