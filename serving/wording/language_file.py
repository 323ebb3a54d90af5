"""A language: templates by code, formats of numbers and days; checked when it is read."""

from __future__ import annotations

import fnmatch
import re
from datetime import date
from decimal import Decimal
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

from pydantic import Field

from configs.benefits import Benefit
from configs.errors import InputError
from configs.named_files import FOLDER, named_file, read_toml
from configs.section import Section
from configs.validated_model import validated
from features.definitions.registry import Feature
from features.definitions.snapshot_features import TASTE_DAYS
from models.personas.habits import MOSTLY
from serving.wording.locales import (
    Locale,
    amount,
    counted,
    decimal_signs,
    locale_of,
    percent_template,
    percentage,
    required_locale,
    weekday_name,
    written_day,
)
from serving.wording.template_check import check_templates

STEP_DONE = "has_done_"  # columns of first steps, whose names are the app's own
ENGLISH = "en"  # what a language does not say is said in English


class Formats(Section):
    """How numbers, percentages and days are written."""

    locale: str = Field(description="language and country by which numbers, percentages, amounts and days are written")
    window: str = Field(description="a column over a window, with {label} and {days}")
    part_of_window: str = Field(description="a column over a part of a window, with {label}, {days} and {all}")
    weekdays: tuple[str, ...] = Field(
        min_length=7, max_length=7, description="names of the days on which something is usual"
    )


