"""How long a look-up takes: what people ask of a data folder, each a process of its own as the command line runs it.

The bar is 1.5 s each, median, on an idle machine: a question imports what it asks, no framework besides. The data is
the demo's, made in a folder of its own where none is named.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

COMMANDS = ("status", "explain", "catalogue", "settings", "check")
BAR = 1.5  # seconds, median
WINBACK = [sys.executable, "-c", "from flows.cli import main; main()"]


def seconds_of(words: list[str]) -> float:
    """Run a command and time it, the interpreter's start included."""
    started = time.perf_counter()
    subprocess.run([*WINBACK, *words], check=True, stdout=subprocess.DEVNULL, env=os.environ | {"GOMP_SPINCOUNT": "0"})
    return time.perf_counter() - started


def some_user(folder: Path) -> str:
    """Take a user of the newest decisions."""
    path = max(folder.glob("decisions/day=*/decisions.parquet"))
    return str(pq.read_table(path, columns=["user_id"], partitioning=None)["user_id"][0])


def measure(folder: Path, runs: int) -> dict[str, list[float]]:
    """Time every command, one after the other in turn, so that a busy moment meets all of them."""
    words = {name: [name, *([some_user(folder)] if name == "explain" else [])] for name in COMMANDS}
    found: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(runs):
        for name in COMMANDS:
            found[name].append(seconds_of([*words[name], "--data-dir", str(folder)]))
    return found


def main() -> None:
    """Print a line per command, and all of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="a folder of the demo; made anew where it is not named")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="three runs")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.data_dir or Path(scratch)
        if given.data_dir is None:
            subprocess.run([*WINBACK, "demo", "--data-dir", str(folder)], check=True, stdout=subprocess.DEVNULL)
        found = measure(folder, 3 if given.quick else given.runs)
    medians = {name: round(statistics.median(seconds), 2) for name, seconds in found.items()}
    for name, median in medians.items():
        said = "within the bar" if median <= BAR else f"above the bar of {BAR} s"
        sys.stderr.write(f"winback {name:<10} {median:.2f} s, {said}\n")
    answer = {"seconds": medians, "bar": BAR, "runs": 3 if given.quick else given.runs}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
