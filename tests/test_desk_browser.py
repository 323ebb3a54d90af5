"""The desk in a real browser: what a marketer does in the morning, by day and by night, on a screen and on a phone."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.request import urlopen

import pytest
import uvicorn
from desks import SmallDesk, decided_desk

from flows.browser_tab import Tab, browser_path, open_tab
from serving.desk.desk_app import make_desk_app
from serving.desk.desk_pages import Desk
from serving.desk.page_list import PAGES
from serving.desk.visitors import Authenticator

pytestmark = pytest.mark.skipif(browser_path() is None, reason="no browser: apt-get install chromium, or make browser")
TOKEN = "operator-token-of-a-test"
RULES = ("axe_playwright_python", "axe_core_python")  # packages that bring axe-core; the newest rules first
EVERY_PAGE = (*PAGES, "people/u00005", "what-if?budget=5", "people?q=nobody", "segmnts")
# each question with the words of its answer, and the link of a second click where the first does not answer it
QUESTIONS = {
    "Who leaves?": ("", "td .pill.high"), "Why?": ("", "#raising svg"), "What is it worth?": ("", "#worth"),
    "What do we do?": ("", "#levels svg"), "What does it cost?": ("", "#cost"), "Does it work?": ("", "#start, #lift"),
    "Who got it?": ("", "tbody a"), "Why not this user?": ("tbody a", "#decided ~ table"),
    "What if we had half the budget?": ("", "#beside"), "What changed since last week?": ("", "#changes"),
}  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallDesk:
    return decided_desk(tmp_path_factory.mktemp("desk"))


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with open_tab(tmp_path_factory.mktemp("browser")) as tab:
        yield tab


@contextmanager
def served(small: SmallDesk, authenticator: Authenticator) -> Iterator[str]:
    """The desk on a port of its own."""
    desk = Desk.of(small.settings, small.lake, lambda _words: {"newest events": "none"})
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(make_desk_app(desk, authenticator), log_level="error", proxy_headers=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def home(small: SmallDesk) -> Iterator[str]:
    with served(small, Authenticator()) as address:
        yield address


@pytest.fixture
def quiet(tab: Tab, home: str) -> Iterator[None]:
    """No page logs an error, and no request leaves the desk."""
    tab.errors.clear(), tab.asked.clear()
    yield
    assert tab.errors == []
    assert {address.split("/")[2] for address in tab.asked if "://" in address} == {home.split("/")[2]}


@pytest.mark.usefixtures("quiet")
def test_a_morning_at_the_desk(tab: Tab, home: str) -> None:
    tab.open(home)
    assert "are expected to leave" in tab.run("document.querySelector('h1').textContent")
    tab.click("nav a[href='/people']")
    tab.run("document.querySelector('#risk_band').value = 'high'; document.querySelector('#order').value = 'risk'; 0")
    tab.click("form.filters button")
    risks = tab.run("[...document.querySelectorAll('td .pill')].map(each => parseFloat(each.textContent))")
    assert risks and risks == sorted(risks, reverse=True) and min(risks) >= 50
    export = tab.run("document.querySelector('a.button').href")
    with urlopen(export) as answer:
        assert (
            len(answer.read().splitlines())
            == tab.run("parseInt(document.querySelector('.side strong').textContent)") + 1
        )
    tab.click("tbody a")
    assert tab.run("document.querySelectorAll('#risk svg').length") == 1
    assert "Every option, and why not" in tab.run("document.body.textContent")
    tab.open(f"{home}/today")
    tab.click("a[href='/what-if?budget_share=0.5']")
    cells = tab.run("[...document.querySelectorAll('#beside ~ table td')].map(each => each.textContent)")
    assert float(cells[4].split()[0]) <= 12.5


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_is_answered_in_at_most_two_clicks(tab: Tab, home: str, question: str) -> None:
    second, answer = QUESTIONS[question]
    tab.open(f"{home}/today")
    link = f"[...document.querySelectorAll('.ask a')].find(each => each.textContent === {json.dumps(question)})"
    address = tab.run(f"{link}.getAttribute('href')")
    if tab.run(f"new URL({link}.href).pathname === location.pathname"):
        tab.run(f"{link}.click()")  # a place on the same page
    else:
        tab.click(f".ask a[href={json.dumps(address)}]")
    if second:
        tab.click(second)
    assert tab.run(f"document.querySelector({json.dumps(answer)}) !== null"), address


def test_a_refused_token_and_one_that_is_known(tab: Tab, small: SmallDesk) -> None:
    with served(small, Authenticator(tokens={"operator": TOKEN})) as address:
        tab.open(f"{address}/today")
        assert tab.run("location.pathname") == "/sign-in"
        for token, ends_at in (("wrong", "/sign-in"), (TOKEN, "/")):
            tab.run(f"document.querySelector('#token').value = {json.dumps(token)}; 0")
            tab.click("form.filters button")
            assert tab.run("location.pathname") == ends_at
        assert tab.run("document.cookie") == ""  # no script sees it


@pytest.fixture
def language(tab: Tab, home: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The language that whoever reads has chosen."""
    tab.tell("Network.setCookie", name="winback_language", value=request.param, url=home)
    yield request.param
    tab.tell("Network.deleteCookies", name="winback_language", url=home)


@pytest.mark.parametrize(("width", "language"), [(360, "en"), (360, "de"), (1200, "en")], indirect=["language"])
def test_no_page_is_wider_than_its_screen_and_everything_can_be_reached_by_keys(
    tab: Tab, home: str, width: int, language: str
) -> None:
    tab.size(width, 800)
    for name in EVERY_PAGE:
        tab.open(f"{home}/{name}")
        assert tab.run("document.documentElement.lang") == language
        assert tab.run("document.documentElement.scrollWidth") <= width, name
        assert tab.run(
            "[...document.querySelectorAll('a, button, input, select, summary')].every(each => each.tabIndex === 0)"
        )
        assert tab.run("document.activeElement === document.body")


def axe_script() -> str | None:
    """Source of axe-core, where a package that brings it is installed."""
    found = (spec for name in RULES if (spec := find_spec(name)) is not None and spec.submodule_search_locations)
    files = (Path(folder, "axe.min.js") for spec in found for folder in spec.submodule_search_locations or ())
    return next((file.read_text(encoding="utf-8") for file in files if file.is_file()), None)


def test_axe_finds_no_serious_violation_in_light_and_dark(tab: Tab, home: str) -> None:
    script = axe_script()
    if script is None:
        pytest.skip("no axe-core: uv pip install axe-core-python")
    for name in EVERY_PAGE:
        tab.open(f"{home}/{name}")
        tab.run(f"document.querySelectorAll('details').forEach(each => each.open = true); {script};0")
        for scheme in ("light", "dark"):
            tab.size(1200, 900, scheme)
            found = json.loads(tab.run("axe.run().then(each => JSON.stringify(each.violations))"))
            bad = {each["id"]: each["nodes"][0]["html"] for each in found if each["impact"] in ("serious", "critical")}
            assert bad == {}, (name, scheme)


def test_the_whole_page_is_taken_as_a_picture(tab: Tab, home: str) -> None:
    tab.size(360, 300)
    tab.open(f"{home}/today")
    picture = tab.picture()
    width, height = (int.from_bytes(picture[at : at + 4], "big") for at in (16, 20))
    assert width == 360
    assert height == tab.run("document.documentElement.scrollHeight") > 2000
