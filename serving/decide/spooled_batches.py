"""Scored batches of users on disk, which wait for the allocation of the budget."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import feather

from configs.offers import Catalogue
from features.arrays.array_types import Array, Floats
from features.storage.local_folder import LocalFolder
from features.storage.whole_writes import clear_folder, write_bytes, write_file
from serving.arms.assignment import AllocationInput
from serving.arms.exploration import Draws
from serving.knapsack.problem import opened
from serving.valuation.options import MATRICES, Options

PREDICTED = ("p_churn", "retained_value", "remaining_value", "p_return", "value_if_back")
SPOOL_FORMAT = "stage, persona, plays, learnt"  # what an older version left is not read


@dataclass(frozen=True)
class Batch:
    """Users of one batch with their predictions, options and reasons of the risk; arrays have shape (users,).

    `frame` holds what decisions are made of: `Policy.output_columns`. Of `retained_value`, what a user brings who
    stays, `remaining_value` is the part after the days in which effects on margin are measured. `p_return` is the
    chance of who has lapsed to come back, and `value_if_back` what they bring then; both NaN of others.
    """

    frame: pd.DataFrame
    p_churn: Floats
    retained_value: Floats
    remaining_value: Floats
    p_return: Floats
    value_if_back: Floats
    reasons: pa.ListArray
    options: Options

    def table(self) -> pa.Table:
        """Write the batch as one table, a matrix as one column per option."""
        own: dict[str, Array] = {name: getattr(self, name) for name in PREDICTED}
        own |= {"ineligible": self.options.ineligible}
        for name in MATRICES:
            own |= {f"{name}:{place}": column for place, column in enumerate(getattr(self.options, name).T)}
        for name, matrix in (("why_not", self.options.why_not), ("tried", self.options.tried)):
            own |= {f"{name}:{place}": column for place, column in enumerate(matrix.T)}
        table = pa.Table.from_pandas(self.frame, preserve_index=False)
        for name, numbers in own.items():
            table = table.append_column(f"batch:{name}", pa.array(np.ascontiguousarray(numbers)))
        return table.append_column("batch:reasons", self.reasons)

    @classmethod
    def of(cls, table: pa.Table, catalogue: Catalogue) -> Batch:
        """Read a batch back."""

        def numbers(name: str) -> Array:
            return table[f"batch:{name}"].to_numpy()

        def matrix(name: str, kind: type, columns: int) -> Array:
            found = [numbers(f"{name}:{place}") for place in range(columns)]
            return np.stack(found, axis=1) if found else np.empty((len(table), 0), dtype=kind)

        count = len(catalogue.options)
        arms = sum(name.startswith("batch:tried:") for name in table.column_names)
        matrices = {name: matrix(name, np.float64, count) for name in MATRICES}
        why_not, ineligible = matrix("why_not", np.int8, count), numbers("ineligible")
        tried = matrix("tried", np.int8, arms)
        options = Options(catalogue, **matrices, why_not=why_not, ineligible=ineligible, tried=tried)
        frame = table.select([name for name in table.column_names if not name.startswith("batch:")]).to_pandas()
        predicted = {name: numbers(name) for name in PREDICTED}
        return cls(frame, **predicted, reasons=table["batch:reasons"].combine_chunks(), options=options)


@dataclass(frozen=True)
class Spool:
    """The spool: batches of one day on disk, in the order of their users."""

    folder: Path
    catalogue: Catalogue

    def path(self, number: int) -> Path:
        """File of a batch."""
        return self.folder / f"batch-{number:05d}.arrow"

    def has(self, number: int) -> bool:
        """Tell whether a batch is spooled."""
        return LocalFolder(self.folder).exists(self.path(number).name)

    def put(self, number: int, batch: Batch) -> None:
        """Spool a batch, whole or not at all."""
        write_file(self.path(number), lambda part: feather.write_feather(batch.table(), part, compression="lz4"))

    def allocation_inputs(self, number: int, allocation_inputs: AllocationInput) -> AllocationInput:
        """Spool a batch's allocation input in files; the smaller ones are read when somebody looks at them."""
        value, cost = self.large(number)
        np.save(value, opened(allocation_inputs.value))
        np.save(cost, opened(allocation_inputs.cost))
        draws = {
            name: self._on_disk(number, name, column) for name, column in allocation_inputs.draws._asdict().items()
        }
        draw_value = self._on_disk(number, "draw_value", allocation_inputs.draw_value)
        return allocation_inputs._replace(value=value, cost=cost, draws=Draws(**draws), draw_value=draw_value)

    def _on_disk(self, number: int, name: str, column: Array) -> Array:
        path = self.folder / f"{name}-{number:05d}.npy"
        np.save(path, column)
        return opened(path)

    def large(self, number: int) -> tuple[Path, Path]:
        """Files of the large part of a batch's allocation input: value and cost, shapes (options, users)."""
        return self.folder / f"value-{number:05d}.npy", self.folder / f"cost-{number:05d}.npy"

    def get(self, number: int) -> Batch:
        """Fetch a batch."""
        return Batch.of(feather.read_table(self.path(number), memory_map=False), self.catalogue)


@contextmanager
def open_spool(folder: Path, key: str, catalogue: Catalogue) -> Iterator[Spool]:
    """Open a folder for the batches of a run; it vanishes when the block ends well.

    What a run left that failed is kept for the next one with the same `key`, and thrown away by any other.
    """
    files, key_file = LocalFolder(folder), "key.txt"
    clear_folder(folder.parent, keep=folder.name)
    if not files.exists(key_file) or files.read(key_file).decode() != key:
        clear_folder(folder)
    write_bytes(files.local_path(key_file), key.encode())
    yield Spool(folder, catalogue)
    clear_folder(folder)
