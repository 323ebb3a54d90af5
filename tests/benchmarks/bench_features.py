"""How much the features cost against one plain query, on a simulated app: the full build, one more day, and memory.

Run as a script it prints one JSON object; ``--quick`` takes a small app. It is thinned to about 50 events per user.
"""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from timing import Metrics, metric

from configs.offers import load_catalogue
from configs.settings import Settings, load_settings
from features.definitions.snapshot_features import WINDOWED
from features.materialise.as_of_view import open_as_of
from features.materialise.build_daily import build_aggregates
from features.materialise.build_snapshots import build_snapshots
from features.simulator.simulated_events import simulate_day
from features.simulator.simulator_run import new_world, write_users
from features.storage.lake import Lake
from features.tables.parquet_files import count_rows, write_parquet

THINNED = 0.43
OURS = ("aggregates", "snapshot")
# as flows/command_line/command_run.py does: memory first, before the libraries start threads with heaps of their own;
# DuckDB takes `-c` for somebody at a terminal and shows its progress, so that only the last line is the result
START = "from flows.runs.environment import reuse_memory; reuse_memory(); from bench_features import main; main()"
MESSAGES = pa.array(["notification_receive", "notification_open"])
ROLE_OF = {"spend_sum": "value", "spend_max": "value", "discount_sum": "value", "refund_sum": "refund"}


def live(settings: Settings, lake: Lake, users: int, days: int) -> int:
    """Simulate the events of some days, about 50 per user in 90 days; returns how many."""
    world = new_world(settings, load_catalogue(settings.offers), users, days=days)
    world = replace(world, people=replace(world.people, habit=world.people.habit * THINNED))
    write_users(world, lake)
    rng, count = np.random.default_rng(settings.seed), 0
    for _ in range(days):
        today = world.today
        world, events = simulate_day(world)
        kept = pc.or_(pc.invert(pc.is_in(events["event_name"], MESSAGES)), pa.array(rng.random(len(events)) < THINNED))
        write_parquet(events.filter(kept), lake.partition("events", today))
        count += count_rows(lake.partition("events", today))
    return count


def plain_query(settings: Settings, lake: Lake, as_of: date, *, distinct: bool) -> str:
    """Write one query over the events with a FILTER per windowed column."""
    rows = f"read_parquet('{lake.glob('events')}', hive_partitioning = true)"
    columns = []
    for declared in WINDOWED.values():
        role = ROLE_OF.get(declared.name) or _role_of(declared.name)
        names = ", ".join(f"'{name}'" for name in getattr(settings.roles, role))
        for days in declared.windows:
            value = _plain_value(declared.name, declared.kind, distinct=distinct)
            columns.append(f"{value} FILTER (event_name IN ({names}) AND day >= DATE '{as_of - timedelta(days=days)}')")
    return f"SELECT user_id, {', '.join(columns)} FROM {rows} WHERE day < DATE '{as_of}' GROUP BY user_id"


def _role_of(name: str) -> str:
    words = {"purchase": "value", "items": "value", "view": "view", "cart": "cart", "checkout": "checkout",
             "onboarding": "onboarding", "payment": "payment_failure", "cancellation": "cancellation",
             "sent": "message_sent", "opened": "message_opened", "redemption": "offer_redeem",
             "treatment": "offer_redeem"}  # fmt: skip
    return next((role for word, role in words.items() if word in name), "activity")


def _plain_value(name: str, kind: str, *, distinct: bool) -> str:
    if kind in ("last", "first"):
        return "max(day)" if kind == "last" else "min(day)"
    if name in ROLE_OF:
        return f"{kind}({'discount' if 'discount' in name else 'amount'})"
    if distinct and name in ("active_days_count", "sessions_count", "purchases_count"):
        return "count(DISTINCT day)" if name == "active_days_count" else "count(DISTINCT session_id)"
    return "count(*)"


