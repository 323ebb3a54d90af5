"""Versions of user rows: a changed row is a new version, and the old one stays valid for earlier days.

The users table holds the newest version of everybody, `USER_VERSIONS_FILE` those before. A row holds from its
``known_from`` on; one that does not say holds from the day of its ingest, so that no day before sees its traits.
"""

from __future__ import annotations

from datetime import date

import duckdb

from configs.settings import Settings
from features.arrays.calendar_days import start_of
from features.ingestion.contract import USERS
from features.ingestion.row_repairs import EARLIEST_INSTANT
from features.ingestion.table_rows import new_rows, row_count
from features.ingestion.user_aliases import MERGED, in_merged
from features.storage.lake import USER_VERSIONS_FILE, USERS_FILE, Lake
from features.storage.storage_interface import Publication
from features.tables.duckdb_sessions import sql_text
from features.tables.parquet_files import ROW_GROUP_ROWS, write_parquet

OF_VERSIONS = ("known_from", "_is_new", "_own_hash")  # all else is what a version says; no trait begins with _


def check_users(connection: duckdb.DuckDBPyConnection, settings: Settings, lake: Lake, day: date) -> None:
    """Lay the good staged rows beside the versions of the lake, in ``user_versions`` and ``checked_users``.

    Without a word about it a row begins to hold on the `day`. One that says what holds by then already is known, and
    changes nothing.
    """
    begins = f"TIMESTAMPTZ '{start_of(day, settings.time_zone).isoformat()}'"
    good = f"""
        SELECT DISTINCT * EXCLUDE (day, reason) REPLACE (coalesce(known_from, {begins}) AS known_from)
        FROM staged_users WHERE reason IS NULL
    """
    told = f"""
        SELECT *, true AS _is_new FROM ({in_merged(good, USERS)}) UNION ALL BY NAME
        SELECT *, false AS _is_new FROM ({in_merged(stored_versions(lake), USERS)})
    """
    said = ", ".join(f'"{name}"' for name in _columns(connection, told) if name not in OF_VERSIONS)
    of_user, of_version = (f"OVER (PARTITION BY {keys}" for keys in ("user_id", "user_id, known_from"))
    connection.execute(f"CREATE TEMP TABLE told AS SELECT *, hash({said}) AS _own_hash FROM ({told})")
    connection.execute("""
        CREATE TEMP TABLE touched AS
        WITH held AS (SELECT user_id, max(known_from) AS _since, arg_max(_own_hash, known_from) AS _held_hash
                      FROM told WHERE NOT _is_new GROUP BY user_id)
        SELECT DISTINCT user_id FROM told LEFT JOIN held USING (user_id)
        WHERE _is_new AND NOT coalesce(_own_hash = _held_hash AND known_from >= _since, false)
    """)
    connection.execute(f"""
        CREATE TEMP TABLE placed AS
        WITH compared AS (SELECT *, bool_or(NOT _is_new) {of_version}, _own_hash) AS _is_stored
                          FROM told SEMI JOIN touched USING (user_id))
        SELECT *, row_number() {of_version} ORDER BY _is_new DESC, _is_stored DESC, _own_hash) AS _place FROM compared
    """)
    connection.execute(f"""
        CREATE TEMP TABLE user_versions AS
        WITH changes AS (SELECT * FROM placed WHERE _place = 1
                         QUALIFY _own_hash IS DISTINCT FROM lag(_own_hash) {of_user} ORDER BY known_from))
        SELECT * EXCLUDE (_is_new, _is_stored, _own_hash, _place),
               lead(known_from) {of_user} ORDER BY known_from) IS NULL AS _is_newest FROM changes
    """)
    connection.execute("""
        CREATE TEMP TABLE checked_users AS
        SELECT * EXCLUDE (_is_new, _is_stored, _own_hash, _place), NULL::DATE AS day,
               _is_stored OR (user_id, known_from) NOT IN (SELECT (user_id, known_from) FROM user_versions) AS is_known,
               CASE WHEN _place > 1 THEN 'user_id stands for two different rows' END AS reason
        FROM placed WHERE _is_new
        UNION ALL BY NAME
        SELECT * EXCLUDE (_is_new, _own_hash), NULL::DATE AS day, true AS is_known, NULL AS reason
        FROM told ANTI JOIN touched USING (user_id) WHERE _is_new
    """)


def undated_note(connection: duckdb.DuckDBPyConnection, lake: Lake, day: date) -> list[str]:
    """Say of a first delivery which traits no snapshot before the day will see."""
    count = row_count(connection, "staged_users WHERE reason IS NULL AND known_from IS NULL")
    traits = [name for name in _columns(connection, "FROM told") if name not in (*USERS.names, *OF_VERSIONS)]
    if lake.files.exists(USERS_FILE) or not count or not traits:
        return []
    return [
        f"{count:,} rows of users without known_from hold from {day} on: snapshots before see none of their traits "
        f"({', '.join(traits)}), and models learn from them from then on; where it is known since when a row holds, "
        "select that AS known_from"
    ]


def stored_versions(lake: Lake, *names: str) -> str:
    """Write the SELECT of the versions that files of the lake hold, or all; one that is not dated holds always."""
    files = [sql_text(lake.path(name)) for name in names or (USERS_FILE, USER_VERSIONS_FILE) if lake.files.exists(name)]
    if not files:
        return "SELECT * EXCLUDE (day, reason) FROM staged_users WHERE false"
    return f"""
        SELECT * REPLACE (coalesce(known_from, {EARLIEST_INSTANT}) AS known_from)
        FROM (SELECT NULL::TIMESTAMPTZ AS known_from WHERE false UNION ALL BY NAME
              SELECT * FROM read_parquet([{", ".join(files)}], union_by_name = true))
    """


def write_users(connection: duckdb.DuckDBPyConnection, lake: Lake, publication: Publication) -> None:
    """Write the newest version of everybody, and the earlier ones, where something changed."""
    gone = f"({stored_versions(lake)}) WHERE user_id IN (SELECT old_user_id FROM {MERGED})"
    if not row_count(connection, f"({new_rows(USERS)})") and not row_count(connection, gone):
        return
    lake.files.check(USERS_FILE, USER_VERSIONS_FILE)
    for name, which in ((USERS_FILE, "_is_newest"), (USER_VERSIONS_FILE, "NOT _is_newest")):
        kept = in_merged(stored_versions(lake, name), USERS)
        rows = connection.execute(f"""
            SELECT * EXCLUDE (_is_newest) FROM user_versions WHERE {which} UNION ALL BY NAME
            SELECT * FROM ({kept}) ANTI JOIN touched USING (user_id) ORDER BY user_id, known_from
        """).to_arrow_table()
        if len(rows) or lake.files.exists(name):
            write_parquet(rows, publication.path(name), ROW_GROUP_ROWS)


def _columns(connection: duckdb.DuckDBPyConnection, query: str) -> list[str]:
    return [name for name, *_ in connection.execute(f"DESCRIBE {query}").fetchall()]
