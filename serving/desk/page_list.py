"""The list of pages: titles, allowed parameters, and suggestions for misspelt names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches

from serving.desk.desk_pages import Page, PageNotFoundError, Question, RefusedError
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
NUMBERS = ("budget", "factor", "cap_")  # parameters that people type in their language
TYPED = "typed"  # field of a form whose numbers somebody typed: an address holds them as machines write them
ALSO = {"personas": "groups", "stages": "groups", "offers": "plays"}
SHARED = ("day", "table")
SHOWN_SIGNS, NEAR = 40, 0.75


def is_number(name: str) -> bool:
    """Tell whether a parameter is a number.

    Examples
    --------
    >>> is_number("budget"), is_number("cap_mail"), is_number("q")
    (True, True, False)
    """
    return _is_among(name, NUMBERS)


def _is_among(name: str, choices: Sequence[str]) -> bool:
    """Tell whether a parameter is listed, or begins like one that is listed with an underscore at its end."""
    return any(name == each or (each.endswith("_") and name.startswith(each)) for each in choices)


def page_meant(name: str) -> str:
    """Find the page that somebody means who writes what the menu says; nothing where there is none.

    Examples
    --------
    >>> page_meant("Segments"), page_meant("personas"), page_meant("what if"), page_meant("etc")
    ('groups', 'groups', 'what-if', '')
    """
    return _known_names().get(_written(name), "")


def no_page(name: str) -> PageNotFoundError:
    """Say that there is no such page, and what somebody may have meant.

    Examples
    --------
    >>> str(no_page("helth")), str(no_page("zzz"))
    ('there is no such page; did you mean /health?', 'there is no such page; the menu above lists those there are')
    """
    known = _known_names()
    near = get_close_matches(_written(name), known, 1)
    if near:
        return PageNotFoundError("there is no such page; did you mean /{name}?", name=known[near[0]])
    return PageNotFoundError("there is no such page; the menu above lists those there are")


def require_known(page: str, given: Mapping[str, str]) -> None:
    """Refuse a parameter that a page does not read, since its answer would look as if it had been asked.

    Raises
    ------
    RefusedError
        There is one.
    """
    known = (*SHARED, *PARAMETERS.get(page, ()))
    for name in given:
        if not _is_among(name, known):
            near = get_close_matches(name, known, 1, NEAR)
            if near:
                raise RefusedError(
                    "this page reads no parameter “{name}”; did you mean {near}?", name=name[:SHOWN_SIGNS], near=near[0]
                )
            raise RefusedError(
                "this page reads no parameter “{name}”; it reads {known}",
                name=name[:SHOWN_SIGNS],
                known=", ".join(known),
            )


def _known_names() -> dict[str, str]:
    return {**{_written(title): name for name, title in TITLES.items()}, **{name: name for name in PAGES}, **ALSO}


def _written(name: str) -> str:
    return name.strip().lower().replace(" ", "-").replace("_", "-")
