"""The desk as a web application: who asks is checked, a page is made, and nothing but text of ours leaves it."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from socket import socket
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from jinja2 import Environment

from configs.errors import InputError
from serving.charts.chart_frame import csv_row
from serving.desk.access_log import note
from serving.desk.audience_post import message_of, post
from serving.desk.desk_pages import Desk, Page, PageNotFoundError, Question, checked
from serving.desk.page_list import PAGES, TITLES, page_meant, page_near, require_known
from serving.desk.people_page import audience, audience_name, filter_count
from serving.desk.person_page import person_page
from serving.desk.today_page import pages_linked, today_page
from serving.desk.visitors import COOKIE, Door, Visitor
from serving.desk.what_if_page import proposal
from serving.report_page.page_environment import page_environment

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY", "Cross-Origin-Opener-Policy": "same-origin", "Cache-Control": "no-store",
}  # fmt: skip
# the report is one file with its style inside, and no script
REPORT_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'"
TEMPLATES = Path(__file__).parent / "templates"
STYLES = ("page.css", "charts.css", "desk.css")
MOST_FORM = 20_000  # bytes


@dataclass(frozen=True)
class Answers:
    """Makes answers of requests: `desk` is asked, `door` says who asks."""

    desk: Desk
    door: Door

    @cached_property
    def templates(self) -> Environment:
        """The templates, which are read and compiled once."""
        return page_environment([TEMPLATES], self.desk.settings, self.desk.words)

    def write(self, template: str, visitor: Visitor | None, status: int = 200, **values: object) -> HTMLResponse:
        """Fill a template in."""
        token = self.door.form_token(visitor) if visitor is not None else ""
        shown = {
            "settings": self.desk.settings,
            "visitor": visitor,
            "titles": TITLES,
            "form_token": token,
            "door": self.door,
            "link": link,
        }
        return HTMLResponse(self.templates.get_template(template).render(**shown, **values), status)

    def sentence(self, visitor: Visitor | None, status: int, said: str, title: str = "Not shown") -> HTMLResponse:
        """Write a page of one sentence."""
        page = Page("sentence", title, {})
        return self.write("sentence.html.j2", visitor, status, page=page, asked=None, said=said.rstrip("."))

    def question(self, visitor: Visitor, name: str, given: Mapping[str, str]) -> Question:
        """Check what a page is asked."""
        require_known(name, given)
        return Question.of(self.desk, visitor, given)

    def page(self, visitor: Visitor, name: str, given: Mapping[str, str], make: Callable[[Question], Page]) -> Response:
        """Answer a question with a page, or with one of its charts as a table for spreadsheets."""
        asked = self.question(visitor, name, given)
        page = make(asked)
        if name := asked.one_of("table", tuple(page.charts)):
            note(self.desk.lake, visitor, f"table {name} of {page.name}", given, len(page.charts[name].rows))
            return attachment(page.charts[name].as_csv(), f"{asked.day}-{page.name}-{name}.csv")
        return self.write(page.template, visitor, page=page, asked=asked, questions=pages_linked(), **page.values)


def link(path: str, asked: Question | None = None, **given: object) -> str:
    """Write an address of ours; the day goes with it where it is not the newest.

    Examples
    --------
    >>> link("people", q="a b&c"), link("people/..%2f", stage=None)
    ('/people?q=a+b%26c', '/people/..%252f')
    """
    known = {name: value for name, value in given.items() if value not in (None, "")}
    if asked is not None and asked.days and asked.day != asked.days[-1]:
        known.setdefault("day", asked.day)
    return f"/{quote(path)}" + (f"?{urlencode(known)}" if known else "")


def attachment(text: str, name: str) -> Response:
    """Hand a table out as a file."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text, media_type="text/csv; charset=utf-8", headers=headers)


