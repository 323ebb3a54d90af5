"""From reason codes to sentences, by the templates of a language; the only place where this happens.

A language is a file in ``configs/languages``; columns and offers are called what the catalogues call them today.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from configs.benefits import Benefit
from configs.currencies import decimals_of
from configs.offers import load_catalogue
from configs.settings import Settings
from features.definitions.app_declarations import declarations_of
from features.definitions.onboarding_steps import NEXT_STEP
from features.definitions.registry import Feature, Unit, trait, trait_column
from features.training_data.taste_shares import COLUMN as TASTE
from serving.wording.formatting import Figures
from serving.wording.language_file import ENGLISH, Language, load_language
from serving.wording.reason_codes import DISCOUNTED, LOWERS, OTHER_BENEFIT, RAISES, WORTH, Reason

Stored = Mapping[str, Any]  # a `Reason` as it is read from a table
MINUS = "\u2212"
PERCENTAGES = {"share": 100, "ratio": 100}  # what their numbers are multiplied with, to be written
AMOUNTS = ("effect", "amount")
SINGULAR = {"days": "day"}  # what one of a unit is called in a language
PRICES = ("worth_of_staying", "cost_of_use")  # whose number is one, too
STAGE, RISK = "stage", "risk_band"  # columns of a day's decisions, whose texts are codes
DECISION_UNITS: Mapping[str, Unit] = {
    "p_churn": "share", "retained_value": "money", "remaining_value": "money", "offer_value_max": "money",
    "incremental_margin_max": "money", "p_redeem_max": "share",
}  # fmt: skip
DIRECTIONS = {RAISES: "raises", LOWERS: "lowers"}


def stored(reasons: Iterable[Reason]) -> list[Stored]:
    """Give reasons the form in which a table gives them back."""
    return [reason._asdict() for reason in reasons]


class _Number(float):
    """A number that templates write as the language does, and in print with a minus that is no hyphen."""

    words: Words

    def __format__(self, shape: str) -> str:
        return self.words.signs(self.words.language.number(self, shape))


class _Money(_Number):
    """An amount: in the account currency's minor unit, where that is finer than what templates write."""

    def __format__(self, shape: str) -> str:
        return super().__format__(shape.replace(".2f", f".{max(2, decimals_of(self.words.currency))}f"))


