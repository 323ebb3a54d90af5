"""The state of the registry (champions, pins), read from its tables without MLflow, whose import takes seconds."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from configs.errors import InputError
from features.storage.lake import Lake
from features.storage.sqlite_reads import one_state
from features.stores.database import TRACKING, query
from models.registry.artifact_digests import StoredVersion, damage_of
from models.registry.movable_artifacts import FOLDER, SCHEME

DATABASE = "mlflow/mlflow.db"
PREFIX = "winback-"
CHAMPION, CHALLENGER, NEWEST = "champion", "challenger", "newest"  # the last is the winner of the newest training
FORMAT, PIN, WITHHELD = "format", "pin", "withheld"  # tags, beside that of `artifact_digests`
FOLDS, HONEST_FROM, PREDICTS = "folds", "honest_from", "predicts"  # tags of what judges a champion: `fold_models`
FORMAT_READ = "1"  # of what a version is read back from: another one is another shape
CHOSEN_BY_PEOPLE = ("churn", "churn_cause", "value", "redemption")  # models whose champion a person may choose
AGAIN = "run winback train-models"
TABLES = {
    "versions": "SELECT v.name, version, storage_location, artifact_uri FROM model_versions v "
    "LEFT JOIN runs ON run_uuid = run_id WHERE current_stage <> 'Deleted_Internal' ORDER BY v.name, version",
    "version_tags": "SELECT name, version, key, value FROM model_version_tags",
    "tags": "SELECT name, key, value FROM registered_model_tags",
    "aliases": "SELECT name, alias, version FROM registered_model_aliases",
}


class ModelState(StrEnum):
    """What the registry holds of one model; it can be used where it is ``ready``."""

    NEVER_TRAINED = "never trained"
    WITHHELD = "not promoted"
    NO_CHAMPION = "no champion"
    UNREADABLE = "unreadable"
    OTHER_VERSION = "of another version of winback"
    READY = "ready"


@dataclass(frozen=True)
class Pin:
    """A person's choice of champion, which no training changes until it is unpinned."""

    version: int
    by: str
    since: str
    reason: str

    def __str__(self) -> str:
        return f"pinned by {self.by} since {self.since}: {self.reason}"


@dataclass(frozen=True)
class RegisteredModel:
    """One model as the registry has it: its versions, the number that bears an alias, and its state.

    `newest` is the winner of the newest training. `fault` says why it cannot be used and what to do, and is empty where
    it can; `withheld` says why the gate promoted none.
    """

    subject: str
    state: ModelState
    fault: str = ""
    versions: dict[int, StoredVersion] = field(default_factory=dict)
    number: int | None = None
    pin: Pin | None = None
    withheld: str = ""
    newest: int | None = None

    @property
    def is_none(self) -> bool:
        """Whether there is no such model on purpose, so that decisions do without."""
        return self.state in (ModelState.NEVER_TRAINED, ModelState.WITHHELD)

    @property
    def named(self) -> StoredVersion | None:
        """The version that bears the alias."""
        return self.versions.get(self.number) if self.number is not None else None


def registered_model(lake: Lake, subject: str, alias: str = CHAMPION) -> RegisteredModel:
    """Look one model up.

    Raises
    ------
    InputError
        The registry's file is damaged.
    """
    return _judged(lake, subject, _registry(lake).get(subject, _Stored()), alias)


def registered_models(lake: Lake) -> list[RegisteredModel]:
    """Look every model up that was ever registered.

    Raises
    ------
    InputError
        The registry's file is damaged.
    """
    return [_judged(lake, subject, stored, CHAMPION) for subject, stored in _registry(lake).items()]


def check_store(lake: Lake) -> None:
    """Ask whether the registry's file can be read, if there is one.

    Raises
    ------
    InputError
        It cannot.
    """
    _registry(lake)


def place_of(uri: str) -> str | None:
    """Name the folder in the lake behind an address of ours; None for one of another scheme."""
    parts = urlsplit(uri)
    return f"{FOLDER}{parts.path}" if parts.scheme == SCHEME else None


@dataclass
class _Stored:
    """The rows about one model."""

    versions: dict[int, StoredVersion] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)