class Language(Section):
    """Templates by code; `serving.wording.rendering.Words` puts them together."""

    lead: dict[str, str] = Field(description="begins the heading that follows")
    heading: dict[str, str] = Field(description="stands for itself, or over lines")
    line: dict[str, str] = Field(description="stands under the heading before it")
    detail: dict[str, str] = Field(description="continues what was said last")
    joins: dict[str, str] = Field(description="stands between headings and lines")
    values: dict[str, str] = Field(description="words for values")
    units: dict[str, str] = Field(description="values by their unit, with {number} and {currency}")
    benefits: dict[str, str] = Field(description="days and points that offers give, with {number}")
    labels: dict[str, str] = Field({}, description="names of columns, without their window; English ones by default")
    groups: dict[str, str] = Field({}, description="names of stages and segments; those of their files by default")
    meanings: dict[str, str] = Field({}, description="who is in stages and segments; as their files say by default")
    parts: dict[str, str] = Field(description="parts of rules, and what they moved")
    segments: dict[str, str] = Field(description="lines of `winback segments`")
    audit: dict[str, str] = Field(description="lines of `winback audit`")
    personas: dict[str, str] = Field(description="words of which the names of personas are made")
    verdicts: dict[str, str] = Field(description="how good a model is, in a word")
    metrics: dict[str, str] = Field(description="what figures of runs say, by their names, or patterns of them with *")
    explain: dict[str, str] = Field(description="lines of `winback explain`")
    terms: dict[str, str] = Field(description="words for channels, aims of plays, evidence and how it was decided")
    arms: dict[str, str] = Field(description="who decided about somebody: the plan, a random draw, a rule")
    marks: dict[str, str] = Field(description="what is laid over charts, and the sign of each")
    pages: dict[str, str] = Field({}, description="texts of report, desk and plans, by the English ones")
    formats: Formats = Field(description="how numbers, percentages and days are written")

    @cached_property
    def locale(self) -> Locale:
        """How it writes numbers, percentages, amounts and days."""
        return required_locale(self.formats.locale, "formats.locale")

    @property
    def tag(self) -> str:
        """Name it as pages of the web do, such as ``en`` or ``pt``."""
        return self.locale.language

    @cached_property
    def _signs(self) -> dict[str, str]:
        return decimal_signs(self.locale)

    @cached_property
    def _percent(self) -> str:
        return percent_template(self.locale)

    def template(self, code: str) -> tuple[str, str]:
        """Kind and template of a code; one that is not known, of an app's own rule, is its own heading."""
        sections = {"lead": self.lead, "heading": self.heading, "line": self.line, "detail": self.detail}
        own = code.replace("_", " ").replace("{", "{{").replace("}", "}}")
        return next(((kind, codes[code]) for kind, codes in sections.items() if code in codes), ("heading", own))

    def label(self, feature: Feature) -> str:
        """Name a column for people.

        Examples
        --------
        >>> spent = Feature("spend_sum_28d", "Money spent.", "28 days", "value", "behaviour", "money", says_window=True)
        >>> load_language("en").label(spent), load_language("de").label(spent)
        ('money spent, last 28 days', 'Ausgaben, letzte 28 Tage')
        """
        own = self.labels.get(feature.fact)
        if own is None and feature.name.startswith(STEP_DONE):
            return self.parts["step_done"].format(step=feature.label.partition(": ")[2])
        if own is None or not feature.says_window:
            return own or feature.label
        days, *whole = re.findall(r"\d+", feature.window)
        shape = self.formats.part_of_window if whole else self.formats.window
        return shape.format(label=own, days=days, all="".join(whole))

    def persona_word(self, word: str) -> str:
        """Say a word of a persona's name; one that is not known stays.

        Examples
        --------
        >>> [load_language("de").persona_word(word) for word in ("weekend", "mostly tea", "else")]
        ['am Wochenende', 'vor allem tea', 'else']
        """
        if word.startswith(MOSTLY):
            return self.personas.get(MOSTLY.strip(), MOSTLY + "{category}").format(category=word.removeprefix(MOSTLY))
        return self.personas.get(word, word)

    def taste(self, group: str) -> str:
        """Name the share of a group of categories."""
        label = self.parts["taste_share"].format(category=group)
        return self.formats.window.format(label=label, days=TASTE_DAYS)

    def text(self, english: str) -> str:
        """Say a text of a page; one that the language does not have stays English."""
        return self.pages.get(english, english)

    def term(self, code: str) -> str:
        """Name a channel, an aim, a kind of evidence; an app's own is written without its underscores."""
        return self.terms.get(code, code.replace("_", " "))

    def metric(self, name: str) -> str:
        """Say what a figure of a run says, by the longest pattern that its name fits; empty of one that is not known.

        Examples
        --------
        >>> load_language("en").metric("type_a.incremental_retention"), load_language("en").metric("tea")
        ('how many more stay by the offer, as a share', '')
        """
        fitting = [pattern for pattern in self.metrics if fnmatch.fnmatchcase(name, pattern)]
        return self.metrics[max(fitting, key=len)] if fitting else ""

    def weekday(self, day: date) -> str:
        """Name the day of the week.

        Examples
        --------
        >>> load_language("de").weekday(date(2024, 8, 7))
        'Mittwoch'
        """
        return weekday_name(day, self.locale)

    def typed_number(self, typed: str) -> float:
        """Read a number that somebody typed, as the language or as a machine writes it.

        Raises
        ------
        ValueError
            It is none.

        Examples
        --------
        >>> german, english = load_language("de"), load_language("en")
        >>> [german.typed_number(text) for text in ("1.500", "12,5", "1.234,50", "500.00", "0.5")]
        [1500.0, 12.5, 1234.5, 500.0, 0.5]
        >>> [english.typed_number(text) for text in ("1,500", "12.5", "-3")]
        [1500.0, 12.5, -3.0]
        """
        group, decimal = (re.escape(self._signs[sign]) for sign in (",", "."))
        if re.fullmatch(rf"-?[1-9]\d{{0,2}}({group}\d{{3}})+({decimal}\d+)?", typed):
            typed = re.sub(group, "", typed)
        return float(re.sub(decimal, ".", typed) if re.fullmatch(rf"-?\d+{decimal}\d+", typed) else typed)

    def machine_number(self, typed: str) -> str:
        """Write a number that somebody typed in this language as a machine does; what is none stays.

        Examples
        --------
        >>> german = load_language("de")
        >>> german.machine_number("1.500"), german.machine_number("1,125"), german.machine_number("many")
        ('1500', '1.125', 'many')
        """
        try:
            number = self.typed_number(typed.strip())
        except ValueError:
            return typed
        return format(Decimal(repr(number)).normalize(), "f") if isfinite(number) else typed

    def number(self, number: float, shape: str) -> str:
        """Write a number in a shape of Python's, with the language's own signs.

        Examples
        --------
        >>> load_language("de").number(1234.5, ",.2f"), load_language("en").number(0.123, ".1%")
        ('1.234,50', '12.3%')
        """
        return self.local(format(float(number), shape))

    def local(self, text: str) -> str:
        r"""Write a number that Python wrote, such as ``1,234.5`` or ``12%``, with the language's own signs.

        Examples
        --------
        >>> load_language("de").local("1,234.5"), load_language("de").local("12%")
        ('1.234,5', '12\xa0%')
        """
        signed = "".join(self._signs.get(sign, sign) for sign in text)
        return self._percent.format(number=signed[:-1]) if signed.endswith("%") else signed

    def percent(self, share: float) -> str:
        """Write a share as the exact percentage: nothing is rounded away.

        Examples
        --------
        >>> load_language("en").percent(0.125), load_language("en").percent(0.3)
        ('12.5%', '30%')
        """
        return percentage(share, self.locale)

    def benefit(self, benefit: Benefit, currency: str, locale: Locale | None = None) -> str | None:
        """Write what an offer gives, as people of a locale write it; None where that is nothing.

        Examples
        --------
        >>> english = load_language("en")
        >>> [english.benefit(Benefit(*each), "USD") for each in (("percent", 0.125), ("amount", 5), ("none", 0))]
        ['12.5%', 'US$5', None]
        >>> [english.benefit(Benefit(*each), "USD") for each in (("free_days", 1), ("points", 1500))]
        ['1 free day', '1,500 points']
        >>> english.benefit(Benefit("shipping", 4.9), "USD")
        'free shipping'
        """
        kind, level, at = *benefit, locale or self.locale
        if not level:
            return None
        if kind == "percent":
            return percentage(level, at)
        if kind == "amount":
            return amount(level, currency, at)
        name = "free_day" if kind == "free_days" and level == 1 else kind
        return self.benefits[name].format(number=counted(level, at))

    def day(self, day: date, locale: Locale | None = None) -> str:
        """Write a day out, as people of a locale write it.

        Examples
        --------
        >>> load_language("en").day(date(2024, 8, 7)), load_language("de").day(date(2024, 8, 7))
        ('7 August 2024', '7. August 2024')
        """
        return written_day(day, locale or self.locale)


