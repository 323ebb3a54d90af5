"""Columns of the current users table, for messages and not for models."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.storage.lake import USERS_FILE, Lake
from features.tables.parquet_files import column_names, read_parquet


def user_columns(lake: Lake, user_ids: pd.Series, names: set[str]) -> pd.DataFrame:
    """Read columns of some users, in their order and with their index; columns that the table lacks are left out.

    Who is not in the table has nothing in any of them.

    Raises
    ------
    InputError
        The users table cannot be read.
    """
    known = [name for name in known_columns(lake) if name in names]
    if not known or user_ids.empty:
        return pd.DataFrame(index=user_ids.index)
    rows = read_parquet(lake.path(USERS_FILE), ["user_id", *known])
    places = pc.index_in(pa.array(user_ids, pa.string()), value_set=rows["user_id"].combine_chunks())
    return rows.select(known).take(places).to_pandas().set_index(user_ids.index)


def known_columns(lake: Lake) -> list[str]:
    """Columns of the users table; none where there is no such table."""
    return column_names(lake.path(USERS_FILE)) if lake.files.exists(USERS_FILE) else []


def sampled_users(lake: Lake, most: int) -> pd.Series:
    """Take at most so many users of the table, evenly over all."""
    if not known_columns(lake):
        return pd.Series(dtype=object)
    user_ids = read_parquet(lake.path(USERS_FILE), ["user_id"])["user_id"]
    return user_ids.to_pandas().iloc[:: max(1, -(-len(user_ids) // most))].reset_index(drop=True)
