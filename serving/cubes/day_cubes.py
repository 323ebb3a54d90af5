"""The cubes of a day: counts and sums by properties of users and by decision, so that pages need not read all users."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from configs.settings import Settings
from features.storage.lake import USERS_FILE, Lake
from features.tables.duckdb_sessions import duckdb_session, sql_text
from features.tables.parquet_files import PACKED, column_names
from serving.cubes.calibration_history import CALIBRATION, calibration_table
from serving.cubes.cube_queries import (
    COUNTRIES,
    DECISIONS,
    DRIVERS,
    GIVEN,
    LOST,
    OF_SEGMENTS,
    RISK_BINS,
    RULES,
    segments_query,
)
from serving.memberships.stored_segments import SEGMENTS, read_rules, segment_days, stored_source
from serving.stored_days.day_tables import day_file, decisions_source

CUBES, DRIVING, RISKS, BARRED = "cubes", "drivers", "risk_bins", "rules"
ALL_BARRED, MESSAGES = "all_barred", "messages"
BATCH, HALF = 100_000, 2**20


def write_cubes(settings: Settings, lake: Lake, as_of: date) -> None:
    """Write ``cubes/day=<as_of>/``, from the decisions, options and segments of the day, all that pages add up.

    ``cubes`` has a row for every stage, persona, country, risk band, arm, offer, discount, play, channel, evidence and
    reason for nothing that somebody has, with ``users, known, valued, leavers, worth, value_at_risk, redemptions,
    expected_cost, expected_value``; ``segments`` the same of each segment, ``risk_bins`` the distribution of the risk,
    ``drivers`` what moves it, ``rules`` why options are barred, ``all_barred`` of whom all are, ``messages`` how many
    different texts each offer comes with, with one of them, and ``calibration`` how many left of those who were
    expected to, of each day up to this one.

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
            SEGMENTS: _segment_sums(connection, lake, as_of, decisions),
            CALIBRATION: calibration_table(settings, lake, as_of, connection),
        }
        for name, table in tables.items():
            pq.write_table(table, folder / f"{name}.parquet", **PACKED)


def _asked(connection: duckdb.DuckDBPyConnection, query: str) -> pa.Table:
    return connection.execute(query).to_arrow_table()


def _decisions_query(lake: Lake, decisions: str) -> str:
    """Write the query of the cube; countries are those of the users table, where it has any."""
    lake.files.check(USERS_FILE)
    has_country = lake.files.exists(USERS_FILE) and "country" in column_names(lake.path(USERS_FILE))
    users = f"read_parquet({sql_text(lake.path(USERS_FILE))})"
    country, places = (
        ("places.country", COUNTRIES.format(users=users)) if has_country else ("CAST(NULL AS VARCHAR)", "")
    )
    return DECISIONS.format(decisions=decisions, country=country, users=places)


def _segment_sums(connection: duckdb.DuckDBPyConnection, lake: Lake, as_of: date, decisions: str) -> pa.Table:
    """Add up every segment of a day; nothing where the day has none."""
    schema = pa.schema([("segment", pa.string()), *((name, pa.float64()) for name in OF_SEGMENTS)])
    if as_of not in segment_days(lake):
        return schema.empty_table()
    names: Sequence[str] = [each.name for each in read_rules(lake, as_of).segments]
    if not names:
        return schema.empty_table()
    query = segments_query(decisions, stored_source(lake, as_of, SEGMENTS), names)
    sums = sums_by_flag(
        connection.execute(query).to_arrow_reader(BATCH), [decimals for _, decimals in OF_SEGMENTS.values()]
    )
    rows = [
        {"segment": name, **dict(zip(OF_SEGMENTS, own, strict=True))} for name, own in zip(names, sums, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=schema)


def sums_by_flag(batches: pa.RecordBatchReader, decimals: Sequence[int]) -> list[list[float]]:
    """Add numbers up for each flag that is set beside them, exactly, so that the order of the rows has no effect.

    They are whole numbers in halves that float64 holds exactly: up to 90 billion with six decimals, 100,000 at a time.

    Parameters
    ----------
    batches
        Numbers first, as many as there are `decimals`, then flags; nothing is missing.
    decimals
        Of each number, those that count.

    Returns
    -------
    Shape (flags, numbers).

    Examples
    --------
    >>> rows = pa.record_batch({"money": [0.1, 0.2, 7.0], "a": [True, True, False], "b": [False, False, True]})
    >>> sums_by_flag(pa.RecordBatchReader.from_batches(rows.schema, [rows]), [6])
    [[0.3], [7.0]]
    """
    scales = 10 ** np.array(decimals, np.int64)
    totals = np.zeros((len(batches.schema) - len(scales), len(scales)), object)
    for batch in batches:
        columns = [column.to_numpy(zero_copy_only=False).astype(np.float64) for column in batch.columns]
        numbers, flags = np.stack(columns[: len(scales)]), np.stack(columns[len(scales) :])
        high, low = np.divmod(np.rint(numbers * scales[:, None]), HALF)
        halves = [(flags @ half.T).astype(np.int64).astype(object) for half in (high, low)]
        totals += halves[0] * HALF + halves[1]
    return [[int(total) / int(scale) for total, scale in zip(row, scales, strict=True)] for row in totals]
