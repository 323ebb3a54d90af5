"""Reading a range of the users table, in their order: when each signed up, and the traits that count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from configs.errors import InputError
from features.arrays.calendar_days import DAY, local_time
from features.arrays.dictionaries import DICTIONARY, is_ascending, one_chunk
from features.definitions.registry import trait_column
from features.storage.lake import USER_VERSIONS_FILE, USERS_FILE, Lake
from features.tables.parquet_files import readable
from features.tables.row_group_reader import KeyRange, read_users

OF_USERS = ("user_id", "signed_up_on")  # all else of what is read are traits


def read_traits(lake: Lake, traits: Mapping[str, bool], time_zone: str, users: KeyRange[str], at: datetime) -> pa.Table:
    """Read ``user_id``, ``signed_up_on`` and the traits that held at an instant of a range of users, in their order.

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
    rows = _held(lake, read_users(path, _columns(path, names.values(), "signed_up_at"), users, words=texts), users, at)
    ids, signed_up_at = one_chunk(rows["user_id"]), rows["signed_up_at"]
    if not is_ascending(ids):
        raise InputError(f"{path} is not in the order of user_id; delete it and run winback ingest again")
    days = (local_time(signed_up_at, time_zone, 0) // DAY).astype(np.int32)
    missing = signed_up_at.is_null().to_numpy()
    # whole numbers beyond 2 ** 53 become the nearest float64
    found = {name: rows[own].cast(kinds[name], safe=False) for name, own in names.items()}
    return pa.table({"user_id": ids, "signed_up_on": pa.array(days, pa.date32(), mask=missing), **found}, schema)


def known_on(lake: Lake, users: KeyRange[str], at: datetime) -> pa.Array:
    """List the users of a range whose row of the users table holds at an instant: who takes part in an experiment."""
    if not lake.files.exists(USERS_FILE):
        return pa.array([], pa.string())
    rows = read_users(lake.path(USERS_FILE), ["user_id", "known_from"], users)
    is_known = pc.less_equal(rows["known_from"], pa.scalar(at, pa.timestamp("us", "UTC")))
    return one_chunk(rows.filter(pc.fill_null(is_known, False))["user_id"])


def _held(lake: Lake, rows: pa.Table, users: KeyRange[str], at: datetime) -> pa.Table:
    """Put the version that held at an instant into the place of each row that holds only since later.

    What is no trait stays: when somebody signed up is known since then.
    """
    if "known_from" not in rows.column_names:
        return rows
    moment = pa.scalar(at, pa.timestamp("us", "UTC"))
    is_later = pc.fill_null(pc.greater(rows["known_from"], moment), False)
    if not pc.any(is_later, min_count=0).as_py():
        return rows
    traits = [name for name in rows.column_names if name not in ("user_id", "signed_up_at", "known_from")]
    place = pa.nulls(len(rows), pa.int64())
    earlier = rows.slice(0, 0)
    if lake.files.exists(USER_VERSIONS_FILE):
        path = lake.path(USER_VERSIONS_FILE)
        earlier = read_users(path, _columns(path, traits, "known_from"), users)
        earlier = earlier.filter(pc.less_equal(earlier["known_from"], moment))
        ids = earlier["user_id"].to_numpy()
        is_newest = np.append(ids[1:] != ids[:-1], [True] * min(len(ids), 1))  # versions of a user come in their order
        earlier = earlier.filter(pa.array(is_newest, pa.bool_()))
        place = pc.index_in(rows["user_id"], value_set=one_chunk(earlier["user_id"]))
    for name in traits:
        kind = rows.schema.field(name).type
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        before = earlier[name].take(place).cast(plain) if name in earlier.column_names else pa.nulls(len(rows), plain)
        values = pc.if_else(is_later, before, rows[name].cast(plain))
        rows = rows.set_column(rows.column_names.index(name), name, values)
    return rows


def _columns(path: Path, traits: Iterable[str], *others: str) -> list[str]:
    """Name what is read of a file; one of before there were versions does not say since when they hold."""
    with readable(path):
        there = pq.read_schema(path).names
    return [name for name in ("user_id", *others, "known_from", *traits) if name in there]


def in_order_of(users: pa.Array, rows: pa.Table) -> pa.Table:
    """Take the row of each user, in their order; null where there is none. Rows have a ``user_id`` each once."""
    ids = rows["user_id"].combine_chunks()
    return rows if ids.equals(users) else rows.take(pc.index_in(users, value_set=ids))
