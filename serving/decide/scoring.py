"""Users in batches: each predicted, valued and explained once, then parked until the budget is shared out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pyarrow import feather

from configs.offers import Catalogue
from configs.progress import in_turn
from configs.settings import Settings
from features.arrays.array_types import Array, Flags, Floats, Texts
from features.definitions.registry import Feature
from features.storage.whole_writes import write_file, write_text
from models.registry.response import Response
from models.registry.tracking import Registered
from serving.decide import ledger
from serving.decide.assignment import AllocationInput
from serving.decide.exploration import Draws
from serving.decide.options import MATRICES, Options, build_options
from serving.knapsack.problem import opened
from serving.wording.explanations import risk_reasons

Frames = Sequence[Callable[[], pd.DataFrame]]
Found = TypeVar("Found")
OF_DECISIONS = ("user_id", "days_since_last_activity", "tenure_days", "favourite_category_90d", "favourite_hour_90d")
AT_ONCE = 2  # batches in memory: one is read and written while another is computed


@dataclass(frozen=True)
class Policy:
    """Everything that turns a frame of users into decisions."""

    settings: Settings
    catalogue: Catalogue
    features: list[Feature]
    churn: Registered
    value: Registered
    response: Response | None

    @property
    def model_versions(self) -> str:
        """Names of the models behind a decision."""
        names = [self.churn.training.name, self.value.training.name]
        if self.response is not None:
            names.append(self.response.name)
            names += [self.response.personal.name] if self.response.personal else []
        return ", ".join(names)

    @property
    def version(self) -> str:
        """Short name of everything that makes the decisions."""
        return ledger.policy_version(self.model_versions, self.settings, self.catalogue)

    @property
    def output_columns(self) -> set[str]:
        """Columns that a decision and its words are made of, once everything is predicted."""
        personal = self.response.personal if self.response is not None else None
        if personal is None:
            return {*OF_DECISIONS}
        own = (*personal.margin.estimator.columns, *personal.retention.estimator.columns, personal.deployed.column)
        return {*OF_DECISIONS, *(name for name in own if name is not None)}


@dataclass(frozen=True)
class Batch:
    """Users of one batch with their predictions, options and reasons; arrays have shape (users,) unless said.

    `frame` holds what decisions are told from: `Policy.output_columns`.
    """

    frame: pd.DataFrame
    p_churn: Floats
    remaining_value: Floats
    reasons: Texts
    options: Options

    def table(self) -> pa.Table:
        """Write the batch as one table, a matrix as one column per option."""
        own = {"p_churn": self.p_churn, "remaining_value": self.remaining_value}
        texts = {"reasons": self.reasons, "barred": self.options.ineligible}
        for name in MATRICES:
            own |= {f"{name}:{place}": column for place, column in enumerate(getattr(self.options, name).T)}
        for place, column in enumerate(self.options.why_not.T):
            texts[f"why_not:{place}"] = column
        table = pa.Table.from_pandas(self.frame, preserve_index=False)
        for name, numbers in own.items():
            table = table.append_column(f"batch:{name}", pa.array(np.ascontiguousarray(numbers)))
        for name, words in texts.items():
            table = table.append_column(f"batch:{name}", pa.array(words, pa.string()).dictionary_encode())
        return table

    @classmethod
    def of(cls, table: pa.Table, catalogue: Catalogue) -> Batch:
        """Read a batch back."""

        def numbers(name: str) -> Floats:
            return np.asarray(table[f"batch:{name}"].to_numpy(), dtype=np.float64)

        def words(name: str) -> Texts:
            texts = table[f"batch:{name}"].combine_chunks()
            different = np.array([*texts.dictionary.to_pylist(), None], dtype=object)  # each is one object, not many
            return different[texts.indices.fill_null(-1).to_numpy()]

        def matrix(columns: list[npt.NDArray[np.generic]], kind: type) -> npt.NDArray[Any]:
            return np.stack(columns, axis=1) if columns else np.empty((len(table), 0), dtype=kind)

        places = range(len(catalogue.options))
        matrices = {name: matrix([numbers(f"{name}:{place}") for place in places], np.float64) for name in MATRICES}
        why_not = matrix([words(f"why_not:{place}") for place in places], object)
        options = Options(catalogue, **matrices, why_not=why_not, ineligible=words("barred"))
        frame = table.select([name for name in table.column_names if not name.startswith("batch:")]).to_pandas()
        return cls(frame, numbers("p_churn"), numbers("remaining_value"), words("reasons"), options)


@dataclass(frozen=True)
class Spool:
    """Batches of one day on disk, in the order of their users."""

    folder: Path
    catalogue: Catalogue

    def path(self, number: int) -> Path:
        """File of a batch."""
        return self.folder / f"batch-{number:05d}.arrow"

    def put(self, number: int, batch: Batch) -> None:
        """Park a batch, whole or not at all."""
        write_file(self.path(number), lambda part: feather.write_feather(batch.table(), part, compression="lz4"))

    def allocation_inputs(self, number: int, allocation_inputs: AllocationInput) -> AllocationInput:
        """Park the numbers of a batch's claims in files; the smaller ones are read when somebody looks at them."""
        value, cost = self.large(number)
        np.save(value, opened(allocation_inputs.value))
        np.save(cost, opened(allocation_inputs.cost))
        lots = {name: self._on_disk(number, name, column) for name, column in allocation_inputs.lots._asdict().items()}
        lot_value = self._on_disk(number, "lot_value", allocation_inputs.lot_value)
        return allocation_inputs._replace(value=value, cost=cost, lots=Draws(**lots), lot_value=lot_value)

    def _on_disk(self, number: int, name: str, column: Array) -> Array:
        path = self.folder / f"{name}-{number:05d}.npy"
        np.save(path, column)
        return opened(path)

    def large(self, number: int) -> tuple[Path, Path]:
        """Files of the large part of a batch's claims: value and cost, shapes (options, users)."""
        return self.folder / f"value-{number:05d}.npy", self.folder / f"cost-{number:05d}.npy"

    def get(self, number: int) -> Batch:
        """Fetch a batch."""
        return Batch.of(feather.read_table(self.path(number), memory_map=False), self.catalogue)


