"""Answers about configuration and stored files: columns, settings, faults; nothing is run."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from configs.counted import counted
from configs.errors import InputError
from configs.settings import load_settings
from features.storage.lake import Lake
from flows.runs.kept_profile import changed_settings
from flows.runs.opened_run import open_run, reads_one_publish

if TYPE_CHECKING:
    from serving.lookups.configuration_check import ConfigurationCheck


@reads_one_publish
def feature_catalogue(profile: str | None, data_dir: str | None) -> tuple[str, list[dict[str, str]]]:
    """List the columns of a snapshot; traits appear once users were ingested."""
    from serving.lookups.column_catalogue import catalogue_lines, catalogue_rows, column_catalogue

    settings, lake, _ = open_run(profile, data_dir, None)
    columns = column_catalogue(settings, lake)
    return "\n".join(catalogue_lines(columns)), catalogue_rows(columns)


@reads_one_publish
def describe_settings(profile: str | None, data_dir: str | None) -> tuple[str, dict[str, object]]:
    """List every setting with its value and meaning."""
    from serving.lookups.settings_list import setting_lines, shown_settings

    settings, _, _ = open_run(profile, data_dir, None)
    return "\n".join(setting_lines(settings)), shown_settings(settings)


@reads_one_publish
def check(profile: str | None, data_dir: str | None, as_of: date | None = None) -> tuple[str, dict[str, object], bool]:
    """Say what is wrong with the configuration, and what is missing; the last says whether it can work."""
    from serving.lookups.configuration_check import ConfigurationCheck, check_configuration

    name, day = profile or "defaults", as_of
    try:
        settings, lake, day = open_run(profile, data_dir, as_of)
        name, is_default = settings.profile, as_of is None and settings.as_of is None
        found = check_configuration(settings, lake, datetime.now(UTC), day, is_default=is_default)
        found = replace(found, notes=(*changed_settings(lake, settings), *found.notes))
    except InputError as error:
        found = ConfigurationCheck((str(error),), ())
    facts: dict[str, object] = {
        "command": "check",
        "profile": name,
        "as_of": day,
        "faults": list(found.faults),
        "notes": list(found.notes),
        "history": asdict(found.history) if found.history else None,
    }
    return _check_page(name, found), facts, not found.faults


def _check_page(profile: str, findings: ConfigurationCheck) -> str:
    verdict = "can work" if findings.history else "can work, as far as can be told without events"
    lines = [f"profile {profile!r} {'cannot work' if findings.faults else verdict}"]
    if findings.history:
        seen = findings.history
        lines.append(
            f"{counted(seen.events, 'event')} of {counted(seen.users, 'user')} from {seen.first} to {seen.last}"
        )
    return "\n".join(
        [*lines, *(f"wrong: {each}" for each in findings.faults), *(f"note: {each}" for each in findings.notes)]
    )


def verify(accept: str | None, profile: str | None, data_dir: str | None) -> tuple[str, dict[str, object], bool]:
    """Compare every stored file with what was written; `accept` is one to take as it is. The last: nothing is wrong."""
    from serving.lookups.data_verification import verify as verify_files

    lake = Lake(load_settings(profile, Path(data_dir) if data_dir else None).data_dir)
    accepted = lake.files.accept(accept) if accept is not None else []
    found = verify_files(lake, data_dir)
    facts = {"command": "verify", **asdict(found), "accepted": list(accepted)}
    said = (
        [f"{counted(len(accepted), 'file is taken as it is', 'files are taken as they are')}"]
        if accept is not None
        else []
    )
    return "\n".join([*said, *found.lines]), facts, not found.faults
