"""A copy of the ledger as rows in PostgreSQL, for queries in SQL, updated together with each publication.

Each Parquet file below ``ledger/`` is a part of the table ``winback.ledger``, with its name in the column ``entry``.
Entries below ``ledger/superseded/`` are marked in ``is_superseded``. Rows are copied as CSV, in batches.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from psycopg import Connection

FOLDER, SUPERSEDED = "ledger/", "ledger/superseded/"
TABLE = "winback.ledger"
KINDS = {"string": "text", "double": "double precision", "bool": "boolean"}
OWN = {"entry": "text", "is_superseded": "boolean"}
BATCH = 100_000  # rows at a time


def replace_rows(session: Connection, paths: Mapping[str, Path], gone: Collection[str]) -> None:
    """Put the rows of some files of the ledger, by name, in place of those that they had; others go with their file."""
    added = {name: path for name, path in paths.items() if _has_rows(name)}
    left = [name for name in (*added, *gone) if _has_rows(name)]
    if not left:
        return
    for schema in (pa.schema([]), *map(pq.read_schema, added.values())):
        _make_columns(session, schema)
    session.execute(f"DELETE FROM {TABLE} WHERE entry = ANY(%s)", [left])
    for name, path in added.items():
        _copy(session, name, path)


def _has_rows(name: str) -> bool:
    return name.startswith(FOLDER) and name.endswith(".parquet")


def _make_columns(session: Connection, schema: pa.Schema) -> None:
    columns = {**OWN, **{field.name: _kind(field.type) for field in schema}}
    session.execute(f"CREATE TABLE IF NOT EXISTS {TABLE} (entry text, user_id text)")
    for name, kind in columns.items():
        session.execute(f"ALTER TABLE {TABLE} ADD COLUMN IF NOT EXISTS {name} {kind}")
    for name in ("entry", "user_id"):
        session.execute(f"CREATE INDEX IF NOT EXISTS ledger_{name} ON {TABLE} ({name})")


def _kind(kind: pa.DataType) -> str:
    return "timestamptz" if pa.types.is_timestamp(kind) else KINDS[str(kind)]


def _copy(session: Connection, name: str, path: Path) -> None:
    with pq.ParquetFile(path) as file, session.cursor() as cursor:
        columns = ", ".join([*OWN, *file.schema_arrow.names])
        with cursor.copy(f"COPY {TABLE} ({columns}) FROM STDIN (FORMAT csv)") as copy:
            for batch in file.iter_batches(BATCH):
                copy.write(_csv(name, batch))


def _csv(name: str, batch: pa.RecordBatch) -> bytes:
    own = [pa.repeat(name, len(batch)), pa.repeat(name.startswith(SUPERSEDED), len(batch))]
    rows = pa.table([*own, *batch.columns], names=[*OWN, *batch.schema.names])
    text = io.BytesIO()
    pa_csv.write_csv(rows, text, pa_csv.WriteOptions(include_header=False))
    return text.getvalue()
