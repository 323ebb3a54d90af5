"""`InputError`, the one error that winback raises on purpose, and helpers to word it."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterable

from configs.masking import masked

MOST_LISTED = 240  # signs of the known words that a sentence lists
MOST_SIGNS = 120  # that a sentence shows of what somebody else wrote


class InputError(ValueError):
    """Bad input or configuration: one sentence that says what, what was found, and what to do.

    The command line prints it and exits with `exit_code`; earlier results stay untouched. Logs and records of runs keep
    it, so no password of an address is ever in it.
    """

    exit_code = 2

    def __init__(self, sentence: object = "") -> None:
        super().__init__(masked(str(sentence)))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Suggest the known word nearest to a misspelt one.

    Examples
    --------
    >>> did_you_mean("max_discont", ["max_discount", "budget"])
    "did you mean 'max_discount'?"
    >>> did_you_mean("zzz", ["budget", "channel"])
    'known are: budget, channel'
    >>> did_you_mean("zzz", [f"setting_{number}" for number in range(1000)])[-29:]
    'setting_114, … (1,000 in all)'
    """
    words = sorted(known)
    if meant := nearest_word(word, words):
        return meant
    listed = textwrap.wrap(", ".join(words), MOST_LISTED, break_on_hyphens=False)[:1]
    rest = f" … ({len(words):,} in all)" if len(", ".join(words)) > MOST_LISTED else ""
    return f"known are: {''.join(listed)}{rest}"


def nearest_word(word: str, known: Iterable[str]) -> str:
    """Suggest the known word nearest to a misspelt one, where one is near.

    Examples
    --------
    >>> nearest_word("max_discont", ["max_discount", "budget"]), nearest_word("zzz", ["budget"])
    ("did you mean 'max_discount'?", '')
    """
    nearest = difflib.get_close_matches(word, sorted(known), n=1)
    return f"did you mean {nearest[0]!r}?" if nearest else ""


def shortened(text: str) -> str:
    """Cut a text of somebody else's to what a sentence can show.

    Examples
    --------
    >>> shortened("short"), len(shortened("a" * 5_000))
    ('short', 121)
    """
    return text if len(text) <= MOST_SIGNS else text[:MOST_SIGNS] + "…"


def first_line(error: Exception) -> str:
    """First line of an error's text, without secrets."""
    return masked(str(error).strip().splitlines()[0]) if str(error).strip() else type(error).__name__
