"""The clock of a run, from the start of its command, for screen and record alike."""

from __future__ import annotations

from datetime import UTC, datetime

_moments: dict[str, datetime] = {}  # of this process: when the command began, when its run began and ended
COMMAND, BEGAN, ENDED = "command", "began", "ended"


def command_begins() -> None:
    """Remember when a command began; the run that it opens began then, too."""
    _moments.clear()
    _moments[COMMAND] = datetime.now(UTC)


def run_begins() -> datetime:
    """Say when the run that opens now began: with the command, where it is the command's first."""
    _moments[BEGAN] = _moments.pop(COMMAND) if COMMAND in _moments else datetime.now(UTC)
    _moments.pop(ENDED, None)
    return _moments[BEGAN]


def run_ends() -> datetime:
    """Say when the run that is open ends: now."""
    _moments[ENDED] = datetime.now(UTC)
    return _moments[ENDED]


def seconds_taken() -> float:
    """Seconds of the run that ended last, else since the command began.

    Examples
    --------
    >>> command_begins()
    >>> began = run_begins()
    >>> seconds_taken() >= 0, (run_ends() - began).total_seconds() == seconds_taken()
    (True, True)
    """
    began = _moments.get(BEGAN) or _moments.get(COMMAND) or datetime.now(UTC)
    return (_moments.get(ENDED, datetime.now(UTC)) - began).total_seconds()
