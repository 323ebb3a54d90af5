"""Tokens of a SQL text as DuckDB reads it, without comments."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import duckdb


class Token(NamedTuple):
    """One word, sign or literal, and where it begins in the UTF-8 bytes of the text."""

    place: int
    word: str


def sql_tokens(text: str) -> list[Token]:
    """Cut a SQL text into its words.

    Examples
    --------
    >>> [token.word for token in sql_tokens("FROM 'ü b.csv' /* all */ JOIN f (1)")]
    ['FROM', "'ü b.csv'", 'JOIN', 'f', '(', '1', ')']
    """
    code, found = text.encode(), duckdb.tokenize(text)
    edges = [*(place for place, _ in found), len(code)]
    tokens = []
    for (first, last), (_, kind) in zip(pairwise(edges), found, strict=True):
        word = code[first:last].decode(errors="replace").strip()
        is_quoted = kind == duckdb.token_type.string_const or word.startswith('"')
        tokens.append(Token(first, _quoted_part(word) if is_quoted else next(iter(word.split()), "")))
    return tokens


def called_functions(text: str) -> Iterator[str]:
    """Name in small letters whatever stands before an opening bracket.

    Examples
    --------
    >>> sorted(called_functions('SELECT "Query" (a) FROM main.read_csv(b) -- c(d)'))
    ['query', 'read_csv']
    """
    for one, after in pairwise(sql_tokens(text)):
        if after.word.startswith("("):
            yield one.word.strip('"').lower()


def _quoted_part(word: str) -> str:
    """Cut off the comment behind a text in quotes."""
    return word[: max(word.rfind(word[0]), 0) + 1] if word[0] in "'\"" else word
