"""Champions: set by the gate, or by a person, whose choice stays pinned until it is unpinned."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime

from configs.errors import InputError
from features.storage.lake import Lake
from models.champion_gate.promotion_log import GATE, Promotion, log_promotion, promotion_log
from models.registry.artifact_digests import UnreadableModelError, damage_of
from models.registry.registry_state import (
    CHALLENGER,
    CHAMPION,
    CHOSEN_BY_PEOPLE,
    PIN,
    WITHHELD,
    Pin,
    registered_model,
)
from models.registry.response import EFFECT_SUBJECTS, propensity_subject
from models.registry.tracking import connect, registered_name


def promote(
    lake: Lake, subject: str, version: int, reason: str, *, by: str = GATE, is_pinned: bool = False,
    at: datetime | None = None, challenger: int | None = None,
) -> bool:  # fmt: skip
    """Make a version champion and write the promotion log; returns False where it is champion already.

    The former champion becomes the challenger, unless another version is. Each alias moves once, so that a run that is
    killed between them leaves each as it was or as it becomes. A pinned champion stays until it is unpinned.
    """
    client, name = connect(lake), registered_name(subject)
    since = (at or datetime.now(UTC)).isoformat(timespec="seconds")
    found = registered_model(lake, subject)
    if found.withheld:
        client.delete_registered_model_tag(name, WITHHELD)
    if is_pinned:
        client.set_registered_model_tag(name, PIN, json.dumps(asdict(Pin(version, by, since, reason))))
    if challenger is None and found.number != version:
        challenger = found.number
    if challenger is not None:
        client.set_registered_model_alias(name, CHALLENGER, str(challenger))
    if found.number == version:
        return False
    client.set_registered_model_alias(name, CHAMPION, str(version))
    log_promotion(lake, Promotion(subject, version, found.versions[version].name, since, reason, by))
    return True


def name_version(lake: Lake, subject: str, alias: str, version: int) -> None:
    """Let a version bear an alias, such as that of the challenger."""
    connect(lake).set_registered_model_alias(registered_name(subject), alias, str(version))


def withhold(lake: Lake, subject: str, reason: str) -> None:
    """Note that the gate promotes no version of a model, so that decisions do without one; a champion is taken down."""
    client, name, found = connect(lake), registered_name(subject), registered_model(lake, subject)
    client.set_registered_model_tag(name, WITHHELD, reason)
    if found.number is not None:
        client.set_registered_model_alias(name, CHALLENGER, str(found.number))
        client.delete_registered_model_alias(name, CHAMPION)


def unpin(lake: Lake, subject: str) -> Pin:
    """Let the gate choose the champion again; returns what was pinned.

    Raises
    ------
    InputError
        Nothing is pinned.
    """
    pin = registered_model(lake, subject).pin
    if pin is None:
        raise InputError(f"the {subject} model is not pinned; the gate chooses its champion already")
    connect(lake).delete_registered_model_tag(registered_name(subject), PIN)
    return pin


def choose(lake: Lake, subject: str, version: int, reason: str, *, by: str) -> Promotion:
    """Make a version champion because a person says so, and pin it.

    Raises
    ------
    InputError
        There is no such version, or its files are gone or changed.
    """
    found = registered_model(lake, subject)
    if version not in found.versions:
        known = ", ".join(f"{number} ({each.name})" for number, each in found.versions.items())
        raise InputError(f"the {subject} model has no version {version}; known are: {known or 'none'}")
    if damage := damage_of(lake, found.versions[version]):
        whole = [number for number, each in found.versions.items() if not damage_of(lake, each)]
        or_train = f"choose another (whole are: {', '.join(map(str, whole)) or 'none'}) or run winback train-models"
        raise UnreadableModelError(f"version {version} of the {subject} model cannot be read: {damage}; {or_train}")
    promote(lake, subject, version, reason, by=by, is_pinned=True)
    pin = registered_model(lake, subject).pin
    since = pin.since if pin is not None else ""
    return Promotion(subject, version, found.versions[version].name, since, reason, by)


def rollback(lake: Lake, subject: str, reason: str, *, by: str) -> Promotion:
    """Make the champion before the present one champion again, and pin it.

    Raises
    ------
    InputError
        There was none.
    """
    found = registered_model(lake, subject)
    names = {number: each.name for number, each in found.versions.items()}  # numbers begin again in a new registry
    log = [entry for entry in promotion_log(lake) if entry.subject == subject]
    past = [entry.version for entry in log if names.get(entry.version) == entry.name]
    present = found.number if found.number is not None else next(reversed(past), None)
    earlier = next((each for each in reversed(past) if each != present and each in found.versions), None)
    if earlier is None:
        raise InputError(f"the {subject} model has no earlier champion to return to; train and promote another first")
    return choose(lake, subject, earlier, reason, by=by)


def check_subject(subject: str) -> None:
    """Ask whether people may choose the champion of a model.

    Raises
    ------
    InputError
        There is no such model, or its champion follows from those of the others.
    """
    if subject in EFFECT_SUBJECTS.values() or subject.startswith(propensity_subject("")):
        raise InputError(
            f"the champion of {subject!r} follows from the newest training, which judges all policies on all "
            f"randomised treatments; people choose those of {', '.join(CHOSEN_BY_PEOPLE)}"
        )
    if subject not in CHOSEN_BY_PEOPLE:
        raise InputError(f"{subject!r} is no model; known are: {', '.join(CHOSEN_BY_PEOPLE)}")
