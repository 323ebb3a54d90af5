"""What benchmarks share: the time of a call, and a figure with its spread."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Metrics = dict[str, dict[str, float]]


class Seconds(NamedTuple):
    """What a call takes."""

    cpu: float
    wall: float


def seconds(call: Callable[[], object]) -> Seconds:
    """Time that a call takes."""
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return Seconds(time.process_time() - cpu, time.perf_counter() - wall)


def metric(values: list[float], n: int) -> dict[str, float]:
    """Median with the lowest and the highest; `n` is the number of rows or users that it was measured on."""
    return {"value": float(np.median(values)), "low": min(values), "high": max(values), "n": n}
