"""What messages may speak of to each user: what they are due to buy again, what they may like anew, favourites.

Categories that may not be named (`Categories.featured`) are left out before anything is ranked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from configs.categories import Categories
from features.arrays.array_types import Array, Flags, Places, Texts
from features.arrays.calendar_days import days_since_1970
from features.materialise.as_of_view import AsOfView
from features.training_data.purchases import read_purchases
from models.tastes.taste_counts import TasteCounts, counts_before
from models.tastes.taste_model import TasteModel, best, usual_gap

AGAIN, NEW, FAVOURITE = "again", "new", "favourite"  # lists; the last is everybody's, for who has bought nothing yet
SOLD_WITHIN = 28  # days
BLOCK = 4_000  # users whose counts of all categories are in memory
SCHEMA = pa.schema(
    [("user_id", pa.string()), ("list", pa.string()), ("place", pa.int32()), ("category", pa.string()),
     ("name", pa.string()), ("item_id", pa.string()), ("days_since_last", pa.float64()),
     ("usual_days_between", pa.float64())]
)  # fmt: skip


class Featured(NamedTuple):
    """What a message may speak of, shapes (users,): category, display name, list and an item of it, or None."""

    category: Texts
    name: Texts
    kind: Texts
    item: Texts


@dataclass(frozen=True)
class UserTastes:
    """The lists of some users, as rows of `SCHEMA` in the order of users, lists and places."""

    rows: pa.Table = field(default_factory=SCHEMA.empty_table)

    def featured(self, user_ids: pd.Series) -> Featured:
        """Name what each user is spoken to of: the first of what they buy again, else of what is new to them."""
        first = self.rows.to_pandas().drop_duplicates("user_id").set_index("user_id")
        found = first.reindex(user_ids.astype(object))[["category", "name", "list", "item_id"]].astype(object)
        return Featured(*(found[name].where(found[name].notna(), None).to_numpy() for name in found))


def with_items(tastes: UserTastes, user_ids: pd.Series, own: pd.DataFrame, everybody: pd.DataFrame) -> UserTastes:
    """Name an item with each category: of what is bought again the user's own usual one, else what most buy.

    What nobody bought within `SOLD_WITHIN` days of the last purchase of all may be sold out, and is not named.

    Parameters
    ----------
    user_ids
        Users of `own`, by their places.
    own, everybody
        `bought_items` of these users, and of a sample of all.
    """
    rows, together = tastes.rows.to_pandas(), pd.concat([own, everybody])
    if together.empty or rows.empty:
        return tastes
    last = together.groupby("item_id")["last_at"].max()
    sold = last.index[last >= last.max() - pd.Timedelta(days=SOLD_WITHIN)]
    mine, usual = (each[each["item_id"].isin(sold)] for each in (own, everybody))
    mine = _most_bought(mine.assign(user_id=user_ids.to_numpy(dtype=object)[mine["place"]]), ["user_id", "category"])
    usual = _most_bought(usual.groupby(["category", "item_id"])[["bought"]].sum().reset_index(), ["category"])
    again = rows[["user_id", "category"]].merge(mine, "left", ["user_id", "category"])["item_id"].astype(object)
    other = rows[["category"]].merge(usual, "left", "category")["item_id"].astype(object)
    rows["item_id"] = again.where(rows["list"] == AGAIN, other)
    return UserTastes(pa.Table.from_pandas(rows[SCHEMA.names], SCHEMA, preserve_index=False))


def _most_bought(items: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Keep the item that was bought most for each key, of equals the first by name."""
    order = items.sort_values([*keys, "bought", "item_id"], ascending=[*[True] * len(keys), False, True])
    return order.drop_duplicates(keys)[[*keys, "item_id"]]


def user_tastes(
    history: AsOfView, model: TasteModel, user_ids: pd.Series, categories: Categories, days: int, listed: int
) -> UserTastes:
    """List what some users buy again and may like anew, `listed` of each at most."""
    names = np.array([categories.featured(name) for name in model.categories], dtype=object)
    found = read_purchases(history, user_ids, days, model.categories)
    found = found.taken(np.argsort(found.user, kind="stable"))
    edges = np.searchsorted(found.user, [*range(0, len(user_ids), BLOCK), len(user_ids)])
    tables = []
    for number, (first, last) in enumerate(pairwise(edges.tolist())):
        ids = user_ids.iloc[number * BLOCK : (number + 1) * BLOCK].to_numpy(dtype=object)
        own = found.taken(slice(first, last))
        own = own._replace(user=own.user - number * BLOCK)
        counts = counts_before(own, len(ids), days_since_1970(history.as_of))
        tables.append(_lists(model, counts, ids, names, listed))
    return UserTastes(pa.concat_tables([SCHEMA.empty_table(), *tables]).combine_chunks())


def _lists(model: TasteModel, counts: TasteCounts, ids: Texts, names: Texts, listed: int) -> pa.Table:
    """Write the lists of a block of users; of categories with one name only the best is listed."""
    may_name = np.array([name is not None for name in names], dtype=bool)
    is_cold = counts.visits == 0
    is_new = may_name & ~is_cold & ~_has_had_by_name(counts, names)
    again = np.where(may_name, model.again_scores(counts), -np.inf)
    new = np.where(is_new, model.new_scores(counts), -np.inf)
    favourite = np.where(may_name & is_cold, model.popular, -np.inf)
    some = 2 * listed  # of which some may have one name
    kinds = ((AGAIN, best(again, some)), (NEW, best(new, some)), (FAVOURITE, best(favourite, some)))
    since = (counts.cut - counts.last).astype(float)
    gap = np.where(counts.ever > 1, usual_gap(counts), np.nan)
    tables = [_rows(kind, order, place, model, names, since, gap) for order, (kind, place) in enumerate(kinds)]
    filled = [table for table in tables if len(table)] or tables[:1]
    columns = {name: np.concatenate([table[name].to_numpy() for table in filled]) for name in filled[0]}
    rows = pd.DataFrame(columns).sort_values(["user", "order", "place"], kind="stable")
    rows = rows.drop_duplicates(["user", "order", "name"])
    rows["place"] = (rows.groupby(["user", "order"]).cumcount() + 1).astype(np.int32)
    rows = rows[rows["place"] <= listed]
    rows.insert(0, "user_id", ids[rows["user"]])
    return pa.Table.from_pandas(rows[SCHEMA.names], SCHEMA, preserve_index=False)


def _has_had_by_name(counts: TasteCounts, names: Texts) -> Flags:
    """Tell what users have had, or had something of the same display name, shape (users, categories)."""
    codes, known = pd.factorize(names)
    by_name = np.zeros((len(names), len(known) + 1), np.float32)
    by_name[np.arange(len(names)), codes] = 1.0  # those without a name share the last column
    return np.asarray((counts.has_had.astype(np.float32) @ by_name > 0)[:, codes])


def _rows(
    kind: str, order: int, places: Places, model: TasteModel, names: Texts, since: Array, gap: Array
) -> pd.DataFrame:
    user, place = np.nonzero(places >= 0)
    category = places[user, place]
    is_again = kind == AGAIN
    return pd.DataFrame(
        {
            "user": user, "order": order, "list": kind, "place": place,
            "category": np.array(model.categories, dtype=object)[category], "name": names[category], "item_id": None,
            "days_since_last": since[user, category] if is_again else np.nan,
            "usual_days_between": gap[user, category] if is_again else np.nan,
        }
    )  # fmt: skip
