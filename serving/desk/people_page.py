"""The page People: all users of a day with search, filters and order, and the audience as a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from configs.offers import NO_OFFER
from features.tables.duckdb_sessions import sql_text
from serving.cubes.stored_cubes import DayCubes
from serving.desk.desk_pages import Page, Question
from serving.desk.visitors import PSEUDONYM_SIGNS, Visitor
from serving.hand_over.channel_audiences import COLUMNS, INSTANTS, KEY
from serving.hand_over.withdrawn_wishes import withdrawn
from serving.memberships.stored_segments import SEGMENTS, SIZES, read_rows, read_rules, segment_days, stored_source
from serving.segments.day_query import quoted
from serving.stored_days.day_tables import connect, decisions_source
from serving.wording.rendering import Words

SHOWN, MOST_PAGES, BATCH = 50, 200, 10_000
FILTERS = ("stage", "persona", "risk_band", "arm", "offer_id", "channel")  # columns of the decisions with few values
ASKED_OF_PEOPLE = (*FILTERS, "band", "segment", "offered", "q", "order", "page")
ORDERS = {
    "value": "p_churn * retained_value DESC NULLS LAST, p_churn DESC NULLS LAST, user_id",
    "risk": "p_churn DESC NULLS LAST, user_id",
    "worth": "retained_value DESC NULLS LAST, user_id",
    "cost": "expected_cost DESC NULLS LAST, user_id",
    "id": "user_id",
}
AUDIENCE = {name: column for name, column in COLUMNS.items() if name not in ("address", "time_zone")}
AUDIENCE["idempotency_key"] = KEY
OF_ID = ("decision_id", KEY)
OF_OTHERS = ("stage", "persona", "risk_band", "p_churn", "arm")  # what is told of people who are not written to


@dataclass(frozen=True)
class PeopleFilter:
    """Who is meant: the condition in SQL, the source that it asks, and the values that were chosen."""

    source: str
    condition: str
    order: str
    chosen: dict[str, str]


def people_page(question: Question) -> Page:
    """List the people who are meant, fifty at a time, most value at risk first unless asked otherwise."""
    cubes = question.cubes()
    known = known_values(question, cubes)
    meant = people_filter(question, known)
    number = question.whole("page", 1, least=1, most=MOST_PAGES)
    with connect(question.desk.lake) as connection:
        counted = connection.execute(f"SELECT count(*) FROM {meant.source} WHERE {meant.condition}").fetchone()
        found = connection.execute(
            f"""SELECT user_id, p_churn, risk_band, retained_value, stage, persona, arm, offer_id, discount, channel,
                       expected_cost, why
                FROM {meant.source} WHERE {meant.condition}
                ORDER BY {meant.order} LIMIT {SHOWN} OFFSET {(number - 1) * SHOWN}"""
        )
        names = [name for name, *_ in found.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    desk, users = question.desk, int(counted[0]) if counted else 0
    whole = dict[str, None]()  # the reasons that rows give in short, each once
    for row in rows:
        row["shown_id"] = question.visitor.shown_id(row.pop("user_id"))
        row["title"] = desk.title(row["offer_id"]) if row["offer_id"] != NO_OFFER else None
        parts = desk.words.parts(row["why"]) if row["title"] is None else []
        reason = next((heading for heading, _ in parts), "")
        row["why"], *more = reason.split(": ", 1)
        whole |= {reason: None} if more else {}
    values = {
        "rows": rows, "users": users, "number": number, "pages": min(-(-users // SHOWN), MOST_PAGES), "known": known,
        "names": names_of(question, known), "chosen": meant.chosen, "orders": tuple(ORDERS), "reasons": tuple(whole),
    }  # fmt: skip
    return Page("people", desk.words.say("People"), values)


def known_values(question: Question, cubes: DayCubes) -> dict[str, list[str]]:
    """List what may be chosen: of each filter the values that somebody has, and the segments of the day."""
    found = {name: sorted({str(cell[name]) for cell in cubes.cells if cell[name] is not None}) for name in FILTERS}
    has_segments = question.day in segment_days(question.desk.lake)
    found["segment"] = (
        [each.name for each in read_rules(question.desk.lake, question.day).segments] if has_segments else []
    )
    return found


def names_of(question: Question, choices: dict[str, list[str]]) -> dict[str, dict[str, str]]:
    """Name what may be chosen for people; each value of each filter."""
    words, desk, titles = question.desk.words, question.desk, segment_titles(question)

    def plain(value: str) -> str:
        return value.replace("_", " ")

    shown: dict[str, Callable[[str], str]] = {
        "risk_band": lambda band: band_words(band, words),
        "stage": lambda stage: words.group(stage, plain(stage).capitalize()),
        "persona": lambda persona: words.persona(persona),
        "segment": lambda segment: titles.get(segment, segment),
        "offer_id": lambda offer_id: words.say("nothing") if offer_id == NO_OFFER else desk.title(offer_id),
        "arm": words.arm,
        "channel": words.term,
    }
    named = {name: {value: shown[name](value) for value in values} for name, values in choices.items()}
    return {**named, "offered": {answer: words.language.values[answer] for answer in ("yes", "no")}}


def band_words(band: str, words: Words) -> str:
    """Name a band of risk."""
    return words.say("not predicted") if band == "unknown" else words.language.values[band]


def segment_titles(question: Question) -> dict[str, str]:
    """Title of each segment of the day, by its name and in its order."""
    if question.day not in segment_days(question.desk.lake):
        return {}
    titles = {row["segment"]: row["title"] for row in read_rows(question.desk.lake, question.day, SIZES)}
    names = [each.name for each in read_rules(question.desk.lake, question.day).segments]
    return {name: question.desk.words.group(name, titles.get(name) or name) for name in names}


def people_filter(question: Question, choices: dict[str, list[str]]) -> PeopleFilter:
    """Make SQL of what was asked; whatever is typed is a value that is compared with, and nothing else.

    Raises
    ------
    InputError
        A filter has a value that nobody has, or the order is not known.
    """
    given = dict(question.given)
    if "band" in given:  # a short way to say it
        given.setdefault("risk_band", given.pop("band"))
    question = Question(question.desk, question.day, question.days, question.visitor, given)
    source, parts, chosen = decisions_source(question.desk.lake, question.day), list[str](), dict[str, str]()
    for name in FILTERS:
        if value := question.one_of(name, choices[name]):
            chosen[name] = value
            parts.append(f"{name} = {sql_text(value)}")
    if segment := question.one_of("segment", choices["segment"]):
        chosen["segment"] = segment
        members = stored_source(question.desk.lake, question.day, SEGMENTS)
        parts.append(f"user_id IN (SELECT user_id FROM {members} WHERE {quoted(segment)})")
    if offered := question.one_of("offered", ("yes", "no")):
        chosen["offered"] = offered
        parts.append(f"offer_id {'<>' if offered == 'yes' else '='} {sql_text(NO_OFFER)}")
    if text := given.get("q", "").strip():
        chosen["q"] = text
        parts.append(_searched(text, question.visitor))
    order = question.one_of("order", tuple(ORDERS)) or "value"
    chosen["order"] = order
    return PeopleFilter(source, " AND ".join(parts) or "true", ORDERS[order], chosen)


def _searched(text: str, visitor: Visitor) -> str:
    """Write the SQL of a search: the id, or what it begins with; a viewer searches the pseudonyms they see."""
    if visitor.is_operator:
        return f"starts_with(user_id, {sql_text(text)})"
    return f"starts_with({shown_sql(visitor)}, {sql_text(text)})"


def shown_sql(visitor: Visitor) -> str:
    """Write the SQL of a user's id as a visitor sees it; the same as `Visitor.shown_id`."""
    if visitor.is_operator:
        return "user_id"
    return f"('~' || left(sha256({sql_text(visitor.salt)} || user_id), {PSEUDONYM_SIGNS}))"


