"""What a data folder holds, and what a try did to it: what is lost, doubled, partial or astray."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq

from features.storage.local_folder import LocalFolder

KINDS = ("lost", "double", "partial", "silent", "traceback", "strays")
NOTES = (
    "hashes.json",
    "fingerprints.json",
    "sessions.json",
    "ends_of_offers.json",
    "opt_outs.json",
)  # of sizes and times of files, which copies do not share
MANIFEST = "manifest.json"
DATABASE, PROMOTIONS, ARTIFACTS = "mlflow/mlflow.db", "mlflow/promotions.jsonl", "mlflow/artifacts/"
STORED = ("versions", "aliases", "runs", "models", "artifacts of no run", "promotions")
RUNS = re.compile(r"mlflow/artifacts/(models/)?([^/]+)/")
# what one command publishes appears together or not at all
TOGETHER = {
    "ingest": ("events/", "users/", "treatments/", "quarantine/", "time_zone.txt"),
    "train-models": ("training/day=",),
    "score-users": ("decisions/", "ledger/", "treatments/"),
    "measure-offers": ("measurements/",),
}
KEYS = {"events": "event_id", "treatments": "decision_id", "ledger": "decision_id", "users": "user_id"}
# what a killed run may leave until the next one clears it
UNPUBLISHED = re.compile(r"^(\.publish|tmp|spill-[^/]*|scoring|mlflow|checkpoint|feast|runs)/|\.part$|(^|/)\.[^/]*$")
DIGESTS: dict[tuple[int, int], str] = {}  # of files of clean states, by device and inode: copies share them


@dataclass(frozen=True)
class State:
    """Digests of the files of a data folder by name, and what stands in MLflow's store, times and ids left out."""

    files: dict[str, str]
    store: Mapping[str, Counter[str]]


def state_of(data: Path, *, is_clean: bool = False) -> State:
    """Look at a data folder; digests of a clean state are remembered for its copies."""
    files = {}
    paths = {path.relative_to(data).as_posix(): path for path in sorted(data.rglob("*")) if path.is_file()}
    store, known = _store(data / DATABASE)
    for name, path in paths.items():
        if found := RUNS.match(name):
            if found[2] not in known:
                store["artifacts of no run"][found[2]] += 1
        elif name == PROMOTIONS:
            store["promotions"].update(_promotions(path))
        elif name not in (".lock", DATABASE) and not (name.startswith("runs/") and name.endswith(".json")):
            files[name] = _digest(name, path, is_clean=is_clean)
    return State(files, {name: found for name, found in store.items() if found})


def _digest(name: str, path: Path, *, is_clean: bool) -> str:
    seen = path.stat()
    known = DIGESTS.get((seen.st_dev, seen.st_ino))
    if known is None or is_clean:
        known = hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
    if is_clean:
        DIGESTS[seen.st_dev, seen.st_ino] = known
    if name in NOTES or name.startswith("feast/"):
        return "derived"
    return _listed(path) if path.name == MANIFEST else known


def _listed(path: Path) -> str:
    """Read what a manifest lists, but for files that tell of times."""
    try:
        listed = json.loads(path.read_bytes())["files"]
    except (ValueError, KeyError, TypeError):
        return "damaged"
    return json.dumps({name: record for name, record in sorted(listed.items()) if name not in (*NOTES, PROMOTIONS)})


def written_in_place(data: Path) -> list[str]:
    """Name the files of a clean state that a try changed, which it shared with its copies by links."""
    paths = [path for path in sorted(data.rglob("*")) if path.is_file()]
    known = {path: DIGESTS.get((path.stat().st_dev, path.stat().st_ino)) for path in paths}
    return [
        path.relative_to(data).as_posix()
        for path, digest in known.items()
        if digest and digest != hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
    ]


def _promotions(path: Path) -> list[str]:
    try:
        told = [json.loads(line) for line in path.read_text().splitlines()]
        return [f"{each['subject']} {each['name']}: {each['reason']}" for each in told]
    except (ValueError, TypeError, KeyError):
        return ["damaged"]


