"""What the gate lets through where there is nothing to gain: personal policies and discounts on worlds without effects.

Each seed is a world of its own in a temporary folder and goes through the real pipeline: days, offers at random,
aggregates, snapshots, every model, the gate; where only the discount has no effect, the decisions of a day as well.
Run as a script it prints one JSON object, and a line per seed on standard error; ``--quick`` takes a seed of each,
``--seeds 3`` as many as it says.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

from configs.settings import Settings, load_settings
from flows.runs.environment import QUIET, hush

os.environ.update(QUIET | {"GOMP_SPINCOUNT": "0"})  # before LightGBM is loaded: idle threads must not spin

from features.materialise.build_daily import build_aggregates
from features.simulator.population import Physics
from features.simulator.simulated_day import World
from features.simulator.simulator_run import new_world, simulate
from features.simulator.world_request import offers_of
from features.storage.lake import Lake
from features.tables.parquet_files import read_parquet
from features.training_data.snapshot_run import bring_snapshots_up_to_date
from models.policy_value.policy_verdict import NOBODY, PERSONAL, PolicyValue, PolicyVerdict
from models.training_run.outcome_models import fit_outcomes
from models.training_run.response_models import fit_response
from models.training_run.training_frames import collect_frames
from serving.arms.assignment import POLICY
from serving.decide.decided_day import decide_day
from serving.stored_days.day_tables import day_folder

USERS, DAYS, RANDOM_WEEKS, NOTHING_SHARE = 4_000, 84, 4, 0.2
NO_EFFECT, NO_PULL = Physics(message=0, discount=0), Physics(discount=0)
FIRST_SEED = 100
Metrics = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Judged:
    """A trained world: what the gate said of it, and all that decisions need."""

    settings: Settings
    lake: Lake
    world: World
    verdict: PolicyVerdict


def judged(folder: Path, seed: int, physics: Physics, users: int = USERS, **training: int) -> Judged:
    """Live a world into a folder, learn from its randomised offers, under settings of training, and ask the gate."""
    settings = load_settings("simulated", folder, seed=seed, training={"bootstrap_samples": 100, **training})
    lake = Lake(settings.data_dir)
    world = new_world(settings, offers_of(settings), users, days=DAYS, physics=physics)
    world = simulate(settings, lake, world, DAYS, RANDOM_WEEKS, NOTHING_SHARE)
    build_aggregates(settings, lake)
    bring_snapshots_up_to_date(settings, lake, world.today)
    frames = collect_frames(settings, lake, world.today)
    fit_outcomes(settings, lake, world.today, frames)
    verdict = fit_response(settings, lake, world.today, frames).verdict
    if verdict is None:
        raise RuntimeError(f"{users:,} users left too few treatments to learn from; take more")
    return Judged(settings, lake, world, verdict)


def discounts_given(trained: Judged) -> tuple[int, int]:
    """Decide for everybody; returns how many the policy gives a discount to, and how many an offer at all."""
    decide_day(trained.settings, trained.lake, trained.world.today)
    rows = read_parquet(day_folder(trained.lake, trained.world.today) / "decisions.parquet").to_pandas()
    by_policy = rows[(rows["arm"] == POLICY) & (rows["offer_id"] != "none")]
    return int((by_policy["discount"] > 0).sum()), len(by_policy)


def words(lead: PolicyValue) -> list[float | None]:
    """Write a lead with its interval; nothing where it is unknown."""
    return [round(lead.value, 3), round(lead.low, 3), round(lead.high, 3)] if lead.is_known else [None] * 3


def of_a_seed(seed: int, physics: Physics, users: int, look: Callable[[Judged], dict[str, Any]]) -> dict[str, Any]:
    """Train on one world and look at it; the folder is gone afterwards."""
    started = process_time()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        trained = judged(Path(folder), seed, physics, users)
        verdict = trained.verdict
        row = {
            "seed": seed,
            "deployed": str(verdict.deployed),
            "lead_of_personal": words(verdict.lead),
            **look(trained),
        }
    row["cpu_seconds"] = round(process_time() - started, 1)
    print(json.dumps(row), file=sys.stderr, flush=True)  # noqa: T201
    return row


def counted(rows: list[dict[str, Any]], count: int) -> dict[str, Any]:
    """Write a count over seeds as a metric, with what each seed showed."""
    return {"value": count, "low": count, "high": count, "n": len(rows), "seeds": rows}


def promotions(seeds: Iterable[int], users: int = USERS) -> dict[str, Any]:
    """Count the worlds without any effect in which a personal policy is deployed, and those with a simple one."""
    rows = [of_a_seed(seed, NO_EFFECT, users, lambda _: {}) for seed in seeds]
    simple = sum(row["deployed"] not in (PERSONAL, NOBODY) for row in rows)
    return {**counted(rows, sum(row["deployed"] == PERSONAL for row in rows)), "simple": simple}


def discounts(seeds: Iterable[int], users: int = USERS) -> dict[str, Any]:
    """Count the decisions of the policy that give a discount away where only contacts have an effect."""

    def look(trained: Judged) -> dict[str, Any]:
        discounted, treated = discounts_given(trained)
        return {"with_discount": discounted, "with_offer": treated, "reason": trained.verdict.reason}

    rows = [of_a_seed(seed, NO_PULL, users, look) for seed in seeds]
    return counted(rows, sum(row["with_discount"] for row in rows))


def run(quick: bool = False, seeds: int | None = None) -> Metrics:
    """Count what should not happen; in full on 20 worlds without effects and 5 without pull of the discount."""
    hush()
    most = seeds or (1 if quick else 20)
    return {
        "gate.discounts_without_pull": discounts(range(FIRST_SEED, FIRST_SEED + min(most, 5))),
        "gate.personal_without_effects": promotions(range(FIRST_SEED, FIRST_SEED + most)),
    }


def main() -> None:
    """Print the metrics."""
    seeds = int(sys.argv[sys.argv.index("--seeds") + 1]) if "--seeds" in sys.argv else None
    print(json.dumps(run("--quick" in sys.argv, seeds), indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
