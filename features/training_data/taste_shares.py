"""Shares of a user's purchases by group of categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from configs.categories import Categories
from features.arrays.array_types import Floats, Places
from features.definitions.snapshot_features import CATEGORY_SHARES
from features.tables.parquet_files import column_names, read_parquet

COLUMN = "taste_share_90d:"  # begins the columns of a frame that hold shares; the group follows


def taste_group(categories: Categories, category: str) -> str | None:
    """Name the group that a category is in: those that people call the same; None of what is not spoken of.

    Examples
    --------
    >>> categories = Categories(sensitive=("wine",), also_sensitive=(), names={"SALTED NUTS": "nuts"})
    >>> [taste_group(categories, name) for name in ("SALTED NUTS", "Bread, fresh", "Red Wines")]
    ['nuts', 'Bread fresh', None]
    """
    name = categories.featured(category)
    return None if name is None else " ".join(name.replace(",", " ").split())


def category_shares(path: Path, rows: range | None = None) -> pa.ListArray | None:
    """Read what users of a snapshot buy, an entry each; None of a snapshot that was built without it.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    if CATEGORY_SHARES not in column_names(path):
        return None
    return read_parquet(path, [CATEGORY_SHARES], rows=rows)[CATEGORY_SHARES].combine_chunks()


def largest_groups(shares: pa.ListArray, categories: Categories, most: int) -> list[str]:
    """List the groups with the largest mean share over users, largest first."""
    _, group, share, names = _entries(shares, categories)
    total = np.bincount(group, share, len(names))
    order = np.argsort(-total, kind="stable")[:most]
    return [names[place] for place in order if total[place] > 0]


def shares_of(shares: pa.ListArray, categories: Categories, groups: Sequence[str]) -> dict[str, Floats]:
    """Add up the shares of the categories of each group, a column of shape (users,) each, by its name.

    Of who bought nothing all are missing.
    """
    user, group, share, names = _entries(shares, categories)
    place = np.array([groups.index(name) if name in groups else len(groups) for name in names], np.intp)
    cell = user * (len(groups) + 1) + (place[group] if len(group) else group)
    sums = np.bincount(cell, share, len(shares) * (len(groups) + 1)).astype(np.float64)
    found = sums.reshape(len(shares), len(groups) + 1)
    found[pc.fill_null(pc.equal(pc.list_value_length(shares), 0), True).to_numpy(zero_copy_only=False)] = np.nan
    return {f"{COLUMN}{name}": found[:, number] for number, name in enumerate(groups)}


@dataclass(frozen=True)
class Tastes:
    """Groups of categories whose shares are asked for, and what categories are called."""

    groups: tuple[str, ...]
    categories: Categories

    def of(self, path: Path, rows: range) -> dict[str, Floats]:
        """Read the shares of users of a snapshot by their places, as `shares_of`; a snapshot without them knows none.

        Raises
        ------
        InputError
            The file cannot be read.
        """
        shares = category_shares(path, rows)
        if shares is None:
            return {f"{COLUMN}{name}": np.full(len(rows), np.nan) for name in self.groups}
        return shares_of(shares, self.categories, self.groups)


def _entries(shares: pa.ListArray, categories: Categories) -> tuple[Places, Places, Floats, list[str]]:
    """Read the entries of lists that are of a group: the user, the group, the share, and the names of groups."""
    entries = shares.flatten()
    user = pc.list_parent_indices(shares).to_numpy().astype(np.intp)
    category, share = entries.field("category").dictionary_encode(), entries.field("share").to_numpy()
    groups = [taste_group(categories, name) for name in category.dictionary.to_pylist()]
    names = sorted({name for name in groups if name is not None})
    of_category = np.array([-1 if name is None else names.index(name) for name in groups], np.intp)
    group = of_category[category.indices.to_numpy()]
    kept = np.flatnonzero(group >= 0)
    return user[kept], group[kept], share[kept].astype(np.float64), names
