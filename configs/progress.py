"""Long work: its progress, on standard error and only where a person watches, and its pieces side by side."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def announce(step: str) -> None:
    """Say which step of a long run begins, on standard error."""
    print(f"winback: {step} …", file=sys.stderr, flush=True)  # noqa: T201 - this is the one place that prints


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
