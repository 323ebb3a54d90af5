"""The tries: what is done to a copy of the app, and how it is judged.

A try is a function of the world and a folder of its own; it returns a verdict. `tries` lists those of every scenario.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import combinations_with_replacement
from pathlib import Path
from zlib import crc32

from chaos.children import Child, Ended, run
from chaos.damage import DAMAGES, kinds_of_files
from chaos.damaged_files import damaged_file, read_again
from chaos.examination import State, at_the_end, right_after, said_badly, state_of
from chaos.faults import Fault
from chaos.verdicts import Verdict
from chaos.world import STEPS, TODAY, TOMORROW, World, copied

KILLED = (-9, -25)  # by the injector or a timer, and by the kernel for a file that grew too large
DISK_SIZES = tuple(2**power for power in range(12, 22))  # bytes that are left, 4 KiB to 2 MiB
TORN_SIZES = (0, 100, 1_000, 4_096, 16_384, 65_536)
Try = Callable[[World, Path], Verdict]


@dataclass(frozen=True)
class Amount:
    """How many tries of each scenario: of every step, and of every pair."""

    kills: dict[str, int]
    moments: dict[str, int]
    torn: int
    pairs: int
    disks: int
    is_damaged: bool
    nights: int


FULL = Amount(
    dict(zip(STEPS, (60, 60, 15, 60, 30), strict=True)), dict(zip(STEPS, (12, 12, 6, 12, 8), strict=True)), 6, 10, 10,
    True, 10,
)  # fmt: skip
MORE = Amount({"ingest": 2, "build-features": 2, "score-users": 4}, {}, 0, 0, 0, False, 0)
SHORT = replace(MORE, kills={"ingest": 1, "build-features": 0, "score-users": 1})


def tries(world: World, amount: Amount) -> dict[str, list[Try]]:
    """List the tries of every scenario, in the order in which they are worth most."""
    steps = world.steps
    return {
        "kill at a file operation": [
            partial(killed_run, "kill at a file operation", step, Fault("kill", number))
            for step in steps
            for number in spread(world.ended[step].operations, amount.kills[step])
        ],
        "kill in a write": [
            partial(killed_run, "kill in a write", step, Fault("tear", size))
            for step in steps
            for size in TORN_SIZES[: amount.torn]
        ],
        "kill at a random moment": [
            partial(killed_at_moment, step, number) for step in steps for number in range(amount.moments.get(step, 0))
        ],
        "two writers at once": [
            partial(two_writers, first, second, number)
            for first, second in (combinations_with_replacement(steps, 2) if amount.pairs else ())
            for number in range(amount.pairs)
        ],
        "disk full": [partial(full_disk, step, size) for step in steps for size in DISK_SIZES[: amount.disks]],
        "clock moved back": [
            partial(clock_back, step, back)
            for step in (steps if amount.nights else ())
            for back in (timedelta(hours=1), timedelta(days=1), timedelta(days=6))  # the last is before the day
        ],
        "reboot in the night": [partial(reboot, number) for number in range(amount.nights)],
        "stored file damaged": [
            partial(damaged_file, kind, way)
            for kind in (kinds_of_files(world.data(steps[-1])) if amount.is_damaged else ())
            for way in DAMAGES
        ],
    }


def prepare(world: World, scenario: str, amount: Amount) -> None:
    """Make the clean states that a scenario is compared with, before its tries are shared out."""
    if scenario == "two writers at once" and amount.pairs:
        for pair in combinations_with_replacement(world.steps, 2):
            _orders(world, _words_of_pair(*pair, world))
    if scenario == "reboot in the night" and amount.nights:
        _clean_nights(world)
    if scenario == "stored file damaged" and amount.is_damaged:
        read_again(world)


def spread(operations: int, wanted: int) -> list[int]:
    """Choose places among the operations of a run, evenly."""
    return sorted({1 + int(operations * (place + 0.5) / wanted) for place in range(wanted)})


def killed_run(scenario: str, step: str, fault: Fault, world: World, place: Path) -> Verdict:
    """Break a step, look what a reader finds, and run it again."""
    data = world.try_on(world.before(step), place)
    ended = run(*world.words(step), data=data, fault=fault)
    return _run_again(
        Verdict(scenario, f"{step} {fault.kind} {fault.at}", ended.code in KILLED), step, ended, world, data
    )


def killed_at_moment(step: str, number: int, world: World, place: Path) -> Verdict:
    """Kill a step at a random moment of its time, look what a reader finds, and run it again."""
    data = world.try_on(world.before(step), place)
    share = random.Random(f"{step} {number}").random()
    child = Child(*world.words(step), data=data)
    ended = child.ended(share * world.ended[step].seconds)
    if ended is None:
        child.kill()
        ended = child.ended()
    assert ended is not None
    verdict = Verdict("kill at a random moment", f"{step} after {share:.2f} of its time", ended.code in KILLED)
    return _run_again(verdict, step, ended, world, data)


def _run_again(verdict: Verdict, step: str, ended: Ended, world: World, data: Path) -> Verdict:
    """Judge what a broken run left, first as a reader finds it, then after the same run once more."""
    if ended.code not in KILLED:
        verdict.findings += said_badly(ended.code, ended.said)
    was, wanted = world.states[world.before(step)], world.states[step]
    verdict.findings += right_after(step, copied(data, data.parent / "seen"), was, wanted)
    if crc32(verdict.what.encode()) % 2:
        reader = run("verify", data=data)
        verdict.findings += said_badly(reader.code, reader.said, (0,))
    again = run(*world.words(step), data=data)
    verdict.findings += said_badly(again.code, again.said, (0,))
    return _judged(verdict, data, wanted)


def _judged(verdict: Verdict, data: Path, *wanted: State) -> Verdict:
    differences = at_the_end(data, *wanted)
    verdict.is_same = not differences
    verdict.findings += differences
    return verdict


def two_writers(first: str, second: str, number: int, world: World, place: Path) -> Verdict:
    """Start two steps at once, run again who had to give way, and compare with one after the other."""
    words = _words_of_pair(first, second, world)
    orders = _orders(world, words)
    data = world.try_on("build-features", place)
    chance = random.Random(f"{first} {second} {number}")
    patience = {"WINBACK_WAIT_SECONDS": "500"} if number % 2 else {}
    children = []
    for each in chance.sample(words, 2):
        children.append(Child(*each, data=data, environment=patience))
        time.sleep(chance.random() ** 2 * world.ended[each[0]].seconds)
    ended = {" ".join(child.words): child.ended() for child in children}
    verdict = Verdict("two writers at once", f"{first} beside {second}, {number}")
    for each in words:
        done = ended[" ".join(each)]
        assert done is not None
        verdict.findings += said_badly(done.code, done.said, (0,) if patience else (0, 3))
    for each in words:
        if ended[" ".join(each)].code:  # type: ignore[union-attr]
            again = run(*each, data=data)
            verdict.findings += said_badly(again.code, again.said, (0,))
    return _judged(verdict, data, *orders)


def _words_of_pair(first: str, second: str, world: World) -> list[list[str]]:
    """Words of two steps on the built day: ingests are of two late deliveries."""
    late = iter(("late 7", "late 8"))
    return [
        world.words(step, delivery=next(late)) if step == "ingest" else world.words(step) for step in (first, second)
    ]


def _orders(world: World, words: Sequence[list[str]]) -> list[State]:
    return [_in_order(world, words, order) for order in ((0, 1), (1, 0))]


def _in_order(world: World, words: Sequence[list[str]], order: tuple[int, int]) -> State:
    """Run two steps one after the other, once for all tries of a process."""
    name = "build-features"
    for number in order:
        after = f"{name} | {' '.join(words[number])}"
        world.go_on(name, after, *words[number])
        name = after
    return world.states[name]


def full_disk(step: str, left: int, world: World, place: Path) -> Verdict:
    """Run a step on a disk that fills up, then again once there is room."""
    source = world.data(world.before(step))
    with small_disk(place / "disk", source, left) as (folder, fault, make_room):
        data = folder / "data"
        ended = run(*world.words(step), data=data, fault=fault)
        verdict = Verdict("disk full", f"{step} with {left:,} bytes left", ended.code != 0)
        verdict.findings += said_badly(ended.code, ended.said)
        make_room()
        was, wanted = world.states[world.before(step)], world.states[step]
        verdict.findings += right_after(step, shutil.copytree(data, place / "seen"), was, wanted)
        again = run(*world.words(step), data=data)
        verdict.findings += said_badly(again.code, again.said, (0,))
        return _judged(verdict, data, wanted)


@contextmanager
def small_disk(place: Path, source: Path, left: int) -> Iterator[tuple[Path, Fault, Callable[[], object]]]:
    """Copy a data folder to a disk of its own with little room; a fault stands in where none may be mounted."""
    place.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        copied(source, place / "data")
        yield place, Fault("full", 1 + left // 8192), lambda: None
        return
    try:
        shutil.copytree(source, place / "data")
        used = os.statvfs(place)
        size = (used.f_blocks - used.f_bfree) * used.f_frsize + left
        resize = ["mount", "-o", "remount,size={}", str(place)]
        subprocess.run([word.format(size) for word in resize], check=True)
        yield place, Fault(), lambda: subprocess.run([word.format("1g") for word in resize], check=True)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def clock_back(step: str, back: timedelta, world: World, place: Path) -> Verdict:
    """Run a step on a clock that went back since the day before, then again on the right one."""
    data = world.try_on(world.before(step), place)
    last_seen = datetime.combine(world.today, datetime.min.time(), UTC) + timedelta(days=5)  # the latest of the events
    now = datetime.now(UTC) - last_seen
    ended = run(*world.words(step), data=data, behind=now + back)
    verdict = Verdict("clock moved back", f"{step} by {back}")
    verdict.findings += said_badly(ended.code, ended.said)
    if ended.code == 0 and (told := at_the_end(data, world.states[step])):
        verdict.findings += [f"silent: {told[0]}"]
    again = run(*world.words(step), data=data, behind=now)
    verdict.findings += said_badly(again.code, again.said, (0,))
    return _judged(verdict, data, world.states[step])


def reboot(number: int, world: World, place: Path) -> Verdict:
    """Kill a night's run somewhere and let the next night's follow, which decides as if nothing had been."""
    clean = _clean_nights(world)
    data = world.try_on("before", place)
    share = random.Random(f"reboot {number}").random()
    child = Child(*_night(world, "today", TODAY), data=data)
    ended = child.ended(share * world.ended[f"before | night of {TODAY}"].seconds)
    if ended is None:
        child.kill()
        ended = child.ended()
    assert ended is not None
    verdict = Verdict("reboot in the night", f"after {share:.2f} of its time", ended.code in KILLED)
    later = run(*_night(world, "tomorrow", TOMORROW), data=data)
    verdict.findings += said_badly(later.code, later.said, (0,))
    found = state_of(data)
    told = min((_of_day(found, state) for state in clean), key=len)
    verdict.findings += told
    verdict.is_same = not told
    return verdict


def _clean_nights(world: World) -> list[State]:
    """Let both nights be lived, or the second alone."""
    clean = []
    for nights in ((("today", TODAY), ("tomorrow", TOMORROW)), (("tomorrow", TOMORROW),)):
        name = "before"
        for delivery, day in nights:
            after = f"{name} | night of {day}"
            world.go_on(name, after, *_night(world, delivery, day))
            name = after
        clean.append(world.states[name])
    return clean


def _night(world: World, delivery: str, day: object) -> list[str]:
    return ["score-daily", "--as-of", str(day), "--raw", str(world.delivery(delivery))]


def _of_day(found: State, wanted: State) -> list[str]:
    """Say how the files of tomorrow's decisions differ; the killed day's own may be there whole or not at all."""
    names = {
        name
        for name in found.files.keys() | wanted.files.keys()
        if f"day={TOMORROW}" in name or name.startswith("events/")
    }
    differing = sorted(name for name in names if found.files.get(name) != wanted.files.get(name))
    strays = sorted(
        name
        for name in found.files
        if name.startswith((".publish", "tmp", "spill", "scoring")) or name.endswith(".part")
    )
    return [f"other bytes: {name}" for name in differing] + [f"strays: {name}" for name in strays]
