"""Files of daily rows: each day computed once, and again only when its events, treatments or declarations changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial

import pyarrow as pa

from configs.progress import track
from configs.settings import Roles, Settings
from features.engine.daily_aggregation import COLUMNS, WORDS, day_rows
from features.materialise.spark_executor import SparkEngine
from features.sql_oracle.daily_queries import EVENTS, TABLES, TREATMENTS, with_roles
from features.storage.code_version import code_version
from features.storage.fingerprints import file_fingerprints, file_hashes, write_daily_rows
from features.storage.lake import Lake
from features.storage.parquet_files import read_parquet
from features.storage.whole_writes import content_hash

NO_EVENTS = EVENTS.to_pyarrow().empty_table().select(COLUMNS)


def build_aggregates(settings: Settings, lake: Lake) -> list[date]:
    """Bring ``aggregates`` and ``facets`` up to date with the events; returns the days that were computed.

    A day is computed again when its events, its treatments or the declarations of its rows changed.
    """
    stale = _stale_days(settings, lake)
    if stale and settings.engine == "spark":
        _build_on_spark(SparkEngine(settings), settings.roles, lake, stale)
        return sorted(stale)

    def compute(day: date) -> None:
        tables = day_rows(*_read_day(lake, day), day, settings.roles, settings.time_zone)
        for table in TABLES:
            write_daily_rows(tables[table], lake.partition(table, day), stale[day])

    with ThreadPoolExecutor(settings.threads or os.cpu_count() or 1) as pool:
        for _ in track(pool.map(compute, stale), "daily aggregates", total=len(stale)):
            pass
    return sorted(stale)


def _read_day(lake: Lake, day: date) -> tuple[pa.Table, pa.Table | None]:
    events, treatments = (lake.partition(table, day) for table in ("events", "treatments"))
    return (
        read_parquet(events, columns=COLUMNS, words=WORDS) if events.exists() else NO_EVENTS,
        read_parquet(treatments, columns=["user_id", "offer_id"]) if treatments.exists() else None,
    )


def _build_on_spark(engine: SparkEngine, roles: Roles, lake: Lake, stale: dict[date, str]) -> None:
    """Let Spark compute days; each is written where its rows are."""
    inputs = {}
    for name, schema in (("events", EVENTS), ("treatments", TREATMENTS)):
        paths = [path for day in stale if (path := lake.partition(name, day)).exists()]
        if paths:
            inputs[name] = engine.read_parquet(paths, table_name=name, hive_partitioning=True)
        else:
            inputs[name] = engine.create_table(name, obj=schema.to_pyarrow().empty_table())
    events = with_roles(inputs["events"], inputs["treatments"], roles)
    for name, (table, order) in TABLES.items():
        rows = table(events)
        written = engine.write_days(rows, order, len(stale), partial(_write_pieces, lake, name, stale))
        nothing = rows.schema().to_pyarrow().empty_table().drop_columns("day")
        for day in stale.keys() - written:
            write_daily_rows(nothing, lake.partition(name, day), stale[day])


def _write_pieces(lake: Lake, table: str, inputs: dict[date, str], day: date, pieces: Iterator[pa.Table]) -> None:
    write_daily_rows(pa.concat_tables(pieces).combine_chunks(), lake.partition(table, day), inputs[day])


def _stale_days(settings: Settings, lake: Lake) -> dict[date, str]:
    """Days whose stored rows do not rest on today's input, each with the hash of that input."""
    declarations = f"{code_version(__name__)}{settings.roles.model_dump_json()}{settings.time_zone}"
    stale = {}
    inputs = {table: set(lake.days(table)) for table in ("events", "treatments")}
    with file_hashes(lake) as hash_of, file_fingerprints(lake) as fingerprint_of:
        for day in sorted(set().union(*inputs.values())):
            hashes = [hash_of(lake.partition(table, day)) for table, days in inputs.items() if day in days]
            wanted = content_hash(text=declarations + "".join(hashes))
            if any(fingerprint_of(lake.partition(table, day)).input != wanted for table in ("facets", "aggregates")):
                stale[day] = wanted
    return stale
