"""A day's cubes: counts and sums by what users are and what was decided, so that no page reads all users."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from configs.settings import Settings
from features.storage.lake import USERS_FILE, Lake
from features.tables.duckdb_sessions import duckdb_session, sql_text
from features.tables.parquet_files import PACKED, column_names
from serving.cubes.cube_queries import COUNTRIES, DECISIONS, DRIVERS, GIVEN, LOST, RISK_BINS, RULES, segments_query
from serving.memberships.stored_segments import SEGMENTS, read_rules, segment_days, stored_source
from serving.stored_days.day_tables import day_file, decisions_source

CUBES, DRIVING, RISKS, BARRED, OF_SEGMENTS = "cubes", "drivers", "risk_bins", "rules", "segments"
ALL_BARRED, MESSAGES = "all_barred", "messages"
OF_SEGMENT = ("users", "at_risk", "with_offer", "leavers", "value_at_risk", "expected_cost", "expected_value")


def write_cubes(settings: Settings, lake: Lake, as_of: date) -> None:
    """Write ``cubes/day=<as_of>/``, from the decisions, options and segments of the day, all that pages add up.

    ``cubes`` has a row for every stage, persona, country, risk band, arm, offer, discount, play, channel, evidence and
    reason for nothing that somebody has, with ``users, known, valued, leavers, worth, value_at_risk, redemptions,
    expected_cost, expected_value``; ``segments`` the same of each segment, ``risk_bins`` the distribution of the risk,
    ``drivers`` what moves it, ``rules`` why options are barred, ``all_barred`` of whom all are, and ``messages`` how
    many different texts each offer comes with, with one of them.

    Raises
    ------
    InputError
        The day has no decisions, or a file is damaged.
    """
    decisions = decisions_source(lake, as_of)
    options = f"read_parquet({sql_text(day_file(lake, as_of, 'options'))})"
    with duckdb_session(settings) as connection, lake.files.publish() as publication:
        folder = publication.folder(f"{CUBES}/day={as_of}")
        tables = {
            CUBES: _asked(connection, _decisions_query(lake, decisions)),
            RISKS: _asked(connection, RISK_BINS.format(decisions=decisions)),
            DRIVING: _asked(connection, DRIVERS.format(decisions=decisions)),
            BARRED: _asked(connection, RULES.format(options=options)),
            ALL_BARRED: _asked(connection, LOST.format(decisions=decisions)),
            MESSAGES: _asked(connection, GIVEN.format(decisions=decisions)),
            OF_SEGMENTS: _segment_sums(connection, lake, as_of, decisions),
        }
        for name, table in tables.items():
            pq.write_table(table, folder / f"{name}.parquet", **PACKED)


def _asked(connection: duckdb.DuckDBPyConnection, query: str) -> pa.Table:
    return connection.execute(query).to_arrow_table()


def _decisions_query(lake: Lake, decisions: str) -> str:
    """Write the query of the cube; countries are those of the users table, where it has any."""
    has_country = lake.files.exists(USERS_FILE) and "country" in column_names(lake.path(USERS_FILE))
    users = f"read_parquet({sql_text(lake.path(USERS_FILE))})"
    country, places = (
        ("places.country", COUNTRIES.format(users=users)) if has_country else ("CAST(NULL AS VARCHAR)", "")
    )
    return DECISIONS.format(decisions=decisions, country=country, users=places)


def _segment_sums(connection: duckdb.DuckDBPyConnection, lake: Lake, as_of: date, decisions: str) -> pa.Table:
    """Add up every segment of a day; nothing where the day has none."""
    schema = pa.schema([("segment", pa.string()), *((name, pa.float64()) for name in OF_SEGMENT)])
    if as_of not in segment_days(lake):
        return schema.empty_table()
    names: Sequence[str] = [each.name for each in read_rules(lake, as_of).segments]
    if not names:
        return schema.empty_table()
    found = connection.execute(segments_query(decisions, stored_source(lake, as_of, SEGMENTS), names))
    told = [name for name, *_ in found.description or ()]
    sums = dict(zip(told, found.fetchone() or (), strict=False))
    rows = [
        {"segment": name, **{measure: float(sums.get(f"{place}_{measure}") or 0) for measure in OF_SEGMENT}}
        for place, name in enumerate(names)
    ]
    return pa.Table.from_pylist(rows, schema=schema)
