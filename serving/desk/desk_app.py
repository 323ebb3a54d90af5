"""The desk as a web application: who asks is checked, a page is made, and nothing but text of ours leaves it."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import partial
from socket import socket
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse, RedirectResponse, StreamingResponse

from configs.errors import InputError
from serving.charts.chart_frame import csv_row
from serving.desk.access_log import note
from serving.desk.audience_post import message_of, post
from serving.desk.desk_answers import Answers, answers_of, given_of, link
from serving.desk.desk_pages import Desk, Page, PageNotFoundError, Question, checked
from serving.desk.doors import LANGUAGE, add_doors, require_our_form
from serving.desk.page_list import PAGES, TYPED, no_page, page_meant
from serving.desk.people_page import audience, audience_name, filter_count
from serving.desk.person_page import person_page
from serving.desk.today_page import today_page
from serving.desk.visitors import Door
from serving.desk.what_if_page import proposal

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
STYLES = ("page.css", "charts.css", "desk.css")


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

    for add in (_add_files, add_doors, _add_pages):  # pages last: theirs is any name
        add(app, answers)
    return app


async def _guarded(request: Request, call_next: Callable[[Request], Any], answers: Answers) -> Response:
    """Refuse who is not known; turn what is wrong with a question into a sentence."""
    answers = answers.speaking(request.cookies.get(LANGUAGE))
    request.state.answers = answers
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
        said = answers.desk.words.say("A token is asked for here: give it as a Bearer token, or sign in")
        return answers.sentence(None, 401, said)
    try:
        answer: Response = await call_next(request)
    except PageNotFoundError as error:
        return answers.sentence(visitor, 404, answers.said(error))
    except InputError as error:
        return answers.sentence(visitor, 400, answers.said(error))
    if answer.status_code in (404, 405) and visitor is not None:
        return answers.sentence(visitor, answer.status_code, answers.said(no_page("")))
    return answer


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
        if name in PAGES and TYPED in (typed := given_of(request)):
            return RedirectResponse(answers_of(request).addressed(name, typed), 303)
        if name in PAGES:
            return _shown(request, name, PAGES[name])
        if meant := page_meant(name):
            return RedirectResponse(link(meant, None, **given_of(request)), 308)
        raise no_page(name)

    def _shown(request: Request, name: str, make: Callable[[Question], Page]) -> Response:
        visitor, given, own = request.state.visitor, given_of(request), answers_of(request)
        return files.of_one_publish(lambda: own.page(visitor, name, given, make))


def _add_files(app: FastAPI, answers: Answers) -> None:
    """Answer with files: the style, the report, and the people of a filter."""
    desk = answers.desk

    @app.get("/style.css")
    def style() -> Response:
        text = "\n".join(answers.templates.get_template(name).render() for name in STYLES)
        return Response(text, media_type="text/css", headers={"Cache-Control": "max-age=300"})

    @app.get("/audience.csv")
    def people(request: Request) -> Response:
        asked = answers_of(request).question(request.state.visitor, "audience.csv", given_of(request))
        rows = filter_count(asked)
        note(desk.lake, asked.visitor, "audience", asked.given, rows)
        parts = (csv_row(row) for row in audience(asked))
        headers = {"Content-Disposition": f'attachment; filename="{audience_name(asked)}"'}
        return StreamingResponse(parts, media_type="text/csv; charset=utf-8", headers=headers)

    @app.get("/report")
    def report(request: Request) -> Response:
        own = answers_of(request)
        say, asked = own.desk.words.say, own.question(request.state.visitor, "report", given_of(request))
        name = f"reports/{asked.day}.html"
        if not asked.visitor.is_operator:
            said = say("The report names users, so that it is for operators alone")
            return own.sentence(asked.visitor, 403, said)
        if not desk.lake.files.exists(name):
            raise PageNotFoundError(
                "there is no report of {day}; winback report --as-of {named} writes it",
                day=asked.day, named=str(asked.day),
            )  # fmt: skip
        note(desk.lake, asked.visitor, "report", asked.given, 1)
        return Response(
            desk.lake.files.read(name), media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY}
        )

    @app.post("/audience/post")
    async def hand_over(request: Request) -> Response:
        form = await require_our_form(request, answers.door)
        visitor, receiver, own = request.state.visitor, desk.receiver, answers_of(request)
        words = own.desk.words
        if not visitor.is_operator or receiver is None:
            said = words.say("Audiences are posted by operators, where an address is set")
            return own.sentence(visitor, 403, said)
        given = {name: value for name, value in form.items() if name != "form_token"}
        asked = own.question(visitor, "people", given)
        columns, *rows = await run_in_threadpool(lambda: list(audience(asked)))
        people = [dict(zip(columns, row, strict=True)) for row in rows]
        message_id, body = message_of(str(asked.day), asked.given, people)
        await run_in_threadpool(post, receiver, message_id, body)
        note(desk.lake, visitor, f"audience posted to {receiver.host} as {message_id}", asked.given, len(people))
        said = words.say(
            "people handed to {host}: {people}, as message {message}",
            host=receiver.host, people=words.figures.thousands(len(people)), message=message_id,
        )  # fmt: skip
        return own.sentence(visitor, 200, said, title=words.say("Handed over"))

    @app.post("/what-if/proposal")
    async def propose(request: Request) -> Response:
        form = await require_our_form(request, answers.door)
        visitor, own = request.state.visitor, answers_of(request)
        say = own.desk.words.say
        if not visitor.is_operator:
            return own.sentence(visitor, 403, say("Proposals are left by operators alone"))
        given = {name: value for name, value in form.items() if name != "form_token"}
        name = proposal(own.question(visitor, "what-if", given))
        said = say("The proposal lies in {name} of the data folder; nothing of it is in force", name=name)
        return own.sentence(visitor, 200, said, title=say("Left for the operator"))
