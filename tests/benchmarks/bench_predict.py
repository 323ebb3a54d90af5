"""How fast every option of every user is predicted by `Estimator.predict_given`, beside LightGBM and pylignum.

Run as a script it prints one JSON object; ``--quick`` takes the smaller model only. All ways run in the same process,
in turn, LightGBM on one thread, and are compared in CPU seconds of all threads; ratios are medians. `pylignum`, which
compiles forests, is measured where it is installed (``uv pip install pylignum``).
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from timing import Metrics, Seconds, metric, seconds

from configs.settings import load_settings
from models.estimator_families.estimators import Estimator
from models.estimator_families.tree_estimators import fit_lightgbm
from models.forest import boosters
from models.forest.boosters import with_constants

NUMBERS, RUNS = 48, 3
OPTIONS = [{"offer_id": offer, "discount": discount} for offer in "abcd" for discount in (0.05, 0.1, 0.2)]
SHAPES = {"usual": (100, 15), "large": (300, 31)}


def treatments(rows: int, seed: int) -> pd.DataFrame:
    """Users with an option each, some numbers missing, and whether they used it."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(rows, NUMBERS))
    score = numbers[:, :8].sum(axis=1) + numbers[:, 0] * numbers[:, 1]
    numbers[rng.random(numbers.shape) < 0.05] = np.nan
    frame = pd.DataFrame(numbers, columns=[f"number_{place}" for place in range(NUMBERS)])
    frame["offer_id"] = pd.Categorical(rng.choice([*"abcd"], rows))
    frame["discount"] = rng.choice([0.05, 0.1, 0.2], rows)
    pull = 8 * frame["discount"] * (frame["offer_id"] == "a") + 4 * frame["discount"]
    return frame.assign(is_redeemed=(score + pull + rng.normal(size=rows) > 1).astype(int))


def compiled_forest(model: Estimator) -> Any:
    """Give the model as pylignum has compiled it; None where that is not installed."""
    if find_spec("lignum") is None:
        print("pylignum is not installed, so it is left out", file=sys.stderr)  # noqa: T201
        return None
    import lignum

    with tempfile.TemporaryDirectory() as folder:
        model.core.save_model(Path(folder) / "model.txt")
        forest = lignum.load(str(Path(folder) / "model.txt"))
    forest.compile()
    return forest


def measured(name: str, rows: int) -> Metrics:
    """Measure one model: all options of all users, one prediction for each, and the first rows of a process."""
    trees, leaves = SHAPES[name]
    known = treatments(20_000, seed=1)
    columns = [column for column in known.columns if column != "is_redeemed"]
    settings = load_settings()
    settings = settings.model_copy(
        update={"training": settings.training.model_copy(update={"trees": trees, "leaves": leaves})}
    )
    model = fit_lightgbm(known, "is_redeemed", columns, settings, rising=("discount",))
    users = treatments(rows, seed=2)[columns]

    def by_lightgbm() -> list[np.ndarray]:
        return [model.core.predict(with_constants(users, given), raw_score=True, num_threads=1) for given in OPTIONS]

    def alone() -> np.ndarray:
        return model.core.predict(users, raw_score=True, num_threads=1)

    first = seconds(lambda: model.predict_given(users.head(5_000), OPTIONS))
    same = np.stack(by_lightgbm(), axis=1) == boosters.raw_scores_given(model.core, users, OPTIONS)
    found: dict[str, list[float]] = {"options_times_lightgbm": [], "one_times_lightgbm": [], "one_times_pylignum": []}
    each: list[Seconds] = []
    other = compiled_forest(model)
    codes = users.assign(offer_id=users["offer_id"].cat.codes).to_numpy(dtype=np.float64)
    for _ in range(RUNS):
        ours = seconds(lambda: model.predict_given(users, OPTIONS))
        found["options_times_lightgbm"].append(seconds(by_lightgbm).cpu / ours.cpu)
        one = seconds(lambda: model.raw_score(users)).cpu
        found["one_times_lightgbm"].append(seconds(alone).cpu / one)
        if other is not None:
            found["one_times_pylignum"].append(
                seconds(lambda: other.predict(codes, raw_score=True, n_jobs=1)).cpu / one
            )
        each.append(Seconds(*(taken / rows / len(OPTIONS) * 1e6 for taken in ours)))
    return {
        **{f"predict.{name}_{way}": metric(ratios, rows) for way, ratios in found.items() if ratios},
        f"predict.{name}_microseconds_per_prediction": metric([run.cpu for run in each], rows * len(OPTIONS)),
        f"predict.{name}_wall_microseconds_per_prediction": metric([run.wall for run in each], rows * len(OPTIONS)),
        f"predict.{name}_seconds_of_the_first": metric([first.cpu], 5_000 * len(OPTIONS)),
        f"predict.{name}_same_bits": metric([float(same.mean())], same.size),
    }


def run(quick: bool = False) -> Metrics:
    """Measure both models, or the smaller one if `quick`."""
    found: Metrics = {}
    for name in ("usual",) if quick else SHAPES:
        found |= measured(name, 50_000)
    return found


if __name__ == "__main__":
    print(json.dumps(run("--quick" in sys.argv), indent=1))  # noqa: T201
