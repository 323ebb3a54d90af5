"""Notes about a delivery whose rows are all valid: event names that nearly match, ids found in one table only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import NamedTuple

import duckdb

from configs.counted import counted
from configs.currencies import decimals_of
from configs.errors import InputError, did_you_mean
from configs.settings import Settings, load_settings
from features.ingestion.contract import Table
from features.storage.lake import Lake
from features.tables.duckdb_sessions import duckdb_session, sql_text

NEWEST_DAYS = 366  # of stored events whose names are compared with the roles: no window is longer
MOST_NAMES = 8  # that a sentence lists
HARDLY = 0.1  # share of the users of the smaller table that are in the other one, below which ids are told
FLOAT = "regexp_full_match(user_id, '[0-9]+[.]0')"
NEAR = 0.85  # of names that may be meant for another


class EventName(NamedTuple):
    """How many events have a name, and the sum of their amounts."""

    name: str
    events: int
    amount: float


def counted_names(connection: duckdb.DuckDBPyConnection, events: str) -> list[EventName]:
    """Count what may stand after FROM by the name of the event, those with most money first."""
    found = connection.execute(f"""
        SELECT event_name, count(*), coalesce(sum(amount), 0.0) AS total FROM {events}
        GROUP BY event_name ORDER BY abs(total) DESC, count(*) DESC, event_name
    """)
    return [EventName(*row) for row in found.fetchall()]


def stored_names(settings: Settings, lake: Lake) -> list[EventName]:
    """Count the events of the newest days of the lake by their names."""
    files = ", ".join(sql_text(lake.partition("events", day)) for day in lake.days("events")[-NEWEST_DAYS:])
    if not files:
        return []
    with duckdb_session(settings) as connection:
        return counted_names(connection, f"read_parquet([{files}])")


def stored_name_notes(settings: Settings, lake: Lake) -> list[str]:
    """Compare the names of the newest events of the lake with the roles; a damaged file is named."""
    try:
        names = stored_names(settings, lake)
    except InputError as error:
        return [str(error)]
    return name_notes(names, [each.name for each in names], settings) if names else []


def name_notes(event_names: Sequence[EventName], seen: Iterable[str], settings: Settings) -> list[str]:
    """Say which events of `event_names` play no role, and which names of the profile are none of those `seen`."""
    roles = {f"roles.{role}": names for role, names in settings.roles}
    roles |= {f"features.custom.{name}.events": custom.events for name, custom in settings.features.custom.items()}
    known = sorted(set().union(*roles.values()))
    return [*_without_role(event_names, known, settings), *_never_seen(roles, sorted(seen))]


def _without_role(event_names: Sequence[EventName], known: Sequence[str], settings: Settings) -> list[str]:
    names = [each for each in event_names if each.name not in known]
    if not names:
        return []
    total = _counted(EventName("", sum(each.events for each in names), sum(each.amount for each in names)), settings)
    listed = [f"{each.name!r} ({_counted(each, settings)}{_near(each.name, known)})" for each in names[:MOST_NAMES]]
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return [
        f"{total} have a name without any role: {', '.join(listed)}{more}; where they should count, name them in "
        "[roles] or spell them alike in the SQL"
    ]


def _counted(each: EventName, settings: Settings) -> str:
    money = f" with {each.amount:,.{decimals_of(settings.currency)}f} {settings.currency}" if each.amount else ""
    return f"{counted(each.events, 'event')}{money}"


def _near(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name.strip().lower(), known, 1, NEAR)
    return f", nearly {near[0]!r}" if near else ""


def _never_seen(roles: dict[str, tuple[str, ...]], seen: Sequence[str]) -> list[str]:
    """Name what the profile waits for in vain; the names of the defaults are there for whoever has such events."""
    usual = {f"roles.{role}": names for role, names in load_settings().roles}
    return [
        f"{role} names {name!r}, and no event is called so; {did_you_mean(name, seen)}"
        for role, names in roles.items()
        for name in names
        if name not in seen and name not in usual.get(role, ())
    ]


def id_notes(connection: duckdb.DuckDBPyConnection, table: Table, rows: str, users: str | None) -> list[str]:
    """Say that ids of a table look like floats, and that hardly one of them is in the users table.

    Both happen where ids were damaged on the way, so that one user is two. Measured is the overlap coefficient: users
    in both by users of the smaller table. `rows` and `users` are SELECTs; None is no users table to compare with.
    """
    found = connection.execute(f"""
        WITH here AS (SELECT DISTINCT user_id FROM ({rows})),
             there AS (SELECT DISTINCT user_id FROM ({users or "SELECT NULL AS user_id LIMIT 0"}))
        SELECT count(*), (SELECT count(*) FROM there), count(*) FILTER (user_id IN (FROM there)),
               min(user_id), (SELECT min(user_id) FROM there), count(*) FILTER ({FLOAT}),
               min(user_id) FILTER ({FLOAT}), count(*) FILTER ({FLOAT} AND user_id[:-3] IN (FROM here)) FROM here
    """).fetchone()
    here, there, both, one, other, floats, example, twice = found or (0, 0, 0, "", "", 0, "", 0)
    notes = []
    if floats:
        notes.append(
            f"{floats:,} of {here:,} users of {table.name} have ids such as {example!r}, which were floats on the way, "
            f"and {twice:,} of them are there without the .0, too; cast them to BIGINT first in the SQL"
        )
    if here and there and both < HARDLY * min(here, there):
        notes.append(
            f"of {here:,} users of {table.name} {both:,} are among the {there:,} of the users table: ids look to be "
            f"written in two ways ({one!r}, {other!r}), so that their traits are lost; make them alike in the SQL"
        )
    return notes
