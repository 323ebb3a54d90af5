"""Checks of the rows of a source against its configuration: event names, days, filters, randomised offers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import duckdb
import numpy as np
import pyarrow as pa

from configs.counted import counted
from configs.errors import InputError, did_you_mean, nearest_word
from configs.offers import NO_OFFER, load_catalogue
from configs.settings import Settings
from features.arrays.calendar_days import start_of
from features.definitions.app_declarations import declarations_of
from features.definitions.event_filters import EventFilter
from features.definitions.onboarding_steps import SIGN_UP
from features.ingestion.contract import EVENTS, TREATMENTS, Table
from features.ingestion.delivery_notes import EventName, counted_names, name_notes
from features.ingestion.ingest_source import staged_source
from features.ingestion.table_rows import day_of, rows_to_be, stored_rows
from features.storage.lake import Lake
from features.tables.duckdb_sessions import duckdb_session, sql_text
from models.training_run.training_record import cold_start

QUIET_DAYS = 7  # without any event before `as_of`: more look like an end of the history
MOST_WORDS = 8  # that a sentence lists
MOST_CATEGORIES = 1_000
BATCH = 1_000_000  # rows at a time
VISIT_MINUTES = 30  # events closer than this are one visit to web analytics
MOST_ALONE = 0.2  # of the events of visits: more look like a session_id that is missing


@dataclass(frozen=True)
class History:
    """What the events are from the first day to the last, and how many people they are of.

    `active` users did something of ``roles.activity`` before `as_of`; `closed` treatments gave an offer whose time was
    up by then, `drawn` of them at random.
    """

    first: date
    last: date
    events: int
    users: int
    active: int
    closed: int
    drawn: int


@dataclass(frozen=True)
class DataCheck:
    """What is wrong and what people should know, a sentence each; the history where there is one."""

    faults: list[str]
    notes: list[str]
    history: History | None


def check_data(
    settings: Settings, lake: Lake, now: datetime, as_of: date, *, is_default: bool, has_source: bool = True
) -> DataCheck:
    """Hold a configuration against what the data folder would be after the next ingest.

    Parameters
    ----------
    as_of
        Day that would be decided; `is_default` where nobody named it.
    has_source
        Whether there is a source to run; without, what the data folder holds is looked at.
    """
    faults: list[str] = []
    with ExitStack() as stack:
        staged = None
        lenient = {"ingest": settings.ingest.model_copy(update={"max_bad_share": 1.0})}  # the good rows tell the rest
        for asked in (settings, settings.model_copy(update=lenient)) if has_source else ():
            try:
                staged = stack.enter_context(staged_source(asked, lake, now))
                break
            except InputError as error:
                faults.append(str(error))
        connection = staged.connection if staged else stack.enter_context(duckdb_session(settings))
        reports = staged.reports if staged else {}
        rows = {table: stored_rows(lake, table) for table in (EVENTS, TREATMENTS) if lake.days(table.name)}
        rows |= {table: rows_to_be(settings, lake, table) for table in (EVENTS, TREATMENTS) if table in reports}
        if EVENTS not in rows:
            return DataCheck([*dict.fromkeys(faults)], [], None)
        notes = [note for report in reports.values() for note in report.notes]
        notes += [
            f"{counted(n, 'row')} of {each.table}: {why}"
            for each in reports.values()
            for why, n in each.reasons.items()
        ]
        names = counted_names(connection, f"({rows[EVENTS]})")
        notes += name_notes(names, [each.name for each in names], settings)
        notes += _unseen_roles(settings, names)
        notes += _filter_notes(connection, rows[EVENTS], settings)
        notes += _category_notes(connection, rows[EVENTS], settings)
        notes += _unseen_categories(connection, rows[EVENTS], settings)
        notes += _foreign_offers(connection, rows[TREATMENTS], settings) if TREATMENTS in rows else []
        history = _history(connection, rows, settings, as_of)
        notes += _visit_notes(connection, rows[EVENTS], history.events, settings)
    faults = [*dict.fromkeys(faults), *history_faults(history, settings, as_of)]
    quiet = quiet_note(history.last, as_of, is_default=is_default)
    if (as_of - history.last).days > settings.churn.lookback_days:
        faults += [f"nobody was active in the churn.lookback_days before {as_of}: {note}" for note in quiet]
    else:
        notes += quiet
    return DataCheck(faults, [*notes, *history_notes(history, settings, as_of)], history)


def quiet_note(last: date, as_of: date, *, is_default: bool) -> list[str]:
    """Say that the events ended long before the day that is decided, when everybody looks closer to leaving."""
    quiet = (as_of - last).days - 1
    if quiet <= QUIET_DAYS:
        return []
    whose = " (today, as neither --as-of nor the profile's as_of names a day)" if is_default else ""
    return [
        f"as_of = {as_of}{whose} lies {quiet:,} days after the last event, of {last}, and everybody looks closer to "
        f"leaving by so many; for a history that has ended set as_of = {last + timedelta(days=1)}"
    ]


def history_faults(history: History, settings: Settings, as_of: date) -> list[str]:
    """Say what keeps every model from being trained: too few days, or too few people."""
    days, needed = (as_of - history.first).days, settings.features.min_history_days + settings.churn.horizon_days
    if history.first >= as_of:
        span = f"the history runs from {history.first} to {history.last}"
        return [f"no event lies before as_of = {as_of}; {span}, choose a later day"]
    faults = []
    if days < needed:
        faults.append(
            f"{days} days of history before as_of = {as_of} teach nothing: features.min_history_days = "
            f"{settings.features.min_history_days} before a snapshot and churn.horizon_days = "
            f"{settings.churn.horizon_days} after it are {needed} days, which there are from "
            f"{history.first + timedelta(days=needed)} on; ingest older events, or shorten either"
        )
    if history.active < settings.training.min_users:
        faults.append(
            f"{history.active:,} of {history.users:,} users did something of roles.activity before {as_of}, and "
            f"training.min_users = {settings.training.min_users:,}; see that roles.activity names the events that "
            "show that somebody is there, and that all of the history is ingested"
        )
    return faults


def history_notes(history: History, settings: Settings, as_of: date) -> list[str]:
    """Say what there is too little of for a model to be judged out of time, for value, and for effects of offers."""
    days, least = (as_of - history.first).days, settings.features.min_history_days
    holdout, horizon, worth = settings.training.holdout_days, settings.churn.horizon_days, settings.value.horizon_days
    notes = []
    if least + horizon <= days < least + horizon + holdout:
        notes.append(
            f"{days} days of history are enough to learn, but not to judge out of time: that takes {least} + {horizon} "
            f"+ training.holdout_days = {holdout}, {least + horizon + holdout} days; users alone are held out till then"
        )
    if holdout < horizon:
        notes.append(
            f"training.holdout_days = {holdout} is shorter than churn.horizon_days = {horizon}, so that no label of a "
            f"test out of time is complete; raise it to {horizon} or more"
        )
    if least + horizon <= days < least + worth:
        notes.append(f"{days} days of history tell no value: value.horizon_days = {worth} after {least} are not over")
    if load_catalogue(settings.offers).offers and history.closed < settings.response.min_treatments:
        share, wanted = settings.scoring.exploration.share, settings.response.min_treatments
        told = cold_start(history.closed, wanted, share)
        notes.append(f"too little to learn what offers change, {history.drawn:,} randomised treatments: {told}")
    return notes


def _history(
    connection: duckdb.DuckDBPyConnection, rows: Mapping[Table, str], settings: Settings, as_of: date
) -> History:
    start, activity = f"TIMESTAMPTZ '{start_of(as_of, settings.time_zone).isoformat()}'", _activity(settings)
    day = day_of(EVENTS, settings)
    counted = connection.execute(f"""
        SELECT min({day}), max({day}), count(*), count(DISTINCT user_id),
               count(DISTINCT user_id) FILTER (event_name IN ({activity}) AND occurred_at < {start})
        FROM ({rows[EVENTS]})
    """).fetchall()[0]
    closed = (0, 0)
    if TREATMENTS in rows:
        offers = load_catalogue(settings.offers).offers
        valid = "".join(f" WHEN {sql_text(offer.offer_id)} THEN {offer.valid_days}" for offer in offers)
        days = f"CASE offer_id{valid} ELSE {settings.churn.horizon_days} END" if valid else settings.churn.horizon_days
        closed = connection.execute(f"""
            SELECT count(*), count(*) FILTER (propensity < 1) FROM ({rows[TREATMENTS]})
            WHERE offer_id <> {sql_text(NO_OFFER)}
            AND coalesce(valid_until, decided_at + to_days(({days}) + 1)) <= {start}
        """).fetchall()[0]
    return History(*(*counted, *closed))


def _visit_notes(connection: duckdb.DuckDBPyConnection, events: str, rows: int, settings: Settings) -> Iterator[str]:
    """Say that what people do in one visit, or buy on one receipt, counts as many; of many events a part is asked."""
    (share,) = connection.execute(f"""
        SELECT avg((session_id IS NULL AND coalesce(pause <= INTERVAL {VISIT_MINUTES} MINUTE, false))::INT)
        FROM (SELECT session_id, occurred_at - lag(occurred_at) OVER (PARTITION BY user_id ORDER BY occurred_at) pause
              FROM ({events}) WHERE event_name IN ({_activity(settings)}) AND hash(user_id) % {1 + rows // BATCH} = 0)
    """).fetchall()[0]
    if share and share > MOST_ALONE:
        yield (
            f"{share:.0%} of the events of roles.activity come within {VISIT_MINUTES} minutes of the user's last and "
            "have no session_id, so that each counts as a visit or basket of its own; give those of one visit one id"
        )


def _activity(settings: Settings) -> str:
    return ", ".join(map(sql_text, settings.roles.activity)) or "NULL"


def _unseen_roles(settings: Settings, event_names: Sequence[EventName]) -> Iterator[str]:
    for role in ("activity", "value"):
        names = getattr(settings.roles, role)
        playing = [each for each in event_names if each.name in names]
        if names and not playing:
            known = ", ".join(each.name for each in event_names[:MOST_WORDS])
            yield f"no event plays roles.{role} ({', '.join(names)}); the data has {known}"
        elif role == "value" and playing and not any(each.amount for each in playing):
            told = f"the {sum(each.events for each in playing):,} events of roles.value ({', '.join(names)})"
            yield f"{told} carry no amount, and no worth can be learnt; yield one in the SQL, or set roles.value = []"
    unseen = [
        step
        for step in settings.roles.onboarding
        if step not in {each.name for each in event_names} and step != SIGN_UP
    ]
    if unseen:
        yield (
            f"no event is the first step {', '.join(unseen)} of roles.onboarding, and nobody gets beyond it; name the "
            "app's own steps there, or set roles.onboarding = []"
        )


def _foreign_offers(connection: duckdb.DuckDBPyConnection, treatments: str, settings: Settings) -> list[str]:
    """Say which offers were given that the catalogue does not know: nothing is learnt from them about its own."""
    own = [*load_catalogue(settings.offers).titles]
    known = ", ".join(map(sql_text, [*own, NO_OFFER]))
    found = connection.execute(f"""
        SELECT offer_id, count(*) FROM ({treatments}) WHERE offer_id NOT IN ({known}) GROUP BY ALL ORDER BY ALL
    """).fetchall()
    if not own or not found:
        return []
    names = ", ".join(repr(name) for name, _ in found[:MOST_WORDS])
    return [
        f"{sum(count for _, count in found):,} treatments gave offers that the catalogue does not have ({names}), "
        f"which say nothing about its own ({', '.join(own[:MOST_WORDS])}); name both alike"
    ]


def _category_notes(connection: duckdb.DuckDBPyConnection, events: str, settings: Settings) -> Iterator[str]:
    """Say which of the most frequent categories messages do not name, though nothing about them is sensitive."""
    offers = load_catalogue(settings.offers).offers
    if not any("category" in text.written for offer in offers for text in offer.all_texts):
        return
    found = connection.execute(f"""
        SELECT item_category FROM ({events}) WHERE item_category IS NOT NULL
        GROUP BY ALL ORDER BY count(*) DESC, item_category LIMIT {MOST_CATEGORIES}
    """).fetchall()
    named = settings.categories
    unnamed = [each for (each,) in found if named.featured(each) is None and not named.is_sensitive(each)]
    if unnamed:
        yield (
            f"of the {len(found)} most frequent categories {len(unnamed)} are no words that people write "
            f"({', '.join(unnamed[:MOST_WORDS])}), so that messages do not name them; name them in [categories.names]"
        )


def _unseen_categories(connection: duckdb.DuckDBPyConnection, events: str, settings: Settings) -> Iterator[str]:
    """Say which categories of the settings no event has, and which names in a language no category has."""
    named = settings.categories
    if not named.names and not named.names_in:
        return
    found = connection.execute(f"SELECT DISTINCT item_category FROM ({events}) WHERE item_category IS NOT NULL")
    seen = {category for (category,) in found.fetchall()}
    called = {*named.names.values(), *map(named.name_of, seen)}
    tables = {"names": (named.names, seen)} | {f"names_in.{tag}": (own, called) for tag, own in named.names_in.items()}
    for table, (words, known) in tables.items():
        unseen = [word for word in words if word not in known]
        if unseen:
            meant = [(word, nearest_word(word, known)) for word in unseen[:MOST_WORDS]]
            told = ", ".join(f"{word!r} ({near})" if near else repr(word) for word, near in meant)
            more = f" and {len(unseen) - MOST_WORDS} more" if len(unseen) > MOST_WORDS else ""
            yield f"[categories.{table}] names what no category is called: {told}{more}"


def _filter_notes(connection: duckdb.DuckDBPyConnection, events: str, settings: Settings) -> Iterator[str]:
    """Say which of the app's own columns are the same for everybody, because no event fulfils their conditions."""
    try:
        filters = declarations_of(settings).filters
    except InputError:
        return  # a fault of the configuration
    for each in filters:
        named, meant = _counted(connection, events, each)
        if named and not meant:
            names = ", ".join(each.event_names)
            yield (
                f"features.custom.{each.name} is empty for everybody: of {named:,} events ({names}) none fulfils its "
                f"conditions{_hints(connection, events, each)}"
            )


def _counted(connection: duckdb.DuckDBPyConnection, events: str, event_filter: EventFilter) -> tuple[int, int]:
    """Count the events that a filter names, and those of them that it means."""
    columns = ", ".join(sorted({"event_name", "amount", *event_filter.columns}))
    reader = connection.execute(f"SELECT {columns} FROM ({events}) WHERE {_is_named(event_filter)}").to_arrow_reader(
        BATCH
    )
    named = meant = 0
    for batch in reader:
        rows = pa.Table.from_batches([batch])
        named, meant = named + len(rows), meant + int(np.count_nonzero(event_filter.marks(rows)[event_filter.flag]))
    return named, meant


def _hints(connection: duckdb.DuckDBPyConnection, events: str, event_filter: EventFilter) -> str:
    """Name words that stand where a condition looks for another one."""
    hints = []
    for condition in event_filter.conditions:
        if condition.comparison == "=" and isinstance(condition.value, str) and not condition.of.startswith("$"):
            found = connection.execute(f"""
                SELECT {condition.of} FROM ({events}) WHERE {_is_named(event_filter)} AND {condition.of} IS NOT NULL
                GROUP BY ALL ORDER BY count(*) DESC, {condition.of}
            """).fetchall()
            words = [word for (word,) in found]
            if condition.value not in words:
                near = did_you_mean(condition.value, words)
                near = near if near.startswith("did") else did_you_mean(condition.value, words[:MOST_WORDS])
                hints.append(f"{condition.of} is never {condition.value!r}; {near}")
    return f" ({'; '.join(hints)})" if hints else ""


def _is_named(event_filter: EventFilter) -> str:
    return f"event_name IN ({', '.join(map(sql_text, event_filter.event_names)) or 'NULL'})"
