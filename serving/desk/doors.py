"""Who comes in and goes out, which language they chose, and forms that no other page can send."""

from __future__ import annotations

from urllib.parse import parse_qsl

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from serving.desk.desk_answers import Answers, answers_of, link
from serving.desk.desk_pages import Page, RefusedError
from serving.desk.page_list import PAGES
from serving.desk.visitors import COOKIE, Door

MOST_FORM = 20_000  # bytes
LANGUAGE, YEAR = "winback_language", 31_536_000  # cookie of the chosen language, and the seconds that it is kept
SPOKEN = "spoken"  # field of the form that names the page: none of the parameters of a page


def add_doors(app: FastAPI, answers: Answers) -> None:
    """Let visitors in and out, and keep the language that they chose."""
    door = answers.door

    def asking(own: Answers, status: int, said: str) -> Response:
        page = Page("sign_in", own.desk.words.say("Sign in"), {})
        return own.write("sign_in.html.j2", None, status, page=page, asked=None, said=said)

    @app.get("/sign-in")
    def ask(request: Request) -> Response:
        return asking(answers_of(request), 200, "")

    @app.post("/sign-in")
    async def sign_in(request: Request) -> Response:
        own, form = answers_of(request), await form_of(request)
        role = door.role_of(form.get("token", "")) if door.tokens else None
        if role is None:
            return asking(own, 401, own.desk.words.say("That token is not known; ask whoever runs winback for one."))
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            COOKIE, door.cookie(role), httponly=True, samesite="strict", secure=request.url.scheme == "https"
        )
        return answer

    @app.post("/language")
    async def speak(request: Request) -> Response:
        form = await require_our_form(request, door)
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
            raise RefusedError("that is more than any form of this desk sends")
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
        raise RefusedError(
            "this form did not come from a page of the desk, or from one before its last start; open the page again"
        )
    return form
