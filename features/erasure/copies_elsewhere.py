"""Copies that erasure cannot reach: send lists, audiences posted from the desk, printed reports.

They may still name an erased user. This module says who has such a copy and since when, so that they can be told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import PurePath
from typing import Any, NamedTuple

from configs.errors import InputError
from features.erasure.erased_tables import kept_rows
from features.erasure.sought_ids import SoughtIds
from features.erasure.table_names import DESK_LOG, SEND_LISTS
from features.erasure.traces import traces
from features.storage.lake import Lake

AUDIENCE, OPERATOR = "audience", "operator"  # as the desk notes them; who is no operator sees pseudonyms
PRINT = ".pdf"  # a report as paper, whose pages are packed, so that no search reads names in it


class TakenAway(NamedTuple):
    """An audience that left by the desk: when, by whom, what became of it, and of how many people."""

    at: str
    who: str
    what: str
    people: int


def days_of_lists(lake: Lake, sought: SoughtIds) -> tuple[date, ...]:
    """Days whose send lists name users, in order: whoever sends has these lists already."""
    names = lake.files.list(f"{SEND_LISTS}/day=*/*")
    days = {PurePath(each.name).parent.name.partition("=")[2] for each in traces(lake.root, names, sought)}
    return tuple(map(date.fromisoformat, sorted(days)))


def audiences_taken(lake: Lake, sought: SoughtIds) -> tuple[TakenAway, ...]:
    """Audiences that the desk gave out since some users were first decided about, in order: they may name them.

    Who was in an audience is written down nowhere, so that all of them are told. Entries are of UTC, in
    which a day of the app may begin on the day before.

    Raises
    ------
    InputError
        An entry of the desk is damaged.
    """
    names = lake.files.list(f"{DESK_LOG}/*.json")
    first = _first_decided(lake, sought) if names else None
    if first is None:
        return ()
    entries = (_entry(lake, name) for name in names)
    since = str(first - timedelta(days=1))
    return tuple(
        TakenAway(each["at"], each["who"], each["what"], each["rows"])
        for each in entries
        if each["what"].startswith(AUDIENCE) and each["role"] == OPERATOR and each["at"][:10] >= since
    )


def _entry(lake: Lake, name: str) -> dict[str, Any]:
    try:
        return dict(json.loads(lake.files.read(name)))
    except ValueError as error:
        path = lake.path(name)
        raise InputError(
            f"{path} is damaged; restore it from a backup, or delete it: what left then is not told"
        ) from error


def _first_decided(lake: Lake, sought: SoughtIds) -> date | None:
    days = (day for day in lake.days("decisions") if kept_rows(lake.partition("decisions", day), sought) is not None)
    return next(days, None)


def printed_reports(lake: Lake, sought: SoughtIds) -> Iterator[str]:
    """Name the reports on paper that may name users: those whose page names them, or has gone."""
    for name in lake.files.list(f"reports/*{PRINT}"):
        beside = [each for each in lake.files.list("reports/*") if PurePath(each).stem == PurePath(name).stem]
        pages = [each for each in beside if each != name]
        if not pages or any(traces(lake.root, pages, sought)):
            yield name
