"""Categories of goods: their display names, and which of them messages must never mention."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated

from pydantic import AfterValidator, Field

from configs.section import Section, Word

PLAIN = re.compile(r"[^\W_][\w\s&'’,.()/-]*")  # words that people write; no marks of code, no separators of tills
PLURAL = "(?:e?s|e?n|e)?"


def _language(text: str) -> str:
    if not re.fullmatch("[a-z]{2,3}", text):
        raise ValueError("a language is named by two or three small letters and without its country, such as de or pt")
    return text


Tongue = Annotated[str, AfterValidator(_language)]  # as the texts of offers and the pages are looked up


class Categories(Section):
    """How categories of goods are named to users."""

    sensitive: tuple[Word, ...] = Field(
        description="words, also in the plural and in any case, that make a category one that no message speaks of"
    )
    also_sensitive: tuple[Word, ...] = Field(description="more of them: those of your app")
    names: dict[str, Word] = Field(description="what people read, by the category as the events have it")
    names_in: dict[Tongue, dict[str, Word]] = Field(
        {}, description="by language, such as de: what its readers read, by what people read otherwise"
    )

    def name_in(self, language: str, name: str) -> str:
        """Say a display name to readers of a language; one that it has no word for stays.

        Examples
        --------
        >>> categories = Categories(sensitive=(), also_sensitive=(), names={}, names_in={"de": {"milk": "Milch"}})
        >>> categories.name_in("de", "milk"), categories.name_in("de", "tea"), categories.name_in("fr", "milk")
        ('Milch', 'tea', 'milk')
        """
        return self.names_in.get(language, {}).get(name, name)

    def featured(self, category: str | None) -> str | None:
        """Name a category to users; None where none may be named: it is sensitive, or no words that people write.

        Examples
        --------
        >>> categories = Categories(sensitive=("wine",), also_sensitive=(), names={"BAG SNACKS": "snacks"})
        >>> [categories.featured(name) for name in ("home_garden", "BAG SNACKS", "FRZN ICE", "Red Wines", None)]
        ['home garden', 'snacks', None, None, None]
        """
        if category is None or self.is_sensitive(category):
            return None
        words = self.name_of(category)
        is_plain = PLAIN.fullmatch(words) is not None and words != words.upper()
        return words if category in self.names or is_plain or _has_no_cases(words) else None

    def name_of(self, category: str) -> str:
        """Say what a category is called, whether or not a message may name it."""
        return self.names.get(category, category.replace("_", " ").strip())

    def is_sensitive(self, category: str) -> bool:
        """Tell whether no message speaks of a category; what it is called in any language counts, too."""
        name = self.name_of(category)
        said = (category, name, *(self.name_in(language, name) for language in self.names_in))
        return any(self._sensitive.search(_in_words(text)) for text in said)

    @cached_property
    def _sensitive(self) -> re.Pattern[str]:
        words = [re.escape(_in_words(word)) for word in (*self.sensitive, *self.also_sensitive)]
        return re.compile(rf"\b(?:{'|'.join(words)}){PLURAL}\b" if words else r"(?!)")


def _in_words(text: str) -> str:
    """Write a text in small letters with single blanks between its words."""
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


def _has_no_cases(words: str) -> bool:
    """Tell whether a text is in a script without capitals, such as Chinese."""
    return PLAIN.fullmatch(words) is not None and words.upper() == words.lower() and any(map(str.isalpha, words))