def load_language(name: str) -> Language:
    """Read ``configs/languages/<name>.toml``, or the TOML file at a path; what it does not say, it says in English.

    `serving.wording.half_languages` says how much that is.

    Raises
    ------
    InputError
        The file is missing, a section is unknown, or a template uses a field that the English one does not.
    """
    path = named_file(name, FOLDER / "languages", ".toml", "language")
    tables = read_toml(path)
    if path == FOLDER / "languages" / f"{ENGLISH}.toml":
        return _read(tables, path)
    english = load_language(ENGLISH)
    language = _read(_filled(tables, english.model_dump(), path), path)
    if not any(tables.values()):
        raise InputError(
            f"language {path} says nothing, so that all would be English; write a text into it, or set language = 'en'"
        )
    check_templates(language.model_dump(), english.model_dump(), path)
    return language


def _read(tables: dict[str, Any], path: Path) -> Language:
    language = validated(Language, tables, f"language {path}")
    required_locale(language.formats.locale, f"formats.locale in language {path}")
    return language


def _filled(tables: dict[str, Any], english: dict[str, dict[str, Any]], path: Path) -> dict[str, Any]:
    """Say in English what a language leaves out; numbers are written as its file is named, where it says nothing."""
    formats = {**english["formats"]}
    if locale_of(path.stem) is not None:
        formats["locale"] = path.stem
    whole = {**english, "formats": formats}
    shared = {name: {**codes, **tables[name]} for name, codes in whole.items() if isinstance(tables.get(name), dict)}
    return {**whole, **tables, **shared}
