"""Waiting for a lock that another process holds, for as long as the environment allows."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import TypeVar

from configs.errors import InputError
from configs.progress import announce

WAIT_VARIABLE = "WINBACK_WAIT_SECONDS"
POLL_SECONDS = 0.5
Taken = TypeVar("Taken")


class LockedError(InputError):
    """Another process writes to the data folder; a later try may succeed, so this error has an exit code of its own."""

    exit_code = 3


def locked_by(what: object, text: str) -> LockedError:
    """Make the error that names who holds the lock on `what`, and says what to do."""
    return LockedError(
        f"{what} is being written by {text}; wait until that has ended ({WAIT_VARIABLE}=600 waits ten minutes), "
        "or choose another --data-dir"
    )


def wait_seconds() -> float:
    """Read how many seconds a writer waits for another one to end: none, unless the environment says otherwise.

    Raises
    ------
    InputError
        The variable holds no number of seconds.
    """
    text = os.environ.get(WAIT_VARIABLE, "0")
    try:
        seconds = float(text)
        if not 0 <= seconds < math.inf:
            raise ValueError(text)
    except ValueError:
        raise InputError(f"{WAIT_VARIABLE} = {text!r} is no number of seconds; give 0 or more") from None
    return seconds


def retry_until_free(take: Callable[[], Taken]) -> Taken:
    """Call `take` until it raises no `LockedError`, and return what it returns.

    Raises
    ------
    LockedError
        The lock was not free within `wait_seconds`.
    """
    ends, is_told = time.monotonic() + wait_seconds(), False
    while True:
        try:
            return take()
        except LockedError as error:
            if time.monotonic() >= ends:
                raise
            if not is_told:
                announce(f"waiting for up to {wait_seconds():.0f} s, as {str(error).partition(';')[0]}")
                is_told = True
        time.sleep(POLL_SECONDS)
