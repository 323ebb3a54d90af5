"""Column types that DuckDB guessed from the first lines of a CSV or JSON file, checked against whole files.

If the first 20,480 lines of a column are whole numbers, DuckDB reads the whole column as such: further down, ``0042``
becomes 42 and ``4.99`` becomes 5.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import duckdb

from configs.errors import InputError
from features.sources.sql_tokens import Token, sql_tokens
from features.tables.duckdb_sessions import WHOLE_NUMBERS

READERS = ("read_csv", "read_csv_auto", "read_json", "read_json_auto", "read_ndjson", "read_ndjson_auto")
SAYS_TYPES = re.compile(r"\b(all_varchar|columns)\s*(=|:=|=>)", re.I)
# a file that is read by its name alone
FILE = re.compile(r"""(?:'.*|".*)\.(csv|tsv|json|jsonl|ndjson)(?:\.(?:gz|zst))?['"]""", re.I | re.S)
CANONICAL = "[+-]?(0|[1-9][0-9]*)"


def check_guesses(connection: duckdb.DuckDBPyConnection, script: Path, text: str) -> None:
    """Read whatever a source lets DuckDB guess a second time, as texts.

    Raises
    ------
    InputError
        A column that was guessed to hold whole numbers holds something else, which would be read wrongly, or texts
        would keep their quotes, as other lines of their column hold no texts.
    """
    for reader, given in guessing_calls(text):
        found = connection.execute(f"DESCRIBE SELECT * FROM {reader}({given})").fetchall()
        whole = [name for name, kind, *_ in found if kind in WHOLE_NUMBERS and not _is_typed(name, given)]
        mixed = [name for name, kind, *_ in found if kind == "JSON" and not _is_typed(name, given)]
        if mixed:
            _check_no_texts(connection, script, f"{reader}({given})", mixed)
        if whole:
            _check_columns(connection, script, _as_texts(reader, given, found, whole), whole)


def guessing_calls(text: str) -> Iterator[tuple[str, str]]:
    """Find where a source reads files and says no types: the name of the reader, and what it is given.

    Examples
    --------
    >>> list(guessing_calls("FROM read_csv('a(.csv', header = true) JOIN read_csv('b.csv', all_varchar = true)"))
    [('read_csv', "'a(.csv', header = true")]
    >>> list(guessing_calls("FROM 'a.csv', 'b.json.gz' JOIN 'c.parquet' ON x IN ('d.csv')"))
    [('read_csv', "'a.csv'"), ('read_json', "'b.json.gz'")]
    """
    tokens, is_table = sql_tokens(text), False
    for number, (_, word) in enumerate(tokens[:-1]):
        if word.lower() in READERS and tokens[number + 1].word.startswith("("):
            given = _between_brackets(text, tokens[number + 1 :])
            if not SAYS_TYPES.search(given):
                yield word.lower(), given
    for _, word in tokens:
        if is_table and (file := FILE.fullmatch(word)):
            name = word if word[0] == "'" else _quoted(word[1:-1].replace('""', '"'))
            yield "read_json" if "json" in file[1].lower() else "read_csv", name
        is_table = word.upper() in ("FROM", "JOIN") or (is_table and (word == "," or bool(FILE.fullmatch(word))))


def _is_typed(name: str, given: str) -> bool:
    return bool(re.search(rf"""['"{{\s]{re.escape(name)}['"]?\s*:""", given))


def _between_brackets(text: str, tokens: list[Token]) -> str:
    depth = 0
    for place, word in tokens:
        depth += (word[:1] == "(") - (word[:1] == ")")
        if not depth:
            return text.encode()[tokens[0].place + 1 : place].decode()
    return ""


def _as_texts(reader: str, given: str, found: list[tuple[str, ...]], whole: list[str]) -> str:
    """Write the call that reads some columns as texts, and guesses the others again."""
    columns = {name: "VARCHAR" if name in whole else kind for name, kind, *_ in found}
    if "json" not in reader:
        columns = dict.fromkeys(whole, "VARCHAR")
    listed = ", ".join(f"{_quoted(name)}: {_quoted(kind)}" for name, kind in columns.items())
    return f"{reader}({given}, {'columns' if 'json' in reader else 'types'} = {{{listed}}})"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _check_columns(connection: duckdb.DuckDBPyConnection, script: Path, call: str, whole: list[str]) -> None:
    other = [f"NOT regexp_full_match(trim(\"{name}\"), '{CANONICAL}')" for name in whole]
    counts = ", ".join(
        f'count(*) FILTER ({each}), min("{name}") FILTER ({each})' for name, each in zip(whole, other, strict=True)
    )
    row = connection.execute(f"SELECT {counts} FROM {call}").fetchone() or ()
    for name, count, example in zip(whole, row[::2], row[1::2], strict=True):
        if count:
            raise InputError(
                f"source {script} lets DuckDB guess from the first lines that the column {name!r} holds whole numbers, "
                f"but {count:,} rows hold others, such as {example!r}, which would be read wrongly; read texts "
                "(all_varchar = true for CSV, columns = {…} for JSON) and cast what is a number"
            )


def _check_no_texts(connection: duckdb.DuckDBPyConnection, script: Path, call: str, mixed: list[str]) -> None:
    """Refuse texts in columns that are left as JSON: they would be read with their quotes, and be others' ids."""
    counts = ", ".join(f"count(*) FILTER (json_type(\"{name}\") = 'VARCHAR')" for name in mixed)
    row = connection.execute(f"SELECT {counts} FROM {call}").fetchone() or ()
    for name, count in zip(mixed, row, strict=True):
        if count:
            raise InputError(
                f"source {script} reads the column {name!r} as JSON, since it holds texts in {count:,} rows and other "
                "things elsewhere, and the texts would keep their quotes; read texts (columns = {…}) and cast what is "
                "a number"
            )