def _store(path: Path) -> tuple[dict[str, Counter[str]], set[str]]:
    """Read versions, aliases, runs and models of MLflow's store, and the names of the folders that they own."""
    found = {name: Counter[str]() for name in STORED}
    if not path.exists():
        return found, set()
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
            ask = store.execute
            names = dict(ask("SELECT name || version, value FROM model_version_tags WHERE key = 'name'").fetchall())
            found["versions"].update(
                f"{name} {names.get(f'{name}{version}')} {state}"
                for name, version, state in ask("SELECT name, version, current_stage FROM model_versions").fetchall()
            )
            found["aliases"].update(
                f"{name} {alias} is {names.get(f'{name}{version}')}"
                for name, alias, version in ask("SELECT name, alias, version FROM registered_model_aliases").fetchall()
            )
            found["runs"].update(
                f"{name} {status}"
                for name, status in ask("SELECT name, status FROM runs WHERE lifecycle_stage = 'active'").fetchall()
            )
            models = ask("SELECT model_id, status FROM logged_models WHERE lifecycle_stage = 'active'").fetchall()
            found["models"].update(str(status) for _, status in models)
            runs = ask("SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active'").fetchall()
            return found, {run for (run,) in runs} | {model for model, _ in models}
    except sqlite3.Error as error:
        found["versions"][f"unreadable: {error}"] += 1
        return found, set()


def right_after(command: str, data: Path, before: State, after: State) -> list[str]:
    """Say what is partial when a command was broken off, as the next reader finds it."""
    LocalFolder(data).settle()
    found = state_of(data)
    names = {
        name for name in before.files.keys() | after.files.keys() if before.files.get(name) != after.files.get(name)
    }
    told = []
    for name in sorted(found.files.keys() | names):
        held = found.files.get(name)
        if held in (before.files.get(name), after.files.get(name)) or (held and UNPUBLISHED.search(name)):
            continue
        if name.endswith(MANIFEST) and held not in (None, "damaged"):
            continue  # one that grows with every publish of a command; `verify` holds it against its files
        told.append(f"partial: {name} is neither as before nor as after")
    together = [name for name in names if name.startswith(TOGETHER.get(command, ("?",)))]
    is_new = {name: found.files.get(name) == after.files.get(name) for name in together}
    if len({*is_new.values()}) > 1:
        first = {state: min(name for name, new in is_new.items() if new is state) for state in (True, False)}
        told.append(f"partial: {first[True]} is there and {first[False]} is not")
    for name, held in found.store.get("aliases", Counter()).items():
        if not (before.store["aliases"][name] or after.store["aliases"][name]):
            told.append(f"partial: {name} ({held}) is neither as before nor as after")
    return told


def at_the_end(data: Path, *wanted: State) -> list[str]:
    """Say how a data folder differs from a clean one; of several that would be right, from the nearest."""
    found = state_of(data)
    return min((_differences(data, found, each) for each in wanted), key=len)


def _differences(data: Path, found: State, wanted: State) -> list[str]:
    told = [f"lost: {name}" for name in sorted(wanted.files.keys() - found.files.keys())]
    told += [f"strays: {name}" for name in sorted(found.files.keys() - wanted.files.keys())]
    for name in sorted(found.files.keys() & wanted.files.keys()):
        if found.files[name] != wanted.files[name]:
            told.append(f"{'double' if _is_doubled(name, data / name) else 'other bytes'}: {name}")
    for what in sorted(found.store.keys() | wanted.store.keys()):
        held, meant = (state.store.get(what, Counter[str]()) for state in (found, wanted))
        told += [f"lost: {what} of MLflow, {name}" for name in sorted(meant - held)]
        more = "double" if what == "versions" else "strays"
        told += [f"{more}: {what} of MLflow, {name}" for name in sorted(held - meant)]
    return told


def _is_doubled(name: str, path: Path) -> bool:
    key = KEYS.get(name.partition("/")[0])
    if key is None or path.suffix != ".parquet":
        return False
    try:
        keys = pq.ParquetFile(path).read(columns=[key])[key].to_pylist()
    except (OSError, ValueError, KeyError):
        return False
    return len(set(keys)) < len(keys)


def is_stood_in(data: Path, day: date, said: str) -> bool:
    """Whether something else than a champion decided a day, and both its run and every decision of it say so."""
    decisions = pq.ParquetFile(data / f"decisions/day={day}/decisions.parquet").read(columns=["fallback"])
    told, words = set(decisions["fallback"].to_pylist()), " ".join(said.split())
    if len(told) != 1 or not (fallback := told.pop()):
        return False
    subjects = [each.partition(":")[0] for each in fallback.split(", ")]
    return all(f"{each} is predicted by" in words or f"nothing is predicted of {each}" in words for each in subjects)


def said_badly(code: int, said: str, expected: Iterable[int] = (0, 2, 3)) -> list[str]:
    """Say what is wrong in how a command ended: a traceback, a code that promises nothing, or no sentence."""
    lines = said.strip().splitlines()
    last = lines[-1][:300] if lines else "nothing was said"
    if "Traceback" in said:
        return [f"traceback: {last}"]
    return [] if code in expected else [f"traceback: exit code {code}, {last}"]
