"""What messages may mention to each user: items due to buy again, items to try, favourites.

Categories that may not be named (`Categories.featured`) are left out before anything is ranked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from configs.categories import Categories
from features.arrays.array_types import Array, Flags, Places, Texts
from features.arrays.calendar_days import days_since_1970
from features.materialise.as_of_view import AsOfView
from features.training_data.purchases import read_purchases
from models.tastes.taste_counts import TasteCounts, counts_before
from models.tastes.taste_model import TasteModel, best, usual_gap

AGAIN, NEW, FAVOURITE = KINDS = (
    "again",
    "new",
    "favourite",
)  # lists; the last is everybody's, for who has bought nothing yet
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
        places = pc.index_in(pa.array(user_ids, pa.string()), value_set=self._first["user_id"])
        found = self._first.take(places)
        names = ("category", "name", "list", "item_id")
        return Featured(*(found[name].to_numpy(zero_copy_only=False) for name in names))

    @cached_property
    def _first(self) -> pa.RecordBatch:
        """The first row of each user."""
        rows = self.rows.combine_chunks()
        users = rows["user_id"].combine_chunks() if len(rows) else pa.array([], pa.string())
        is_first = np.ones(len(rows), bool)
        if len(rows):
            is_first[1:] = pc.not_equal(users[1:], users[:-1]).to_numpy(zero_copy_only=False)
        first = rows.filter(pa.array(is_first)).combine_chunks()
        return first.to_batches()[0] if len(first) else pa.RecordBatch.from_pylist([], SCHEMA)


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
    rows = tastes.rows
    if not len(rows) or (own.empty and everybody.empty):
        return tastes
    codes, names = pd.factorize(pd.concat([own["item_id"], everybody["item_id"]]), sort=True)
    last = pd.concat([own["last_at"], everybody["last_at"]])
    is_sold = np.zeros(len(names), bool)
    is_sold[codes[(last >= last.max() - pd.Timedelta(days=SOLD_WITHIN)).to_numpy()]] = True
    kinds = rows["category"].combine_chunks().dictionary_encode()
    categories = pd.Index(kinds.dictionary.to_pylist(), dtype=object)
    parts = ((own, codes[: len(own)]), (everybody, codes[len(own) :]))
    mine, usual = (_Bought.of(found, categories, items).kept(is_sold) for found, items in parts)
    category = kinds.indices.to_numpy()
    of_user = pc.index_in(rows["user_id"], value_set=pa.array(user_ids, pa.string())).to_numpy().astype(np.int64)
    is_again = pc.equal(rows["list"], AGAIN).to_numpy()
    own_item = mine.best(of_user * len(categories) + category, len(categories))
    usual_item = usual.of_all().best(category, len(categories))
    item = np.where(is_again, own_item, usual_item)
    items = pa.array(names, pa.string()).take(pa.array(item, mask=item < 0))
    return UserTastes(rows.set_column(rows.column_names.index("item_id"), "item_id", items))


class _Bought(NamedTuple):
    """How often (`bought`) users bought items of categories, by numbers: shapes (rows,)."""

    user: Array
    category: Array
    item: Array
    bought: Array

    @classmethod
    def of(cls, found: pd.DataFrame, categories: pd.Index, items: Places) -> _Bought:
        """Take rows of `bought_items`, whose `items` are numbered; a category that is not listed is -1."""
        category = categories.get_indexer(pd.Index(found["category"]))
        return cls(found["place"].to_numpy(), category, items, found["bought"].to_numpy())

    def kept(self, is_sold: Flags) -> _Bought:
        """Keep what is still sold, of categories that are listed."""
        rows = np.flatnonzero(is_sold[self.item] & (self.category >= 0))
        return _Bought(*(column[rows] for column in self))

    def of_all(self) -> _Bought:
        """Add up over users."""
        if not len(self.item):
            return self
        key = self.category.astype(np.int64) * (int(self.item.max()) + 1) + self.item
        _, first, place = np.unique(key, return_index=True, return_inverse=True)
        nobody = np.zeros(len(first), np.int64)
        return _Bought(nobody, self.category[first], self.item[first], np.bincount(place, self.bought))

    def best(self, wanted: Array, categories: int) -> Places:
        """Find the item that was bought most under each wanted key, of equals the first by name; -1 of none.

        A key is the user times the number of `categories`, and the category.
        """
        key = self.user.astype(np.int64) * categories + self.category
        order = np.lexsort((self.item, -self.bought, key))
        keys = key[order]
        place = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
        if not len(keys):
            return np.full(len(wanted), -1)
        return np.where(keys[place] == wanted, self.item[order][place], -1)


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
    codes, spelt = pd.factorize(names)  # -1 of what may not be named
    some = min(2 * listed, len(names))  # of which some may have one name
    again = model.again_scores(counts)
    again[:, ~may_name] = -np.inf
    new = model.new_scores(counts)
    new[~may_name | _has_had_by_name(counts, codes) | (counts.visits == 0)] = -np.inf
    places = np.full((len(KINDS), len(ids), some), -1)
    places[0], places[1] = best(again, some), best(new, some)
    favourites = best(np.where(may_name, model.popular, -np.inf)[None], some)
    places[2] = np.where(counts.visits == 0, favourites, -1)
    user, kind, place, category = _first_of_each_name(places, codes, listed)
    is_again = np.flatnonzero(kind == 0)
    cells, since, gap = (user[is_again], category[is_again]), np.full(len(user), np.nan), np.full(len(user), np.nan)
    since[is_again] = counts.cut - counts.last[cells]
    gap[is_again] = np.where(counts.ever[cells] > 1, usual_gap(counts, cells), np.nan)
    columns = {
        "user_id": pa.array(ids, pa.string()).take(pa.array(user)),
        "list": pa.array(KINDS, pa.string()).take(pa.array(kind)),
        "place": pa.array(place, pa.int32()),
        "category": pa.array(model.categories, pa.string()).take(pa.array(category)),
        "name": pa.array(spelt, pa.string()).take(pa.array(codes[category])),
        "item_id": pa.nulls(len(user), pa.string()),
        "days_since_last": pa.array(since, pa.float64(), from_pandas=True),
        "usual_days_between": pa.array(gap, pa.float64(), from_pandas=True),
    }
    return pa.table(columns, SCHEMA)


def _first_of_each_name(places: Places, codes: Places, listed: int) -> tuple[Array, Array, Array, Array]:
    """Keep of each list the first categories of different names, `listed` at most.

    `places` are categories of each list, user and place, -1 where there is none; shape (lists, users, places).

    Returns
    -------
    User, list, place from 1 and category of each that is kept, in the order of users, lists and places.
    """
    named = np.where(places < 0, -1, codes[places])
    is_kept = places >= 0
    for place in range(1, named.shape[2]):
        is_kept[:, :, place] &= ~(named[:, :, :place] == named[:, :, place, None]).any(axis=2)
    rank = np.cumsum(is_kept, axis=2)
    user, kind, at = np.nonzero((is_kept & (rank <= listed)).transpose(1, 0, 2))
    return user, kind, rank[kind, user, at], places[kind, user, at]


def _has_had_by_name(counts: TasteCounts, codes: Places) -> Flags:
    """Tell what users have had, or had something of the same display name, shape (users, categories)."""
    by_name = np.zeros((len(codes), codes.max(initial=-1) + 2), np.float32)
    by_name[np.arange(len(codes)), codes] = 1.0  # those without a name share the last column
    return np.asarray((counts.has_had.astype(np.float32) @ by_name > 0)[:, codes])
