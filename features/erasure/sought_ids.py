"""What counts as naming a user: the id in a column of user ids or, if it is distinctive, as a word anywhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

USER_COLUMNS = ("user_id", "old_user_id")
FORGOTTEN = "[forgotten]"  # stands where a text named somebody
LEAST_SIGNS, LEAST_LETTERS = 4, 8  # of an id that is no number or word by coincidence
LEAST_BYTES = 6  # of an id that packed bytes do not hold by coincidence
AT_ONCE = 500  # ids of one pattern
SIGN = "[0-9A-Za-z_-]"  # goes on with an id, which then is another


@dataclass(frozen=True)
class SoughtIds:
    """Ids of the users who are looked for.

    An id *tells* when nothing else is called so by coincidence: it has at least `LEAST_SIGNS` signs with letters and
    others among them, or `LEAST_LETTERS`. One that does not is looked for in columns of users alone, as any count or
    word may look like it.
    """

    ids: tuple[str, ...]

    @cached_property
    def telling(self) -> tuple[str, ...]:
        """Ids that mean their user wherever they stand."""
        return tuple(each for each in self.ids if _tells(each))

    @property
    def ambiguous(self) -> tuple[str, ...]:
        """Ids that other things may bear, too."""
        return tuple(each for each in self.ids if each not in set(self.telling))

    @cached_property
    def own(self) -> frozenset[str]:
        """All of them, to look one up."""
        return frozenset(self.ids)

    @cached_property
    def values(self) -> pa.Array:
        """All of them, for Arrow."""
        return pa.array(self.ids, pa.string())

    @cached_property
    def patterns(self) -> tuple[str, ...]:
        """Patterns (RE2) of a text that names somebody by an id that tells; none where no id does."""
        return tuple(f"(?:^|{_not(SIGN)})({words})(?:$|{_not(SIGN)})" for words in _alternatives(self.telling))

    @cached_property
    def python_pattern(self) -> re.Pattern[str]:
        """The same for Python, which can look around and so take the id alone."""
        words = "|".join(_alternatives(self.telling, len(self.telling) or 1)) or "(?!)"
        return re.compile(f"(?<!{SIGN})(?:{words})(?!{SIGN})")

    @cached_property
    def raw_patterns(self) -> tuple[str, ...]:
        """Patterns of bytes that name somebody: also as JSON writes signs beyond ASCII."""
        long = (name for name in self.telling if len(name.encode()) >= LEAST_BYTES)
        spelt = {each for name in long for each in (name, json.dumps(name)[1:-1])}
        return tuple(f"(?:^|{_not(SIGN)})({words})(?:$|{_not(SIGN)})" for words in _alternatives(sorted(spelt)))

    def are_users(self, column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        """Say of the cells of a column of users which are theirs."""
        return pc.is_in(column, value_set=self.values)

    def are_naming(self, texts: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        """Say of texts, or bytes, which name one of them by an id that tells; a missing one names nobody."""
        is_binary = pa.types.is_binary(texts.type) or pa.types.is_large_binary(texts.type)
        named = pa.nulls(len(texts), pa.bool_())
        for pattern in self.raw_patterns if is_binary else self.patterns:
            named = pc.or_(pc.fill_null(named, fill_value=False), pc.match_substring_regex(texts, pattern))
        return pc.fill_null(named, fill_value=False)

    def named_in(self, text: str) -> bool:
        """Tell whether a text names one of them by an id that tells."""
        return bool(self.telling) and self.python_pattern.search(text) is not None

    def redacted(self, text: str) -> str:
        """Put `FORGOTTEN` in place of every id that tells.

        Examples
        --------
        >>> SoughtIds(("user-12", "7")).redacted("user 'user-12' is no user-123, 7 times")
        "user '[forgotten]' is no user-123, 7 times"
        """
        return self.python_pattern.sub(FORGOTTEN, text) if self.telling else text


def _tells(user_id: str) -> bool:
    """Tell whether an id means a user wherever it stands.

    Examples
    --------
    >>> [each for each in ("1238", "u012", "anna", "3.14", "margarethe", "2024-01-01") if _tells(each)]
    ['u012', 'margarethe']
    """
    has_letters = any(sign.isalpha() for sign in user_id)
    return has_letters and len(user_id) >= (LEAST_LETTERS if user_id.isalpha() else LEAST_SIGNS)


def _not(signs: str) -> str:
    return signs.replace("[", "[^", 1)


def _alternatives(words: Sequence[str], at_once: int = AT_ONCE) -> Iterator[str]:
    for first in range(0, len(words), at_once):
        yield "|".join(map(re.escape, words[first : first + at_once]))
