"""What stages, segments and their changes cost on a day of many users: one query over it, one over the day before.

Run as a script it prints one JSON object; ``--quick`` takes 100,000 users instead of a million, ``--users`` any number.
The snapshots are drawn, two days that differ as days do; both are decided, with twelve options a user.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from configs.settings import load_settings
from features.definitions.app_declarations import declarations_of
from features.storage.lake import Lake
from features.tables.parquet_files import write_parquet
from serving.decide.decision_columns import SCHEMA
from serving.memberships.segment_day import load_rules, write_segments
from serving.memberships.stored_segments import SEGMENTS
from serving.stored_days.day_tables import day_folder

DAY = date(2024, 7, 1)
OPTIONS = 12
CHANGED = 0.1  # of the users who are active on a day


def snapshot(users: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw every column of a snapshot of some users."""
    busy = rng.gamma(0.8, 12.0, users)
    columns: dict[str, np.ndarray] = {}
    for feature in declarations_of(load_settings()).catalogue():
        if feature.is_text:
            columns[feature.name] = rng.choice(np.array(["tea", "bread", "milk"], dtype=object), users)
        elif feature.unit == "flag":
            columns[feature.name] = (rng.random(users) < 0.1).astype(float)
        elif feature.unit == "days":
            columns[feature.name] = np.ceil(rng.exponential(20.0, users))
        else:
            columns[feature.name] = np.floor(busy * rng.random(users))
    return columns


def next_day(columns: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Let some users be active, and everybody else a day older."""
    users = len(columns["tenure_days"])
    is_active = rng.random(users) < CHANGED
    later = {name: numbers.copy() for name, numbers in columns.items()}
    for name, numbers in later.items():
        if name.startswith("days_since_last"):
            later[name] = np.where(is_active, 1.0, numbers + 1)
        elif name == "tenure_days":
            later[name] = numbers + 1
        elif name.endswith(("_90d", "_365d")) and numbers.dtype == float:
            later[name] = numbers + is_active
    return later


def write_day(lake: Lake, day: date, columns: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    """Store a snapshot, decisions and options."""
    users = len(columns["tenure_days"])
    user_ids = pa.array(np.char.add("user-", np.char.zfill(np.arange(users).astype(str), 8)), pa.string())
    write_parquet(pa.table({"user_id": user_ids, **columns}), lake.partition("snapshots", day))
    decided = {"user_id": user_ids, "p_churn": rng.random(users), "retained_value": rng.gamma(2.0, 20.0, users)}
    decided |= {"risk_band": pa.array(np.where(decided["p_churn"] > 0.5, "high", "low"), pa.string())}
    rows = [pa.array(decided[each.name]) if each.name in decided else pa.nulls(users, each.type) for each in SCHEMA]
    write_parquet(pa.Table.from_arrays(rows, schema=SCHEMA), day_folder(lake, day) / "decisions.parquet")
    names = ("value", "incremental_margin", "incremental_retention", "p_redeem")
    options = {name: rng.normal(-0.5, 0.5, users * OPTIONS) for name in names}
    table = pa.table({"user_id": user_ids.take(pa.array(np.repeat(np.arange(users), OPTIONS))), **options})
    write_parquet(table, day_folder(lake, day) / "options.parquet")


def measured(step: Callable[[], object]) -> dict[str, float]:
    """Seconds on the clock, of all cores, and the most MiB held so far."""
    began, usage = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    step()
    wall, used = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime - usage.ru_utime - usage.ru_stime
    return {"wall": round(wall, 2), "cpu": round(cpu, 2), "peak_mib": used.ru_maxrss // 1024}


def main() -> None:
    """Measure the first day, which has nothing before it, and the next."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--users", type=int, default=1_000_000)
    asked = parser.parse_args()
    users = 100_000 if asked.quick else asked.users
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(data_dir=Path(folder), threads=2)
        lake, columns = Lake(settings.data_dir), snapshot(users, rng)
        write_day(lake, DAY, columns, rng)
        write_day(lake, DAY + timedelta(days=1), next_day(columns, rng), rng)
        del columns
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        found: dict[str, object] = {"users": users, "peak_mib_before": before}
        with lake.files.lock("benchmark"):
            for name, day in (("first_day", DAY), ("next_day", DAY + timedelta(days=1))):
                rules = load_rules(settings, lake)
                found[name] = measured(lambda day=day, rules=rules: write_segments(settings, lake, day, rules))
        stored = lake.path(SEGMENTS, f"day={DAY + timedelta(days=1)}")
        found["mib_stored"] = round(sum(each.stat().st_size for each in stored.iterdir()) / 2**20, 1)
        found["changes"] = pa.parquet.read_metadata(stored / "changes.parquet").num_rows
    print(json.dumps(found, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
