"""Which pages there are: what the menu calls them, what each may be asked, and what somebody who misspelt one meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches

from configs.errors import InputError
from serving.desk.desk_pages import Page, Question
from serving.desk.experiments_page import experiments_page
from serving.desk.groups_page import groups_page
from serving.desk.health_page import health_page
from serving.desk.people_page import ASKED_OF_PEOPLE, people_page
from serving.desk.plays_page import plays_page
from serving.desk.results_page import results_page
from serving.desk.risk_page import risk_page
from serving.desk.today_page import today_page
from serving.desk.what_if_page import ASKED_OF_WHAT_IF, what_if_page

PAGES: dict[str, Callable[[Question], Page]] = {
    "today": today_page, "people": people_page, "risk": risk_page, "groups": groups_page, "plays": plays_page,
    "what-if": what_if_page, "results": results_page, "experiments": experiments_page, "health": health_page,
}  # fmt: skip
TITLES = {
    "today": "Today", "people": "People", "risk": "Risk", "groups": "Segments", "plays": "Plays", "what-if": "What if",
    "results": "Results", "experiments": "Experiments", "health": "Health",
}  # fmt: skip
# what the pages may be asked beside a day and a table; a name with _ at its end stands for all that begin with it
PARAMETERS: dict[str, tuple[str, ...]] = {
    "people": ASKED_OF_PEOPLE, "audience.csv": ASKED_OF_PEOPLE, "plays": ("offer",), "what-if": ASKED_OF_WHAT_IF,
}  # fmt: skip
ALSO = {"personas": "groups", "stages": "groups", "offers": "plays"}
SHARED = ("day", "table")
SHOWN_SIGNS, NEAR = 40, 0.75


def page_meant(name: str) -> str:
    """Find the page that somebody means who writes what the menu says; nothing where there is none.

    Examples
    --------
    >>> page_meant("Segments"), page_meant("personas"), page_meant("what if"), page_meant("etc")
    ('groups', 'groups', 'what-if', '')
    """
    return _known_names().get(_written(name), "")


def page_near(name: str) -> str:
    """Say what somebody may have meant by a name that no page has, as the end of a sentence.

    Examples
    --------
    >>> page_near("helth"), page_near("zzz")
    ('; did you mean /health?', '')
    """
    known = _known_names()
    near = get_close_matches(_written(name), known, 1)
    return f"; did you mean /{known[near[0]]}?" if near else ""


def require_known(page: str, given: Mapping[str, str]) -> None:
    """Refuse a parameter that a page does not read, since its answer would look as if it had been asked.

    Raises
    ------
    InputError
        There is one.
    """
    known = (*SHARED, *PARAMETERS.get(page, ()))
    for name in given:
        if not any(name == each or (each.endswith("_") and name.startswith(each)) for each in known):
            near = get_close_matches(name, known, 1, NEAR)
            meant = f"did you mean {near[0]}?" if near else f"it reads {', '.join(known)}"
            raise InputError(f"this page reads no parameter “{name[:SHOWN_SIGNS]}”; {meant}")


def _known_names() -> dict[str, str]:
    return {**{_written(title): name for name, title in TITLES.items()}, **{name: name for name in PAGES}, **ALSO}


def _written(name: str) -> str:
    return name.strip().lower().replace(" ", "-").replace("_", "-")
