"""Erasure of users from JSON, CSV and plain text."""

from __future__ import annotations

import csv
import io
import json
from pathlib import PurePath
from typing import Any

from features.erasure.sought_ids import USER_COLUMNS, SoughtIds

LINES_OF_JSON, JSON, TABLES = ".jsonl", ".json", ".csv"
TEXTS = {".txt", ".toml", ".yaml", ".yml", ".html", ".md", ".log", ".sql", ""}
SUFFIXES = {LINES_OF_JSON, JSON, TABLES, *TEXTS}


def erased_text(name: str, content: bytes, sought: SoughtIds) -> bytes:
    """Take what a file says of users out of its content, by the kind that its name tells; the rest keeps its bytes."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return content
    suffix = PurePath(name).suffix
    if suffix == TABLES:
        return erased_lines(text, sought).encode()
    if suffix == JSON:
        return erased_json(text, sought).encode()
    if suffix == LINES_OF_JSON:
        return "".join(erased_json(line, sought) for line in io.StringIO(text, newline="")).encode()
    return sought.redacted(text).encode()


def erased_json(text: str, sought: SoughtIds) -> str:
    """Take users out of one JSON value; a text that is none has their ids redacted.

    Examples
    --------
    >>> erased_json('{"a": [["7", 1], ["8", 2]], "n": 7, "u": {"user-12": 1}}', SoughtIds(("7", "user-12")))
    '{"a": [["8", 2]], "n": 7, "u": {}}'
    """
    try:
        value = json.loads(text)
    except ValueError:
        return sought.redacted(text)
    left = without(value, sought)
    if left == value:
        return text
    indent = 0 if text.startswith(("{\n", "[\n")) else None  # as winback writes its own
    return json.dumps(left, indent=indent) + ("\n" if text.endswith("\n") else "")


def without(value: Any, sought: SoughtIds) -> Any:  # noqa: ANN401
    """Leave what is about users out of a value of JSON: items that begin with an id or hold it as ``user_id``, keys."""
    if isinstance(value, str):
        return sought.redacted(value)
    if isinstance(value, list):
        return [without(each, sought) for each in value if not _is_about(each, sought)]
    if isinstance(value, dict):
        pairs = (
            (key, each) for key, each in value.items() if not _is_about(key, sought) and not _is_about(each, sought)
        )
        return {key: without(each, sought) for key, each in pairs}
    return value


def _is_about(value: Any, sought: SoughtIds) -> bool:  # noqa: ANN401
    if isinstance(value, str):
        return value in sought.telling
    if isinstance(value, dict):
        return any(value.get(name) in sought.own for name in USER_COLUMNS)
    return isinstance(value, list) and bool(value) and isinstance(value[0], str) and value[0] in sought.own


def erased_lines(text: str, sought: SoughtIds) -> str:
    r"""Leave the rows of users out of a table for spreadsheets; ids that others' rows name are redacted.

    Examples
    --------
    >>> erased_lines('user_id,message\n7,"a\nb"\n8,"7 points"\n', SoughtIds(("7",)))
    'user_id,message\n8,"7 points"\n'
    """
    lines = list(io.StringIO(text, newline=""))
    rows, begins, left = csv.reader(lines), 0, list[str]()
    places: list[int] = []
    for row in rows:
        if not begins:
            places = [place for place, name in enumerate(row) if name in USER_COLUMNS]
        cells = {row[place].removeprefix("'") for place in places if place < len(row)}
        if not cells & sought.own:
            left += lines[begins : rows.line_num]
        begins = rows.line_num
    return sought.redacted("".join(left))
