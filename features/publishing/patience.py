"""Waiting for whoever writes, for as long as the environment says."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import TypeVar

from configs.errors import InputError
from configs.progress import announce

PATIENCE_VARIABLE = "WINBACK_WAIT_SECONDS"
POLL_SECONDS = 0.5
Taken = TypeVar("Taken")


class LockedError(InputError):
    """Somebody else writes to the data folder; a later try may succeed, so that it has an exit code of its own."""

    exit_code = 3


def locked_by(what: object, text: str) -> LockedError:
    """Say who writes, and what to do."""
    return LockedError(
        f"{what} is being written by {text}; wait until that has ended ({PATIENCE_VARIABLE}=600 waits ten minutes), "
        "or choose another --data-dir"
    )


def patience() -> float:
    """Seconds that a writer waits for another to end: none, unless the environment says so.

    Raises
    ------
    InputError
        The variable holds no number of seconds.
    """
    text = os.environ.get(PATIENCE_VARIABLE, "0")
    try:
        seconds = float(text)
        if not 0 <= seconds < math.inf:
            raise ValueError(text)
    except ValueError:
        raise InputError(f"{PATIENCE_VARIABLE} = {text!r} is no number of seconds; give 0 or more") from None
    return seconds


def taken_in_time(take: Callable[[], Taken]) -> Taken:
    """Take what somebody else may hold, as soon as it is free.

    Raises
    ------
    LockedError
        It is not free in time.
    """
    ends, is_told = time.monotonic() + patience(), False
    while True:
        try:
            return take()
        except LockedError as error:
            if time.monotonic() >= ends:
                raise
            if not is_told:
                announce(f"waiting for up to {patience():.0f} s, as {str(error).partition(';')[0]}")
                is_told = True
        time.sleep(POLL_SECONDS)
