"""The app that is broken: small, trained, one day before the day that all tries are about, with its clean states.

Every try takes a copy of the state before one command, and is compared with the state after it.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apps import TINY_AS_OF, App, at, tiny_app, tiny_overrides

from chaos.children import Ended, run, warm_up
from chaos.examination import DIGESTS, State, state_of

TODAY = TINY_AS_OF
YESTERDAY, TOMORROW, LONG_AGO = (TODAY + timedelta(days=days) for days in (-1, 1, -36))
STEPS = ("ingest", "build-features", "train-models", "score-users", "measure-offers")
WRITTEN_IN_PLACE = ("mlflow/mlflow.db", ".lock", "feast/")  # all else is written anew, so that copies may share it
KEPT = "world.pickle"
LATE = (7, 8)  # last figures of the users whose events come late
SECTIONS = ("features", "churn", "value", "response", "training", "scoring")


@dataclass
class World:
    """Clean states by name, each a data folder, and the deliveries that the commands read."""

    root: Path
    today: date = TODAY
    steps: Sequence[str] = STEPS
    states: dict[str, State] = field(default_factory=dict)
    ended: dict[str, Ended] = field(default_factory=dict)
    places: dict[str, Path] = field(default_factory=dict)
    read: dict[str, set[str]] = field(default_factory=dict)  # files that the command before a state read or wrote

    def data(self, name: str) -> Path:
        """Data folder of a clean state."""
        return self.places[name]

    def delivery(self, name: str) -> Path:
        """Raw folder of a delivery: yesterday, today, tomorrow, and two that come late."""
        return self.root / "raw" / name

    def words(self, step: str, day: date | None = None, delivery: str = "today") -> list[str]:
        """Words of a step, of today unless a day is named."""
        raw = ["--raw", str(self.delivery(delivery))] if step == "ingest" else []
        return [step, "--as-of", str(day or self.today), *raw]

    def before(self, step: str) -> str:
        """Name the state before a step of the day."""
        return (["before", *self.steps])[self.steps.index(step)]

    def try_on(self, name: str, place: Path) -> Path:
        """Copy a state; returns the data folder of the copy, which is free to change."""
        return copied(self.data(name), place / "data")

    def go_on(self, before: str, after: str, *words: str) -> Ended:
        """Make a clean state from another by a command, once."""
        if after not in self.states:
            place = self.root / "states" / f"{os.getpid()}-{len(self.places)}"
            data, modules = self.try_on(before, place), place / "modules.txt"
            forget_reading(data)
            self.ended[after] = done = run(*words, data=data, modules=modules)
            self.read[after] = files_read(data)
            if done.code:
                raise RuntimeError(f"{' '.join(words)} ended with {done.code}:\n{done.said}")
            warm_up(modules)
            self.places[after] = data
            self.states[after] = state_of(data, is_clean=True)
        return self.ended[after]


def copied(data: Path, place: Path) -> Path:
    """Copy a data folder, by links where files are never written in place."""
    for folder, folders, names in os.walk(data):
        there = place / Path(folder).relative_to(data)
        there.mkdir(parents=True, exist_ok=True, mode=0o700)
        folders.sort()
        for name in names:
            path = Path(folder, name)
            if path.relative_to(data).as_posix().startswith(WRITTEN_IN_PLACE):
                shutil.copy2(path, there / name)
            else:
                os.link(path, there / name)
    return place


def forget_reading(data: Path) -> None:
    """Let no file of a data folder have been read: the kernel then notes the next reading, of a memory map too."""
    for path in (each for each in data.rglob("*") if each.is_file()):
        os.utime(path, ns=(0, path.stat().st_mtime_ns))


def files_read(data: Path) -> set[str]:
    """Name the files that were read since, or written anew."""
    return {path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file() and path.stat().st_atime_ns}


def make_world(root: Path) -> World:
    """Make the app, train it on the day before, and run the day's steps cleanly, one state after each."""
    world = World(root)
    profile = deliver(world)
    world.places["empty"] = root / "states" / "empty" / "data"
    world.places["empty"].mkdir(parents=True)
    before = "empty"
    for number, words in enumerate(_beginning(world, profile)):
        world.go_on(before, f"begun {number}", *words)
        before = f"begun {number}"
    world.states["before"], world.places["before"] = world.states[before], world.places[before]
    return lived(world)


def kept_world(root: Path) -> World:
    """Take the app that an earlier run left in a folder, with the clean states that it came to; else make it.

    A state is what the code of that day made: another code wants another folder.
    """
    if not (root / KEPT).exists():
        root.mkdir(parents=True, exist_ok=True)
        return make_world(root)
    world, digests = pickle.loads((root / KEPT).read_bytes())
    DIGESTS.update(digests)
    for data in world.places.values():
        if (modules := data.parent / "modules.txt").exists():
            warm_up(modules)
    return world


