"""Experiments inside plays: variants of text, hour or order of channels, which users draw by a stable hash."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from configs.errors import InputError, did_you_mean, shortened
from configs.offer_texts import PARTS, Template, Text
from configs.section import Section, Word
from configs.toml_lines import key_line
from configs.validated_model import validated

EXPERIMENT = "experiment"
Outcome = Literal["margin", "retention", "conversion", "redemption"]
Hour = Annotated[int, Field(ge=0, le=23)]
ROUNDING = 1e-6


class Wording(Section):
    """What a variant says instead of the play, in one language; what it leaves out the play says as it did."""

    subject: Template | None = Field(None, min_length=1, description="subject of an e-mail, title of a push")
    message: Template | None = Field(None, min_length=1, description="text; a play's plain_message goes with it")
    plain_message: Template | None = Field(
        None, min_length=1, description="text where nothing is given; else `message`"
    )

    @property
    def is_said(self) -> bool:
        """Whether it says anything of its own."""
        return any(getattr(self, part) is not None for part in PARTS)

    def instead_of(self, text: Text) -> Text:
        """Put its parts in the place of a text's; a message of its own leaves no plain message of the other behind."""
        own = {part: value for part in PARTS if (value := getattr(self, part)) is not None}
        if "message" in own:
            own.setdefault("plain_message", None)
        return text.model_copy(update=own)


class Translation(Wording):
    """What a variant says in another language than the play's own text."""

    language: Word = Field(description="language of the play's texts that it stands for, such as de")


class Variant(Wording):
    """One way of a play: what it says, at which hour, by which channel first."""

    name: Word = Field(max_length=60, description="name, which decisions and results carry")
    share: float = Field(gt=0, lt=1, description="share of the users who draw it")
    texts: tuple[Translation, ...] = Field(
        (), description="what it says in other languages, a table each: [[PLAY.experiment.variants.texts]]"
    )
    send_hour: Hour | None = Field(
        None, description="hour of the user's clock at which it is sent, or the nearest that may be; else their own"
    )
    channels: tuple[Word, ...] = Field((), description="channels of the play, first the one to be tried first")

    @field_validator("texts")
    @classmethod
    def _languages_differ(cls, texts: tuple[Translation, ...]) -> tuple[Translation, ...]:
        if len({text.language for text in texts}) < len(texts):
            raise ValueError("it has two texts of one language; keep one of each")
        return texts

    @field_validator("channels")
    @classmethod
    def _channels_differ(cls, channels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(channels)) < len(channels):
            raise ValueError("a channel is named twice; name each once")
        return channels

    @property
    def says(self) -> bool:
        """Whether it changes any text."""
        return self.is_said or any(text.is_said for text in self.texts)

    def texts_of(self, texts: list[Text], own_language: str | None) -> list[Text]:
        """Say the texts of an offer as this variant does; those in languages that it does not write stay as they are.

        `own_language` is that of the offer's own text, which names none.
        """
        said: dict[str | None, Wording] = {text.language: text for text in self.texts}
        said |= {None: self, own_language: self}
        return [said[text.language].instead_of(text) if text.language in said else text for text in texts]


class Experiment(Section):
    """Variants of a play, compared by what becomes of the users who are given it.

    A user draws a variant by a hash of name and user, once for all; another name draws anew.
    """

    name: Word = Field(max_length=60, description="name: another one draws anew")
    measured_by: Outcome | None = Field(
        None, description="what says which is better: margin, retention, conversion or redemption; else as the play"
    )
    smallest_effect: float | None = Field(
        None,
        gt=0,
        le=1e12,
        description="smallest difference worth finding: account currency a head of margin, a share (0.01) of others; "
        "else a tenth of what the first variant brings",
    )
    is_running: bool = Field(True, description="whether users draw; false keeps the results and ends the experiment")
    variants: tuple[Variant, ...] = Field(
        min_length=2, max_length=8, description="the ways, first the one that is usual: [[PLAY.experiment.variants]]"
    )

    @model_validator(mode="after")
    def _variants_are_told_apart(self) -> Experiment:
        names = [variant.name for variant in self.variants]
        if len(set(names)) < len(names):
            twice = next(name for place, name in enumerate(names) if name in names[:place])
            raise ValueError(f"two variants are called {twice!r}; name each differently")
        whole = sum(variant.share for variant in self.variants)
        if abs(whole - 1) > ROUNDING:
            raise ValueError(f"the shares of its variants sum to {whole:.6g}; make it 1")
        return self

    @property
    def is_about_channels(self) -> bool:
        """Whether any variant says which channel comes first."""
        return any(variant.channels for variant in self.variants)


def experiment_of(play: str, fields: object, channels: list[str], path: Path, text: str) -> Experiment:
    """Read the experiment of a play.

    Parameters
    ----------
    fields
        What stands in its table ``[PLAY.experiment]``.
    channels
        Those of the play.
    path, text
        The catalogue, which tells lines.

    Raises
    ------
    InputError
        A key is unknown or a value out of range; with line and nearest name.
    """
    table = (play, EXPERIMENT)
    where = f"the experiment of {shortened(play)!r} ({path}, line {key_line(text, table, 'name')})"
    if not isinstance(fields, dict) or not isinstance(fields.get("variants", []), list):
        raise InputError(
            f"{where} is no table; write [{play}.experiment] with a name, and "
            f"[[{play}.experiment.variants]] for each variant"
        )
    variants = []
    for number, each in enumerate(fields.get("variants", []), 1):
        line = key_line(text, (*table, "variants"), "name", number)
        place = f"variant {number} of the experiment of {shortened(play)!r} ({path}, line {line})"
        if not isinstance(each, dict):
            raise InputError(f"{place} is no table; write [[{play}.experiment.variants]] for each")
        variants.append(validated(Variant, each, place))
        for channel in variants[-1].channels:
            if channel not in channels:
                near = did_you_mean(channel, channels)
                raise InputError(f"{channel!r} in {place} is no channel of the play; {near}")
    return validated(Experiment, {**fields, "variants": tuple(variants)} if variants else fields, where)
