"""Signing in and out, the choice of a language, and protection of forms against requests from other sites (CSRF)."""

from __future__ import annotations

from urllib.parse import parse_qsl

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from serving.desk.desk_answers import Answers, answers_of, link
from serving.desk.desk_pages import Page, RefusedError
from serving.desk.page_list import PAGES
from serving.desk.visitors import COOKIE, Authenticator

MOST_FORM = 20_000  # bytes
LANGUAGE, YEAR = "winback_language", 31_536_000  # cookie of the chosen language, and the seconds that it is kept
SPOKEN = "spoken"  # field of the form that names the page: none of the parameters of a page


def add_sign_in(app: FastAPI, answers: Answers) -> None:
    """Add the routes that let visitors in and out, and the one that keeps the language that they chose."""
    authenticator = answers.authenticator

    def sign_in_form(request: Request, status: int = 200, *, refusal: str = "") -> Response:
        localised = answers_of(request)
        page = Page("sign_in", localised.desk.words.say("Sign in"), {})
        return localised.write("sign_in.html.j2", None, status, page=page, question=None, said=refusal)

    @app.get("/sign-in")
    def ask(request: Request) -> Response:
        return sign_in_form(request)

    @app.post("/sign-in")
    async def sign_in(request: Request) -> Response:
        form = await form_of(request)
        role = authenticator.role_of(form.get("token", "")) if authenticator.tokens else None
        if role is None:
            say = answers_of(request).desk.words.say
            return sign_in_form(request, 401, refusal=say("That token is not known; ask whoever runs winback for one."))
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            COOKIE, authenticator.cookie(role), httponly=True, samesite="strict", secure=request.url.scheme == "https"
        )
        return answer

    @app.post("/language")
    async def speak(request: Request) -> Response:
        form = await require_our_form(request, authenticator)
        language = form.get("language", "")
        if language not in answers.languages:
            raise RefusedError("language is none of those there are; go back and choose one of the list")
        given = {name: value for name, value in form.items() if name not in ("form_token", "language", SPOKEN)}
        page = form.get(SPOKEN, "")
        answer = RedirectResponse(link(page if page in PAGES else "today", None, **given), 303)
        answer.set_cookie(LANGUAGE, language, max_age=YEAR, httponly=True, samesite="strict")
        return answer

    @app.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        await require_our_form(request, authenticator)
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
            raise RefusedError("that is more than any form of this desk sends")
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


async def require_our_form(request: Request, authenticator: Authenticator) -> dict[str, str]:
    """Read a form that a page of ours sent.

    Raises
    ------
    InputError
        It came from elsewhere.
    """
    form = await form_of(request)
    if not authenticator.is_our_form(request.state.visitor, form.get("form_token", "")):
        raise RefusedError(
            "this form did not come from a page of the desk, or from one before its last start; open the page again"
        )
    return form