def keep(world: World) -> None:
    """Leave a world to the runs after this one."""
    (world.root / KEPT).write_bytes(pickle.dumps((world, DIGESTS)))


def given_world(root: Path, data: Path, raw: Path, steps: Sequence[str]) -> World:
    """Take a tiny app that was trained and scored as of `TODAY`, and run steps of the day after it."""
    world = World(root, TOMORROW, steps)
    shutil.copytree(raw, world.delivery("today"))
    events = pq.read_table(raw / "events.parquet")
    newest = events.filter(
        pc.greater_equal(events["occurred_at"], pa.scalar(at(str(YESTERDAY)), events["occurred_at"].type))
    )
    pq.write_table(pa.concat_tables([events, _moved(newest)]), world.delivery("today") / "events.parquet")
    world.places["before"] = root / "states" / "before" / "data"
    shutil.copytree(data, world.places["before"])
    world.states["before"] = state_of(world.places["before"], is_clean=True)
    return lived(world)


def lived(world: World) -> World:
    """Run the steps of a world's day."""
    before = "before"
    for step in world.steps:
        world.go_on(before, step, *world.words(step))
        before = step
    return world


def _beginning(world: World, profile: Path) -> Iterator[list[str]]:
    named = ["--profile", str(profile)]
    yield [*world.words("ingest", YESTERDAY, "yesterday"), *named]
    yield world.words("build-features", YESTERDAY)
    yield world.words("train-models", YESTERDAY)
    yield [*world.words("build-features", LONG_AGO), "--only-today"]
    yield world.words("score-users", LONG_AGO)  # whose outcome is known today
    yield world.words("score-users", YESTERDAY)


def deliver(world: World) -> Path:
    """Write the raw files of all deliveries, and the profile; returns its path."""
    app = tiny_app(world.root / "app")
    raw = Path(app.settings.ingest.raw)
    tables = {name: pq.read_table(raw / f"{name}.parquet") for name in ("events", "users", "treatments")}
    for name, events in _deliveries(tables["events"]).items():
        world.delivery(name).mkdir(parents=True, exist_ok=True)
        for table, rows in {**tables, "events": events}.items():
            pq.write_table(rows, world.delivery(name) / f"{table}.parquet")
    return write_profile(app, world)


def _deliveries(events: pa.Table) -> dict[str, pa.Table]:
    """Cut the events into deliveries: the newest days of two users in ten come late."""
    user, when = events["user_id"], events["occurred_at"]
    of_user = {number: pc.fill_null(pc.match_substring_regex(user, f"[{number}]$"), False) for number in LATE}
    is_recent, is_new = (
        pc.greater_equal(when, pa.scalar(at(str(day)), when.type)) for day in (TODAY - timedelta(days=2), YESTERDAY)
    )
    is_late = pc.and_(is_recent, pc.or_(*of_user.values()))
    punctual, new = events.filter(pc.invert(is_late)), events.filter(pc.and_(is_new, pc.invert(is_late)))
    return {
        "yesterday": events.filter(pc.invert(pc.or_(is_late, is_new))),
        "today": punctual,
        "tomorrow": pa.concat_tables([punctual, _moved(new)]),
        **{f"late {number}": events.filter(pc.and_(is_recent, own)) for number, own in of_user.items()},
    }


def _moved(events: pa.Table) -> pa.Table:
    """Let the same happen again a day later."""
    day = pa.scalar(timedelta(days=1), pa.duration("us"))
    place = events.column_names.index
    moved = events.set_column(place("event_id"), "event_id", pc.binary_join_element_wise(events["event_id"], "+", ""))
    for name in ("occurred_at", "received_at"):
        moved = moved.set_column(place(name), name, pc.add(events[name], day).cast(events[name].type))
    return moved


def write_profile(app: App, world: World) -> Path:
    """Write the app's settings as a profile, with a training that is fast."""
    values = tiny_overrides(world.root / "app")
    values["training"] |= {"trees": 5, "folds": 2}  # type: ignore[operator]
    lines = [f"{key} = {json.dumps(values[key])}" for key in ("app", "offers")] + ["threads = 1"]
    lines += ["[ingest]", f"source = {json.dumps(app.settings.ingest.source)}"]
    lines += [f"raw = {json.dumps(str(world.delivery('yesterday')))}"]
    for name in SECTIONS:
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values[name].items())]  # type: ignore[attr-defined]
    path = world.root / "tiny.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
