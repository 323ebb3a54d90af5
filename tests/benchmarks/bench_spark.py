"""Spark against one machine: the same bytes, what each step costs, and a model of the cost of more users.

Run as a script it prints one JSON object; ``--quick`` takes a small app. An app is simulated and trained once (``--app
FOLDER`` takes one that `bench_daily` left), then thinned to shares of its users. Every run is a process of its own on
``local[2]``; CPU seconds are those of the whole tree of processes, Java and Python.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import wraps
from pathlib import Path
from unittest.mock import patch

import duckdb
import numpy as np
import pyarrow.parquet as pq
from bench_daily import App

SHARES = (0.1, 0.3, 1.0)
USERS, QUICK_USERS, DAYS = 100_000, 3_000, 90
FUTURE = (10_000_000, 100_000_000)
# what each step grows with; the first two share the work out between all cores
GROWS_WITH = {
    "aggregates": "events",
    "snapshot": "daily_rows",
    "predictions, SHAP, eligibility": "users_and_options",
    "decisions in words": "users_and_options",
    "driver": "users_and_options",
}
WRAPPED = {"predictions, SHAP, eligibility": "allocation_inputs", "decisions in words": "tables"}
Costs = dict[str, float]


def tree_seconds() -> float:
    """CPU seconds of this process and all that descend from it, those that have ended included."""
    parents: dict[int, list[int]] = {}
    spent: dict[int, float] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        process = int(path.parent.name)
        parents.setdefault(int(fields[1]), []).append(process)
        spent[process] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    found, total = [os.getpid()], 0.0
    while found:
        process = found.pop()
        total += spent.get(process, 0.0)
        found += parents.get(process, [])
    return total


def thinned(app: App, folder: Path, share: float) -> App:
    """Copy an app with a share of its users, the models as they are; nothing is aggregated."""
    part = App(folder, round(app.users * share), app.days)
    part.data.mkdir(parents=True)
    kept = f"hash(user_id) % 1000 < {1000 * share}"
    for table in ("events", "treatments", "users"):
        for source in app.data.glob(f"{table}/**/*.parquet"):
            target = part.data / source.relative_to(app.data)
            target.parent.mkdir(parents=True, exist_ok=True)
            duckdb.sql(
                f"COPY (SELECT * FROM read_parquet('{source}', hive_partitioning = false) WHERE {kept}) TO '{target}'"
            )
    shutil.rmtree(part.data / "treatments" / f"day={part.today}", ignore_errors=True)
    shutil.copytree(app.data / "mlflow", part.data / "mlflow")
    budget = f"budget = {part.users / 100}"
    part.profile.write_text(app.profile.read_text().replace("budget = 1_000.0", budget), encoding="utf-8")
    return part


def daily_rows(app: App) -> int:
    """Count what snapshots are computed from."""
    return sum(pq.read_metadata(path).num_rows for name in ("aggregates", "category_hour_counts")
               for path in app.data.glob(f"{name}/*/*.parquet"))  # fmt: skip


def measure(engine: str, folder: str, users: str, days: str) -> None:
    """Build everything and decide in this process; prints the CPU seconds of each step."""
    from configs.settings import load_settings
    from features.materialise.as_of_view import open_as_of
    from features.materialise.build_daily import build_aggregates
    from features.materialise.build_snapshots import build_snapshots
    from features.storage.lake import Lake
    from flows.runs.environment import prepare
    from serving.decide.decided_day import decide_day
    from serving.decide.executors import SparkExecutor

    app = App(Path(folder), int(users), int(days))
    prepare(str(app.data))
    settings = load_settings(str(app.profile), app.data, engine=engine, spark={"master": "local[2]"})
    lake, costs = Lake(settings.data_dir), {}

    def timed(name: str, step: Callable[..., object]) -> Callable[..., object]:
        @wraps(step)
        def run(*arguments: object, **more: object) -> object:
            before = tree_seconds()
            try:
                return step(*arguments, **more)
            finally:
                costs[name] = costs.get(name, 0.0) + tree_seconds() - before

        return run

    def snapshot() -> None:
        with open_as_of(settings, lake, app.today) as history:
            build_snapshots(history, [app.today])

    started = time.perf_counter()
    timed("aggregates", build_aggregates)(settings, lake)
    timed("snapshot", snapshot)()
    with ExitStack() as patches:
        for name, method in WRAPPED.items() if engine == "spark" else ():
            patches.enter_context(
                patch.object(SparkExecutor, method, timed(name, at_once(getattr(SparkExecutor, method))))
            )
        timed("decide", decide_day)(settings, lake, app.today)
    if engine == "spark":
        costs["driver"] = costs.pop("decide") - sum(costs[name] for name in WRAPPED)
    sys.__stdout__.write(json.dumps(costs | {"wall": time.perf_counter() - started}) + "\n")


def at_once(step: Callable[..., Iterable[object]]) -> Callable[..., Iterator[object]]:
    """Let a step that yields bit by bit yield when it has done all, so that it can be timed."""
    return lambda *arguments: iter(list(step(*arguments)))


def run(engine: str, app: App, folder: Path) -> tuple[App, Costs]:
    """Let an engine do everything on a copy of an app."""
    own = App(folder, app.users, app.days)
    shutil.copytree(app.folder, folder)
    words = [sys.executable, "-W", "ignore", __file__, "--measure", engine, str(folder), str(app.users), str(app.days)]
    said = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return own, json.loads(said.stdout.splitlines()[-1])


def differences(one: App, other: App) -> dict[str, float]:
    """Count files of features, and users, about whom two runs do not say the same."""
    day = f"day={one.today}"
    files = [path.relative_to(one.data) for name in ("aggregates", "category_hour_counts", "snapshots")
             for path in one.data.glob(f"{name}/*/*.parquet")]  # fmt: skip
    found = {"files of features": float(sum(not _same(one.data / path, other.data / path) for path in files))}
    both = [pq.read_table(app.data / "decisions" / day / "decisions.parquet").to_pandas() for app in (one, other)]
    told = both[0].fillna("?").astype(str) != both[1].fillna("?").astype(str)
    return found | {"users decided otherwise": float(told.any(axis=1).sum()), "users": float(len(told))}


def _same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def line(sizes: list[float], seconds: list[float]) -> tuple[float, float]:
    """Fit what a step costs at all, and per unit of what it grows with; neither is negative."""
    slope, start = np.polyfit(sizes, seconds, 1)
    slope = max(slope, 0.0)
    return float(max(start, 0.0)), float(slope if start >= 0 else np.dot(sizes, seconds) / np.dot(sizes, sizes))


def predicted(model: dict[str, tuple[float, float]], per_user: dict[str, float], users: int) -> dict[str, float]:
    """CPU seconds of each step for so many users who are like those measured."""
    found = {step: start + slope * per_user[GROWS_WITH[step]] * users for step, (start, slope) in model.items()}
    return {step: round(seconds) for step, seconds in found.items()}


def main(quick: bool, folder: Path | None) -> dict[str, object]:
    """Measure every share with both engines, fit the model and predict."""
    with tempfile.TemporaryDirectory() as place:
        app = App(folder or Path(place) / "app", QUICK_USERS if quick else USERS, DAYS)
        if folder is None:
            app.make()
        sizes: list[dict[str, float]] = []
        costs: dict[str, list[Costs]] = {"duckdb": [], "spark": []}
        unlike: list[dict[str, float]] = []
        for share in SHARES[-2:] if quick else SHARES:
            part = thinned(app, Path(place) / f"part-{share}", share)
            apps = {}
            for engine, found in costs.items():
                apps[engine], cost = run(engine, part, Path(place) / f"{engine}-{share}")
                found.append(cost)
                sys.stderr.write(f"{share} {engine} {cost}\n")
            unlike.append(differences(*apps.values()))
            users = unlike[-1]["users"]
            sizes.append({"users": users, "events": part.events(), "daily_rows": daily_rows(apps["spark"]),
                          "users_and_options": users * 12})  # fmt: skip
            for each in apps.values():
                shutil.rmtree(each.folder)
    of = {step: ([size[what] for size in sizes], [cost[step] for cost in costs["spark"]])
          for step, what in GROWS_WITH.items()}  # fmt: skip
    model = {step: line(*points) for step, points in of.items()}
    per_user = {name: sizes[-1][name] / sizes[-1]["users"] for name in sizes[-1]}
    return {
        "sizes": sizes, "cpu_seconds": costs, "unlike": unlike, "model": model, "per_user": per_user,
        "predicted": {str(users): predicted(model, per_user, users) for users in FUTURE},
    }  # fmt: skip


if __name__ == "__main__":
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    if "--measure" in sys.argv:
        measure(*sys.argv[sys.argv.index("--measure") + 1 :])
    else:
        given = Path(sys.argv[sys.argv.index("--app") + 1]) if "--app" in sys.argv else None
        sys.stdout.write(json.dumps(main("--quick" in sys.argv, given), indent=1) + "\n")
