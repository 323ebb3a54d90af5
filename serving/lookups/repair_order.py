"""The order in which damaged files are repaired: files from backups first, then events, then what derives from them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby

from features.publishing.manifest import MANIFEST

BACKUP = "restore from a backup; no step can write it again"
SOURCE = "restore from a backup; where the raw files still hold its rows, instead"
SHOWN = 3  # files that a line names
DAY = re.compile(r"(?:day=|reports/)(\d{4}-\d{2}-\d{2})")
Files = tuple[str, ...]


@dataclass(frozen=True)
class Repair:
    """One thing to do: what it is, for which files, named relative to the data folder, and commands to type for it."""

    what: str
    files: Files
    commands: Files


@dataclass(frozen=True)
class Step:
    """What is done about the files of some folders: `commands` writes the words of winback for them."""

    what: str
    folders: frozenset[str]
    commands: Callable[[Files], Iterator[str]]
    leave: str = ""  # rm or mv: what is done with the damaged file before


def repair_order(names: Iterable[str], root: str, data_dir: str | None = None) -> list[Repair]:
    """Put what is to be done about damaged or missing files in the order in which it must be done.

    Parameters
    ----------
    names
        Files relative to the data folder; what is not a file of ours, such as a model, counts as written by nobody.
    root
        Path of the data folder, for commands that move or remove files.
    data_dir
        What the operator named as ``--data-dir``, for winback's commands.

    Examples
    --------
    >>> wrong = ["reports/2024-07-01.html", "snapshots/day=2024-07-01/snapshots.parquet", "ledger/a.parquet"]
    >>> for repair in repair_order(wrong, "data"):
    ...     print(repair.files[0], *repair.commands, sep=" | ")
    ledger/a.parquet
    snapshots/day=2024-07-01/snapshots.parquet | rm -f data/snapshots/day=2024-07-01/snapshots.parquet | winback \
build-features | winback build-features --as-of 2024-07-01 --only-today
    reports/2024-07-01.html | rm -f data/reports/2024-07-01.html | winback report --as-of 2024-07-01
    """
    by_step: dict[int, list[str]] = {}
    for name in sorted(set(names)):
        by_step.setdefault(_step_of(name), []).append(name)
    there = f" --data-dir {shlex.quote(data_dir)}" if data_dir else ""
    return [
        Repair(STEPS[number].what, tuple(files), tuple(_typed(STEPS[number], tuple(files), root, there)))
        for number, files in sorted(by_step.items())
    ]


def repair_lines(repairs: Sequence[Repair], data_dir: str | None = None) -> Iterator[str]:
    """Say it to people; nothing where nothing is to be done."""
    if not repairs:
        return
    yield "to mend, in this order:"
    for number, repair in enumerate(repairs, start=1):
        more = f" and {len(repair.files) - SHOWN:,} more (--json names all)" if len(repair.files) > SHOWN else ""
        yield f"{number}. {', '.join(repair.files[:SHOWN])}{more}: {repair.what}"
        yield from (f"     {command}" for command in repair.commands)
    there = f" --data-dir {shlex.quote(data_dir)}" if data_dir else ""
    yield f"{len(repairs) + 1}. look again:"
    yield f"     winback verify{there}"


def _step_of(name: str) -> int:
    kind = MANIFEST if name.rpartition("/")[2] == MANIFEST else name.partition("/")[0]
    return next((number for number, step in enumerate(STEPS) if kind in step.folders), 1)


def _typed(step: Step, files: Files, root: str, there: str) -> Iterator[str]:
    paths = [shlex.quote(f"{root}/{name}") for name in files]
    if step.leave == "rm":
        yield f"rm -f {' '.join(paths)}"
    elif step.leave == "mv":
        yield from (f"mv {path} {shlex.quote(_aside(root, name))}" for path, name in zip(paths, files, strict=True))
    yield from (f"winback {words}{there}" for words in step.commands(files))


def _aside(root: str, name: str) -> str:
    """Name a place beside the data folder, where nothing looks for files."""
    return f"{root}.damaged.{name.replace('/', '.')}"


def _days(files: Files) -> list[str]:
    return sorted({found[1] for name in files if (found := DAY.search(name))})


def _each_day(command: str) -> Callable[[Files], Iterator[str]]:
    return lambda files: iter([f"{command} --as-of {day}" for day in _days(files)] or [command])


def _accepted(files: Files) -> Iterator[str]:
    return (f"verify --accept {name}" for name in files)


def _replaced(files: Files) -> Iterator[str]:
    """Write the days of events anew, those that follow each other together."""
    numbered = enumerate(date.fromisoformat(day) for day in _days(files))
    for _, run in groupby(numbered, key=lambda each: each[1] - timedelta(days=each[0])):
        days = [day for _, day in run]
        yield f"ingest --replace --from {days[0]} --to {days[-1]}"


def _ingested(files: Files) -> Iterator[str]:
    yield from (f"verify --accept {folder}" for folder in sorted({name.partition("/")[0] for name in files}))
    yield "ingest"


def _built(files: Files) -> Iterator[str]:
    yield "build-features"
    own = tuple(name for name in files if name.startswith("snapshots/"))
    yield from (f"build-features --as-of {day} --only-today" for day in _days(own))


def _nothing(_: Files) -> Iterator[str]:
    return iter(())


def _folders(*names: str) -> frozenset[str]:
    return frozenset(names)


STEPS = (
    Step("restore from a backup; without one, take the files that it lists as they are", _folders(MANIFEST), _accepted),
    Step(BACKUP, _folders("ledger", "treatments", "mlflow"), _nothing),
    Step("write the profile's time zone into it, then", _folders("time_zone.txt"), _accepted),
    Step("kept anew by the next ingest, which names the profile",
         _folders("profile.json", "profile"), lambda _: iter(["ingest --profile YOUR_PROFILE"]), "rm"),
    Step(SOURCE, _folders("events"), _replaced, "mv"),
    Step(SOURCE, _folders("users", "aliases", "quarantine"), _ingested, "mv"),
    Step("written again", _folders("offers.toml"), lambda _: iter(["ingest"]), "rm"),
    Step("computed again", _folders("aggregates", "category_hour_counts", "snapshots", "checkpoint", "hashes.json",
                                    "fingerprints.json", "sessions.json"), _built, "rm"),
    Step("learnt again", _folders("training", "personas", "tastes"), _each_day("train-models"), "rm"),
    Step("trained again", _folders("models"), lambda _: iter(["train-models"])),
    Step("decided again, the same as long as nothing that it rests on has changed; else restore from a backup",
         _folders("decisions", "segments", "audit"), _each_day("score-users"), "mv"),
    Step("written again", _folders("reports", "cubes"), _each_day("report"), "rm"),
    Step("written again", _folders("send_lists"), _each_day("send-list"), "rm"),
    Step("measured again", _folders("measurements"), _each_day("measure-offers"), "rm"),
    Step("simulate the app again in an empty folder", _folders("truth", "closed_loop"), _nothing),
    Step("written again by the next score-users", _folders("ends_of_offers.json"), _accepted, "rm"),
    Step("nothing rests on it", _folders("runs", "scoring"), _nothing, "rm"),
)  # fmt: skip
