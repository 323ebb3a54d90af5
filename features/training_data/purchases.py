"""Purchases by user, day and category, from the daily rows, as far as they were known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pyarrow as pa

from features.arrays.array_types import Array, Places
from features.materialise.as_of_view import AsOfView

KINDS = {"place": np.intp, "category": np.intp, "day": np.int32, "known_on": np.int32}


class Purchases(NamedTuple):
    """Days on which users bought of a category, one row each; all but the names have shape (rows,).

    `user` is a place among the users that were asked for and `category` one in `categories`; `day` and `known_on`, by
    which it was known, count from 1970.
    """

    user: Places
    category: Places
    day: Array
    known_on: Array
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
    rows = rows.inner_join(wanted, "user_id")
    names = sorted(history.collect(rows.select("label").distinct())["label"]) if categories is None else [*categories]
    codes = pa.table({"label": pa.array(names, pa.string()), "category": np.arange(len(names), dtype=np.int32)})
    rows = rows.inner_join(history.engine.create_table("wanted_labels", obj=codes, temp=True, overwrite=True), "label")
    # numbers alone, as short as they are: texts of millions of rows would take the time and the memory
    found = history.collect(
        rows.select(
            "place", "category", day=_since_1970(rows.day), known_on=_since_1970(rows.known_on),
            is_paid=rows.spend_micros > 0,
        )
    )  # fmt: skip
    found = found[found["is_paid"]] if found["is_paid"].any() else found
    user, category, day, known_on = (found[name].to_numpy(number) for name, number in KINDS.items())
    return _in_use(Purchases(user, category, day, known_on, tuple(names)), is_asked=categories is not None)


def _since_1970(day: ir.DateValue) -> ir.Value:
    return day.delta(ibis.date("1970-01-01"), unit="day").cast("int32")


def _in_use(purchases: Purchases, *, is_asked: bool) -> Purchases:
    """Leave out categories of which nothing counts, unless they were asked for."""
    if is_asked:
        return purchases
    used, places = np.unique(purchases.category, return_inverse=True)
    names = tuple(purchases.categories[each] for each in used)
    return purchases._replace(category=places.astype(np.intp), categories=names)
