"""Executors do the same work on many items: threads of this process here, Spark's machines in `spark_executor`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import pyarrow as pa

from configs.progress import in_turn
from configs.settings import Settings
from features.materialise.spark_executor import spark_machines

Item = TypeVar("Item")
Found = TypeVar("Found")
Batches = Iterable[pa.RecordBatch]


class Executor(Protocol):
    """Does work on items, several at once; what it finds comes in the order of the items."""

    def each(self, work: Callable[[Item], Found], items: Sequence[Item]) -> Iterator[Found]:
        """Yield what the work finds in each item, which is small."""

    def batches(
        self, work: Callable[[Item], tuple[Found, list[pa.RecordBatch]]], items: Sequence[Item], *, is_light: bool
    ) -> Iterator[tuple[Found, Batches]]:
        """Yield what the work finds in each item: something small, and rows; light work is to read and write."""


@dataclass(frozen=True)
class LocalExecutor:
    """Threads of this process."""

    threads: int

    def each(self, work: Callable[[Item], Found], items: Sequence[Item]) -> Iterator[Found]:
        """Yield what the work finds in each item."""
        with ThreadPoolExecutor(self.threads) as pool:
            yield from pool.map(work, items)

    def batches(
        self, work: Callable[[Item], tuple[Found, list[pa.RecordBatch]]], items: Sequence[Item], *, is_light: bool
    ) -> Iterator[tuple[Found, Batches]]:
        """Yield what the work finds in each item; who writes the rows of light work is as busy as a thread of it."""
        yield from in_turn((partial(work, item) for item in items), max(self.threads - is_light, 1))


def open_executor(settings: Settings) -> Executor:
    """Take the executor that the settings name.

    Raises
    ------
    InputError
        It is Spark, and that cannot be started.
    """
    if settings.engine == "spark":
        return spark_machines(settings)
    return LocalExecutor(settings.threads or os.cpu_count() or 1)
