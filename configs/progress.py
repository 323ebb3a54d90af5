"""Progress of long work, on standard error, and only where a person watches."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
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