def user_id_of(question: Question, shown_id: str) -> str | None:
    """Find the id behind what a visitor sees; None where there is no such user."""
    if question.visitor.is_operator:
        return shown_id
    if len(shown_id) != PSEUDONYM_SIGNS + 1 or not shown_id.startswith("~"):
        return None
    with connect(question.desk.lake) as connection:
        source, own = decisions_source(question.desk.lake, question.day), shown_sql(question.visitor)
        query = f"SELECT user_id FROM {source} WHERE {own} = {sql_text(shown_id)}"
        found = connection.execute(query).fetchone()
    return str(found[0]) if found else None


def audience(question: Question) -> Iterator[Sequence[Any]]:
    """Write the people who are meant with the columns of a send list, the headings first; all of them, in batches.

    Addresses stand in the send list alone. Who is given nothing, or has withdrawn since, has no message here either;
    where that is everybody, the columns say who they are instead.
    """
    meant = people_filter(question, known_values(question, question.cubes()))
    desk, yes = question.desk, f"offer_id <> {sql_text(NO_OFFER)} AND send_at IS NOT NULL"
    with connect(desk.lake) as connection:
        connection.execute(f"SET TimeZone = {sql_text(desk.settings.time_zone)}")
        given = f"SELECT user_id, offer_id FROM {meant.source} WHERE {yes} ORDER BY user_id"
        connection.register(
            "withdrawn",
            withdrawn(desk.settings, desk.lake, question.day, connection.execute(given).to_arrow_table()),
        )
        is_written_to = f"({yes} AND user_id NOT IN (SELECT user_id FROM withdrawn)) AS is_written_to"
        people = f"SELECT *, {is_written_to} FROM {meant.source} WHERE {meant.condition}"
        written_to = connection.execute(f"SELECT count(*) FROM ({people}) WHERE is_written_to").fetchone()
        cells = {name: _cell(column, question.visitor) for name, column in AUDIENCE.items()}
        if not written_to or not written_to[0]:
            cells = {"user_id": shown_sql(question.visitor), **{name: name for name in OF_OTHERS}}
        columns = ", ".join(f"{cell} AS {quoted(name)}" for name, cell in cells.items())
        yield tuple(cells)
        found = connection.execute(f"SELECT {columns} FROM ({people}) ORDER BY {meant.order}")
        while rows := found.fetchmany(BATCH):
            yield from rows


