"""The suppression list: keyed hashes of users who were erased or who object to being contacted.

``suppression/users.parquet`` holds for each user id its HMAC-SHA256, the reason, the day since which the entry holds
and, after a new consent, the day until which it held. Only somebody who has both the key and an id can find out whether
the id is on the list. `suppressed` answers for any number of ids at once, and costs nothing if the list is empty.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Literal

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from configs.errors import InputError
from features.arrays.array_types import Flags
from features.storage.lake import Lake
from features.storage.storage_interface import Publication
from features.suppression.suppression_key import KEY_VARIABLE, hmac_pads, new_key, suppression_key
from features.tables.duckdb_sessions import reading_session
from features.tables.parquet_files import read_notes, read_parquet, write_parquet

if TYPE_CHECKING:
    import pandas as pd

Reason = Literal["forgotten", "objection"]
FORGOTTEN: Reason = "forgotten"
OBJECTION: Reason = "objection"
LISTED = {FORGOTTEN: "{:,} forgotten", OBJECTION: "{:,} who object to messages"}
LIST_FILE = "suppression/users.parquet"
KEY_CHECK, CHECKED_TEXT = b"winback.key_check", b"winback suppression list"
SCHEMA = pa.schema(
    [("user_hash", pa.string()), ("reason", pa.string()), ("since", pa.date32()), ("until", pa.date32())]
)
# HMAC (RFC 2104) of a column of ids; `hmac_pads` gives what it is filled with
HASH_OF_ID = "sha256({outer} || unhex(sha256({inner} || encode({column}))))"


def suppressed(lake: Lake, user_ids: pa.Array | pa.ChunkedArray | pd.Series) -> Flags:
    """Say of each of some users whether winback may not write to them, shape (users,): forgotten, or they object.

    Raises
    ------
    InputError
        The list cannot be read, or was written with another key.
    """
    found = read_list(lake)
    if found is None:
        return np.zeros(len(user_ids), dtype=np.bool_)
    in_force = found.filter(pc.is_null(found["until"]))["user_hash"].combine_chunks()
    is_listed = pc.is_in(keyed_hashes(lake, user_ids), value_set=in_force)
    return np.asarray(is_listed.to_numpy(zero_copy_only=False), dtype=np.bool_)


def read_list(lake: Lake) -> pa.Table | None:
    """Read the list, by `SCHEMA`; None where nobody is on it.

    Raises
    ------
    InputError
        It is damaged, or was written with another key than this run has, which would find nobody on it.
    """
    if not lake.files.exists(LIST_FILE):
        return None
    lake.files.check(LIST_FILE)
    path, key = lake.path(LIST_FILE), suppression_key(lake)
    if key is None or read_notes(path).get(KEY_CHECK) != _key_check(key):
        raise InputError(
            f"{path} was written with another key than this run has, so that nobody could be found on it; set "
            f"{KEY_VARIABLE} to the key that wrote it, or restore suppression/key from a backup"
        )
    rows = read_parquet(path).replace_schema_metadata(None)
    return rows if len(rows) else None


def list_line(lake: Lake) -> str:
    """Say how many are on the list, why and since when, in one line.

    Raises
    ------
    InputError
        The list is damaged or of another key.
    """
    found = read_list(lake)
    if found is None:
        return "nobody"
    in_force = found.filter(pc.is_null(found["until"]))
    counts = {reason: pc.sum(pc.equal(in_force["reason"], reason), min_count=0).as_py() for reason in LISTED}
    told = [words.format(count) for reason, words in LISTED.items() if (count := counts[reason])]
    if not told:
        return "nobody"
    days = pc.min_max(in_force["since"]).as_py()
    newest = f", the newest of {days['max']}" if days["max"] > days["min"] else ""
    return f"{' and '.join(told)}, since {days['min']}{newest}"


def keyed_hashes(lake: Lake, user_ids: pa.Array | pa.ChunkedArray | pd.Series) -> pa.Array:
    """Hash ids with the key of a data folder, all at once; a missing id has none.

    Raises
    ------
    InputError
        There is no key.
    """
    with reading_session(lake) as connection:
        connection.register("asked", pa.table({"user_id": _texts(user_ids)}))
        hashes = connection.execute(f"SELECT {hash_of_id(lake, connection)} AS user_hash FROM asked").to_arrow_table()
    return hashes["user_hash"].combine_chunks()


def _texts(user_ids: pa.Array | pa.ChunkedArray | pd.Series) -> pa.Array | pa.ChunkedArray:
    is_arrow = isinstance(user_ids, pa.Array | pa.ChunkedArray)
    return user_ids.cast(pa.string()) if is_arrow else pa.array(user_ids, pa.string())


def hash_of_id(lake: Lake, connection: duckdb.DuckDBPyConnection, column: str = "user_id") -> str:
    """Write the SQL of the keyed hash of a column of ids, for a connection, which is told the key's pads.

    Raises
    ------
    InputError
        There is no key.
    """
    key = suppression_key(lake)
    if key is None:
        raise InputError(f"{lake.root} has no key of a suppression list; run winback forget first")
    for name, pad in hmac_pads(key).items():
        connection.execute(f"SET VARIABLE suppression_{name} = $1::BLOB", [pad])
    names = {name: f"getvariable('suppression_{name}')" for name in ("outer", "inner")}
    return HASH_OF_ID.format(column=column, **names)


def enter(
    lake: Lake, publication: Publication, user_ids: Sequence[str], reason: Reason, since: date
) -> dict[str, tuple[str, date]]:
    """Put people's ids on the list, in a publish; returns reason and day of those that stood on it in force before.

    The first reason and day of an id stay, but an objection gives way to being forgotten. One whose new consent is on
    the list is on it anew.

    Raises
    ------
    InputError
        The list is damaged or of another key, or there is no place for a new key.
    """
    found = read_list(lake)
    key = suppression_key(lake) or new_key(lake, publication)
    hashes = {_hash(key, user_id): user_id for user_id in user_ids}
    before = _in_force(found, hashes)
    stands = {user_id for user_id, (told, _) in before.items() if told == FORGOTTEN or reason == OBJECTION}
    new = [name for name in sorted(hashes) if hashes[name] not in stands]
    rows = {"user_hash": new, "reason": [reason] * len(new), "since": [since] * len(new), "until": [None] * len(new)}
    if new:
        _write(publication, [*_others(found, new), pa.table(rows, schema=SCHEMA)], key)
    return before


def status_of(lake: Lake, user_ids: Sequence[str]) -> dict[str, tuple[str, date]]:
    """Say of some people's ids which are on the list, with reason and day; those with a new consent are not.

    Raises
    ------
    InputError
        The list is damaged or of another key.
    """
    found, key = read_list(lake), suppression_key(lake)
    if found is None or key is None:
        return {}
    return _in_force(found, {_hash(key, user_id): user_id for user_id in user_ids})


def let_back(lake: Lake, publication: Publication, user_ids: Sequence[str], until: date) -> dict[str, tuple[str, date]]:
    """Note a new consent, which holds from a day on: what people did before it stays forgotten.

    Returns the reason and day of those that stood on the list; of others there is nothing to note.

    Raises
    ------
    InputError
        The list is damaged or of another key.
    """
    found, key = read_list(lake), suppression_key(lake)
    if found is None or key is None:
        return {}
    hashes = {_hash(key, user_id): user_id for user_id in user_ids}
    before = _in_force(found, hashes)
    own = [name for name, user_id in hashes.items() if user_id in before]
    if own:
        rows = found.filter(pc.is_in(found["user_hash"], value_set=pa.array(own)))
        ended = rows.set_column(3, SCHEMA.field("until"), pa.array([until] * len(rows), pa.date32()))
        _write(publication, [*_others(found, own), ended], key)
    return before


def _in_force(entries: pa.Table | None, hashes: dict[str, str]) -> dict[str, tuple[str, date]]:
    if entries is None:
        return {}
    is_own = pc.and_(
        pc.is_in(entries["user_hash"], value_set=pa.array(hashes, pa.string())), pc.is_null(entries["until"])
    )
    return {hashes[row["user_hash"]]: (row["reason"], row["since"]) for row in entries.filter(is_own).to_pylist()}


def _others(entries: pa.Table | None, hashes: Sequence[str]) -> list[pa.Table]:
    if entries is None:
        return []
    return [entries.filter(pc.invert(pc.is_in(entries["user_hash"], value_set=pa.array(hashes, pa.string()))))]


def _write(publication: Publication, parts: Sequence[pa.Table], key: bytes) -> None:
    rows = pa.concat_tables(parts).sort_by("user_hash")
    write_parquet(rows.replace_schema_metadata({KEY_CHECK: _key_check(key)}), publication.path(LIST_FILE))


def _hash(key: bytes, user_id: str) -> str:
    return hmac.digest(key, user_id.encode(), "sha256").hex()


def _key_check(key: bytes) -> bytes:
    return hmac.digest(key, CHECKED_TEXT, "sha256").hex()[:16].encode()
