"""Closed loop of issue size: 50,000 users, four weeks of randomised offers, eight weeks of policy, five worlds.

    python tests/benchmarks/bench_closed_loop.py [--quick] [--json]

Every world is one run of ``winback simulate --closed-loop`` in a folder that is deleted afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

USERS, WEEKS, SEEDS = 50_000, 8, (1, 2, 3, 4, 5)
QUICK_USERS, QUICK_WEEKS, QUICK_SEEDS = 4_000, 2, (1,)
RIVALS = (
    "nobody", "everybody_top_discount", "random", "top_risk_gets_a_discount", "highest_redemption_propensity",
    "constant_best",
)  # fmt: skip
LEAST_SHARE, LEAST_CHURN_CHANGE = 0.75, -0.10


def run(quick: bool = False, workers: int = 2) -> dict[str, float]:
    """Live the worlds; returns the metrics of each, and the least favourable one of all.

    Parameters
    ----------
    workers
        Worlds at a time.
    """
    seeds, users, weeks = (QUICK_SEEDS, QUICK_USERS, QUICK_WEEKS) if quick else (SEEDS, USERS, WEEKS)
    with ThreadPoolExecutor(workers) as pool:
        worlds = list(pool.map(lambda seed: live(seed, users, weeks), seeds))
    metrics = {f"seed_{seed}.{name}": value for seed, world in zip(seeds, worlds, strict=True) for name, value in world}
    leads = [
        metrics[f"seed_{seed}.winback.gain"] - max(metrics[f"seed_{seed}.{rival}.gain"] for rival in RIVALS)
        for seed in seeds
    ]
    return metrics | {
        "share_of_oracle.least": min(metrics[f"seed_{seed}.winback.share_of_oracle"] for seed in seeds),
        "lead_over_best_rival.least": min(leads),
        "churn_change.most": max(metrics[f"seed_{seed}.winback.churn_change"] for seed in seeds),
    }


def live(seed: int, users: int, weeks: int) -> list[tuple[str, float]]:
    """Run one closed loop by its command; returns names and values of its metrics."""
    command = [
        str(Path(sys.executable).with_name("winback")), "simulate", "--closed-loop", "--json",
        "--users", str(users), "--weeks", str(weeks), "--seed", str(seed),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="winback-loop-") as folder:
        environment = {**os.environ, "GOMP_SPINCOUNT": "0"}
        done = subprocess.run(
            [*command, "--data-dir", folder], check=False, capture_output=True, text=True, env=environment
        )
    if done.returncode:
        raise RuntimeError(f"world {seed} ended with {done.returncode}: {done.stderr[-2000:]}")
    result = json.loads(done.stdout)
    print(f"world {seed}: {result['seconds']:.0f} s, {result['warnings'][0]}", file=sys.stderr)  # noqa: T201
    own = [(name, float(metric["value"])) for name, metric in result["metrics"].items()]
    return [*own, ("seconds", result["seconds"]), ("peak_mib", result["peak_mib"])]


def show(metrics: dict[str, float]) -> str:
    """Write one line per world and policy."""
    seeds = sorted({name.split(".")[0] for name in metrics if name.startswith("seed_")})
    lines = [
        "| world | policy | gain over nobody | share of the oracle's | churn against untreated |",
        "|---|---|---|---|---|",
    ]
    for seed in seeds:
        for policy in (*RIVALS[1:], "winback", "oracle"):
            gain, share, churn = (
                metrics[f"{seed}.{policy}.{name}"] for name in ("gain", "share_of_oracle", "churn_change")
            )
            lines.append(f"| {seed.removeprefix('seed_')} | {policy} | {gain:,.0f} | {share:.1%} | {churn:+.1%} |")
    held = (
        metrics["share_of_oracle.least"] >= LEAST_SHARE
        and metrics["lead_over_best_rival.least"] > 0
        and metrics["churn_change.most"] <= LEAST_CHURN_CHANGE
    )
    share, lead, churn = (
        metrics[name] for name in ("share_of_oracle.least", "lead_over_best_rival.least", "churn_change.most")
    )
    lines.append(
        f"\nleast share {share:.1%} (bar {LEAST_SHARE:.0%}), least lead over a rival {lead:,.0f} (bar above 0), churn "
        f"at worst {churn:+.1%} (bar {LEAST_CHURN_CHANGE:+.0%}): {'held' if held else 'NOT held'}"
    )
    return "\n".join([*lines, "", *promises(metrics, seeds)])


def promises(metrics: dict[str, float], seeds: Sequence[str]) -> list[str]:
    """Write what winback's plans promised over what their offers bring in truth, a line per world."""
    parts = {"promise": "all weeks", "promise_since_measured": "since promises are measured"}
    return [
        f"{seed.removeprefix('seed_')}: promised over true, {words}: {ratio:.2f}"
        for seed in seeds
        for name, words in parts.items()
        if (ratio := metrics.get(f"{seed}.winback.{name}.promised_over_true")) is not None
    ]


def main(words: Sequence[str] | None = None) -> None:
    """Run the benchmark and print its table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small world for two weeks")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--workers", type=int, default=2, help="worlds at a time")
    given = parser.parse_args(words)
    metrics = run(given.quick, given.workers)
    print(json.dumps(metrics) if given.json else show(metrics))  # noqa: T201


if __name__ == "__main__":
    main()
