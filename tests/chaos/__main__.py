"""``make chaos``: every try on the tiny app, counted.

python -m chaos [--app DATA --raw RAW [--more]] [--only PART] [--every N] [--from N] [--keep FOLDER] [--jobs N]
[--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

os.environ.update(GOMP_SPINCOUNT="0", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", DO_NOT_TRACK="true")

from chaos.examination import written_in_place
from chaos.scenarios import FULL, MORE, SHORT, Try, prepare, tries
from chaos.verdicts import Verdict, as_json, table_text
from chaos.world import World, given_world, keep, kept_world

IN_MEMORY, ROOM = Path("/dev/shm"), 4 << 30  # bytes that must be free: several tries at a time, each with its copy


def main() -> int:
    """Run the tries and print what they found; the exit code is 1 where something was found."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--app", type=Path, help="data folder of a trained tiny app, which gets a few tries only")
    words.add_argument("--raw", type=Path, help="its raw folder")
    words.add_argument("--more", action="store_true", help="give it more of them")
    words.add_argument("--only", default="", help="scenarios whose name holds this, several with commas")
    words.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="tries at a time")
    words.add_argument("--json", help="file for the counts and all that was found")
    words.add_argument("--every", type=int, default=1, help="take every n-th try")
    words.add_argument("--from", type=int, default=0, dest="first", help="leave out so many tries of each scenario")
    words.add_argument("--keep", type=Path, help="folder that keeps the app and its clean states for the next run")
    asked = words.parse_args()
    began, root = time.monotonic(), (asked.keep and asked.keep.absolute()) or own_folder()
    try:
        amount = FULL if not asked.app else MORE if asked.more else SHORT
        world = given_world(root, asked.app, asked.raw, list(SHORT.kills)) if asked.app else kept_world(root)
        tell(f"the app is ready after {time.monotonic() - began:.0f} s")
        verdicts: list[Verdict] = []
        for name, of_scenario in tries(world, amount).items():
            if any(part in name for part in asked.only.split(",")):
                prepare(world, name, amount)
                if asked.keep:
                    keep(world)
                verdicts += run_all(world, name, of_scenario[asked.first :: asked.every], asked.jobs)
        verdicts += unchanged(world)
    finally:
        if not asked.keep:
            shutil.rmtree(root, ignore_errors=True)
    sys.stdout.write(table_text(verdicts) + "\n")
    taken = {"seconds": round(time.monotonic() - began), "cpu_seconds": round(cpu_seconds())}
    found = as_json(verdicts, {**taken, "is_short": bool(asked.app)})
    if asked.json:
        Path(asked.json).parent.mkdir(parents=True, exist_ok=True)
        Path(asked.json).write_text(json.dumps(found, indent=1) + "\n")
    return int(any(each.findings for each in verdicts))


def own_folder() -> Path:
    """Make a folder, in memory where there is room: no try cuts the power, so that a disk would only be waited for."""
    has_room = IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > ROOM
    return Path(tempfile.mkdtemp(prefix="chaos-", dir=IN_MEMORY if has_room else None))


def cpu_seconds() -> float:
    """Sum the CPU seconds of this process and of all that have ended below it."""
    used = [resource.getrusage(of_whom) for of_whom in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def tell(text: str) -> None:
    """Say how far it is."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def run_all(world: World, name: str, of_scenario: Sequence[Try], jobs: int) -> list[Verdict]:
    """Run tries in forks of this process, each with a share of them; progress goes to standard error."""
    shares = [of_scenario[first::jobs] for first in range(min(jobs, len(of_scenario)))]
    pipes = [os.pipe() for _ in shares]
    for number, share in enumerate(shares):
        if not os.fork():
            try:
                _work(world, name, share, pipes[number][1])
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
    for _, end in pipes:
        os.close(end)
    verdicts = []
    for begin, _ in pipes:
        with os.fdopen(begin) as lines:
            verdicts += [Verdict(**json.loads(line)) for line in lines]
    for _ in shares:
        os.wait()
    if len(verdicts) < len(of_scenario):
        verdicts.append(Verdict(name, "the harness", findings=["traceback: not every try came to its end"]))
    return verdicts


def _work(world: World, name: str, share: Sequence[Try], end: int) -> None:
    with os.fdopen(end, "w") as answers:
        for number, each in enumerate(share):
            place, began = world.root / f"try-{os.getpid()}", time.monotonic()
            place.mkdir()
            verdict = each(world, place)
            verdict.seconds = round(time.monotonic() - began, 1)
            shutil.rmtree(place, ignore_errors=True)
            answers.write(json.dumps(asdict(verdict)) + "\n")
            answers.flush()
            told = "".join(f"\n    {finding}" for finding in verdict.findings)
            hit = "" if verdict.is_hit else ", ended before"
            tell(f"{name} {number + 1}/{len(share)}: {verdict.what}{hit}, {verdict.seconds} s{told}")


def unchanged(world: World) -> list[Verdict]:
    """Look whether a file of a clean state was changed in place, which copies by links would have passed on."""
    verdict = Verdict("files written in place", "the clean states", is_same=True)
    for name, data in world.places.items():
        verdict.findings += [f"lost: {file} of {name} was changed in place" for file in written_in_place(data)]
    return [verdict]


if __name__ == "__main__":
    sys.exit(main())
