"""Manual choice of a champion against the gate; the choice stays pinned until it is unpinned."""

from __future__ import annotations

import getpass
import os

from flows.runs.opened_run import open_run
from flows.runs.run_records import recorded
from models.champion_gate import champions


def roll_back(subject: str, reason: str, profile: str | None, data_dir: str | None) -> tuple[str, dict[str, object]]:
    """Return to the champion before the present one, and pin it."""
    champions.check_subject(subject)
    _, lake, _ = open_run(profile, data_dir, None)
    with recorded(lake, "rollback"), lake.files.lock("winback rollback"):
        entry = champions.rollback(lake, subject, reason, by=_person())
    return f"{entry.name} (version {entry.version}) is champion of {subject} again{_pinned(subject)}", vars(entry)


def promote(
    subject: str, version: int, reason: str, profile: str | None, data_dir: str | None
) -> tuple[str, dict[str, object]]:
    """Make a version champion, and pin it."""
    champions.check_subject(subject)
    _, lake, _ = open_run(profile, data_dir, None)
    with recorded(lake, "promote"), lake.files.lock("winback promote"):
        entry = champions.choose(lake, subject, version, reason, by=_person())
    return f"{entry.name} (version {entry.version}) is champion of {subject}{_pinned(subject)}", vars(entry)


def unpin(subject: str, profile: str | None, data_dir: str | None) -> tuple[str, dict[str, object]]:
    """Let trainings choose a champion again."""
    champions.check_subject(subject)
    _, lake, _ = open_run(profile, data_dir, None)
    with recorded(lake, "unpin"), lake.files.lock("winback unpin"):
        pin = champions.unpin(lake, subject)
    return f"version {pin.version} of {subject} is unpinned: the next training may replace it", vars(pin)


def _pinned(subject: str) -> str:
    return f", and no training replaces it until winback unpin {subject}"


def _person() -> str:
    """Name the account that runs the command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as containers have
        return f"account {os.getuid()}"
