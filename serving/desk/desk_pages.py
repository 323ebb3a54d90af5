"""The types of the desk: `Desk` (what pages read), `Question` (a checked request) and `Page` (an answer)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any
from urllib.parse import urlencode

from configs.errors import InputError
from configs.offers import Catalogue, load_catalogue
from configs.settings import Settings
from features.storage.lake import Lake
from serving.charts.chart_frame import Chart, ChartWords
from serving.cubes.stored_cubes import DayCubes, cube_days, read_cubes
from serving.desk.audience_post import Receiver
from serving.desk.visitors import Visitor
from serving.report_page.page_environment import chart_words
from serving.stored_days.day_tables import decided_days
from serving.wording.rendering import Words, words_of

LONGEST = 200  # signs of a parameter


class RefusedError(InputError):
    """A question that cannot be answered: an English sentence with its fields, which pages say in their language."""

    def __init__(self, english: str, **fields: object) -> None:
        super().__init__(english.format(**fields))
        self.english, self.fields = english, fields


class PageNotFoundError(RefusedError):
    """There is no such page, day or user; the sentence says what there is."""


def no_lines(_words: Words) -> Mapping[str, str]:
    """Tell nothing of runs."""
    return {}


@dataclass(frozen=True)
class Desk:
    """What every page reads: settings, data folder, words and catalogue, what is known of runs, who takes audiences.

    `run_lines` tells titles with texts of the data folder, `newest_runs` the newest runs, the last first.
    """

    settings: Settings
    lake: Lake
    words: Words
    catalogue: Catalogue
    run_lines: Callable[[Words], Mapping[str, str]] = no_lines
    newest_runs: Callable[[], Sequence[Mapping[str, Any]]] = tuple
    receiver: Receiver | None = None

    @classmethod
    def of(
        cls, settings: Settings, lake: Lake, run_lines: Callable[[Words], Mapping[str, str]] = no_lines,
        newest_runs: Callable[[], Sequence[Mapping[str, Any]]] = tuple, receiver: Receiver | None = None,
    ) -> Desk:  # fmt: skip
        """Open a desk; its pages speak the language of the settings, as the report does."""
        words = words_of(settings, is_print=True)
        return cls(settings, lake, words, load_catalogue(settings.offers), run_lines, newest_runs, receiver)

    def speaking(self, language: str) -> Desk:
        """Give the same desk in another language."""
        settings = self.settings.model_copy(update={"language": language})
        return replace(self, settings=settings, words=words_of(settings, is_print=True))

    def title(self, offer_id: str) -> str:
        """Name an offer for people."""
        return self.words.titles.get(offer_id, offer_id)

    def play(self, offer_id: str, play: str | None) -> str:
        """Name a play where that says more than the title of its offer; else nothing."""
        told = {each.casefold() for each in (offer_id, self.title(offer_id), self.catalogue.titles.get(offer_id, ""))}
        return play if play and play.casefold() not in told else ""

    @property
    def chart_words(self) -> ChartWords:
        """What charts say by themselves."""
        return chart_words(self.words)


@dataclass(frozen=True)
class Question:
    """What somebody asks of a day; `given` holds the parameters of the address, each once."""

    desk: Desk
    day: date
    days: Sequence[date]
    visitor: Visitor
    given: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, desk: Desk, visitor: Visitor, given: Mapping[str, str]) -> Question:
        """Check the parameters that all pages share.

        Raises
        ------
        RefusedError
            A parameter is too long or no day.
        PageNotFoundError
            Nothing was decided yet, or not on that day.
        """
        for name, value in given.items():
            checked(name), checked(value)
        days, decided = cube_days(desk.lake), decided_days(desk.lake)
        if not days and not decided:
            raise PageNotFoundError(
                "no day was decided yet; winback score-users decides one, and this page then shows it"
            )
        day = day_of(given["day"]) if given.get("day") else (days or decided)[-1]
        if day not in days and day in decided:
            raise PageNotFoundError(
                "the sums of {day} that pages are made of are not there (folder cubes); winback report --as-of "
                "{iso_day} writes them",
                day=day, iso_day=str(day),
            )  # fmt: skip
        if day not in days:
            raise PageNotFoundError(
                "nothing was decided on {day}; the newest day is {newest}", day=day, newest=(days or decided)[-1]
            )
        return cls(desk, day, days, visitor, given)

    def one_of(self, name: str, choices: Sequence[str]) -> str:
        """Return a parameter that must be one of those known, or nothing.

        Raises
        ------
        RefusedError
            It is another one.
        """
        value = self.given.get(name, "")
        if value and value not in choices:
            raise RefusedError("{name} is none of those there are; go back and choose one of the list", name=name)
        return value

    def number(self, name: str, default: float, *, least: float = 0.0, most: float = 1e12) -> float:
        """Return a parameter that must be a number within bounds.

        Raises
        ------
        RefusedError
            It is none, or lies outside.
        """
        text = self.given.get(name, "").strip()
        if not text:
            return default
        try:
            value = float(text)
        except ValueError as error:
            raise RefusedError("{name} is no number; write one such as {least:g}", name=name, least=least) from error
        if not least <= value <= most:
            raise RefusedError(
                "{name} must lie between {least:g} and {most:g}", name=name, least=least, most=float(most)
            )
        return value

    def whole(self, name: str, default: int, *, least: int = 0, most: int = 10**12) -> int:
        """Return a parameter that must be a whole number within bounds.

        Raises
        ------
        RefusedError
            It is none, or lies outside.
        """
        value = self.number(name, default, least=least, most=most)
        if value != int(value):
            raise RefusedError("{name} must be a whole number; {value:g} is none", name=name, value=value)
        return int(value)

    def with_given(self, **more: object) -> str:
        """Write the parameters of this question with some others, for a link."""
        given = {name: value for name, value in self.given.items() if name != "table"}
        return urlencode({**given, **{name: str(value) for name, value in more.items()}})

    def cubes(self, day: date | None = None) -> DayCubes:
        """Read the cubes of the day, or of another."""
        return read_cubes(self.desk.lake, day or self.day)

    @property
    def day_before(self) -> date | None:
        """The newest decided day before this one."""
        earlier = [day for day in self.days if day < self.day]
        return earlier[-1] if earlier else None

    @property
    def week_before(self) -> date | None:
        """The newest decided day that lies a week back or more."""
        earlier = [day for day in self.days if (self.day - day).days >= 7]
        return earlier[-1] if earlier else None


@dataclass(frozen=True)
class Page:
    """An answer: which template writes it out with which values, and its charts by name."""

    name: str
    title: str
    values: Mapping[str, Any]
    charts: Mapping[str, Chart] = field(default_factory=dict)

    @property
    def template(self) -> str:
        """File of its template."""
        return f"{self.name}.html.j2"


def checked(text: str) -> str:
    """Return what somebody gave, if it can be asked for at all.

    Raises
    ------
    RefusedError
        It is too long, or holds a null sign.
    """
    if len(text) > LONGEST or "\0" in text:
        raise RefusedError("a parameter may have {most} signs at most, and no null sign", most=LONGEST)
    return text


def day_of(text: str) -> date:
    """Read a day.

    Raises
    ------
    RefusedError
        It is none.
    """
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise RefusedError("day is no day; write one such as 2024-07-01") from error
