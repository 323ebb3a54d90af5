"""Which columns of the users table are traits, and so columns of a snapshot."""

from __future__ import annotations

import json
from collections.abc import Iterable

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from configs.progress import announce
from configs.settings import Settings
from features.definitions.registry import Feature, trait_column
from features.ingestion.contract import AUDIT_ONLY, USERS
from features.storage.lake import USER_VERSIONS_FILE, USERS_FILE, Lake
from features.tables.duckdb_sessions import duckdb_session, sql_text
from features.tables.parquet_files import readable

TAUGHT_FILE = "training/traits.json"
COLUMNS_AT_ONCE = 50  # each that is counted holds a table of its own in memory
TRAITS_OF_THE_CONTRACT = ("country", "device", "acquisition_source", "language")


def user_traits(lake: Lake, settings: Settings, *, is_taught: bool = False) -> dict[str, bool]:
    """Map columns of the users table that are traits to whether they are text; nothing before users were ingested.

    A column that holds one value for everybody tells nobody apart, and a text with more than
    ``features.max_trait_values`` is none; it still is a trait of snapshots once a model was taught it, as a value more
    than that must leave nobody without a score. What ``features.protected`` names is none. `is_taught` asks for those
    that models may be taught now.

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
    left = {*USERS.names} - {*TRAITS_OF_THE_CONTRACT, *AUDIT_ONLY} | {*settings.features.protected}
    is_text = {field.name: _is_text(field.type) for field in schema if field.name not in left and _may_be(field)}
    if not is_text:
        return {}
    with duckdb_session(settings) as connection:
        values = _distinct_values(connection, lake, [*is_text])
    most = settings.features.max_trait_values
    told_apart = {name: count + has_gaps > 1 and not (is_text[name] and count > most)
                  for name, (count, has_gaps) in values.items()}  # fmt: skip
    kept = set() if is_taught else set(_taught(lake))
    return {name: text for name, text in is_text.items() if told_apart[name] or name in kept}


def keep_traits(lake: Lake, features: Iterable[Feature]) -> None:
    """Note which traits models were taught, beside those before: any of these models may be champion again."""
    names = {each.name.removeprefix(trait_column("")) for each in features if each.view == "traits"}
    if not names <= set(_taught(lake)):
        lake.files.publish_file(TAUGHT_FILE, json.dumps(sorted(names | set(_taught(lake)))).encode())


def _taught(lake: Lake) -> list[str]:
    try:
        return (
            [str(name) for name in json.loads(lake.files.read(TAUGHT_FILE))] if lake.files.exists(TAUGHT_FILE) else []
        )
    except (ValueError, TypeError):  # it only widens what a snapshot has, and the next training writes it anew
        announce(f"{lake.path(TAUGHT_FILE)} is damaged; the next training writes it anew")
        return []


def _distinct_values(
    connection: duckdb.DuckDBPyConnection, lake: Lake, names: list[str]
) -> dict[str, tuple[int, bool]]:
    """Count the values of each column, now and before, and say whether somebody has none."""
    files = [sql_text(lake.path(name)) for name in (USERS_FILE, USER_VERSIONS_FILE) if lake.files.exists(name)]
    everybody = f"read_parquet([{', '.join(files)}], union_by_name = true)"
    found: dict[str, tuple[int, bool]] = {}
    for first in range(0, len(names), COLUMNS_AT_ONCE):
        some = names[first : first + COLUMNS_AT_ONCE]
        counts = ", ".join(f'(count(DISTINCT "{name}"), count("{name}") < count(*))' for name in some)
        row = connection.execute(f"SELECT {counts} FROM {everybody}").fetchone()
        found |= zip(some, row or (), strict=True)
    return found


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
