"""The line of a key in a TOML file, for error messages."""

from __future__ import annotations

import re


def key_line(text: str, table: tuple[str, ...], key: str, number: int = 0) -> int:
    r"""Find the line on which a key begins; that of its table where it is not found, 1 where that is not found either.

    Parameters
    ----------
    table
        Names of the table: ``("come_back", "texts")``.
    number
        Which of several tables of the name, ``[[come_back.texts]]``, from 1; 0 where it is one, ``[come_back]``.

    Examples
    --------
    >>> key_line("[a]\nmessage = 'x'\n[[a.texts]]\nlanguage = 'de'\nmessage = '''\ny'''", ("a", "texts"), "message", 1)
    6
    >>> key_line('[a]\nmessage = "x"', ("a",), "message"), key_line('[a]\nmessage = "x"', ("a",), "subject")
    (2, 1)
    """
    name = r"[ \t]*\.[ \t]*".join(rf"""["']?{re.escape(each)}["']?""" for each in table)
    brackets = (r"\[\[", r"\]\]") if number else (r"\[", r"\]")
    tables = list(re.finditer(rf"^[ \t]*{brackets[0]}[ \t]*{name}[ \t]*{brackets[1]}", text, re.MULTILINE))
    if len(tables) < max(1, number):
        return 1
    start = tables[max(0, number - 1)].end()
    end = re.search(r"^[ \t]*\[", text[start:], re.MULTILINE)
    own = text[start : start + end.start()] if end else text[start:]
    found = re.search(rf"^[ \t]*{re.escape(key)}[ \t]*=[ \t]*(?:\"\"\"|''')?(\r?\n)?", own, re.MULTILINE)
    return text.count("\n", 0, start + (found.end() if found else 0)) + 1
