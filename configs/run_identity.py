"""The id of the current run, which the lock, log lines, MLflow and the record of the run share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

_open_runs: list[str] = []
_of_process: list[str] = []


def run_id() -> str:
    """Name the run that goes on; outside of any, this process."""
    if _open_runs:
        return _open_runs[-1]
    if not _of_process:
        _of_process.append(_new_name())
    return _of_process[0]


@contextmanager
def one_run() -> Iterator[bool]:
    """Let a run have a name of its own; a run within a run bears the outer one's.

    Yields
    ------
    Whether a run begins here.

    Examples
    --------
    >>> with one_run() as is_outer:
    ...     name = run_id()
    ...     with one_run() as is_inner:
    ...         print(is_outer, is_inner, run_id() == name)
    True False True
    >>> run_id() == name
    False
    """
    if _open_runs:
        yield False
        return
    _open_runs.append(_new_name())
    try:
        yield True
    finally:
        _open_runs.pop()


def _new_name() -> str:
    return uuid4().hex[:12]
