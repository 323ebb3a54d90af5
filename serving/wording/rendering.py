"""Words of reasons: the one place where codes become sentences, by the templates of a language.

A language is a file in ``configs/languages``; columns and offers are called what the catalogues call them today.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from configs.offers import load_catalogue
from configs.settings import FOLDER, Section, Settings, named_file, read_toml, validated
from features.definitions.app_declarations import declarations_of
from features.definitions.registry import trait, trait_column
from serving.wording.reason_codes import LOWERS, RAISES, WORTH, Reason

Stored = Mapping[str, Any]  # a `Reason` as it is read from a table
MINUS = "\u2212"
DIRECTIONS = {RAISES: "raises", LOWERS: "lowers"}


def stored(reasons: Iterable[Reason]) -> list[Stored]:
    """Give reasons the form in which a table gives them back."""
    return [reason._asdict() for reason in reasons]


class Language(Section):
    """Templates by code; `Words` puts them together."""

    lead: dict[str, str] = Field(description="begins the heading that follows")
    heading: dict[str, str] = Field(description="stands for itself, or over lines")
    line: dict[str, str] = Field(description="stands under the heading before it")
    detail: dict[str, str] = Field(description="continues what was said last")
    joins: dict[str, str] = Field(description="stands between headings and lines")
    values: dict[str, str] = Field(description="words for values")
    explain: dict[str, str] = Field(description="lines of `winback explain`")

    def template(self, code: str) -> tuple[str, str]:
        """Kind and template of a code; one that is not known, of an app's own rule, is its own heading."""
        sections = {"lead": self.lead, "heading": self.heading, "line": self.line, "detail": self.detail}
        own = code.replace("_", " ").replace("{", "{{").replace("}", "}}")
        return next(((kind, codes[code]) for kind, codes in sections.items() if code in codes), ("heading", own))


def load_language(name: str) -> Language:
    """Read ``configs/languages/<name>.toml``, or the TOML file at a path.

    Raises
    ------
    InputError
        The file is missing, or a section is missing or unknown.
    """
    path = named_file(name, FOLDER / "languages", ".toml", "language")
    return validated(Language, read_toml(path), f"language {path}")


class _PrintedNumber(float):
    """A number that is written with the minus sign of print, not with a hyphen."""

    def __format__(self, shape: str) -> str:
        return super().__format__(shape).replace("-", MINUS)


@dataclass
class _Part:
    """A heading, its lines, and how they are joined to it and to each other."""

    heading: str
    before: str
    between: str
    lines: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return self.heading + (self.before + self.between.join(self.lines) if self.lines else "")


@dataclass(frozen=True)
class Words:
    """Puts stored reasons into words.

    `labels` is what people call columns and `titles` what they call offers; in print a minus is not a hyphen.
    """

    language: Language
    labels: Mapping[str, str] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)
    is_print: bool = False

    def sentence(self, reasons: Sequence[Stored] | None) -> str:
        """Write reasons in one line."""
        return self.language.joins["headings"].join(str(part) for part in self._parts(reasons))

    def parts(self, reasons: Sequence[Stored] | None) -> list[tuple[str, list[str]]]:
        """Write reasons as headings with their lines."""
        return [(part.heading, part.lines) for part in self._parts(reasons)]

    def drivers(self, reasons: Sequence[Stored] | None) -> list[tuple[str, str]]:
        """Write what drives a risk as ``label: value``, each with its direction."""
        return [
            (f"{self.label(each['column'])}: {self.value(each)}", DIRECTIONS[each["code"]]) for each in reasons or ()
        ]

    def label(self, column: str | None) -> str:
        """Name a column for people; one that the catalogue does not know is a trait, or was one of an older day."""
        if column is None or column in self.labels:
            return self.labels[column] if column else ""
        return trait(column.removeprefix(trait_column("")), is_text=False).label

    def value(self, reason: Stored) -> str:
        """Write a number without needless digits and a text as it is; what is missing is unknown."""
        text, number = reason["value"], reason["number"]
        if text is None and number is None:
            return self.language.values["unknown"]
        if text is not None:
            return str(text)
        return plain_number(number).replace("-", MINUS) if self.is_print else plain_number(number)

    def _parts(self, reasons: Sequence[Stored] | None) -> list[_Part]:
        """Read reasons in their order; `Language` says what kind of thing each code is."""
        lead, parts, joins = "", list[_Part](), self.language.joins
        for reason in reasons or ():
            kind, template = self.language.template(reason["code"])
            text = template.format_map(self._fields(reason))
            if kind == "lead":
                lead += text
            elif kind == "heading":
                of = "worth" if reason["code"] == WORTH else "because"
                parts.append(_Part(lead + text, joins[of], joins[f"{of}_lines"]))
                lead = ""
            elif kind == "line":
                parts[-1].lines.append(text)
            elif parts[-1].lines:
                parts[-1].lines[-1] += text
            else:
                parts[-1].heading += text
        return parts

    def _fields(self, reason: Stored) -> dict[str, object]:
        """Fields that a template may use."""
        number, effect, text = reason["number"], reason["effect"], reason["value"]
        numbers = {
            "number": number,
            "percent": None if number is None else 100 * number,
            "effect": effect,
            "amount": None if effect is None else abs(effect),
        }
        shape = _PrintedNumber if self.is_print else float
        return {
            "label": self.label(reason["column"]),
            "value": self.value(reason),
            "text": text,
            "title": self.titles.get(text or "", text),
            **{name: shape(each) for name, each in numbers.items() if each is not None},
        }


def plain_number(number: float) -> str:
    """Write a number without needless digits.

    Examples
    --------
    >>> plain_number(3.0), plain_number(2.345), plain_number(-1.5)
    ('3', '2.35', '-1.50')
    """
    whole = round(number)
    return f"{number:.0f}" if abs(number - whole) <= 1e-8 + 1e-5 * abs(whole) else f"{number:.2f}"


def words_of(settings: Settings, *, is_print: bool = False) -> Words:
    """Words in the language of the settings, with the labels and titles of today's catalogues."""
    labels = {feature.name: feature.label for feature in declarations_of(settings).catalogue()}
    return Words(load_language(settings.language), labels, load_catalogue(settings.offers).titles, is_print)
