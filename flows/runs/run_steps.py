"""Steps of the current run with their rows, seconds and memory, which its record keeps."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from configs.progress import announce


@dataclass
class Step:
    """One step: the rows that went through it, seconds, and the most MiB that the process had held by its end."""

    name: str
    rows: int = 0
    seconds: float = 0.0
    peak_mib: int = 0


_steps: list[Step] = []


@contextmanager
def step(name: str, announced: str) -> Iterator[Step]:
    """Say that a step begins, and measure it also where it fails; whoever does it tells the rows."""
    announce(announced)
    began, taken = time.perf_counter(), Step(name)
    _steps.append(taken)
    try:
        yield taken
    finally:
        taken.seconds = round(time.perf_counter() - began, 2)
        taken.peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def steps_taken() -> list[dict[str, object]]:
    """Return the steps since this was asked last, in order, and forget them."""
    taken = [asdict(each) for each in _steps]
    _steps.clear()
    return taken
