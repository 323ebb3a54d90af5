"""How fast exact SHAP values come out of group tables, beside every other way to compute them.

Run as a script it prints one JSON object; ``--quick`` takes fewer trees and rows. All ways run in the same process on
one thread, in turn, and are compared in CPU seconds per row; ratios are medians. `woodelf-explainer` is measured where
it is installed (``uv pip install woodelf-explainer``).
"""

from __future__ import annotations

import io
import json
import resource
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from importlib.util import find_spec
from typing import NamedTuple

import lightgbm as lgb
import numpy as np
import pandas as pd
from timing import Metrics, Seconds, metric, seconds

from models.forest.forest_shap import ForestShap
from models.forest.parsed_forest import Forest

COLUMNS, RUNS = 50, 3


class Shape(NamedTuple):
    """Size of a model; `heavy` inputs have long tails, on which trees grow deep to one side."""

    trees: int
    leaves: int
    heavy: bool = False


SHAPES = {
    "usual": Shape(100, 15),
    "large": Shape(300, 31),
    "deep": Shape(300, 31, heavy=True),
    "wide": Shape(40, 255),
}


def model(shape: Shape, rows: int, seed: int) -> tuple[lgb.Booster, np.ndarray]:
    """Trees on columns of which all matter, some together, with missing values; and the rows."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(rows, COLUMNS))
    if shape.heavy:
        inputs = np.exp(1.5 * inputs)
    score = inputs @ rng.normal(size=COLUMNS)
    score = 0.2 * score + inputs[:, 0] * inputs[:, 1] if shape.heavy else score + 2 * inputs[:, 0] * inputs[:, 1]
    score += 3 * np.sin(3 * inputs[:, 2]) + rng.normal(size=rows)
    inputs[rng.random(inputs.shape) < 0.05] = np.nan
    parameters = {"num_leaves": shape.leaves, "learning_rate": 0.05, "verbosity": -1, "seed": seed, "num_threads": 1}
    label = score if shape.heavy else (score > 0).astype(int)
    parameters["objective"] = "regression" if shape.heavy else "binary"
    return lgb.train(parameters, lgb.Dataset(inputs, label), shape.trees), inputs


def others(booster: lgb.Booster, inputs: np.ndarray, few: int) -> dict[str, tuple[int, Callable[[], object]]]:
    """Other ways, each with the number of its rows."""
    import shap

    explainer = shap.TreeExplainer(booster)
    ways: dict[str, tuple[int, Callable[[], object]]] = {
        "pred_contrib": (few, lambda: booster.predict(inputs[:few], pred_contrib=True, num_threads=1)),
        "shap": (few, lambda: explainer.shap_values(inputs[:few])),
        "predict": (len(inputs), lambda: booster.predict(inputs, raw_score=True, num_threads=1)),
    }
    if find_spec("woodelf") is None:
        print("woodelf-explainer is not installed, so it is left out", file=sys.stderr)  # noqa: T201
        return ways
    from woodelf import WoodelfExplainer

    frame = pd.DataFrame(inputs, columns=booster.feature_name())

    def woodelf() -> None:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # it is talkative
            WoodelfExplainer(booster).shap_values(frame)

    return {**ways, "woodelf": (len(inputs), woodelf)}  # all rows: most of a small call is what it prepares


def measured(name: str, shape: Shape, rows: int, few: int) -> Metrics:
    """Measure one model: ratios of CPU time per row, seconds to make the tables, memory, greatest difference."""
    booster, inputs = model(shape, rows, seed=1)
    forest = Forest.of(booster)
    made = [seconds(lambda: ForestShap.of(Forest.of(booster))).cpu for _ in range(RUNS)]
    shap = ForestShap.of(forest)
    ways = others(booster, inputs, few)
    ratios: dict[str, list[float]] = {way: [] for way in ways}
    ours: list[Seconds] = []
    for _ in range(RUNS):
        ours.append(seconds(lambda: shap.contributions(forest.atoms(inputs, threads=1), threads=1)))
        for way, (asked, call) in ways.items():
            ratios[way].append(seconds(call).cpu / asked / (ours[-1].cpu / rows))
    expected = booster.predict(inputs[:few], pred_contrib=True, num_threads=1)
    difference = np.abs(shap.contributions(forest.atoms(inputs[:few])) - expected).max() / np.ptp(expected.sum(axis=1))
    both = [seconds(lambda: shap.contributions(forest.atoms(inputs))).wall for _ in range(RUNS)]
    return {
        **{f"shap.{name}_times_{way}": metric(found, rows) for way, found in ratios.items()},
        f"shap.{name}_microseconds_per_row": metric([run.cpu / rows * 1e6 for run in ours], rows),
        f"shap.{name}_wall_microseconds_per_row": metric([run.wall / rows * 1e6 for run in ours], rows),
        f"shap.{name}_wall_microseconds_per_row_all_cores": metric([wall / rows * 1e6 for wall in both], rows),
        f"shap.{name}_seconds_to_make_tables": metric(made, shape.trees),
        f"shap.{name}_difference_per_range": metric([float(difference)], few),
        f"shap.{name}_mib_of_tables": metric([shap.tables.tables.vectors.nbytes / 2**20], shape.trees),
        f"shap.{name}_leaves_too_deep": metric([float(len(shap.tables.deep.value))], shape.trees),
    }


def run(quick: bool = False) -> Metrics:
    """Measure all models, smaller ones if `quick`."""
    rows, few = (4_000, 40) if quick else (50_000, 500)
    booster, inputs = model(Shape(2, 4), 1_000, seed=2)
    forest = Forest.of(booster)
    ForestShap.of(forest).contributions(forest.atoms(inputs))  # compiles
    found: Metrics = {}
    for name, shape in SHAPES.items():
        smaller = shape._replace(trees=shape.trees // 5) if quick else shape
        found |= measured(name, smaller, rows, few)
    found["shap.mib"] = metric([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024], rows)
    return found


if __name__ == "__main__":
    print(json.dumps(run("--quick" in sys.argv), indent=1))  # noqa: T201
