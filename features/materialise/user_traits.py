"""Which columns of the users table are traits, and so columns of a snapshot."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from configs.settings import Settings
from features.ingestion.contract import AUDIT_ONLY, USERS
from features.storage.duckdb_sessions import duckdb_session, sql_text
from features.storage.lake import USERS_FILE, Lake
from features.storage.parquet_files import readable

TRAITS_OF_THE_CONTRACT = ("country", "device", "acquisition_source", "language")


def user_traits(lake: Lake, settings: Settings) -> dict[str, bool]:
    """Map columns of the users table that are traits to whether they are text; nothing before users were ingested.

    A column that holds one value for everybody tells nobody apart, and a text with more than
    ``features.max_trait_values`` is none.

    Raises
    ------
    InputError
        The users table cannot be read.
    """
    path = lake.path(USERS_FILE)
    if not lake.files.exists(USERS_FILE):
        return {}
    with readable(path):
        schema = pq.read_schema(path)
    left = {*USERS.names, *AUDIT_ONLY} - {*TRAITS_OF_THE_CONTRACT}
    is_text = {field.name: _is_text(field.type) for field in schema if field.name not in left and _may_be(field)}
    if not is_text:
        return {}
    with duckdb_session(settings) as connection:
        values = _distinct_values(connection, path, [*is_text])
    most = settings.features.max_trait_values
    told_apart = {name: count + has_gaps > 1 and not (is_text[name] and count > most)
                  for name, (count, has_gaps) in values.items()}  # fmt: skip
    return {name: text for name, text in is_text.items() if told_apart[name]}


def _distinct_values(
    connection: duckdb.DuckDBPyConnection, path: Path, names: list[str]
) -> dict[str, tuple[int, bool]]:
    """Count the values of each column, and say whether somebody has none."""
    counts = ", ".join(f'(count(DISTINCT "{name}"), count("{name}") < count(*))' for name in names)
    row = connection.execute(f"SELECT {counts} FROM read_parquet({sql_text(path)})").fetchone()
    return dict(zip(names, row or (), strict=True))


def _may_be(field: pa.Field) -> bool:
    """Tell whether a column can be a trait; a consent says what may be done, not what to expect."""
    types, kind = pa.types, field.type
    return not field.name.startswith("consent_") and (
        _is_text(kind)
        or types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_boolean(kind)
    )


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)