class _Unknown(str):
    """What is not known, in whatever shape it is asked for."""

    __slots__ = ()

    def __format__(self, shape: str) -> str:
        return str(self)


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

    `features` say what columns are called and what they count, `titles` what people call offers, and `benefits` what
    the options of an offer give, by the discount that it amounts to; `steps` what the first steps are called, by event;
    `categories` what the language calls them, by their display names; in print a minus is not a hyphen.
    """

    language: Language
    features: Mapping[str, Feature] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)
    currency: str = ""
    is_print: bool = False
    benefits: Mapping[tuple[str, float], Benefit] = field(default_factory=dict)
    steps: Mapping[str, str] = field(default_factory=dict)
    time_zone: str = "UTC"
    categories: Mapping[str, str] = field(default_factory=dict)

    def category(self, name: str) -> str:
        """Say the display name of a category."""
        return self.categories.get(name, name)

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
        if not column:
            return ""
        if column.startswith(TASTE):
            return self.language.taste(column.removeprefix(TASTE))
        return self.language.labels.get(column) or self.language.label(self._feature(column))

    def say(self, english: str, **fields: object) -> str:
        """Say an English sentence of a page in the language, with its fields filled in as the language writes them."""
        filled = {name: self.field(value) for name, value in fields.items()}
        return self.language.text(english).format(**filled)

    def counted(self, number: float, one: str, many: str) -> str:
        """Say an English text of one, or another of any other number, with the number as {number}.

        Examples
        --------
        >>> from serving.wording.language_file import load_language
        >>> Words(load_language("en")).counted(1200, "{number} user", "{number} users")
        '1,200 users'
        """
        return self.say(one if number == 1 else many, number=self.figures.thousands(number))

    def arm(self, arm: str) -> str:
        """Say who decided about somebody; an arm of an older winback is written as it is."""
        return self.language.arms.get(arm, arm.replace("_", " "))

    @property
    def figures(self) -> Figures:
        """Numbers and moments as pages write them."""
        return Figures(self.language, self.currency, self.time_zone)

    def term(self, code: str | None) -> str:
        """Name a channel, an aim, a kind of evidence, or how it was decided; nothing where there is none."""
        return self.language.term(code) if code else ""

    def group(self, name: str, title: str) -> str:
        """Name a stage or segment for people: as the language does, else as its own file."""
        return self.language.groups.get(name, title)

    def meaning(self, name: str, meaning: str) -> str:
        """Say who is in a stage or segment: as the language does, else as its own file."""
        return self.language.meanings.get(name, meaning)

    def persona(self, name: str) -> str:
        """Name a persona for people, word by word; a word that the language does not know stays."""
        return ", ".join(self.language.persona_word(word) for word in name.split(", "))

    def value(self, reason: Stored) -> str:
        """Write a number with its unit and without needless digits, a text as it is; of what is missing, say why."""
        text, number = reason["value"], reason["number"]
        if text is None and number is None:
            return self.language.values[self._lack(reason["column"])]
        if text is not None:
            return self._text(reason["column"], str(text))
        unit = self._unit(reason["column"])
        if unit == "flag" and number in (0, 1):
            return self.language.values["yes" if number else "no"]
        scaled = number * PERCENTAGES.get(unit, 1)
        plain = self.signs(self.language.number(scaled, plain_shape(scaled, unit, decimals_of(self.currency))))
        template = self.language.units.get(SINGULAR.get(unit, unit) if plain == "1" else unit, "{number}")
        if self.label(reason["column"]).startswith(template.removeprefix("{number}").strip() or "\0"):
            template = "{number}"  # "days since last active: 50" says it once
        return template.format(number=plain, currency=self.currency)

    def _text(self, column: str | None, text: str) -> str:
        """Say a text of a column: steps, bands of risk and stages as people call them, all else as it is."""
        if column == STAGE:
            return self.group(text, text)
        own = {NEXT_STEP: self.steps, RISK: self.language.values}.get(column or "", {})
        return own.get(text, text)

    def _unit(self, column: str | None) -> Unit:
        """Name the unit of a column; a day's decisions have some that no catalogue lists."""
        return DECISION_UNITS.get(column or "") or (self._feature(column).unit if column else "own")

    def benefit(self, offer_id: str | None, discount: float) -> str | None:
        """Write what an option gives, None of nothing; one that the catalogue does not know is a discount."""
        own = self.benefits.get((offer_id or "", discount), Benefit("percent", discount))
        return self.language.benefit(own, self.currency)

    def risk(self, band: str, p_churn: float | None, medium_risk: float) -> str:
        """Say a risk band in a word; who would be at risk, did not as many leave of all, is not called low."""
        is_usual = band == "low" and p_churn is not None and p_churn >= medium_risk
        return self.language.values["not_above_average" if is_usual else band]

    def _lack(self, column: str | None) -> str:
        """Name the word for what is missing: it never happened, too little was seen of the user, or nobody told."""
        feature = self._feature(column) if column else None
        if feature is None or feature.view == "traits":
            return "unknown"
        return "never" if feature.missing == "never" else "too_little_seen"

    def _feature(self, column: str) -> Feature:
        if column.startswith(TASTE):
            return Feature(column, self.label(column), "90 days", "activity", "taste", unit="share")
        return self.features.get(column) or trait(column.removeprefix(trait_column("")), is_text=False)

    def signs(self, text: str) -> str:
        """Put the minus sign of print for a hyphen, where this is for print."""
        return text.replace("-", MINUS) if self.is_print else text

    def field(self, value: object, *, is_money: bool = False) -> object:
        """Wrap a value so that templates can write it: a number or day as the language does, and what is not known."""
        if value is None:
            return _Unknown(self.language.values["unknown"])
        if isinstance(value, date):
            return self.language.day(value)
        if not isinstance(value, float):
            return value
        number = _Money(value) if is_money else _Number(value)
        number.words = self
        return number

    def _parts(self, reasons: Sequence[Stored] | None) -> list[_Part]:
        """Read reasons in their order; `Language` says what kind of thing each code is, and a lead may stand alone."""
        lead, parts, joins = "", list[_Part](), self.language.joins
        for reason in reasons or ():
            kind, template = self.language.template(self._code(reason))
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
        return [*parts, _Part(lead.removesuffix(": "), "", "")] if lead else parts

    def _code(self, reason: Stored) -> str:
        """Name the template of a reason: what is given that is no percentage has one of its own."""
        own = self.benefits.get((reason["value"] or "", reason["number"] or 0.0))
        is_other = reason["code"] == DISCOUNTED and own is not None and own.kind != "percent"
        return OTHER_BENEFIT if is_other else str(reason["code"])

    def _fields(self, reason: Stored) -> dict[str, object]:
        """Fields that a template may use."""
        number, effect, text = reason["number"], reason["effect"], reason["value"]
        given = None if number is None else self.benefit(text, number)
        numbers = {
            "number": number,
            "percent": None if number is None else 100 * number,
            "effect": effect,
            "amount": None if effect is None else abs(effect),
        }
        return {
            "label": self.label(reason["column"]),
            "value": self.value(reason),
            "text": self.language.terms.get(text or "", text),
            "title": self.titles.get(text or "", text),
            "exact_percent": None if number is None else self.language.percent(number),
            "benefit": given,
            **{
                name: self.field(each, is_money=name in AMOUNTS or (name == "number" and reason["code"] in PRICES))
                for name, each in numbers.items()
            },
        }


