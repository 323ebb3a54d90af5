"""The texts of an offer: its own, and those for readers of a language, a stage or a persona."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field, model_validator

from configs.section import Section, Word

OLD_FIELD = re.compile(r"\$\{?([a-z][a-z_]*)\}?")  # as messages of an older winback named theirs
RENAMED = {"valid_until": "last_day"}
READERS = ("language", "stage", "persona")
PARTS = ("subject", "message", "plain_message")


class Readers(NamedTuple):
    """Whom a text is for; None where it does not matter."""

    language: str | None = None
    stage: str | None = None
    persona: str | None = None

    def __str__(self) -> str:
        """Name them in one word.

        Examples
        --------
        >>> str(Readers("de", persona="deal-seeking")), str(Readers())
        ('de, deal-seeking', 'everybody')
        """
        return ", ".join(word for word in self if word is not None) or "everybody"


def checked_form(text: str) -> str:
    """Refuse a text that names its fields as an older winback did.

    Examples
    --------
    >>> checked_form("$discount off until ${valid_until}")
    Traceback (most recent call last):
        ...
    ValueError: fields are written otherwise now: {{ discount }} off until {{ last_day }}
    >>> checked_form("costs $5")
    'costs $5'
    """
    if not OLD_FIELD.search(text):
        return text
    new = OLD_FIELD.sub(lambda found: f"{{{{ {RENAMED.get(found[1], found[1])} }}}}", text).replace("$$", "$")
    raise ValueError(f"fields are written otherwise now: {new}")


Template = Annotated[str, AfterValidator(checked_form)]  # of what an offer or a variant says


class Text(Section):
    """What is written to those whom it is for, each part a template over the fields of `configs.message_settings`."""

    language: Word | None = Field(
        None, description="language it is written in, such as de or pt-BR; the app's by default"
    )
    stage: Word | None = Field(None, description="only for users in this stage")
    persona: str | None = Field(None, min_length=1, description="only for personas in whose name these words stand")
    title: str | None = Field(None, description="name of the offer in this language")
    subject: Template | None = Field(None, description="subject of an e-mail, title of a push")
    message: Template = Field(min_length=1, description="text, with {{ discount }} and other fields filled in")
    plain_message: Template | None = Field(
        None, min_length=1, description="text where nothing is given; else `message`"
    )

    @property
    def written(self) -> str:
        """All that it says, before it is filled in."""
        return " ".join(filter(None, (self.subject, self.message, self.plain_message)))

    @property
    def readers(self) -> Readers:
        """Whom it is for."""
        return Readers(self.language, self.stage, self.persona)


class Texts(Section):
    """The texts of an offer: its own, for everybody who has none of their own, and others."""

    language: Word | None = Field(None, description="language of its own texts; that of the settings by default")
    subject: Template | None = Field(None, description="subject of an e-mail, title of a push")
    message: Template = Field(
        min_length=1,
        description="text with {{ discount }} (of benefits other than percent: {{ benefit }}), {{ max_cost }}, "
        "{{ title }}, {{ category }}, {{ last_day }} and other fields filled in",
    )
    plain_message: Template | None = Field(
        None, min_length=1, description="text where nothing is given: `message`, but for {{ discount }}"
    )
    texts: tuple[Text, ...] = Field((), description="texts for some readers, a table each: [[OFFER.texts]]")

    @model_validator(mode="after")
    def _every_text_has_its_own_readers(self) -> Texts:
        seen: dict[Readers, int] = {Readers(self.language): 0, Readers(): 0}
        for place, text in enumerate(self.texts, 1):
            if text.readers in seen:
                other = f"text {seen[text.readers]}" if seen[text.readers] else "the offer's own"
                raise ValueError(f"text {place} is for {text.readers}, and so is {other}; name other readers")
            seen[text.readers] = place
        return self

    @property
    def all_texts(self) -> list[Text]:
        """The own text first, then the others in their order."""
        own = {name: getattr(self, name) for name in PARTS}
        return [Text.model_construct(**own), *self.texts]
