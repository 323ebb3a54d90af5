"""Aliases of users: events of an old id belong to the user whose id it turned out to be, from that day on."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from configs.errors import InputError
from configs.settings import Settings
from features.ingestion.contract import ALIASES, EVENTS, USERS, Table
from features.storage.lake import Lake
from features.tables.duckdb_sessions import duckdb_session, sql_text

NO_ALIASES = "SELECT '' AS old_user_id, '' AS user_id, TIMESTAMPTZ 'epoch' AS since LIMIT 0"
MERGED = "merged_users"  # old id, user and since, once chains are followed to their ends
ROUNDS = 24  # a chain of 2 ** 24 ids; what is longer goes in a circle


def keep_first_told(connection: duckdb.DuckDBPyConnection) -> None:
    """Keep of the staged aliases the first time that each pair was told; an id that is its own says nothing."""
    connection.execute("""
        CREATE OR REPLACE TEMP TABLE staged_aliases AS SELECT * FROM staged_aliases
        WHERE reason IS NOT NULL OR old_user_id <> user_id
        QUALIFY reason IS NOT NULL OR row_number() OVER (PARTITION BY reason, old_user_id, user_id ORDER BY since) = 1
    """)


def merge_users(connection: duckdb.DuckDBPyConnection, pairs: str) -> None:
    """Follow every alias to the user at the end of its chain, in the table `MERGED`.

    Each round doubles the steps that are followed (pointer doubling), so that a chain of n ids takes log2(n) of them.
    Two ids are known to be one when the last of the steps between them is known.

    Parameters
    ----------
    pairs
        SELECT of ``old_user_id, user_id, since``, an old id once.

    Raises
    ------
    InputError
        Aliases go round in a circle.
    """
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {MERGED} AS SELECT old_user_id, user_id, since FROM ({pairs})")
    unfinished = f"SELECT old_user_id FROM {MERGED} WHERE user_id IN (SELECT old_user_id FROM {MERGED})"
    for _ in range(ROUNDS):
        if connection.execute(unfinished).fetchone() is None:
            return
        connection.execute(f"""
            CREATE OR REPLACE TEMP TABLE {MERGED} AS
            SELECT near.old_user_id, coalesce(far.user_id, near.user_id) AS user_id,
                   greatest(near.since, far.since) AS since
            FROM {MERGED} AS near LEFT JOIN {MERGED} AS far ON far.old_user_id = near.user_id
        """)
    if start := connection.execute(f"{unfinished} ORDER BY ALL").fetchone():
        raise InputError(_circle(connection, pairs, start[0]))


def _circle(connection: duckdb.DuckDBPyConnection, pairs: str, start: str) -> str:
    path = [start]
    while path.index(path[-1]) == len(path) - 1:
        found = connection.execute(f"SELECT user_id FROM ({pairs}) WHERE old_user_id = $1", [path[-1]]).fetchone()
        path.append(found[0] if found else start)
    way = " → ".join(path[path.index(path[-1]) :])
    return f"aliases go round in a circle ({way}), so nobody can say who these are; leave one of them out"


def who_is_who(settings: Settings, lake: Lake) -> pa.Table:
    """List the old ids of a lake and who they turned out to be: ``old_user_id, user_id``."""
    with duckdb_session(settings) as connection:
        if lake.days(ALIASES.name):
            merge_users(connection, f"SELECT * FROM read_parquet({sql_text(lake.glob(ALIASES.name))})")
        else:
            merge_users(connection, NO_ALIASES)
        return connection.sql(f"SELECT old_user_id, user_id FROM {MERGED} ORDER BY ALL").to_arrow_table()


def in_merged(rows: str, table: Table) -> str:
    """Write the SELECT of `rows` in which what an old id did is the user's; the users row of an old id is left out.

    An event becomes known as the user's no earlier than the alias: features of days before see nothing of it.
    """
    if table is ALIASES:
        return rows
    if table is USERS:
        return f"SELECT * FROM ({rows}) WHERE user_id NOT IN (SELECT old_user_id FROM {MERGED})"
    known_at = ""
    if table is EVENTS:
        known_at = """, CASE WHEN merged.since > coalesce(facts.received_at, facts.occurred_at)
                             THEN merged.since ELSE facts.received_at END AS received_at"""
    return f"""
        SELECT facts.* REPLACE (coalesce(merged.user_id, facts.user_id) AS user_id {known_at})
        FROM ({rows}) AS facts LEFT JOIN {MERGED} AS merged ON merged.old_user_id = facts.user_id
    """