def plain_shape(number: float, unit: Unit = "own", decimals: int = 2) -> str:
    """Say in which shape a number has no needless digits; of percentages and days nobody needs the second.

    `decimals` are those of the account currency.

    Examples
    --------
    >>> [format(number, plain_shape(number)) for number in (3.0, 2.345, -1.5)]
    ['3', '2.35', '-1.50']
    >>> [format(number, plain_shape(number, "ratio")) for number in (56.31, 0.42)]
    ['56', '0.4']
    >>> [format(number, plain_shape(number, "money", 3)) for number in (2.0, 1.2345, 12345.0)]
    ['2', '1.234', '12,345']
    >>> [format(number, plain_shape(number, "count")) for number in (6.5, 0.25)]
    ['6.5', '0.25']
    """
    whole = round(number)
    if unit in PERCENTAGES or unit == "days":
        return ".0f" if abs(number) >= 9.95 or abs(number - whole) < 0.05 else ".1f"
    groups = "," if unit in ("money", "count") else ""  # a trait may be a code, which has none
    is_whole = abs(number - whole) <= 1e-8 + 1e-5 * abs(whole)
    if unit == "count" and abs(number) >= 1:
        return ",.0f" if is_whole else ",.1f"
    return f"{groups}.0f" if is_whole else f"{groups}.{decimals if unit == 'money' else 2}f"


def words_of(settings: Settings, *, is_print: bool = False) -> Words:
    """Words in the language of the settings, with the columns and titles of today's catalogues."""
    declared = declarations_of(settings)
    features = {feature.name: feature for feature in declared.catalogue()}
    steps = {step.event_name: step.title for step in declared.steps}
    catalogue = load_catalogue(settings.offers)
    benefits = {
        (each.offer_id, each.discount): gives for each, gives in zip(catalogue.options, catalogue.benefits, strict=True)
    }
    language = load_language(settings.language)
    titles = catalogue.titles_in(language.locale.language)
    categories = settings.categories.names_in.get(language.tag, {})
    return Words(
        language, features, titles, settings.currency, is_print, benefits, steps, settings.time_zone, categories
    )


def english_words_of(settings: Settings, *, is_print: bool = False) -> Words:
    """Words in English, which the report and the notes of runs speak."""
    return words_of(settings.model_copy(update={"language": ENGLISH}), is_print=is_print)
