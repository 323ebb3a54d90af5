"""Paths of the tables that rules read."""

from __future__ import annotations

from datetime import date

from configs.settings import Settings
from features.ingestion.contract import CONSENT
from features.storage.lake import USERS_FILE, Lake
from features.tables.duckdb_sessions import sql_text
from features.tables.parquet_files import column_names, count_rows
from serving.segments.day_query import DaySources
from serving.stored_days.day_tables import day_file, decided_days

PROFILING = f"{CONSENT}profiling"


def sources_of(settings: Settings, lake: Lake, day: date) -> DaySources:
    """Name the files of a day that rules read; it must have a snapshot, and may be decided.

    Raises
    ------
    InputError
        One of them is damaged.
    """
    lake.files.check(lake.partition_name("snapshots", day))
    snapshot = f"read_parquet({sql_text(lake.partition('snapshots', day))})"
    refusing = refusing_sql(settings, lake, snapshot)
    if day not in decided_days(lake):
        return DaySources(snapshot, refusing=refusing)
    decisions, options = day_file(lake, day, "decisions"), day_file(lake, day, "options")
    users, rows = count_rows(decisions), count_rows(options)
    numbered = "read_parquet({}, file_row_number = true)"
    return DaySources(
        snapshot, numbered.format(sql_text(decisions)), numbered.format(sql_text(options)),
        rows // users if users else 0, refusing,
    )  # fmt: skip


def refusing_sql(settings: Settings, lake: Lake, snapshot: str) -> str | None:
    """Write the query of who refuses profiling, by the users table of now; None where nobody can."""
    is_told = lake.files.exists(USERS_FILE) and PROFILING in column_names(lake.path(USERS_FILE))
    users = f"(SELECT user_id, {PROFILING} AS consents FROM read_parquet({sql_text(lake.path(USERS_FILE))}))"
    if settings.contact.unknown_consent == "refused":
        consenting = f"SELECT user_id FROM {users} WHERE consents" if is_told else "SELECT '' WHERE false"
        return f"SELECT user_id FROM {snapshot} WHERE user_id NOT IN ({consenting})"
    return f"SELECT user_id FROM {users} WHERE NOT consents" if is_told else None
