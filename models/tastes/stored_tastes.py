"""A taste model in the data folder: ``tastes/day=<as_of>/tastes.parquet``, one row per category."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa

from configs.errors import InputError
from features.publishing.recovery import recovery_hint
from features.storage.lake import Lake
from features.tables.parquet_files import read_parquet, write_parquet
from models.tastes.taste_model import LinearScore, TasteModel

TABLE = "tastes"
NOTES = b"winback.tastes"
MATRICES = ("ease", "alike")


def write_tastes(lake: Lake, as_of: date, model: TasteModel) -> None:
    """Keep the model of a day: each category with its weights for all others and its rates."""
    lists = pa.list_(pa.float32())
    columns = {
        "category": pa.array(model.categories, pa.string()),
        **{name: pa.array(list(getattr(model, name)), lists) for name in MATRICES},
        "popular": model.popular,
        "taken_up": model.taken_up,
        "taken_up_alike": pa.array(list(model.taken_up_alike.T), pa.list_(pa.float64())),
    }
    notes = {"edges": model.edges.tolist(), "again": _as_json(model.again), "new": _as_json(model.new)}
    table = pa.table(columns).replace_schema_metadata({NOTES: json.dumps(notes)})
    with lake.files.publish() as publication:
        write_parquet(table, publication.path(lake.partition_name(TABLE, as_of)))


def latest_tastes(lake: Lake, as_of: date) -> TasteModel | None:
    """Read the newest model on or before a day; None when there is none.

    Raises
    ------
    InputError
        It is damaged.
    """
    path = lake.newest_whole(TABLE, as_of)
    if path is None:
        return None
    table = read_parquet(path)
    try:
        notes = json.loads((table.schema.metadata or {})[NOTES])
        ease, alike = (np.array(table[name].to_pylist(), np.float32) for name in MATRICES)
        return TasteModel(
            tuple(table["category"].to_pylist()), ease, alike, table["popular"].to_numpy(),
            table["taken_up"].to_numpy(), np.array(notes["edges"]), np.array(table["taken_up_alike"].to_pylist()).T,
            _from_json(notes["again"]), _from_json(notes["new"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no taste model; {recovery_hint(path)}") from error


def _as_json(score: LinearScore | None) -> dict[str, Any] | None:
    return None if score is None else {"weights": list(score.weights), "intercept": score.intercept}


def _from_json(stored: Mapping[str, Any] | None) -> LinearScore | None:
    return None if stored is None else LinearScore(tuple(stored["weights"]), stored["intercept"])
