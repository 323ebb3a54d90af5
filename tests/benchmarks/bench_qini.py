"""How well learnt effects rank users on public generators, beside S, T, X, DR and R with tuned LightGBM.

The generators are those of `causalml` (setups A, B and D of Nie & Wager 2021, and conversions) and `econml` (IHDP),
which are no dependencies: ``pip download --no-deps causalml econml``, unzip the wheels into a folder, and name that.
A figure is the area above the chord of the Qini curve of the *true* effects, as a share of that of the true ranking:
1 is the truth, 0 any order. Run as a script it prints one JSON object; ``--quick`` takes two generators, one seed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time
from types import ModuleType
from typing import Any, NamedTuple

from flows.runs.environment import QUIET, hush

os.environ.update(QUIET | {"GOMP_SPINCOUNT": "0"})  # before LightGBM is loaded: idle threads must not spin

import numpy as np
import pandas as pd
from meta_learners import META_LEARNERS, tuned

from configs.offers import NO_OFFER, Option
from configs.settings import load_settings
from features.arrays.array_types import Floats
from features.definitions.registry import trait
from models.effects.effect_model import Chances
from models.effects.uplift import learn_effects

ROWS, SEEDS, TESTED = 10_000, 3, 0.5
OFFER = Option("offer", 0.0)


class Drawn(NamedTuple):
    """A generator's rows: inputs, who was treated, with which chance, the outcome and the true effect; (rows, ...)."""

    inputs: pd.DataFrame
    treated: Floats
    propensity: Floats
    outcome: Floats
    effect: Floats

    def part(self, rows: slice) -> Drawn:
        """Some of the rows."""
        return Drawn(self.inputs.iloc[rows], *(each[rows] for each in self[1:]))

    @property
    def is_binary(self) -> bool:
        """Whether the outcome happens or not."""
        return set(np.unique(self.outcome)) <= {0.0, 1.0}


Generator = Callable[[Path, int], Drawn]


def nie_wager(mode: int) -> Generator:
    """Setups A, B and D (in C the effect is that of everybody); in A the treatment is targeted with known chances."""

    def draw(folder: Path, seed: int) -> Drawn:
        module = _module(folder / "causalml" / "dataset" / "regression.py")
        np.random.seed(seed)
        outcome, inputs, treated, effect, _, propensity = module.synthetic_data(mode, n=ROWS, p=8, sigma=1.0)
        return Drawn(_named(inputs), treated.astype(float), propensity, outcome, effect)

    return draw


def conversions(positive: float, effect: float) -> Generator:
    """Conversions of a mailing, few as in Criteo's log or more as in Hillstrom's."""

    def draw(folder: Path, seed: int) -> Drawn:
        module = _module(folder / "causalml" / "dataset" / "classification.py")
        random.seed(seed)  # it chooses the shapes of effects by these, and seeds NumPy's alone
        found, names = module.make_uplift_classification_logistic(
            n_samples=ROWS // 2, treatment_name=["control", "treatment1"], n_uplift_dict={"treatment1": 4},
            n_mix_informative_uplift_dict={"treatment1": 1}, delta_uplift_dict={"treatment1": effect},
            positive_class_proportion=positive, random_seed=seed,
        )  # fmt: skip
        found = found.sample(frac=1.0, random_state=seed)
        truth = (found["treatment1_conversion_prob"] - found["control_conversion_prob"]).to_numpy(float)
        treated = (found["treatment_group_key"] != "control").to_numpy(float)
        inputs = _named(found[names].to_numpy(float))
        return Drawn(inputs, treated, np.full(len(found), 0.5), found["conversion"].to_numpy(float), truth)

    return draw


