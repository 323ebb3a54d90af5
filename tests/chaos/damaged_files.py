"""Stored files of a day that is over are damaged, each kind in each way, and all that read them are asked."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from chaos.children import run
from chaos.damage import damaged, kinds_of_files
from chaos.examination import at_the_end, is_stood_in, said_badly
from chaos.verdicts import Verdict
from chaos.world import STEPS, World
from features.storage.lake import Lake
from serving.lookups.data_verification import verify

SETTLED = "settled"
READERS = ("status", "report", "measure-offers", "build-features", "score-users")  # the quickest first
REGISTERED = " of MLflow, "  # a training registers anew what it finds damaged, which `verify` tells


def damaged_file(kind: str, way: str, world: World, place: Path) -> Verdict:
    """Damage one stored file; whoever reads it says so or makes it anew, the same, and ``verify`` knows of the rest.

    Where somebody says so, what ``verify`` then lists mends it, typed as it stands. Who reads a file is known from the
    clean day. The first who ends with a sentence ends the try, but for a flipped bit, about which all are asked.
    """
    name = max(kinds_of_files(world.data(SETTLED))[kind], key=lambda each: (len(_readers(world, each)), each))
    commands = _asked(world, name, way)
    data = world.try_on(SETTLED, place)
    content = damaged(data, name, way)
    verdict = Verdict("stored file damaged", f"{kind} {way}")
    for step in commands:
        ended = run(*_of_reader(world, step), data=data)
        verdict.findings += [f"{each} ({step})" for each in said_badly(ended.code, ended.said)]
        verdict.is_told |= ended.code == 2
        verdict.has_stand_in |= step == "score-users" and is_stood_in(data, world.today, ended.said)
        if verdict.is_told and way != "flipped":
            break
    if verdict.is_told:
        verdict.findings += _unmended(world, data, name)
        return verdict
    if verdict.has_stand_in:
        return _verified(verdict, data)
    wanted = world.states[f"{SETTLED} train-models" if "train-models" in commands else SETTLED]
    differing = [each for each in at_the_end(data, wanted) if not each.endswith(f": {name}")]
    others = [each for each in differing if REGISTERED not in each]
    is_left = (data / name).exists() and (data / name).read_bytes() == content
    if others:
        verdict.findings.append(f"silent: {kind} {way} was read as it is, {others[0]}")
    elif is_left or differing:
        _verified(verdict, data)
    verdict.is_same = not (differing or is_left)
    return verdict


def _asked(world: World, name: str, way: str) -> list[str]:
    """Name the commands that are asked about a damaged file: an emptied one is seen by who looks at sizes only."""
    if way == "emptied":
        return list(READERS)
    readers = _readers(world, name)
    return readers if way != "cut" else [each for each in readers if each in READERS]  # a training sees it as they do


def _verified(verdict: Verdict, data: Path) -> Verdict:
    """Let ``verify`` look at what nobody ended at."""
    verdict.is_told = run("verify", data=data).code == 2
    verdict.findings += [] if verdict.is_told else [f"silent: {verdict.what} is noticed by nobody"]
    return verdict


def _unmended(world: World, data: Path, name: str) -> Iterator[str]:
    """Type the commands by which ``verify`` mends a file, or restore it where it asks for a backup; then look again.

    A champion that was damaged is looked at twice: a training takes its place, and then asks for a backup of it.
    """
    for repair in (each for _ in range(2) for each in verify(Lake(data), str(data)).repairs):
        if not repair.commands:
            (data / name).unlink(missing_ok=True)
            shutil.copy2(world.data(SETTLED) / name, data / name)
        for command in repair.commands:
            program, *words = shlex.split(command)
            if program == "winback":
                ended = run(*_of_world(world, words), data=data)
                yield from (f"{each} ({command})" for each in said_badly(ended.code, ended.said))
                if ended.code:
                    yield f"silent: what verify lists does not mend {name}: {command} ends with {ended.said[-300:]}"
                    return
            else:
                subprocess.run([program, *words], check=True)
    if faults := verify(Lake(data)).faults:
        yield f"silent: what verify lists does not mend {name}: {faults[0]}"


def _of_world(world: World, words: list[str]) -> list[str]:
    """Give the words of a command without its data folder, which is named anyway, with the profile's name and today."""
    there = words.index("--data-dir")
    asks_clock = words[0] in STEPS and "--as-of" not in words
    own_day = ["--as-of", str(world.today)] if asks_clock else []
    own = {"YOUR_PROFILE": str(world.root / "tiny.toml")}
    raw = ["--raw", str(world.delivery("today"))] if words[0] == "ingest" else []
    return [own.get(word, word) for word in [*words[:there], *words[there + 2 :]]] + raw + own_day


def read_again(world: World) -> None:
    """Run all that read a day once more, twice: the first time what the day itself left is taken in, then nothing is.

    Which files each command reads is seen the second time; a training comes after them.
    """
    before = world.steps[-1]
    for number, step in enumerate((*READERS, *READERS)):
        after = f"{'again' if number < len(READERS) else SETTLED} {step}"
        world.go_on(before, after, *_of_reader(world, step))
        before = after
    world.places[SETTLED], world.states[SETTLED] = world.places[before], world.states[before]
    if told := at_the_end(world.data(SETTLED), world.states[f"again {READERS[-1]}"]):
        raise RuntimeError(f"a day that is read again differs: {told[0]}")
    if "profile.json" not in world.read[f"{SETTLED} status"]:
        raise RuntimeError(f"the disk of {world.root} does not note when files are read; keep the app on another")
    world.go_on(SETTLED, f"{SETTLED} train-models", *world.words("train-models"))


def _of_reader(world: World, step: str) -> list[str]:
    return world.words(step) if step in STEPS else [step, "--as-of", str(world.today)]


def _readers(world: World, name: str) -> list[str]:
    """Name the commands that read a file, or write it anew, in their order."""
    return [step for step in (*READERS, "train-models") if name in world.read[f"{SETTLED} {step}"]]