def _cell(column: str, visitor: Visitor) -> str:
    if column == "user_id":
        return shown_sql(visitor)
    if column in OF_ID and not visitor.is_operator:
        return "NULL"  # it is made of the id
    shown = f"strftime({column}, '%Y-%m-%dT%H:%M:%S%z')" if column in INSTANTS else column
    return f"CASE WHEN is_written_to THEN {shown} END"


def audience_name(question: Question) -> str:
    """Name the file of the people who are meant by what was chosen.

    Raises
    ------
    InputError
        A filter has a value that nobody has.
    """
    chosen = people_filter(question, known_values(question, question.cubes())).chosen
    parts = [
        re.sub(r"[^\w-]+", "-", f"{name}-{value}", flags=re.ASCII)
        for name, value in chosen.items()
        if name not in ("order", "q")
    ]
    searched = ["searched"] if "q" in chosen else []
    return "-".join([str(question.day), "people", *parts, *searched]) + ".csv"


def filter_count(question: Question) -> int:
    """Count the people who are meant."""
    meant = people_filter(question, known_values(question, question.cubes()))
    with connect(question.desk.lake) as connection:
        found = connection.execute(f"SELECT count(*) FROM {meant.source} WHERE {meant.condition}").fetchone()
    return int(found[0]) if found else 0