def _registry(lake: Lake) -> dict[str, _Stored]:
    """Read the registry, by subject; empty where there is none."""
    found: dict[str, _Stored] = {}
    has_promoted = (
        lake.stores.database or lake.files.exists(DATABASE) or lake.files.exists(f"{FOLDER}/promotions.jsonl")
    )
    rows = _rows(lake) if has_promoted else {name: [] for name in TABLES}

    def of(name: str) -> _Stored:
        return found.setdefault(name.removeprefix(PREFIX), _Stored())

    for name, number, model, run in rows["versions"]:
        of(name).versions[number] = StoredVersion(place_of(model or ""), place_of(run or ""))
    for name, number, key, value in rows["version_tags"]:
        if number in of(name).versions:
            of(name).versions[number].tags[key] = value
    for name, key, value in rows["tags"]:
        of(name).tags[key] = value
    for name, alias, number in rows["aliases"]:
        of(name).aliases[alias] = number
    return found


def _rows(lake: Lake) -> dict[str, list[tuple[Any, ...]]]:
    if lake.stores.database:
        return query(lake.stores, TABLES, TRACKING)
    path = lake.path(DATABASE)
    try:
        with one_state(path) as store:
            return {name: store.execute(query).fetchall() for name, query in TABLES.items()}
    except sqlite3.Error as error:
        why = error if lake.files.exists(DATABASE) else "it is gone"
        raise InputError(
            f"{path} cannot be read as MLflow's store ({why}); put a copy of it back, "
            f"or move the folder {path.parent} away and {AGAIN}"
        ) from error


def _judged(lake: Lake, subject: str, stored: _Stored, alias: str) -> RegisteredModel:
    number, withheld = stored.aliases.get(alias), stored.tags.get(WITHHELD, "")
    pin = _pin(lake, subject, stored.tags[PIN]) if PIN in stored.tags else None
    state, fault = _state(lake, subject, stored, alias)
    return RegisteredModel(
        subject, state, fault, stored.versions, number if number in stored.versions else None, pin, withheld,
        stored.aliases.get(NEWEST),
    )  # fmt: skip


def _pin(lake: Lake, subject: str, stored: str) -> Pin:
    try:
        return TypeAdapter(Pin).validate_json(stored)
    except ValidationError as error:
        raise InputError(
            f"the tag {PIN!r} of {PREFIX}{subject} in {lake.path(DATABASE)} is no pin of winback's; remove it on "
            "MLflow's pages and pin the champion again with winback promote"
        ) from error


def _state(lake: Lake, subject: str, stored: _Stored, alias: str) -> tuple[ModelState, str]:
    """Say what state a model is in, and in a sentence what to do about it."""
    number, count = stored.aliases.get(alias), len(stored.versions)
    chooses = subject in CHOSEN_BY_PEOPLE
    if not stored.versions:
        return ModelState.NEVER_TRAINED, f"{lake.root} holds no {subject} model; {AGAIN} first"
    if number not in stored.versions:
        if number is None and WITHHELD in stored.tags:
            return ModelState.WITHHELD, f"no {subject} model was promoted: {stored.tags[WITHHELD]}"
        gone = "its alias was removed" if number is None else f"version {number}, which was, was deleted"
        or_choose = f", or winback promote {subject} {max(stored.versions)} --reason ..." if chooses else ""
        return ModelState.NO_CHAMPION, (
            f"there is no {alias} of the {subject} model in {lake.root}, of which {count:,} versions are registered: "
            f"{gone} outside of winback; {AGAIN}{or_choose}"
        )
    version = stored.versions[number]
    what = f"the {alias} of the {subject} model in {lake.root}, {version.name} (version {number}),"
    kept = version.tags.get(FORMAT, FORMAT_READ)
    if kept != FORMAT_READ:
        return ModelState.OTHER_VERSION, f"{what} has format {kept}, and this winback reads {FORMAT_READ}; {AGAIN}"
    if damage := damage_of(lake, version):
        or_back = f", or winback rollback {subject} --reason ..." if chooses else ""
        return ModelState.UNREADABLE, f"{what} cannot be read: {damage}; {AGAIN}{or_back}"
    return ModelState.READY, ""
