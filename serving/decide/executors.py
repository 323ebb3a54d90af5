"""Executors of a day's decisions, which score and write batches: threads of this process, or Spark.

Both do the same with the same functions; only the small part of the allocation input and what was assigned passes
between an executor and the process that shares out the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
from pyarrow import feather

from features.arrays.array_types import Flags
from features.materialise import spark_executor
from serving.arms.assignment import AllocationInput, Assignment
from serving.arms.exploration import Draws
from serving.decide.scoring import Frames, Policy, score, score_all
from serving.decide.spooled_batches import Batch, Spool
from serving.knapsack.problem import RemoteReduce, Shard, Sums

Tables = dict[str, pa.Table]
AllocationInputOf = Callable[[Batch], AllocationInput]
TablesOf = Callable[[Batch, Assignment], Tables]


class Executor(Protocol):
    """Scores users in batches, which stay spooled, and later renders what was decided about them."""

    @property
    def batches(self) -> int:
        """Number of batches, at most."""

    def allocation_inputs(
        self, policy: Policy, spool: Spool, allocation_input: AllocationInputOf
    ) -> Iterator[AllocationInput]:
        """Score and spool every batch; yield what each brings to the allocation, in the order of the users."""

    def remote_reduce(self, spool: Spool) -> RemoteReduce | None:
        """Say how sums over all users are map-reduced where the batches lie, if that is on other machines."""

    def tables(self, spool: Spool, parts: Sequence[Assignment], tables_of: TablesOf) -> Iterator[Tables]:
        """Yield what a day keeps about each batch, in the order of the users; `parts` are what they were assigned."""


@dataclass(frozen=True)
class LocalExecutor:
    """Threads of this process; `done` is called when the last frame was read."""

    frames: Frames
    done: Callable[[], None] = lambda: None

    @property
    def batches(self) -> int:
        """Number of batches."""
        return len(self.frames)

    def allocation_inputs(
        self, policy: Policy, spool: Spool, allocation_input: AllocationInputOf
    ) -> Iterator[AllocationInput]:
        """Score and spool every batch; yield what each brings to the allocation, in the order of the users."""
        yield from score_all(
            policy, self.frames, spool, lambda number, batch: spool.allocation_inputs(number, allocation_input(batch))
        )
        self.done()

    def remote_reduce(self, spool: Spool) -> RemoteReduce | None:  # noqa: ARG002
        """Everything is here."""
        return None

    def tables(self, spool: Spool, parts: Sequence[Assignment], tables_of: TablesOf) -> Iterator[Tables]:
        """Yield what a day keeps about each batch, in the order of the users."""
        return (tables_of(spool.get(number), part) for number, part in enumerate(parts))


@dataclass(frozen=True)
class SparkExecutor:
    """Spark's machines, a batch a task; `frames` are read there, so that they must be possible to send."""

    machines: spark_executor.SparkExecutor
    frames: Frames

    @property
    def batches(self) -> int:
        """Number of batches."""
        return len(self.frames)

    def allocation_inputs(
        self, policy: Policy, spool: Spool, allocation_input: AllocationInputOf
    ) -> Iterator[AllocationInput]:
        """Score and spool every batch on some machine; yield what each brings to the allocation, in order."""
        frames = self.frames

        def work(number: int) -> AllocationInput:
            if spool.has(number):
                batch = spool.get(number)
            else:
                batch = score(policy, frames[number]())
                spool.put(number, batch)
            return _in_memory(spool.allocation_inputs(number, allocation_input(batch)))

        yield from self.machines.each(work, range(self.batches))

    def remote_reduce(self, spool: Spool) -> RemoteReduce | None:
        """Map-reduce sums over all users where their batches are spooled; only the sums come back."""

        def remote_reduce(sums_of: Callable[[Shard], Sums], spends: Sequence[Flags]) -> Sequence[Sums]:
            def work(item: tuple[int, Flags]) -> Sums:
                number, spending = item
                return sums_of(Shard(*spool.large(number), spending))

            return list(self.machines.each(work, list(enumerate(spends))))

        return remote_reduce

    def tables(self, spool: Spool, parts: Sequence[Assignment], tables_of: TablesOf) -> Iterator[Tables]:
        """Render every batch where it is spooled, then yield the tables in the order of the users."""

        def path(number: int, name: str) -> Path:
            return spool.folder / f"{name}-{number:05d}.rendered"

        def work(item: tuple[int, Assignment]) -> list[str]:
            number, part = item
            tables = tables_of(spool.get(number), part)
            for name, rows in tables.items():
                feather.write_feather(rows, path(number, name), compression="lz4")
            return list(tables)

        for number, names in enumerate(self.machines.each(work, list(enumerate(parts)))):
            yield {name: feather.read_table(path(number, name)) for name in names}


def _in_memory(found: AllocationInput) -> AllocationInput:
    """Read what is sent to the process that shares out: all but the large part."""
    return found._replace(draws=Draws._make(map(np.array, found.draws)), draw_value=np.array(found.draw_value))
