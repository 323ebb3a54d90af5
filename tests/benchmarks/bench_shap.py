"""How fast exact SHAP values come out of group tables, beside LightGBM's own ``pred_contrib`` and ``predict``.

Run as a script it prints one JSON object; ``--quick`` takes fewer trees and rows. All anchors run in the same process
on one thread, in turn, and are compared in CPU seconds per row.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable

import lightgbm as lgb
import numpy as np

from models.group_tables import GroupTables

COLUMNS, LEAVES, RUNS = 50, 31, 3
Metrics = dict[str, dict[str, float]]


def model(trees: int, rows: int, seed: int) -> tuple[lgb.Booster, np.ndarray]:
    """Trees on columns of which all matter, some together, with missing values; and the rows."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(rows, COLUMNS))
    score = inputs @ rng.normal(size=COLUMNS) + 2 * inputs[:, 0] * inputs[:, 1] + 3 * np.sin(3 * inputs[:, 2])
    label = (score + rng.normal(size=rows) > 0).astype(int)
    inputs[rng.random(inputs.shape) < 0.05] = np.nan
    parameters = {"objective": "binary", "num_leaves": LEAVES, "learning_rate": 0.05, "verbosity": -1, "seed": seed}
    return lgb.train({**parameters, "num_threads": 1}, lgb.Dataset(inputs, label), trees), inputs


def cpu_seconds(call: Callable[[], object]) -> float:
    """CPU time that a call takes."""
    started = time.process_time()
    call()
    return time.process_time() - started


def metric(values: list[float], rows: int) -> dict[str, float]:
    """Median with the lowest and the highest."""
    return {"value": float(np.median(values)), "low": min(values), "high": max(values), "n": rows}


def run(quick: bool = False) -> Metrics:
    """Measure ratios of CPU time per row, seconds to make the tables, and the greatest difference."""
    trees, rows, few = (60, 4_000, 40) if quick else (300, 50_000, 500)
    booster, inputs = model(trees, rows, seed=1)
    some = inputs[:few]
    GroupTables.of(booster).contributions(some)  # compiles
    made = [cpu_seconds(lambda: GroupTables.of(booster)) for _ in range(RUNS)]
    tables = GroupTables.of(booster)
    per_contrib, per_predict, per_row = [], [], []
    for _ in range(RUNS):
        ours = cpu_seconds(lambda: tables.contributions(inputs, threads=1)) / rows
        contrib = cpu_seconds(lambda: booster.predict(some, pred_contrib=True, num_threads=1)) / few
        predict = cpu_seconds(lambda: booster.predict(inputs, raw_score=True, num_threads=1)) / rows
        per_contrib.append(contrib / ours)
        per_predict.append(predict / ours)
        per_row.append(ours * 1e6)
    expected = booster.predict(some, pred_contrib=True, num_threads=1)
    difference = np.abs(tables.contributions(some) - expected).max() / np.ptp(expected.sum(axis=1))
    plan = tables.plan
    return {
        "shap.times_pred_contrib": metric(per_contrib, rows),
        "shap.times_predict": metric(per_predict, rows),
        "shap.microseconds_per_row": metric(per_row, rows),
        "shap.seconds_to_make_tables": metric(made, trees),
        "shap.difference_per_range": metric([float(difference)], few),
        "shap.mib_of_tables": metric([plan.tables.vectors.nbytes / 2**20 if plan else 0.0], trees),
        "shap.deep_leaves": metric([float(len(plan.depths.value)) if plan else 0.0], trees),
        "shap.mib": metric([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024], rows),
    }


if __name__ == "__main__":
    print(json.dumps(run("--quick" in sys.argv), indent=1))  # noqa: T201
