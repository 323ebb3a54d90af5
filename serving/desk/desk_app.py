"""The desk as a web application: its routes, who may ask for what, and the security headers of every response."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
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
from serving.desk.page_list import PAGES, TYPED, no_page, page_meant
from serving.desk.people_page import audience, audience_name, filter_count
from serving.desk.person_page import person_page
from serving.desk.sign_in import LANGUAGE, add_sign_in, require_our_form
from serving.desk.today_page import today_page
from serving.desk.visitors import Authenticator, Visitor
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


def make_desk_app(desk: Desk, authenticator: Authenticator) -> FastAPI:
    """Make the application; it has no address but those of its pages."""
    app = FastAPI(title="winback", docs_url=None, redoc_url=None, openapi_url=None)
    answers = Answers(desk, authenticator)

    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Any]) -> Response:
        answer = await _guarded(request, call_next, answers)
        for name, value in HEADERS.items():
            answer.headers.setdefault(name, value)
        return answer

    for add in (_add_downloads, _add_forms, add_sign_in, _add_pages):  # pages last: theirs is any name
        add(app, answers)
    return app


async def _guarded(request: Request, call_next: Callable[[Request], Any], answers: Answers) -> Response:
    """Refuse who is not known; turn what is wrong with a question into a sentence."""
    answers = answers.speaking(request.cookies.get(LANGUAGE))
    request.state.answers = answers
    if not answers.authenticator.knows_host(request.headers.get("host", "")):
        return PlainTextResponse("this desk answers to the names of its own machine alone", 400)
    visitor = answers.authenticator.visitor(request.headers, request.cookies)
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


def serve(desk: Desk, authenticator: Authenticator, listening: socket) -> None:
    """Answer on a socket that listens, until the process is told to end."""
    desk_server(desk, authenticator).run(sockets=[listening])


def desk_server(desk: Desk, authenticator: Authenticator) -> uvicorn.Server:
    """Make the server of a desk; whoever runs it ends it with `should_exit`."""
    app = make_desk_app(desk, authenticator)
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
        visitor, given, localised = request.state.visitor, given_of(request), answers_of(request)
        return files.of_one_publish(lambda: localised.page(visitor, name, given, make))


def _add_downloads(app: FastAPI, answers: Answers) -> None:
    """Answer with files: the style, the people of a filter, and the report."""

    @app.get("/style.css")
    def style() -> Response:
        text = "\n".join(answers.templates.get_template(name).render() for name in STYLES)
        return Response(text, media_type="text/css", headers={"Cache-Control": "max-age=300"})

    @app.get("/audience.csv")
    def people(request: Request) -> Response:
        return _audience_table(_question_of(request, "audience.csv"))

    @app.get("/report")
    def report(request: Request) -> Response:
        return _report(_question_of(request, "report"), answers_of(request))


def _question_of(request: Request, page: str) -> Question:
    return answers_of(request).question(request.state.visitor, page, given_of(request))


def _audience_table(question: Question) -> Response:
    rows = filter_count(question)
    note(question.desk.lake, question.visitor, "audience", question.given, rows)
    lines = (csv_row(row) for row in audience(question))
    headers = {"Content-Disposition": f'attachment; filename="{audience_name(question)}"'}
    return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers=headers)


def _report(question: Question, answers: Answers) -> Response:
    visitor, lake, name = question.visitor, question.desk.lake, f"reports/{question.day}.html"
    if not visitor.is_operator:
        said = answers.desk.words.say("The report names users, so that it is for operators alone")
        return answers.sentence(visitor, 403, said)
    if not lake.files.exists(name):
        raise PageNotFoundError(
            "there is no report of {day}; winback report --as-of {named} writes it",
            day=question.day, named=str(question.day),
        )  # fmt: skip
    note(lake, visitor, "report", question.given, 1)
    headers = {"Content-Security-Policy": REPORT_POLICY}
    return Response(lake.files.read(name), media_type="text/html", headers=headers)


def _add_forms(app: FastAPI, answers: Answers) -> None:
    """Answer to forms: an audience is posted, or a proposal is left for the operator."""

    @app.post("/audience/post")
    async def hand_over(request: Request) -> Response:
        form = await require_our_form(request, answers.authenticator)
        return await _post_audience(request.state.visitor, answers_of(request), _without_token(form))

    @app.post("/what-if/proposal")
    async def propose(request: Request) -> Response:
        form = await require_our_form(request, answers.authenticator)
        return _leave_proposal(request.state.visitor, answers_of(request), _without_token(form))


def _without_token(form: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in form.items() if name != "form_token"}


async def _post_audience(visitor: Visitor, answers: Answers, form: Mapping[str, str]) -> Response:
    words, receiver = answers.desk.words, answers.desk.receiver
    if not visitor.is_operator or receiver is None:
        said = words.say("Audiences are posted by operators, where an address is set")
        return answers.sentence(visitor, 403, said)
    question = answers.question(visitor, "people", form)
    columns, *rows = await run_in_threadpool(lambda: list(audience(question)))
    people = [dict(zip(columns, row, strict=True)) for row in rows]
    message_id, body = message_of(str(question.day), question.given, people)
    await run_in_threadpool(post, receiver, message_id, body)
    done = f"audience posted to {receiver.host} as {message_id}"
    note(answers.desk.lake, visitor, done, question.given, len(people))
    said = words.say(
        "people handed to {host}: {people}, as message {message}",
        host=receiver.host, people=words.figures.thousands(len(people)), message=message_id,
    )  # fmt: skip
    return answers.sentence(visitor, 200, said, title=words.say("Handed over"))


def _leave_proposal(visitor: Visitor, answers: Answers, form: Mapping[str, str]) -> Response:
    say = answers.desk.words.say
    if not visitor.is_operator:
        return answers.sentence(visitor, 403, say("Proposals are left by operators alone"))
    name = proposal(answers.question(visitor, "what-if", form))
    said = say("The proposal lies in {name} of the data folder; nothing of it is in force", name=name)
    return answers.sentence(visitor, 200, said, title=say("Left for the operator"))
