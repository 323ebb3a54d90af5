"""How good and how fast the allocation is, on drawn instances of the size of an app.

Run as a script it prints one JSON object; ``--quick`` takes small instances.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from configs.offers import NOTHING
from serving.knapsack import allocation
from serving.knapsack import dual_prices as prices
from serving.knapsack.allocation import Limit, allocate, choose
from serving.knapsack.problem import Shard, offered

OPTIONS = 12
SEEDS = (1, 2, 3)
Metrics = dict[str, dict[str, float]]


def instance(users: int, options: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Values and costs of users who differ in spend, worth and keenness; shape (users, options).

    An option costs what its discount is expected to take off a basket, and the contact; it brings an uplift that
    goes with the probability of redemption. Some options are not eligible, some users have none, many do not pay.
    """
    basket = rng.lognormal(3.0, 0.7, users)
    remaining = basket * rng.lognormal(0.5, 0.9, users)
    keenness = rng.normal(-1.5, 1.0, users)
    value, cost = np.empty((users, options)), np.empty((users, options))
    for option in range(options):
        discount, contact = (0.05, 0.1, 0.2)[option % 3], (0.01, 0.03, 0.3)[option * 3 // options]
        p_redeem = 1 / (1 + np.exp(-(keenness + 4 * discount + rng.normal(0, 0.5, users))))
        uplift = 0.12 * discount**0.5 * p_redeem * rng.lognormal(-0.3, 0.6, users) * rng.lognormal(0, 0.15)
        cost[:, option] = p_redeem * discount * basket + contact
        value[:, option] = uplift * remaining - cost[:, option]
    value[rng.random((users, options)) < 0.15] = -np.inf
    value[rng.random(users) < 0.1] = -np.inf
    return value, cost


def scarcity(value: np.ndarray, cost: np.ndarray, *, money: float, places: float) -> tuple[float, list[Limit]]:
    """Budget, three channels and five stocks, each a share of what would be used if there were no limits."""
    choice = choose(value, cost, 0.0)
    rows = np.flatnonzero(choice != NOTHING)
    offers = np.arange(value.shape[1]) * 5 // value.shape[1]
    groups = [offers % 3 == channel for channel in range(3)] + [offers == offer for offer in range(5)]
    limits = [
        Limit(f"limit {place}", options, int(places * options[choice[rows]].sum()))
        for place, options in enumerate(groups)
    ]
    return money * float(cost[rows, choice[rows]].sum()), limits


def lp_bound(value: np.ndarray, cost: np.ndarray, budget: float, limits: list[Limit]) -> float:
    """Optimum of the linear relaxation, by HiGHS."""
    from scipy.optimize import linprog
    from scipy.sparse import csr_matrix, vstack

    users, options = np.nonzero(value > 0)
    cells = np.arange(len(users))
    one_each = csr_matrix((np.ones(len(cells)), (users, cells)), (len(value), len(cells)))
    places = [csr_matrix(limit.options[options].astype(float)[None]) for limit in limits]
    rows = vstack([one_each, csr_matrix(cost[users, options][None]), *places])
    room = np.r_[np.ones(len(value)), budget, [limit.most for limit in limits]]
    return float(-linprog(-value[users, options], A_ub=rows, b_ub=room, method="highs").fun)


def gaps(users: int, *, limited: bool) -> list[float]:
    """Gaps to the dual bound over the seeds."""
    found = []
    for seed in SEEDS:
        value, cost = instance(users, OPTIONS, np.random.default_rng(seed))
        budget, limits = scarcity(value, cost, money=0.5 if limited else 0.3, places=0.3)
        found.append(allocate(value, cost, budget, limits if limited else ()).gap)
    return found


def difference_from_lp(users: int) -> float:
    """Relative difference of the dual bound from the linear relaxation."""
    value, cost = instance(users, OPTIONS, np.random.default_rng(SEEDS[0]))
    budget, limits = scarcity(value, cost, money=0.5, places=0.3)
    exact = lp_bound(value, cost, budget, limits)
    return abs(allocate(value, cost, budget, limits).bound - exact) / exact


def cost_of_a_run(folder: Path, limited: bool) -> dict[str, float]:
    """Run in this process on an instance from a folder: seconds, peak memory, dual passes and the gap."""
    value, cost = np.load(folder / "value.npy"), np.load(folder / "cost.npy")
    budget, limits = scarcity(value, cost, money=0.5 if limited else 0.3, places=0.3)
    started = time.perf_counter()
    gap = allocate(value, cost, budget, limits if limited else ()).gap
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "mib": peak_mib(), "gap": gap}


def peak_mib() -> float:
    """Most memory this process has held; ``ru_maxrss`` would count the parent's as well."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024


def costs(users: int, runs: int) -> Metrics:
    """Seconds and peak memory of runs in fresh processes, with a budget alone and with limits."""
    metrics = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, numbers in zip(
            ("value", "cost"), instance(users, OPTIONS, np.random.default_rng(SEEDS[0])), strict=True
        ):
            np.save(Path(folder) / f"{name}.npy", numbers)
        for kind in ("budget", "limits"):
            command = [sys.executable, __file__, "--run", folder, kind]
            done = [json.loads(subprocess.check_output(command)) for _ in range(runs)]
            for measure in ("seconds", "mib", "gap"):
                metrics[f"allocation.{measure}_{kind}_large"] = metric([each[measure] for each in done], users)
    return metrics


def pass_ratio(users: int, runs: int) -> list[float]:
    """How long one pass of the dual takes, as a multiple of one NumPy argmax over the priced options."""
    value, cost = instance(users, OPTIONS, np.random.default_rng(SEEDS[0]))
    budget, limits = scarcity(value, cost, money=0.5, places=0.3)
    knapsack = allocation._knapsack([Shard(*offered(value, cost), np.ones(users, dtype=bool))], budget, limits)
    scaled, member = prices._scaled(knapsack), knapsack.incidence
    at = np.full(len(knapsack.capacity), 0.3)
    one_pass = [seconds(lambda: prices._smooth(scaled, at, 0.001)) for _ in range(runs)]
    argmax = [seconds(lambda: (value - 0.3 * cost - at[1:] @ member).argmax(axis=1)) for _ in range(runs)]
    return [first / second for first, second in zip(one_pass[1:], argmax[1:], strict=True)]  # the first warms up


def seconds(call: object) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def metric(values: list[float], users: int) -> dict[str, float]:
    """Median with the lowest and the highest."""
    return {"value": float(np.median(values)), "low": min(values), "high": max(values), "n": users}


def run(quick: bool = False) -> Metrics:
    """Measure everything; quick takes instances a hundredth of the size."""
    users, few, many = (1_000, 500, 10_000) if quick else (100_000, 20_000, 1_000_000)
    return {
        "allocation.gap_budget": metric(gaps(users, limited=False), users),
        "allocation.gap_limits": metric(gaps(users, limited=True), users),
        "allocation.dual_against_lp": metric([difference_from_lp(few)], few),
        "allocation.pass_per_argmax": metric(pass_ratio(many, 4), many),
        **costs(many, 1 if quick else 3),
    }


def main() -> None:
    """Print the metrics, or, for a process started by `costs`, those of one run."""
    if "--run" in sys.argv:
        found = cost_of_a_run(Path(sys.argv[-2]), sys.argv[-1] == "limits")
        print(json.dumps(found))  # noqa: T201
    else:
        print(json.dumps(run("--quick" in sys.argv), indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
