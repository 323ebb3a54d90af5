"""Crews: who scores the batches of a day and tells what was decided, threads of this process or Spark's machines.

Both do the same with the same functions; only the small part of the claims and what was assigned passes between a crew
and the process that shares out the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import feather

from features.arrays.array_types import Flags
from features.materialise.spark_executor import SparkEngine
from features.training_data.frames import with_categories
from serving.decide.assignment import AllocationInput, Assignment
from serving.decide.exploration import Draws
from serving.decide.scoring import Batch, Frames, Policy, Spool, score, score_all
from serving.knapsack.problem import RemoteReduce, Shard, Sums

if TYPE_CHECKING:
    from features.materialise.spark_executor import DataFrame

Tables = dict[str, pa.Table]
AllocationInputOf = Callable[[Batch], AllocationInput]
TablesOf = Callable[[Batch, Assignment], Tables]


class Executor(Protocol):
    """Scores users in batches, which stay parked, and later tells what was decided about them."""

    @property
    def batches(self) -> int:
        """Number of batches, at most."""

    def allocation_inputs(
        self, policy: Policy, spool: Spool, allocation_input: AllocationInputOf
    ) -> Iterator[AllocationInput]:
        """Score and park every batch; yield what each claims, in the order of the users."""

    def remote_reduce(self, spool: Spool) -> RemoteReduce | None:
        """Say how sums over all users are taken where the batches lie, if that is elsewhere."""

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
        """Score and park every batch; yield what each claims, in the order of the users."""
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


class SparkExecutor:
    """Spark's machines, each with pieces of the users; all of them see the data folder.

    `users` is what is known about everybody, from `features.training_data.feature_store.everybodys_features`.
    """

    def __init__(self, engine: SparkEngine, users: DataFrame, batches: int) -> None:
        self.engine, self.users, self.batches = engine, users, batches
        self.numbers: list[int] = []

    def allocation_inputs(
        self, policy: Policy, spool: Spool, allocation_input: AllocationInputOf
    ) -> Iterator[AllocationInput]:
        """Score and park every batch where its users are; yield what each claims, in the order of the users."""

        def work(number: int, users: pa.Table) -> pa.Table:
            batch = score(policy, with_categories(users.to_pandas()))
            spool.put(number, batch)
            return _small_part(number, spool.allocation_inputs(number, allocation_input(batch)))

        found = self.engine.map_pieces(self.users, "user_id", self.batches, work, _small_part(0, NOBODY).schema)
        self.numbers = found["number"].unique().to_pylist()
        for number in self.numbers:
            yield _whole(found.filter(pc.field("number") == number), *spool.large(number))

    def remote_reduce(self, spool: Spool) -> RemoteReduce | None:
        """Take sums over all users where the batches are parked; only the sums come back."""

        def remote_reduce(sums_of: Callable[[Shard], Sums], spends: Sequence[Flags]) -> Sequence[Sums]:
            def work(item: tuple[int, Flags]) -> Sums:
                number, spending = item
                return sums_of(Shard(*spool.large(number), spending))

            return self.engine.map_items(list(zip(self.numbers, spends, strict=True)), work)

        return remote_reduce

    def tables(self, spool: Spool, parts: Sequence[Assignment], tables_of: TablesOf) -> Iterator[Tables]:
        """Tell about every batch where it is parked, then yield the tables in the order of the users."""

        def path(number: int, name: str) -> Path:
            return spool.folder / f"{name}-{number:05d}.told"

        def work(item: tuple[int, Assignment]) -> list[str]:
            number, part = item
            tables = tables_of(spool.get(number), part)
            for name, rows in tables.items():
                feather.write_feather(rows, path(number, name), compression="lz4")
            return list(tables)

        told = self.engine.map_items(list(zip(self.numbers, parts, strict=True)), work)
        for number, names in zip(self.numbers, told, strict=True):
            yield {name: feather.read_table(path(number, name)) for name in names}


NOTHING_FOR_NOBODY = np.zeros((0, 0))
NOBODY = AllocationInput(
    NOTHING_FOR_NOBODY,
    NOTHING_FOR_NOBODY,
    np.array([], dtype=object),
    Draws(np.zeros(0), np.zeros(0, dtype=np.intp), np.zeros(0), np.zeros(0)),
    np.zeros(0),
)


def _small_part(number: int, allocation_inputs: AllocationInput) -> pa.Table:
    """Write what the process that shares out must hold of a batch's claims: a few numbers per user."""
    lots = {f"lot:{name}": pa.array(column) for name, column in allocation_inputs.lots._asdict().items()}
    arm = pa.array(allocation_inputs.arm, pa.string())
    return pa.table(
        {"number": pa.array(np.full(len(arm), number)), "arm": arm, **lots, "lot_value": allocation_inputs.lot_value}
    )


def _whole(small: pa.Table, value: Path, cost: Path) -> AllocationInput:
    lots = Draws(**{name: small[f"lot:{name}"].to_numpy() for name in Draws._fields})
    arm = small["arm"].to_numpy(zero_copy_only=False)
    return AllocationInput(value, cost, arm, lots, small["lot_value"].to_numpy())
