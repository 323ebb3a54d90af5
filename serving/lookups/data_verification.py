"""Every stored file read and compared with what was written: what is damaged, missing or unknown, and the way back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from configs.errors import InputError
from configs.progress import track
from features.storage.lake import Lake
from features.storage.storage_interface import Storage
from models.registry.artifact_digests import damage_of
from models.registry.registry_state import RegisteredModel, registered_models

MLFLOW = "mlflow/mlflow.db"


@dataclass(frozen=True)
class Verification:
    """How many files of how many bytes were read, sentences about those that are not as they were written, and others.

    `unknown` names files that no manifest lists: older than manifests, or not winback's.
    """

    files: int
    size: int
    faults: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def lines(self) -> Iterator[str]:
        """Say it to people."""
        verdict = f"{len(self.faults):,} faults" if self.faults else "all as they were written"
        yield f"{self.files:,} files of {self.size / 2**20:,.0f} MiB: {verdict}"
        yield from (f"damaged: {fault}" for fault in self.faults)
        if self.unknown:
            some = ", ".join(self.unknown[:3]) + (", …" if len(self.unknown) > 3 else "")
            yield (
                f"{len(self.unknown):,} files are not known to winback, which cannot tell whether they are whole "
                f"({some}); winback verify --accept NAME lists a file, or all of a folder, as it is now"
            )


def verify(lake: Lake) -> Verification:
    """Read all files of a data folder that winback wrote; writes nothing, and waits for nobody who writes."""
    files = lake.files
    listed, faults = files.listed()
    with ThreadPoolExecutor(2) as pool:
        checked = pool.map(partial(_fault, files), listed)
        found = [fault for fault in track(checked, "files", total=len(listed)) if fault]
    faults = [*faults, *found, *_faults_of_registry(lake)]
    return Verification(len(listed), sum(each.size for each in listed.values()), tuple(faults), tuple(files.unlisted()))


def suspicion(lake: Lake) -> list[str]:
    """Say without reading them how many files are gone or have another size than they were written with."""
    found = lake.files.suspects()
    if not found:
        return []
    some = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
    return [f"{len(found):,} files are missing or cut ({some}); winback verify says how to get them back"]


def _fault(files: Storage, name: str) -> str:
    """Say what is wrong with a file; one that was published anew meanwhile is looked at again."""
    try:
        files.check(name)
    except InputError:
        try:
            files.of_one_publish(partial(files.check, name))
        except InputError as error:
            return str(error)
    return ""


def _faults_of_others(lake: Lake, models: list[RegisteredModel]) -> Iterator[str]:
    """Look at the versions that are not champion, which may become it again."""
    for model in models:
        for number, version in model.versions.items():
            if number != model.number and (damage := damage_of(lake, version)):
                yield (
                    f"{version.name} (version {number} of {model.subject}) cannot become champion any more: {damage}; "
                    "no decision rests on it, but a rollback might: restore its files from a backup"
                )


def _faults_of_registry(lake: Lake) -> list[str]:
    """Look at MLflow's database and at all versions of models, whose artifacts have digests of their own."""
    if not lake.files.exists(MLFLOW):
        return []
    backup = "restore it from a backup, as no step can write it again"
    try:
        with closing(sqlite3.connect(f"{lake.path(MLFLOW).absolute().as_uri()}?mode=ro", uri=True)) as database:
            (found,) = database.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            return [f"{lake.path(MLFLOW)} is damaged ({found}); {backup}"]
        models = registered_models(lake)
        return [*(model.fault for model in models if model.fault), *_faults_of_others(lake, models)]
    except sqlite3.DatabaseError as error:
        return [f"{lake.path(MLFLOW)} is damaged ({error}); {backup}"]
    except InputError as error:
        return [str(error)]
