"""Reading of registered models, from the registry's tables and files, without importing MLflow."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import Any

from configs.errors import InputError, first_line
from features.storage.lake import Lake
from models.estimator_families.estimators import Estimator
from models.estimator_families.model_families import described_estimator, family_named
from models.metrics.drift import Reference, read_reference
from models.registry.artifact_digests import (
    ESTIMATOR,
    StoredVersion,
    UnreadableModelError,
    damage_of,
    files_of,
    read_checked,
)
from models.registry.registry_state import AGAIN, CHAMPION, ModelState, registered_model
from models.registry.stored_cores import read_core


@dataclass(frozen=True)
class ModelLineage:
    """What a run of one candidate was made from, and what it is called in decisions."""

    subject: str
    candidate: str
    as_of: date
    data_from: date
    data_to: date
    fingerprint: str

    @property
    def name(self) -> str:
        """Name that decisions carry: it depends on the data and the settings, not on how often they were run."""
        return f"{self.subject}-{self.candidate}-{self.fingerprint[:8]}"


@dataclass(frozen=True)
class Registered:
    """A model read back from the registry.

    Where the newest training did not replace a champion, its notes are that training's, and `notes_of` names the model
    that they were written with; a pinned champion keeps its own. `reference` is the population that it was taught on,
    None where none was kept.
    """

    estimator: Estimator
    version: int
    lineage: ModelLineage
    notes: dict[str, Any]
    notes_of: str = ""
    reference: Reference | None = None


def load_if_any(lake: Lake, subject: str) -> Registered | None:
    """Read the champion of a model that decisions can do without.

    Returns
    -------
    None where the model was never trained, or the gate promoted none; nothing else may mean *none*.

    Raises
    ------
    InputError
        There should be a champion, but it is gone or cannot be read.
    """
    return None if registered_model(lake, subject).is_none else load(lake, subject)


def load(lake: Lake, subject: str, alias: str = CHAMPION) -> Registered:
    """Read a model back by its alias.

    Raises
    ------
    UnreadableModelError
        It is registered and cannot be read.
    InputError
        It was never trained, was not promoted, or another version of winback registered it.
    """
    found = registered_model(lake, subject, alias)
    if found.state == ModelState.UNREADABLE:
        raise UnreadableModelError(found.fault)
    if found.fault or found.number is None:
        raise InputError(found.fault)
    read = _read(lake, subject, found.number, found.versions[found.number])
    is_newest = found.newest is None or found.newest == found.number
    if is_newest or alias != CHAMPION or found.pin is not None or found.newest not in found.versions:
        return read
    newest = found.versions[found.newest]
    if damage := damage_of(lake, newest):
        words = f"what was learnt beside the {subject} model, {newest.name}, cannot be read: {damage}; {AGAIN}"
        raise UnreadableModelError(words)
    return replace(read, notes=_described(lake, newest)["notes"], notes_of=newest.name)


def load_version(lake: Lake, subject: str, number: int) -> Registered:
    """Read one version of a model back.

    Raises
    ------
    UnreadableModelError
        It cannot be read.
    """
    return _read(lake, subject, number, registered_model(lake, subject).versions[number])


def read_folds(lake: Lake, version: StoredVersion) -> dict[int, Estimator]:
    """Read the models of a version's cross-fit back, by the fold that each did not see; empty where there are none.

    Raises
    ------
    UnreadableModelError
        One of them cannot be read.
    """
    names = files_of(lake, version.model or "", version.run or "")
    folds = [name.split("/")[1] for name in names if name.startswith("folds/") and name.endswith(f"/{ESTIMATOR}")]
    try:
        return {int(fold): _estimator(lake, version, f"folds/{fold}/") for fold in folds}
    except Exception as error:
        raise UnreadableModelError(f"a model of its cross-fit cannot be read ({_words(error)})") from error


def _read(lake: Lake, subject: str, number: int, version: StoredVersion) -> Registered:
    try:
        described = _described(lake, version)
        origin = described["lineage"]
        dates = {name: date.fromisoformat(origin[name]) for name in ("as_of", "data_from", "data_to")}
        return Registered(
            _estimator(lake, version),
            number,
            ModelLineage(**{**origin, **dates}),
            dict(described["notes"]),
            reference=read_reference(described.get("reference")),
        )
    except Exception as error:  # whatever a description without a digest may hold
        raise UnreadableModelError(
            f"version {number} of the {subject} model in {lake.root} cannot be read ({_words(error)}); {AGAIN}"
        ) from error


def _estimator(lake: Lake, version: StoredVersion, folder: str = "") -> Estimator:
    described = _described(lake, version, folder)
    core = read_core(
        partial(_read_of_core, lake, version, folder), family_named(described["family"]), len(described["columns"])
    )
    return described_estimator(described, core)


def _read_of_core(lake: Lake, version: StoredVersion, folder: str, name: str) -> bytes:
    return read_checked(lake, version, f"{folder}model/{name}")


def _described(lake: Lake, version: StoredVersion, folder: str = "") -> dict[str, Any]:
    described: dict[str, Any] = json.loads(read_checked(lake, version, f"{folder}{ESTIMATOR}"))
    return described


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {first_line(error)}"
