"""How long Feast takes for a training frame, as a multiple of a bare DuckDB ASOF join on the same rows.

Run as a script it prints one JSON object; ``--quick`` takes a small lake.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from features.arrays.calendar_days import start_of
from features.definitions.registry import TRAINING_SERVICE
from features.definitions.snapshot_features import catalogue
from features.storage.lake import Lake
from features.tables.parquet_files import write_parquet
from features.training_data.feature_store import open_store, point_in_time_frame

FIRST = date(2024, 1, 1)
Metrics = dict[str, dict[str, float]]


def write_snapshots(lake: Lake, users: int, days: int) -> list[date]:
    """Write snapshots of some users, four weeks apart, like those that models learn from; returns their days."""
    rng = np.random.default_rng(5)
    names = pa.array([f"u{number:07d}" for number in range(users)])
    written = [FIRST + timedelta(days=28 * place) for place in range(days)]
    for day in written:
        now = pa.array(np.full(users, np.datetime64(day, "us")), pa.timestamp("us", "UTC"))
        columns: dict[str, pa.Array] = {"user_id": names, "as_of": now, "created_at": now}
        for feature in catalogue():
            numbers = rng.poisson(3.0, users).astype(float)
            columns[feature.name] = pa.array([f"c{int(n)}" for n in numbers]) if feature.is_text else pa.array(numbers)
        write_parquet(pa.table(columns), lake.partition("snapshots", day))
    return written


def examples(users: int, days: list[date], rows: int) -> pd.DataFrame:
    """Draw examples: users and instants at which there is a snapshot, and a label to keep."""
    rng = np.random.default_rng(6)
    starts = pd.to_datetime([start_of(day, "UTC") for day in days], utc=True)
    picked = rng.choice(users * len(days), size=rows, replace=False)
    return pd.DataFrame(
        {
            "user_id": [f"u{number:07d}" for number in picked % users],
            "event_timestamp": starts[picked // users],
            "label": rng.integers(0, 2, rows),
        }
    )


def bare_join(lake: Lake, rows: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Join the same rows by DuckDB alone, in their order."""
    wanted = ", ".join(f"known.{name}" for name in columns)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("asked", rows.rename_axis("place").reset_index())
        return connection.execute(f"""
            SELECT asked.*, {wanted} FROM asked
            ASOF LEFT JOIN read_parquet('{lake.glob("snapshots")}') AS known
            ON asked.user_id = known.user_id AND asked.event_timestamp >= known.as_of
            ORDER BY place
        """).df()


def cost(call: Callable[[], pd.DataFrame]) -> tuple[float, float, pd.DataFrame]:
    """CPU and wall seconds of a call, and what it returns."""
    cpu, wall = time.process_time(), time.perf_counter()
    found = call()
    return time.process_time() - cpu, time.perf_counter() - wall, found


def run(quick: bool = False) -> Metrics:
    """Measure both some times, one after the other; quick takes a small lake."""
    users, days, rows, runs = (2_000, 3, 1_000, 1) if quick else (500_000, 6, 500_000, 3)
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder))
        asked = examples(users, write_snapshots(lake, users, days), rows)
        features = catalogue()
        store = open_store(lake, features)
        columns = [feature.name for feature in features if feature.view in ("behaviour", "contact")]
        spent: dict[str, list[float]] = {}
        for _ in range(runs + 1):
            ours = cost(lambda: point_in_time_frame(store, TRAINING_SERVICE, asked))
            bare = cost(lambda: bare_join(lake, asked, columns))
            same = ours[2][columns].equals(bare[2][columns])
            found = {"cpu_ratio": ours[0] / bare[0], "wall_ratio": ours[1] / bare[1], "equal": float(same)}
            found |= {"feast_cpu": ours[0], "asof_cpu": bare[0]}
            for name, number in found.items():
                spent.setdefault(name, []).append(number)
    last = {name: each[-runs:] for name, each in spent.items()}  # the first warms up
    return {
        f"frames.{name}": {"value": float(np.median(each)), "low": min(each), "high": max(each), "n": rows}
        for name, each in last.items()
    }


if __name__ == "__main__":
    print(json.dumps(run("--quick" in sys.argv), indent=1))  # noqa: T201