def make_desk_app(desk: Desk, door: Door) -> FastAPI:
    """Make the application; it has no address but those of its pages."""
    app = FastAPI(title="winback", docs_url=None, redoc_url=None, openapi_url=None)
    answers = Answers(desk, door)

    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Any]) -> Response:
        answer = await _guarded(request, call_next, answers)
        for name, value in HEADERS.items():
            answer.headers.setdefault(name, value)
        return answer

    for add in (_add_files, _add_doors, _add_pages):  # pages last: theirs is any name
        add(app, answers)
    return app


async def _guarded(request: Request, call_next: Callable[[Request], Any], answers: Answers) -> Response:
    """Refuse who is not known; turn what is wrong with a question into a sentence."""
    if not answers.door.knows_host(request.headers.get("host", "")):
        return PlainTextResponse("this desk answers to the names of its own machine alone", 400)
    visitor = answers.door.visitor(request.headers, request.cookies)
    request.state.visitor = visitor
    is_free = request.url.path in ("/style.css", "/sign-in")
    if visitor is None and not is_free:
        if (
            request.method == "GET"
            and "text/html" in request.headers.get("accept", "")
            and "authorization" not in request.headers
        ):
            return RedirectResponse("/sign-in", 303)
        return answers.sentence(None, 401, "A token is asked for here: give it as a Bearer token, or sign in.")
    try:
        answer: Response = await call_next(request)
    except PageNotFoundError as error:
        return answers.sentence(visitor, 404, str(error))
    except InputError as error:
        return answers.sentence(visitor, 400, str(error))
    if answer.status_code in (404, 405) and visitor is not None:
        return answers.sentence(
            visitor, answer.status_code, "There is no such page; the menu above lists those there are."
        )
    return answer


def given_of(request: Request) -> dict[str, str]:
    """Read the parameters of an address: each once, in the form in which ids are kept.

    Raises
    ------
    InputError
        One is given twice, and nobody can tell which is meant.
    """
    if len(request.query_params) < len(request.query_params.multi_items()):
        raise InputError("a parameter is given twice; leave one of them out")
    return {name: unicodedata.normalize("NFC", value) for name, value in request.query_params.items()}


def serve(desk: Desk, door: Door, listening: socket) -> None:
    """Answer on a socket that listens, until the process is told to end."""
    desk_server(desk, door).run(sockets=[listening])


def desk_server(desk: Desk, door: Door) -> uvicorn.Server:
    """Make the server of a desk; whoever runs it ends it with `should_exit`."""
    app = make_desk_app(desk, door)
    config = uvicorn.Config(app, log_level="warning", access_log=False, proxy_headers=False, server_header=False)
    return uvicorn.Server(config)


def _add_pages(app: FastAPI, answers: Answers) -> None:
    """Answer with pages; what is read is what one publish left."""
    files = answers.desk.lake.files

    @app.get("/")
    def root(request: Request) -> Response:
        return _shown(request, "today", today_page)

    @app.get("/people/{shown_id}")
    def person(request: Request, shown_id: str) -> Response:
        name = unicodedata.normalize("NFC", shown_id)
        return _shown(request, "person", partial(person_page, shown_id=checked(name)))

    @app.get("/{name}")
    def page(request: Request, name: str) -> Response:
        if name in PAGES:
            return _shown(request, name, PAGES[name])
        if meant := page_meant(name):
            return RedirectResponse(link(meant, None, **given_of(request)), 308)
        raise PageNotFoundError(f"there is no such page{page_near(name) or '; the menu above lists those there are'}")

    def _shown(request: Request, name: str, make: Callable[[Question], Page]) -> Response:
        visitor, given = request.state.visitor, given_of(request)
        return files.of_one_publish(lambda: answers.page(visitor, name, given, make))


