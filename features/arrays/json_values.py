"""Extraction of values from many JSON documents at once."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa


def json_values(documents: pa.Array, paths: Sequence[str]) -> dict[str, pa.Array]:
    """Find what stands at some paths of documents: a text, or null where there is nothing or no JSON.

    Parameters
    ----------
    documents
        Texts; each different one is read once.
    paths
        Such as ``$.song.seconds``.

    Examples
    --------
    >>> json_values(pa.array(['{"a": {"b": 7}}', "no JSON", None]), ["$.a.b"])["$.a.b"].to_pylist()
    ['7', None, None]
    """
    encoded = documents if pa.types.is_dictionary(documents.type) else documents.dictionary_encode()
    columns = ", ".join(f"CASE WHEN json_valid(text) THEN json_extract_string(text, '{path}') END" for path in paths)
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("documents", pa.table({"text": encoded.dictionary}))
        found = connection.execute(f"SELECT {columns} FROM documents").arrow()
    table = found if isinstance(found, pa.Table) else found.read_all()
    return {
        path: column.combine_chunks().take(encoded.indices) for path, column in zip(paths, table.columns, strict=True)
    }


def finite_numbers(texts: pa.Array) -> pa.Array:
    """Read texts as numbers; null where one is none.

    Examples
    --------
    >>> finite_numbers(pa.array(["7.5", "seven", "inf", None])).to_pylist()
    [7.5, None, None, None]
    """
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("texts", pa.table({"text": texts}))
        number = "TRY_CAST(text AS DOUBLE)"
        found = connection.execute(f"SELECT CASE WHEN isfinite({number}) THEN {number} END FROM texts").arrow()
    table = found if isinstance(found, pa.Table) else found.read_all()
    return table.column(0).combine_chunks()
