"""The choice of a text for a reader: by language first, then by stage and persona.

Order of fallback, the first that there is:

1. the reader's language as they wrote it (``de-AT``), without its country (``de``), of another country (``de-CH``)
2. the app's language, in the same steps
3. the offer's own text, in whatever language it is written

and within each language: stage and persona, stage alone, persona alone, everybody. A text for a persona is for all in
whose name its words stand; of two such texts the one with more words comes first, then the one that stands first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from configs.offer_texts import Readers
from serving.wording.locales import Locale

OWN = 6  # how near the offer's own text is, whatever its language


class Written(NamedTuple):
    """Whom a text is for, and in which language it is."""

    readers: Readers
    locale: Locale


def chosen_text(
    texts: Sequence[Written], locale: Locale | None, stage: str | None, persona: str | None, app: Locale
) -> int:
    """Choose a text for a reader, by its place; the first of the texts is the offer's own.

    Examples
    --------
    >>> from serving.wording.locales import locale_of
    >>> english, german, swiss = locale_of("en"), locale_of("de"), locale_of("de-CH")
    >>> texts = [Written(Readers(), english), Written(Readers(stage="lapsed"), english), Written(Readers("de"), german)]
    >>> [chosen_text(texts, each, "lapsed", None, english) for each in (swiss, english, locale_of("ja"))]
    [2, 1, 1]
    """
    order = [
        (_distance(text.locale, locale, app, is_own=not place), _narrowness(text.readers), place)
        for place, text in enumerate(texts)
        if is_for(text.readers, stage, persona)
    ]
    return min((distance, fit, place) for distance, fit, place in order if distance is not None)[2]


def is_for(readers: Readers, stage: str | None, persona: str | None) -> bool:
    """Tell whether a text is for users of a stage and a persona."""
    is_persona = set(words_of_persona(readers.persona)) <= set(words_of_persona(persona))
    return readers.stage in (None, stage) and is_persona


def _narrowness(readers: Readers) -> tuple[int, int]:
    """Say for how few a text is, 0 the fewest: of a stage and a persona, a stage, a persona, everybody."""
    words = words_of_persona(readers.persona)
    return 2 * (readers.stage is None) + (not words), -len(words)


def _distance(locale: Locale, own: Locale | None, app: Locale, *, is_own: bool) -> int | None:
    """Say how far the language of a text is from the reader's, 0 the same; None where they cannot read it."""
    for start, wished in ((0, own), (3, app)):
        if wished is not None and (wished.language, wished.script) == (locale.language, locale.script):
            return start + (0 if wished.territory == locale.territory else 1 if locale.territory is None else 2)
    return OWN if is_own else None


def words_of_persona(name: str | None) -> list[str]:
    """Split the name of a persona into its words.

    Examples
    --------
    >>> words_of_persona("evening, deal-seeking"), words_of_persona(None)
    (['evening', 'deal-seeking'], [])
    """
    return [word.strip() for word in (name or "").split(",") if word.strip()]
