"""Responses to requests in the language of the visitor: pages, tables, and one-sentence pages for refusals."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, urlencode

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment

from configs.errors import InputError
from configs.named_files import FOLDER, known_names
from features.tables.duckdb_sessions import shared_reading
from serving.desk.access_log import note
from serving.desk.desk_pages import Desk, Page, Question, RefusedError
from serving.desk.page_list import TITLES, TYPED, is_number, require_known
from serving.desk.today_page import pages_linked
from serving.desk.visitors import Authenticator, Visitor
from serving.report_page.page_environment import page_environment
from serving.wording.locales import own_name

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Answers:
    """Turns requests into responses: `desk` holds what pages read, `authenticator` says who asks.

    `others` keeps the same in other languages, by their names.
    """

    desk: Desk
    authenticator: Authenticator
    others: dict[str, Answers] = field(default_factory=dict)

    @cached_property
    def languages(self) -> dict[str, str]:
        """Languages that the pages can speak: what each calls itself, by its name."""
        names = dict.fromkeys([*known_names(FOLDER / "languages", ".toml"), self.desk.settings.language])
        return {name: own_name(Path(name).stem) for name in names}

    def speaking(self, language: str | None) -> Answers:
        """Give the same answers in another language; in this one where there is no such language."""
        if language not in self.languages or language == self.desk.settings.language:
            return self
        if language not in self.others:
            self.others[language] = Answers(self.desk.speaking(language), self.authenticator, self.others)
        return self.others[language]

    def said(self, error: InputError) -> str:
        """Say a refusal in the language of the pages; what other rooms refuse is English."""
        return self.desk.words.say(error.english, **error.fields) if isinstance(error, RefusedError) else str(error)

    @cached_property
    def templates(self) -> Environment:
        """The templates, which are read and compiled once."""
        return page_environment([TEMPLATES], self.desk.settings, self.desk.words)

    def write(self, template: str, visitor: Visitor | None, status: int = 200, **values: object) -> HTMLResponse:
        """Fill a template in."""
        token = self.authenticator.form_token(visitor) if visitor is not None else ""
        shown = {
            "settings": self.desk.settings,
            "visitor": visitor,
            "titles": {name: self.desk.words.say(TITLES[name]) for name in TITLES},
            "languages": self.languages,
            "form_token": token,
            "authenticator": self.authenticator,
            "link": link,
        }
        return HTMLResponse(self.templates.get_template(template).render(**shown, **values), status)

    def sentence(self, visitor: Visitor | None, status: int, text: str, title: str = "") -> HTMLResponse:
        """Write a page of one sentence."""
        page = Page("sentence", title or self.desk.words.say("Not shown"), {})
        return self.write("sentence.html.j2", visitor, status, page=page, question=None, said=text.rstrip("."))

    def addressed(self, name: str, typed: Mapping[str, str]) -> str:
        """Write the address of what somebody typed into the form of a page: the same for readers of any language."""
        as_machine = self.desk.words.language.machine_number
        given = {key: as_machine(value) if is_number(key) else value for key, value in typed.items() if key != TYPED}
        return link(name, None, **given)

    def question(self, visitor: Visitor, name: str, given: Mapping[str, str]) -> Question:
        """Check what a page is asked."""
        require_known(name, given)
        return Question.of(self.desk, visitor, given)

    def page(self, visitor: Visitor, name: str, given: Mapping[str, str], make: Callable[[Question], Page]) -> Response:
        """Answer a question with a page, or with one of its charts as a table for spreadsheets."""
        question = self.question(visitor, name, given)
        with shared_reading(self.desk.lake):
            page = make(question)
        if name := question.one_of("table", tuple(page.charts)):
            note(self.desk.lake, visitor, f"table {name} of {page.name}", given, len(page.charts[name].rows))
            return attachment(page.charts[name].as_csv(), f"{question.day}-{page.name}-{name}.csv")
        return self.write(
            page.template,
            visitor,
            page=page,
            question=question,
            questions=pages_linked(self.desk.words.say),
            **page.values,
        )


def link(path: str, question: Question | None = None, /, **given: object) -> str:
    """Write an address of ours; the day goes with it where it is not the newest.

    Examples
    --------
    >>> link("people", q="a b&c"), link("people/..%2f", stage=None)
    ('/people?q=a+b%26c', '/people/..%252f')
    """
    known = {name: value for name, value in given.items() if value not in (None, "")}
    if question is not None and question.days and question.day != question.days[-1]:
        known.setdefault("day", question.day)
    return f"/{quote(path)}" + (f"?{urlencode(known)}" if known else "")


def attachment(text: str, name: str) -> Response:
    """Hand a table out as a file."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text, media_type="text/csv; charset=utf-8", headers=headers)


def answers_of(request: Request) -> Answers:
    """Find the answers in the language of whoever asks."""
    found: Answers = request.state.answers
    return found


def given_of(request: Request) -> dict[str, str]:
    """Read the parameters of an address: each once, in the form in which ids are kept.

    Raises
    ------
    InputError
        One is given twice, and nobody can tell which is meant.
    """
    if len(request.query_params) < len(request.query_params.multi_items()):
        raise RefusedError("a parameter is given twice; leave one of them out")
    return {name: unicodedata.normalize("NFC", value) for name, value in request.query_params.items()}
