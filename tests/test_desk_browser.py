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
from browser import Tab, browser_path, open_tab
from desks import SmallDesk, decided_desk

from serving.desk.desk_app import make_desk_app
from serving.desk.desk_pages import Desk
from serving.desk.page_list import PAGES
from serving.desk.visitors import Door

pytestmark = pytest.mark.skipif(browser_path() is None, reason="no browser: apt-get install chromium")
TOKEN = "operator-token-of-a-test"
RULES = ("axe_core_python", "axe_playwright_python")  # packages that bring axe-core; any of them will do


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallDesk:
    return decided_desk(tmp_path_factory.mktemp("desk"))


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with open_tab(tmp_path_factory.mktemp("browser")) as tab:
        yield tab


@contextmanager
def served(small: SmallDesk, door: Door) -> Iterator[str]:
    """The desk on a port of its own."""
    desk = Desk.of(small.settings, small.lake, lambda: {"newest events": "none"})
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(make_desk_app(desk, door), log_level="error", proxy_headers=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def home(small: SmallDesk) -> Iterator[str]:
    with served(small, Door()) as address:
        yield address


def test_a_morning_at_the_desk(tab: Tab, home: str) -> None:
    tab.errors.clear(), tab.asked.clear()
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
    assert tab.errors == []
    assert {address.split("/")[2] for address in tab.asked if "://" in address} == {home.split("/")[2]}


def test_a_refused_token_and_one_that_is_known(tab: Tab, small: SmallDesk) -> None:
    with served(small, Door(tokens={"operator": TOKEN})) as address:
        tab.open(f"{address}/today")
        assert tab.run("location.pathname") == "/sign-in"
        for token, ends_at in (("wrong", "/sign-in"), (TOKEN, "/")):
            tab.run(f"document.querySelector('#token').value = {json.dumps(token)}; 0")
            tab.click("form.filters button")
            assert tab.run("location.pathname") == ends_at
        assert tab.run("document.cookie") == ""  # no script sees it


@pytest.mark.parametrize("width", [360, 1200])
def test_no_page_is_wider_than_its_screen_and_everything_can_be_reached_by_keys(
    tab: Tab, home: str, width: int
) -> None:
    tab.size(width, 800)
    for name in PAGES:
        tab.open(f"{home}/{name}")
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(tab: Tab, home: str, scheme: str) -> None:
    script = axe_script()
    if script is None:
        pytest.skip("no axe-core: pip install axe-core-python")
    tab.size(1200, 900, scheme)
    for name in (*PAGES, "people/u00005", "what-if?budget=5"):
        tab.open(f"{home}/{name}")
        tab.run(f"{script};0")
        found = json.loads(tab.run("axe.run().then(each => JSON.stringify(each.violations))"))
        assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == [], name
