"""Export of everything held about one user, table by table, with the meaning of each column."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from configs.errors import InputError
from configs.named_files import FOLDER, read_toml
from configs.settings import Settings
from features.definitions.app_declarations import declarations_of
from features.erasure.erase_users import all_ids
from features.erasure.sought_ids import USER_COLUMNS
from features.erasure.table_names import LISTS, table_of
from features.ingestion.contract import ALIASES, CONTRACT
from features.storage.lake import Lake
from features.suppression.suppression_list import status_of
from features.tables.duckdb_sessions import reading_session, sql_text
from features.tables.parquet_files import column_names
from serving.lookups.column_catalogue import column_catalogue

IN_GROUP = "whether you were in this group"
TRAIT = "as the app told it"


def held_data(settings: Settings, lake: Lake, user_id: str) -> dict[str, Any]:
    """List every row that names a user, or an id that turned out to be theirs, in every table of the data folder.

    Returns
    -------
    ``user_ids``, ``suppression`` (reason and day, if they are on that list) and ``tables``: by name ``meaning``,
    ``columns`` (their meanings by name) and ``rows``.

    Raises
    ------
    InputError
        Nothing is held of the user, or a file cannot be read.
    """
    ids = all_ids(lake, [user_id])
    words: Any = read_toml(FOLDER / "held_data.toml")
    meanings = _meanings(settings, lake, words["columns"])
    tables: dict[str, dict[str, Any]] = {}
    with reading_session(lake) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for table, names in _tables(lake).items():
            rows = _rows(connection, lake, names, ids)
            if rows:
                columns = {name: _meaning(table, name, meanings) for name in rows[0]}
                tables[table] = {"meaning": words["tables"].get(table, table), "columns": columns, "rows": rows}
    status = status_of(lake, ids)
    if not tables and not status:
        raise InputError(f"{lake.root} holds nothing of user {user_id!r}; ids are those of the events, after aliases")
    return {"user_ids": list(ids), "suppression": status, "tables": tables}


def _tables(lake: Lake) -> dict[str, list[str]]:
    """Name the files that have a column of users, by table."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name in lake.files.list("**/*.parquet"):
        if set(USER_COLUMNS) & {*column_names(lake.path(name))}:
            found[table_of(name)].append(name)
    for folder in LISTS:
        found[folder] += lake.files.list(f"{folder}/**/*.csv")
    return {table: names for table, names in found.items() if names}


def _rows(
    connection: duckdb.DuckDBPyConnection, lake: Lake, names: Sequence[str], ids: Sequence[str]
) -> list[dict[str, Any]]:
    files = f"[{', '.join(sql_text(lake.path(name)) for name in names)}]"
    if names[0].endswith(".csv"):
        source = (
            f"read_csv({files}, all_varchar = true, union_by_name = true, filename = true, hive_partitioning = false)"
        )
    else:
        source = f"read_parquet({files}, union_by_name = true, filename = true, hive_partitioning = false)"
    told = [name for name, *_ in connection.execute(f"DESCRIBE FROM {source}").fetchall()]
    theirs = " OR ".join(f"ltrim({name}, '''') IN (SELECT unnest($ids))" for name in USER_COLUMNS if name in told)
    stored_for = r"regexp_extract(filename, '([0-9]{4}-[0-9]{2}-[0-9]{2})[^/]*(/[^/]*)?$', 1) AS stored_for"
    query = f"SELECT {stored_for}, * EXCLUDE (filename) FROM {source} WHERE {theirs} ORDER BY ALL"
    return list(connection.execute(query, {"ids": list(ids)}).to_arrow_table().to_pylist())


def _meanings(settings: Settings, lake: Lake, told: dict[str, str]) -> dict[str, dict[str, str]]:
    """Read what columns mean: by contract table, of snapshots and daily rows, and of everything else."""
    catalogue = {each.name: f"{each.meaning.rstrip('.')}; {each.window}" for each in column_catalogue(settings, lake)}
    daily = {name: (each.__doc__ or name).splitlines()[0] for name, each in declarations_of(settings).measures.items()}
    own = {table.name: {column.name: column.meaning for column in table.columns} for table in (*CONTRACT, ALIASES)}
    everywhere = daily | own["users"] | own["events"] | own["treatments"] | told
    return {**own, "users/versions": own["users"], "snapshots": catalogue, "aggregates": daily, "": everywhere}


def _meaning(table: str, name: str, meanings: Mapping[str, Mapping[str, str]]) -> str:
    own = meanings.get(table, {})
    if name in own:
        return own[name]
    if name in meanings[""]:
        return meanings[""][name]
    return {"segments": IN_GROUP, "users": TRAIT, "users/versions": TRAIT}.get(table, name.replace("_", " "))
