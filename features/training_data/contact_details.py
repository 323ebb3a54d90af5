"""What decides whether and when a user may be written to: consents and time zone, as the users table has them now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from configs.errors import InputError, first_line
from features.arrays.array_types import Flags
from features.storage.duckdb_sessions import reading_session, sql_text
from features.storage.lake import USERS_FILE, Lake
from features.storage.parquet_files import column_names

CONSENT, PROFILING, TIME_ZONE = "consent_", "consent_profiling", "time_zone"
ENDS = ("min", "max")


def contact_columns(lake: Lake) -> list[str]:
    """List the columns of the users table that say whether and when somebody may be written to; none without users."""
    if not lake.files.exists(USERS_FILE):
        return []
    return [name for name in column_names(lake.path(USERS_FILE)) if name.startswith(CONSENT) or name == TIME_ZONE]


def with_contact_details(lake: Lake, frame: pd.DataFrame) -> pd.DataFrame:
    """Append consents (1, 0, or NaN where nothing is known) and ``time_zone`` to a frame of users, in their order.

    A consent is no feature: it is read when somebody is decided about, so that one withdrawn this morning counts.

    Raises
    ------
    InputError
        The users table cannot be read.
    """
    columns = contact_columns(lake)
    if not columns or frame.empty:
        return frame
    ids = pa.array(frame["user_id"], pa.string())
    ends = pc.min_max(ids)  # most of the file need not be read
    names = [f'CAST("{name}" AS {"VARCHAR" if name == TIME_ZONE else "BOOLEAN"}) AS "{name}"' for name in columns]
    rows = _rows(lake, ", ".join(names), "user_id BETWEEN $1 AND $2", [ends[end].as_py() for end in ENDS])
    own = rows.take(pc.index_in(ids, value_set=rows["user_id"].combine_chunks())).drop_columns(["user_id"])
    kinds = {name: "float64" for name in columns if name != TIME_ZONE}
    return pd.concat([frame, own.to_pandas().astype(kinds).set_index(frame.index)], axis=1)


def profiling_refusals(lake: Lake, *, unknown: bool) -> Callable[[pd.Series], Flags]:
    """Say of user ids who does not consent to profiling, as the users table has it now.

    `unknown` says whether that is also assumed of those of whom nothing is known.

    Raises
    ------
    InputError
        The users table cannot be read.
    """
    if PROFILING not in contact_columns(lake):
        return lambda user_ids: np.full(len(user_ids), unknown)
    unlike = _rows(lake, PROFILING, f'CAST("{PROFILING}" AS BOOLEAN) = $1', [unknown])["user_id"].combine_chunks()

    def refuse(user_ids: pd.Series) -> Flags:
        is_unlike = pc.is_in(pa.array(user_ids, pa.string()), value_set=unlike)
        return np.asarray(is_unlike.to_numpy(zero_copy_only=False) != unknown)

    return refuse


def _rows(lake: Lake, columns: str, where: str, values: list[Any]) -> pa.Table:
    query = f"SELECT user_id, {columns} FROM read_parquet({sql_text(lake.path(USERS_FILE))}) WHERE {where}"
    with reading_session(lake) as connection:
        try:
            return connection.execute(query, values).to_arrow_table()
        except duckdb.ConversionException as error:
            raise InputError(
                f"a column of consents of the users is neither true nor false ({first_line(error)}); "
                "let the source yield a BOOLEAN and ingest again"
            ) from error
