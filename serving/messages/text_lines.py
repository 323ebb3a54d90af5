"""Where a text stands in its file, for sentences that name a line."""

from __future__ import annotations

import re
from pathlib import Path


def part_line(path: Path, offer_id: str, number: int, part: str, line: int = 1) -> str:
    """Name file and line of a part of an offer's text, of its own (0) or of the `number`-th other one.

    `line` is counted within the part, which may stand on several lines.
    """
    return f"{path}, line {_line(path.read_text(encoding='utf-8-sig'), offer_id, number, part) + line - 1}"


def _line(text: str, offer_id: str, number: int, part: str) -> int:
    r"""Find the line on which a part begins; that of its table where it is not found.

    Examples
    --------
    >>> _line("[a]\nmessage = 'x'\n[[a.texts]]\nlanguage = 'de'\nmessage = '''\ny'''", "a", 1, "message")
    6
    >>> _line('[a]\nmessage = "x"', "a", 0, "message"), _line('[a]\nmessage = "x"', "a", 0, "subject")
    (2, 1)
    """
    name = rf"""["']?{re.escape(offer_id)}["']?"""
    own, other = rf"\[[ \t]*{name}[ \t]*\]", rf"""\[\[[ \t]*{name}[ \t]*\.[ \t]*["']?texts["']?[ \t]*\]\]"""
    table = other if number else own
    tables = list(re.finditer(rf"^[ \t]*{table}", text, re.MULTILINE))
    if len(tables) < max(1, number):
        return 1
    start = tables[max(0, number - 1)].end()
    end = re.search(r"^[ \t]*\[", text[start:], re.MULTILINE)
    own = text[start : start + end.start()] if end else text[start:]
    found = re.search(rf"^[ \t]*{part}[ \t]*=[ \t]*(?:\"\"\"|''')?(\r?\n)?", own, re.MULTILINE)
    return text.count("\n", 0, start + (found.end() if found else 0)) + 1
