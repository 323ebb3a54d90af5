"""Verification of a data folder: which stored files are damaged, missing or unknown, and how to recover them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from configs.counted import counted
from configs.errors import InputError
from configs.progress import track
from features.publishing.manifest import MANIFEST
from features.publishing.recovery import recovery_hint
from features.publishing.sealed_json import unsealed
from features.storage.lake import Lake
from features.storage.sqlite_reads import one_state
from features.storage.storage_interface import Storage
from models.registry.artifact_digests import damage_of
from models.registry.database_note import DatabaseNote, is_damaged, stored_note
from models.registry.registry_state import RegisteredModel, registered_models
from serving.lookups.repair_order import Repair, repair_lines, repair_order

MLFLOW = "mlflow/mlflow.db"
RECORDS = "runs/*.json"


class Fault(NamedTuple):
    """A file, or a model of the registry as ``models/<subject>``, and what is wrong with it, in a sentence."""

    name: str
    said: str


@dataclass(frozen=True)
class Verification:
    """How many files of how many bytes were read, sentences about those that are not as they were written, and others.

    `unknown` names files that no manifest lists: older than manifests, or not winback's. `repairs` is what is to be
    done about the faults, in this order.
    """

    files: int
    size: int
    faults: tuple[str, ...]
    unknown: tuple[str, ...]
    repairs: tuple[Repair, ...] = ()
    data_dir: str | None = None

    @property
    def lines(self) -> Iterator[str]:
        """Say it to people."""
        verdict = counted(len(self.faults), "fault") if self.faults else "all as they were written"
        yield f"{counted(self.files, 'file')} of {self.size / 2**20:,.0f} MiB: {verdict}"
        yield from (f"damaged: {fault}" for fault in self.faults)
        yield from repair_lines(self.repairs, self.data_dir)
        if self.unknown:
            some = ", ".join(self.unknown[:3]) + (", …" if len(self.unknown) > 3 else "")
            yield (
                f"{counted(len(self.unknown), 'file is', 'files are')} not known to winback, which cannot tell whether "
                f"all is whole ({some}); winback verify --accept NAME lists a file, or all of a folder, as it is now"
            )


def verify(lake: Lake, data_dir: str | None = None) -> Verification:
    """Read all files of a data folder that winback wrote; writes nothing, and waits for nobody who writes.

    `data_dir` is what the operator named, for the commands that mend what is wrong.
    """
    files = lake.files
    listed, of_manifests = files.listed()
    with ThreadPoolExecutor(2) as pool:
        checked = pool.map(partial(_fault, files), listed)
        found = [fault for fault in track(checked, "files", total=len(listed)) if fault]
    faults = [*_of_manifests(lake, of_manifests), *found, *_faults_of_registry(lake), *damaged_records(lake)]
    repairs = repair_order([fault.name for fault in faults], str(lake.root), data_dir)
    said, size = tuple(fault.said for fault in faults), sum(each.size for each in listed.values())
    return Verification(len(listed), size, said, tuple(files.unlisted()), tuple(repairs), data_dir)


def suspicion(lake: Lake) -> list[str]:
    """Say without reading them how many files are gone or have another size than they were written with."""
    found = lake.files.suspects()
    if not found:
        return []
    some = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
    gone = counted(len(found), "file is", "files are")
    return [f"{gone} missing or cut ({some}); winback verify says how to get them back"]


def damaged_records(lake: Lake) -> Iterator[Fault]:
    """Look at the records of runs, each of which holds its own digest; nothing rests on them."""
    for name in lake.files.list(RECORDS):
        try:
            unsealed(name, lake.files.read(name))
        except FileNotFoundError:  # the oldest goes when a run begins
            continue
        except (ValueError, TypeError):
            yield Fault(name, f"{lake.path(name)} is damaged: it is no record of a run; {recovery_hint(name)}")


def _of_manifests(lake: Lake, faults: Sequence[str]) -> Iterator[Fault]:
    """Name the manifest that each sentence is about, which begins with its path."""
    for said in faults:
        name = said.removeprefix(f"{lake.root}/").partition(MANIFEST)[0] + MANIFEST
        yield Fault(name, said)


def _fault(files: Storage, name: str) -> Fault | None:
    """Say what is wrong with a file; one that was published anew meanwhile is looked at again."""
    try:
        files.check(name)
    except InputError:
        try:
            files.of_one_publish(partial(files.check, name))
        except InputError as error:
            return Fault(name, str(error))
    return None


def _faults_of_others(lake: Lake, models: list[RegisteredModel]) -> Iterator[Fault]:
    """Look at the versions that are not champion, which may become it again."""
    for model in models:
        for number, version in model.versions.items():
            if number != model.number and (damage := damage_of(lake, version)):
                yield Fault(
                    f"{version.model or MLFLOW}",
                    f"{version.name} (version {number} of {model.subject}) cannot become champion any more: {damage}; "
                    "no decision rests on it, but a rollback might: restore its files from a backup",
                )


def _noted(lake: Lake) -> DatabaseNote | None:
    """Read what the newest run noted of MLflow's database."""
    for name in reversed(lake.files.list(RECORDS)):
        with suppress(ValueError, TypeError, FileNotFoundError):
            if noted := stored_note(unsealed(name, lake.files.read(name))):
                return noted
    return None


def _faults_of_registry(lake: Lake) -> list[Fault]:
    """Look at MLflow's database and at all versions of models, whose artifacts have digests of their own."""
    if not lake.files.exists(MLFLOW):
        return []
    backup = "restore it from a backup, as no step can write it again"
    try:
        with one_state(lake.path(MLFLOW)) as database:
            (found,) = database.execute("PRAGMA integrity_check(1)").fetchone()
        if found == "ok" and is_damaged(lake, _noted(lake)):
            found = "it is not what the last run left, and nobody has written to it since"
        if found != "ok":
            return [Fault(MLFLOW, f"{lake.path(MLFLOW)} is damaged ({found}); {backup}")]
        models = registered_models(lake)
        champions = [Fault(f"models/{model.subject}", model.fault) for model in models if model.fault]
        return [*champions, *_faults_of_others(lake, models)]
    except sqlite3.DatabaseError as error:
        return [Fault(MLFLOW, f"{lake.path(MLFLOW)} is damaged ({error}); {backup}")]
    except InputError as error:
        return [Fault(MLFLOW, str(error))]