def _add_files(app: FastAPI, answers: Answers) -> None:
    """Answer with files: the style, the report, and the people of a filter."""
    desk = answers.desk

    @app.get("/style.css")
    def style() -> Response:
        text = "\n".join(answers.templates.get_template(name).render() for name in STYLES)
        return Response(text, media_type="text/css", headers={"Cache-Control": "max-age=300"})

    @app.get("/audience.csv")
    def people(request: Request) -> Response:
        asked = answers.question(request.state.visitor, "audience.csv", given_of(request))
        rows = filter_count(asked)
        note(desk.lake, asked.visitor, "audience", asked.given, rows)
        parts = (csv_row(row) for row in audience(asked))
        headers = {"Content-Disposition": f'attachment; filename="{audience_name(asked)}"'}
        return StreamingResponse(parts, media_type="text/csv; charset=utf-8", headers=headers)

    @app.get("/report")
    def report(request: Request) -> Response:
        asked = answers.question(request.state.visitor, "report", given_of(request))
        name = f"reports/{asked.day}.html"
        if not asked.visitor.is_operator:
            return answers.sentence(asked.visitor, 403, "The report names users, so that it is for operators alone")
        if not desk.lake.files.exists(name):
            raise PageNotFoundError(f"there is no report of {asked.day}; winback report --as-of {asked.day} writes it")
        note(desk.lake, asked.visitor, "report", asked.given, 1)
        return Response(
            desk.lake.files.read(name), media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY}
        )

    @app.post("/audience/post")
    async def hand_over(request: Request) -> Response:
        form = await require_our_form(request, answers.door)
        visitor, receiver = request.state.visitor, desk.receiver
        if not visitor.is_operator or receiver is None:
            return answers.sentence(visitor, 403, "Audiences are posted by operators, where an address is set")
        given = {name: value for name, value in form.items() if name != "form_token"}
        asked = answers.question(visitor, "people", given)
        columns, *rows = await run_in_threadpool(lambda: list(audience(asked)))
        people = [dict(zip(columns, row, strict=True)) for row in rows]
        message_id, body = message_of(str(asked.day), asked.given, people)
        await run_in_threadpool(post, receiver, message_id, body)
        note(desk.lake, visitor, f"audience posted to {receiver.host} as {message_id}", asked.given, len(people))
        said = f"{len(people):,} people were handed to {receiver.host} as message {message_id}"
        return answers.sentence(visitor, 200, said, title="Handed over")

    @app.post("/what-if/proposal")
    async def propose(request: Request) -> Response:
        form = await require_our_form(request, answers.door)
        visitor = request.state.visitor
        if not visitor.is_operator:
            return answers.sentence(visitor, 403, "Proposals are left by operators alone")
        given = {name: value for name, value in form.items() if name != "form_token"}
        name = proposal(answers.question(visitor, "what-if", given))
        return answers.sentence(
            visitor,
            200,
            f"The proposal lies in {name} of the data folder; nothing of it is in force",
            title="Left for the operator",
        )


def _add_doors(app: FastAPI, answers: Answers) -> None:
    """Let visitors in and out."""
    door = answers.door

    @app.get("/sign-in")
    def ask() -> Response:
        return answers.write("sign_in.html.j2", None, page=Page("sign_in", "Sign in", {}), asked=None, said="")

    @app.post("/sign-in")
    async def sign_in(request: Request) -> Response:
        role = door.role_of((await form_of(request)).get("token", "")) if door.tokens else None
        if role is None:
            said = "That token is not known; ask whoever runs winback for one."
            return answers.write(
                "sign_in.html.j2", None, 401, page=Page("sign_in", "Sign in", {}), asked=None, said=said
            )
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            COOKIE, door.cookie(role), httponly=True, samesite="strict", secure=request.url.scheme == "https"
        )
        return answer

    @app.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        await require_our_form(request, door)
        answer = RedirectResponse("/sign-in", 303)
        answer.delete_cookie(COOKIE)
        return answer


async def form_of(request: Request) -> dict[str, str]:
    """Read a form that was sent.

    Raises
    ------
    InputError
        It is larger than any of ours.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_FORM:
            raise InputError("that is more than any form of this desk sends")
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


async def require_our_form(request: Request, door: Door) -> dict[str, str]:
    """Read a form that a page of ours sent.

    Raises
    ------
    InputError
        It came from elsewhere.
    """
    form = await form_of(request)
    if not door.is_our_form(request.state.visitor, form.get("form_token", "")):
        raise InputError(
            "this form did not come from a page of the desk, or from one before its last start; open the page again"
        )
    return form