def ihdp(folder: Path, seed: int) -> Drawn:
    """Response surface B of Hill 2011 on the infants of IHDP, drawn until there are enough, treated at random."""
    module = _module(folder / "econml" / "data" / "dgps.py")
    outcome, treated, inputs, effect = module.ihdp_surface_B(random_state=seed)
    rng = np.random.default_rng(seed)
    rows = rng.permutation(np.resize(np.arange(len(outcome)), ROWS // 4))
    usual = (outcome - treated * effect)[rows] + rng.normal(0, 1.0, len(rows))
    drawn = (rng.random(len(rows)) < 0.5).astype(float)
    everyone = np.full(len(rows), 0.5)
    return Drawn(_named(np.asarray(inputs)[rows]), drawn, everyone, usual + drawn * effect[rows], effect[rows])


GENERATORS: dict[str, Generator] = {
    "nuisance_and_easy_effect": nie_wager(1), "randomised": nie_wager(2), "unrelated_arms": nie_wager(4),
    "criteo_like": conversions(0.05, 0.01), "hillstrom_like": conversions(0.15, 0.05), "ihdp": ihdp,
}  # fmt: skip


def winback(known: Drawn, fresh: pd.DataFrame) -> Floats:
    """Learn as winback does, the inputs being traits."""
    rows = known.inputs.assign(
        user_id=[f"u{place}" for place in range(len(known.treated))],
        day=pd.Timestamp("2024-01-01").date(),
        offer_id=np.where(known.treated == 1, OFFER.offer_id, NO_OFFER),
        discount=0.0,
        propensity=np.where(known.treated == 1, known.propensity, 1 - known.propensity),
        margin_soon=known.outcome,
        is_retained=known.outcome if known.is_binary else (known.outcome > np.median(known.outcome)).astype(float),
    )
    features = [trait(name.removeprefix("trait_"), is_text=False) for name in known.inputs]
    learnt = learn_effects(rows, (OFFER,), features, load_settings())
    if not known.is_binary:
        return learnt["margin_soon"].effect_model.effects(fresh, [OFFER])[:, 0]
    alone = known.treated == 0
    stays = np.clip(tuned(known.inputs[alone], known.outcome[alone]).predict(fresh), 0.001, 0.999)
    return learnt["is_retained"].effect_model.effects(fresh, [OFFER], Chances(p_churn=1 - stays))[:, 0]


def ranking(score: Floats, effect: Floats) -> float:
    """Area above the chord of the true effects in the order of a score, as a share of that of the true order."""

    def area(order: Floats) -> float:
        gained = np.cumsum(effect[np.argsort(-order, kind="stable")])
        return float(gained.mean() - gained[-1] / 2)

    best = area(effect)
    return area(score) / best if best > 0 else 0.0


def of_a_seed(generator: Generator, folder: Path, seed: int) -> dict[str, float]:
    """Learn on half of the rows, rank the others."""
    drawn = generator(folder, seed)
    cut = int(len(drawn.treated) * TESTED)
    known, fresh = drawn.part(slice(0, cut)), drawn.part(slice(cut, None))
    found = {}
    for name in ("winback", *META_LEARNERS):
        started = process_time()
        if name == "winback":
            score = winback(known, fresh.inputs)
        else:
            score = META_LEARNERS[name](known.inputs, known.treated, known.outcome, known.propensity)(fresh.inputs)
        found[name] = ranking(score, fresh.effect)
        found[f"{name}.cpu_seconds"] = process_time() - started
    return found


def run(quick: bool = False, *, folder: Path | None = None, seeds: int = SEEDS) -> dict[str, dict[str, Any]]:
    """Rank on every generator that is there."""
    hush()
    if folder is None:
        return {"qini.skipped": {"why": "name the folder that the wheels of causalml and econml were unzipped into"}}
    metrics = {}
    for name in list(GENERATORS)[1:5:3] if quick else GENERATORS:
        found = pd.DataFrame([of_a_seed(GENERATORS[name], folder, 1 + seed) for seed in range(1 if quick else seeds)])
        for learner, column in found.items():
            numbers = {"value": float(column.median()), "low": float(column.min()), "high": float(column.max())}
            metrics[f"qini.{name}.{learner}"] = {key: round(number, 3) for key, number in numbers.items()}
        print(name, json.dumps(found.median().round(3).to_dict()), file=sys.stderr, flush=True)  # noqa: T201
    return metrics


def _named(inputs: Floats) -> pd.DataFrame:
    return pd.DataFrame(inputs, columns=[f"trait_x{place}" for place in range(inputs.shape[1])])


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"generator_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Print the metrics."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--quick", action="store_true", help="two generators, one seed")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    given = parser.parse_args()
    print(json.dumps(run(given.quick, folder=given.folder, seeds=given.seeds), indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
