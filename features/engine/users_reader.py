"""Reading a range of the users table, in their order: when each signed up, and the traits that count."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from configs.errors import InputError
from features.arrays.calendar_days import DAY, local_time
from features.arrays.dictionaries import DICTIONARY, is_ascending, one_chunk
from features.definitions.registry import trait_column
from features.storage.lake import USERS_FILE, Lake
from features.storage.row_group_reader import KeyRange, read_users

OF_USERS = ("user_id", "signed_up_on")  # all else of what is read are traits


def read_traits(lake: Lake, traits: Mapping[str, bool], time_zone: str, users: KeyRange[str]) -> pa.Table:
    """Read ``user_id``, ``signed_up_on`` and traits of a range of users, in their order.

    `traits` maps columns of the users table to "is text"; texts come as dictionaries, all else as float64.

    Raises
    ------
    InputError
        The file cannot be read, or its users are not in order.
    """
    names = {trait_column(name): name for name in traits}
    kinds = {trait_column(name): DICTIONARY if is_text else pa.float64() for name, is_text in traits.items()}
    schema = pa.schema({"user_id": pa.string(), "signed_up_on": pa.date32(), **kinds})
    path = lake.path(USERS_FILE)
    if not lake.files.exists(USERS_FILE):
        return schema.empty_table()
    texts = [name for name, is_text in traits.items() if is_text]
    rows = read_users(path, ["user_id", "signed_up_at", *names.values()], users, words=texts)
    ids, signed_up_at = one_chunk(rows["user_id"]), rows["signed_up_at"]
    if not is_ascending(ids):
        raise InputError(f"{path} is not in the order of user_id; delete it and run winback ingest again")
    days = (local_time(signed_up_at, time_zone, 0) // DAY).astype(np.int32)
    missing = signed_up_at.is_null().to_numpy()
    # whole numbers beyond 2 ** 53 become the nearest float64
    found = {name: rows[own].cast(kinds[name], safe=False) for name, own in names.items()}
    return pa.table({"user_id": ids, "signed_up_on": pa.array(days, pa.date32(), mask=missing), **found}, schema)


def in_order_of(users: pa.Array, rows: pa.Table) -> pa.Table:
    """Take the row of each user, in their order; null where there is none. Rows have a ``user_id`` each once."""
    ids = rows["user_id"].combine_chunks()
    return rows if ids.equals(users) else rows.take(pc.index_in(users, value_set=ids))
