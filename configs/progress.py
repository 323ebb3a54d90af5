"""Progress of long work on standard error, if a person is watching, and pieces of work done in parallel."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TypeVar

from configs.run_identity import run_id

Item = TypeVar("Item")
LOGGER = "winback"
FORM_VARIABLE = "WINBACK_LOG"  # "json": an object a line


def announce(step: str) -> None:
    """Say which step of a long run begins, on standard error and to Prefect, where one runs in it.

    With ``WINBACK_LOG=json`` a line is an object: ``at`` (UTC), ``run``, which is the run's name in lock, record and
    MLflow, too, ``process`` and ``message``.
    """
    logging.getLogger(LOGGER).info(step)
    line = f"winback: {step} …"
    if os.environ.get(FORM_VARIABLE) == "json":
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"at": now, "run": run_id(), "process": os.getpid(), "message": step})
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - this is the one place that prints


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Yield `items` behind a progress bar; without a terminal it is a plain loop."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track as bar

    yield from bar(items, description=description, total=total, console=Console(stderr=True), transient=True)


def in_turn(pieces: Iterable[Callable[[], Item]], workers: int) -> Iterator[Item]:
    """Do pieces of work side by side, `workers` at a time, and yield what they return in their order.

    A piece is asked for when a worker is free for it, so that few are in memory; those that have not begun are dropped
    when nobody asks any more.

    Examples
    --------
    >>> list(in_turn((lambda number=number: number * 2 for number in range(4)), workers=2))
    [0, 2, 4, 6]
    """
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Item]] = deque()
        try:
            for piece in pieces:
                done = [waiting.popleft().result()] if len(waiting) == workers else []
                waiting.append(pool.submit(piece))
                yield from done
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