def step(name: str, folder: Path, as_of: date) -> None:
    """Run one step in this process; those of winback as it runs them, the queries as DuckDB does."""
    settings = load_settings("simulated", folder)
    lake = Lake(folder)
    if name in OURS:
        gc.freeze()  # as flows/command_line/command_run.py does with what is imported
    if name == "aggregates":
        build_aggregates(settings, lake)
    elif name == "snapshot":
        with open_as_of(settings, lake, as_of) as history:
            build_snapshots(history, [as_of])
    else:
        import duckdb

        queries = {
            "scan": f"SELECT count(user_id), count(event_name), sum(amount), max(discount), count(occurred_at) "
            f"FROM read_parquet('{lake.glob('events')}')",
            "plain": plain_query(settings, lake, as_of, distinct=False),
            "distinct": plain_query(settings, lake, as_of, distinct=True),
        }
        # all memory: bounded like winback's own sessions, the query would spill and take thrice the time
        with duckdb.connect() as connection:
            connection.execute(f"CREATE TEMP TABLE found AS {queries[name]}")


def cost(name: str, folder: Path, as_of: date) -> dict[str, float]:
    """Run a step in a fresh process: CPU seconds after the imports, and peak memory."""
    script = ["-c", START] if name in OURS else [__file__]
    command = [sys.executable, "-W", "ignore", *script, "--step", name, str(folder), str(as_of)]
    return dict(json.loads(subprocess.check_output(command, cwd=Path(__file__).parent).splitlines()[-1]))


def measured_step(name: str, folder: Path, as_of: date) -> dict[str, float]:
    """Take the time and the memory of a step of this process."""
    import time

    before = time.process_time()
    step(name, folder, as_of)
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
    return {"cpu": time.process_time() - before, "mib": peak}


def one_round(folder: Path, day: date) -> dict[str, dict[str, float]]:
    """Build everything up to a day from nothing, then one more day; the last day's events are held back."""
    lake = Lake(folder)
    for name in ("aggregates", "category_hour_counts", "snapshots", "checkpoint"):
        shutil.rmtree(lake.path(name), ignore_errors=True)
    lake.path("hashes.json").unlink(missing_ok=True)
    aside = folder / "held_back.parquet"
    lake.partition("events", day).rename(aside)
    found = {name: cost(name, folder, day) for name in ("scan", "plain", "distinct", "aggregates", "snapshot")}
    aside.rename(lake.partition("events", day))
    found |= {f"increment_{name}": cost(name, folder, day + timedelta(days=1)) for name in ("aggregates", "snapshot")}
    return found


def run(quick: bool = False) -> Metrics:
    """Measure rounds; quick takes a hundredth of the users."""
    users, rounds = (10_000, 1) if quick else (1_000_000, 3)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        lake = Lake(folder)
        events = live(load_settings("simulated", folder), lake, users, 91)
        last = max(lake.days("events"))
        found = [one_round(folder, last) for _ in range(rounds)]
    metrics = {"features.events": metric([events], users)}
    for name in found[0]:
        for measure in ("cpu", "mib"):
            metrics[f"features.{measure}_{name}"] = metric([each[name][measure] for each in found], users)
    full = [each["aggregates"]["cpu"] + each["snapshot"]["cpu"] for each in found]
    more = [each["increment_aggregates"]["cpu"] + each["increment_snapshot"]["cpu"] for each in found]
    plain = [each["distinct"]["cpu"] for each in found]
    metrics["features.full_per_query"] = metric([a / b for a, b in zip(full, plain, strict=True)], users)
    metrics["features.increment_per_full"] = metric([a / b for a, b in zip(more, full, strict=True)], users)
    return metrics


def main() -> None:
    """Print the metrics, or, for a process started by `cost`, those of one step."""
    if "--step" in sys.argv:
        name, folder, as_of = sys.argv[-3:]
        print(json.dumps(measured_step(name, Path(folder), date.fromisoformat(as_of))))  # noqa: T201
    else:
        print(json.dumps(run("--quick" in sys.argv), indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