@contextmanager
def open_spool(folder: Path, key: str, catalogue: Catalogue) -> Iterator[Spool]:
    """Open a folder for the batches of a run; it vanishes when the block ends well.

    What a run left that failed is kept for the next one with the same `key`, and thrown away by any other.
    """
    key_file = folder / "key.txt"
    if not key_file.exists() or key_file.read_text(encoding="utf-8") != key:
        shutil.rmtree(folder, ignore_errors=True)
    write_text(key_file, key)
    yield Spool(folder, catalogue)
    shutil.rmtree(folder)


def score_all(policy: Policy, frames: Frames, spool: Spool, found_in: Callable[[int, Batch], Found]) -> Iterator[Found]:
    """Score every batch that is not parked yet, several at once; yields what `found_in` finds in each, in order.

    A batch itself is in memory no longer than it is looked at.
    """
    one_reads = Lock()  # stores are not made for several readers at a time
    one_scores = Lock()  # on all cores: two at once would need twice the memory, and no less time

    def found(number: int) -> Found:
        if spool.path(number).exists():
            return found_in(number, spool.get(number))
        with one_reads:
            frame = frames[number]()
        with one_scores:
            batch = score(policy, frame)
            del frame
        spool.put(number, batch)
        return found_in(number, batch)

    return in_turn((partial(found, number) for number in range(len(frames))), AT_ONCE)


def score(policy: Policy, frame: pd.DataFrame) -> Batch:
    """Predict risk, value and every option for a batch of users, and say what makes their risk."""
    settings = policy.settings
    active = (frame["days_since_last_activity"] <= settings.churn.lookback_days).to_numpy()
    p_churn, value = np.full(len(frame), np.nan), np.full(len(frame), np.nan)
    reasons = np.full(len(frame), None, dtype=object)
    if active.any():
        known = frame[active]
        p_churn[active] = policy.churn.estimator.predict(known)
        value[active] = policy.value.estimator.predict(known)
        reasons[active] = risk_reasons(policy.churn.estimator, known, policy.features)
        del known
    ineligible = ineligible_because(frame, active, settings)
    options = build_options(frame, p_churn, value, ineligible, policy.response, policy.catalogue, settings)
    told = frame[[name for name in frame.columns if name in policy.output_columns]]
    return Batch(told, p_churn, value, reasons, options)


def ineligible_because(frame: pd.DataFrame, active: Flags, settings: Settings) -> Texts:
    """Say why a user may get no offer at all; empty where they may."""
    failed = (frame["payment_failures_count_28d"] > 0).to_numpy()
    lapsed = f"not active for {settings.churn.lookback_days} days: the models do not speak of lapsed users"
    unpaid = "a payment failed: payment recovery comes first, never a discount"
    return np.array(["", lapsed, unpaid], dtype=object)[np.where(failed, 2, np.where(active, 0, 1))]
