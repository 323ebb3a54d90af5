"""A persona model in the data folder: ``personas/day=<as_of>/personas.parquet``, one row per persona."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import date

import numpy as np
import pyarrow as pa

from configs.errors import InputError
from features.arrays.array_types import Floats
from features.publishing.recovery import recovery_hint
from features.storage.lake import Lake
from features.tables.parquet_files import read_parquet, write_parquet
from models.metrics.metric import Metric
from models.personas.habits import Scale
from models.personas.persona_model import PersonaModel
from models.personas.persona_note import PersonaNote

TABLE = "personas"
NOTES = b"winback.personas"
BOUNDS = ("least", "most", "mean", "spread")
LISTS = pa.list_(pa.float64())
SCHEMA = pa.schema(
    [("persona", pa.string()), ("share", pa.float64()), ("centroid", LISTS), ("medians", LISTS)],
)


def write_personas(lake: Lake, as_of: date, model: PersonaModel) -> None:
    """Keep the model of a day: each persona with its centroid and medians, columns and stability beside them."""
    columns = zip((model.names, model.share, list(model.centroids), list(model.medians)), SCHEMA, strict=True)
    notes = {
        "columns": model.scale.columns,
        **{name: getattr(model.scale, name).tolist() for name in BOUNDS},
        "usual": model.usual.tolist(),
        "stability": asdict(model.note.stability),
        "by_chance": asdict(model.note.by_chance),
    }
    table = pa.Table.from_arrays([pa.array(rows, each.type) for rows, each in columns], schema=SCHEMA)
    with lake.files.publish() as publication:
        kept = table.replace_schema_metadata({NOTES: json.dumps(notes)})
        write_parquet(kept, publication.path(lake.partition_name(TABLE, as_of)))


def latest_personas(lake: Lake, as_of: date) -> PersonaModel | None:
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
        columns = tuple(notes["columns"])
        scale = Scale(columns, *(np.array(notes[name], np.float64) for name in BOUNDS))
        centroids, medians = (_matrix(table[name], len(columns)) for name in ("centroid", "medians"))
        agreed = (Metric(**notes[each]) for each in ("stability", "by_chance"))
        note = PersonaNote(tuple(table["persona"].to_pylist()), *agreed)
        usual, share = np.array(notes["usual"], np.float64), np.array(table["share"].to_pylist(), np.float64)
        return PersonaModel(scale, centroids, medians, usual, share, note)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no persona model; {recovery_hint(path)}") from error


def _matrix(column: pa.ChunkedArray, columns: int) -> Floats:
    return np.array(column.to_pylist(), np.float64).reshape(len(column), columns)
