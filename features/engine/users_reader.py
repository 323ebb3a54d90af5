"""Reading the users table in their order, a batch at a time: when each signed up, and the traits that count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from configs.errors import InputError
from features.arrays.calendar_days import DAY, local_time
from features.arrays.dictionaries import DICTIONARY, is_ascending
from features.storage.lake import Lake
from features.storage.parquet_files import readable

TRAIT = "trait_"
USERS_AT_ONCE = 65_536


def users_in_order(lake: Lake, traits: Mapping[str, bool], time_zone: str) -> Iterator[pa.Table]:
    """Read ``user_id``, ``signed_up_on`` and traits; the first table that comes has no rows.

    `traits` maps columns of a snapshot to "is text"; texts come as dictionaries, all else as float64.

    Raises
    ------
    InputError
        The file cannot be read, or its users are not in order.
    """
    names = {name: name.removeprefix(TRAIT) for name in traits}
    kinds = {name: DICTIONARY if is_text else pa.float64() for name, is_text in traits.items()}
    schema = pa.schema({"user_id": pa.string(), "signed_up_on": pa.date32(), **kinds})
    yield schema.empty_table()
    path = lake.path("users", "users.parquet")
    if not path.exists():
        return
    texts = [names[name] for name, is_text in traits.items() if is_text]
    with readable(path), pq.ParquetFile(path, read_dictionary=texts) as file:
        last = None
        columns = ["user_id", "signed_up_at", *names.values()]
        for batch in file.iter_batches(USERS_AT_ONCE, columns=columns, use_threads=False):
            ids = batch["user_id"]
            if not is_ascending(ids) or (last is not None and ids[0].as_py() <= last):
                raise InputError(f"{path} is not in the order of user_id; delete it and run winback ingest again")
            last = ids[-1].as_py()
            signed_up_at = batch["signed_up_at"]
            days = (local_time(signed_up_at, time_zone, 0) // DAY).astype(np.int32)
            signed_up_on = pa.array(days, pa.date32(), mask=signed_up_at.is_null().to_numpy(zero_copy_only=False))
            found = {name: batch[own].cast(kinds[name]) for name, own in names.items()}
            yield pa.table({"user_id": ids, "signed_up_on": signed_up_on, **found}, schema)


def in_order_of(users: pa.Array, rows: pa.Table) -> pa.Table:
    """Take the row of each user, in their order; null where there is none. Rows have a ``user_id`` each once."""
    ids = rows["user_id"].combine_chunks()
    return rows if ids.equals(users) else rows.take(pc.index_in(users, value_set=ids))
