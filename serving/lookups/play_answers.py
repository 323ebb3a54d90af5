"""Answers about plays: for whom each is meant today, with an example and the events that led to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import duckdb

from configs.counted import counted
from configs.errors import InputError
from configs.offers import Catalogue, load_catalogue
from configs.plays import MARKETING
from configs.settings import Settings
from features.definitions.app_declarations import declarations_of
from features.definitions.registry import Feature
from features.materialise.user_traits import user_traits
from features.storage.lake import Lake
from features.tables.duckdb_sessions import duckdb_session, sql_text
from serving.memberships.day_sources import sources_of
from serving.plays.play_rules import FACT, PlayRules, play_rules_of
from serving.segments.day_query import DaySources, quoted, split_sql
from serving.segments.known_columns import STAGE
from serving.segments.stages import stages_of
from serving.stored_days.day_tables import decided_days, decisions_source
from serving.wording.rendering import Words

EXAMPLE_DAYS = 28  # how far back an example is looked for, and its events are told
MOST_EVENTS = 6
P_CHURN = "p_churn"
EVENTS = """
    SELECT strftime(occurred_at AT TIME ZONE {zone}, '%Y-%m-%d %H:%M') AS at, event_name, item_category, amount
    FROM read_parquet([{files}], union_by_name = true, hive_partitioning = false)
    WHERE user_id = {user} AND event_name IN ({names}) ORDER BY occurred_at DESC, event_name LIMIT {most}
"""

HEADING = "plays on {day}, most users first; meant: of whom its rules hold"
PLAY = {
    True: "  {title} meant {meant}  ({about})",
    False: "  {title} meant {meant}  given {given}  ({about})",
}
LEFT_OUT = "  {title} left out: this app has no column {column}"
NO_EXAMPLE = "    no example: {why}"
EXAMPLE = {
    True: "    such as {user} on {day}, who got it: {values}",
    False: "    such as {user} on {day}: {values}",
}


@dataclass(frozen=True)
class Example:
    """A user for whom a play was meant on a day: what its rules read of them, and the events that led to it."""

    user_id: str
    day: date
    values: Mapping[str, Any]
    events: Sequence[Mapping[str, Any]]
    is_given: bool


@dataclass(frozen=True)
class PlayRow:
    """A play of the catalogue: how many it is meant for on a day and how many it is given to, None before decisions.

    `lacks` is the column without which it is left out, `no_example` why none is told where one was asked for.
    """

    play: str
    about: str
    aim: str
    send_class: str
    channels: tuple[str, ...]
    meant: int | None = None
    given: int | None = None
    lacks: str | None = None
    offer_ids: tuple[str, ...] = ()
    example: Example | None = field(default=None)
    no_example: str | None = None


@dataclass(frozen=True)
class _Context:
    """What questions about a day's plays are answered from."""

    connection: duckdb.DuckDBPyConnection
    settings: Settings
    lake: Lake
    features: Mapping[str, Feature]
    rules: PlayRules
    catalogue: Catalogue

    def users_sql(self, sources: DaySources, rules: PlayRules) -> str:
        """Write the query of everything that rules read of every user of a day."""
        stages = stages_of(self.settings, self.features.values())
        known = sources.known_sql(rules.columns, stages)
        own = "".join(f", {split_sql(each, rules.cuts)} AS {quoted(each.name)}" for each in rules.splits)
        return f"SELECT *{own} FROM ({known})"


def newest_snapshot_day(lake: Lake, until: date) -> date:
    """Newest day on or before `until` with a snapshot.

    Raises
    ------
    InputError
        There is none.
    """
    days = [day for day in lake.days("snapshots") if day <= until]
    if not days:
        raise InputError(f"{lake.root} holds no snapshots up to {until}; run winback build-features first")
    return days[-1]


def play_rows(settings: Settings, lake: Lake, day: date, *, examples: bool) -> list[PlayRow]:
    """List every play with whom it is meant for on a day, which must have a snapshot, and perhaps an example each.

    Raises
    ------
    InputError
        The day has no snapshot, or a rule is wrong.
    """
    features = declarations_of(settings).catalogue(user_traits(lake, settings))
    catalogue = load_catalogue(settings.offers)
    rules = play_rules_of(settings, features, catalogue)
    with duckdb_session(settings) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        by_name = {feature.name: feature for feature in features}
        context = _Context(connection, settings, lake, by_name, rules, catalogue)
        meant, given = _meant(context, day), _given(context, day)
        found = _examples(context, day) if examples else {}
        rows = [_row(context, play, meant, given, found) for play in catalogue.plays]
        return [replace(row, no_example=_why_none(context, row, day)) for row in rows] if examples else rows


def _row(
    context: _Context,
    play: str,
    meant: Mapping[str, int],
    given: Mapping[str, int] | None,
    examples: Mapping[str, Example],
) -> PlayRow:
    offers = context.catalogue.plays[play]
    first, lacks = offers[0], context.rules.left_out.get(play)
    count = None if given is None or lacks else sum(given.get(offer.offer_id, 0) for offer in offers)
    channels = tuple(offer.channel for offer in offers)
    return PlayRow(
        play, first.play, first.aim or "", first.send_class, channels, None if lacks else meant[play], count, lacks,
        tuple(offer.offer_id for offer in offers), examples.get(play),
    )  # fmt: skip


def _why_none(context: _Context, row: PlayRow, until: date) -> str | None:
    """Say why a play has no example; None where it has one, or is left out."""
    if row.example is not None or row.lacks:
        return None
    if row.play not in context.rules.rules:
        return "it has no rule of its own and is meant for everybody"
    days = _example_days(context, until)
    read = {name for rule in context.rules.rules[row.play].values() for name in rule.columns}
    if P_CHURN in read and not {*days} & {*decided_days(context.lake)}:
        return "its rule reads the risk, and nobody's is predicted on these days; run winback score-users"
    return f"its rules held of nobody on the {counted(len(days), 'day')} with a snapshot from {days[0]} to {days[-1]}"


def _example_days(context: _Context, until: date) -> list[date]:
    return [day for day in context.lake.days("snapshots") if until - timedelta(days=EXAMPLE_DAYS) <= day <= until]


def _meant(context: _Context, day: date) -> dict[str, int]:
    """Count whom each play is meant for; one without rules is meant for everybody."""
    sources = sources_of(context.settings, context.lake, day)
    rules = context.rules.with_cuts(context.connection, sources.snapshot)
    counts = ", ".join(f"count(*) FILTER ({rules.sql(play)})" for play in rules.rules)
    query = f"SELECT count(*){', ' + counts if counts else ''} FROM ({context.users_sql(sources, rules)})"
    everybody, *own = context.connection.execute(query).fetchone() or [0]
    return dict.fromkeys(context.catalogue.plays, everybody) | dict(zip(rules.rules, own, strict=True))


def _given(context: _Context, day: date) -> dict[str, int] | None:
    if day not in decided_days(context.lake):
        return None
    query = f"SELECT offer_id, count(*) FROM {decisions_source(context.lake, day)} GROUP BY ALL"
    return dict(context.connection.execute(query).fetchall())


def _examples(context: _Context, until: date) -> dict[str, Example]:
    """Find an example of each play on the newest of the days before that has one, a user who got it where there is."""
    found: dict[str, Example] = {}
    for day in reversed(_example_days(context, until)):
        sources = sources_of(context.settings, context.lake, day)
        rules = context.rules.with_cuts(context.connection, sources.snapshot)
        context.connection.execute(f"CREATE OR REPLACE TEMP TABLE day AS {context.users_sql(sources, rules)}")
        for play in (each for each in rules.rules if each not in found):
            if example := _example(context, rules, play, day):
                found[play] = example
    return found


def _example(context: _Context, rules: PlayRules, play: str, day: date) -> Example | None:
    ids = ", ".join(sql_text(offer.offer_id) for offer in context.catalogue.plays[play])
    has_got = "NULL"
    if day in decided_days(context.lake):
        has_got = f"user_id IN (SELECT user_id FROM {decisions_source(context.lake, day)} WHERE offer_id IN ({ids}))"
    columns = dict.fromkeys(name for rule in rules.rules[play].values() for name in rule.columns)
    wanted = ", ".join(map(quoted, columns))
    query = f"SELECT user_id, coalesce({has_got}, false) AS is_given, {wanted} FROM day WHERE {rules.sql(play)}"
    row = context.connection.execute(f"{query} ORDER BY is_given DESC, user_id LIMIT 1").fetchone()
    if row is None:
        return None
    user_id, is_given, *values = row
    return Example(
        user_id, day, dict(zip(columns, values, strict=True)), _events(context, rules, play, user_id, day), is_given
    )


def _events(context: _Context, rules: PlayRules, play: str, user_id: str, day: date) -> list[dict[str, Any]]:
    """List the newest events of a user on which a play's fact rests, or where it claims none its `when`."""
    days = [each for each in context.lake.days("events") if day - timedelta(days=EXAMPLE_DAYS) <= each < day]
    own = rules.rules[play]
    read = own[FACT].columns if FACT in own else [name for rule in own.values() for name in rule.columns]
    names = dict.fromkeys(name for column in read for name in _event_names(context, column))
    if not days or not names:
        return []
    query = EVENTS.format(
        files=", ".join(sql_text(context.lake.partition("events", each)) for each in days), user=sql_text(user_id),
        names=", ".join(map(sql_text, names)), most=MOST_EVENTS, zone=sql_text(context.settings.time_zone),
    )  # fmt: skip
    rows = context.connection.execute(query).fetchall()
    return [dict(zip(("at", "event", "category", "amount"), row, strict=True)) for row in reversed(rows)]


def _event_names(context: _Context, column: str) -> Sequence[str]:
    """Name the events that a column rests on; what is known of everybody rests on activity."""
    role = context.features[column].role if column in context.features else "activity"
    return getattr(context.settings.roles, role, None) or role.split(", ")


def play_lines(rows: Sequence[PlayRow], day: date, words: Words) -> Iterator[str]:
    """Say of each play whom it is meant for, and tell its example."""
    yield words.say(HEADING, day=words.language.day(day))
    shown = sorted((row for row in rows if not row.lacks), key=lambda row: -(row.meant or 0))
    width = max((len(_title(row, words)) for row in rows), default=0)
    count = words.figures.thousands
    for row in shown:
        what = {
            "title": f"{_title(row, words):<{width}}",
            "meant": f"{count(row.meant or 0):>9}",
            "about": _about(row, words),
        }
        given = {} if row.given is None else {"given": f"{count(row.given):>7}"}
        yield words.say(PLAY[row.given is None], **what, **given)
        yield from _example_lines(row.example, words) if row.example else ()
        yield from [words.say(NO_EXAMPLE, why=row.no_example)] if row.no_example else ()
    for row in rows:
        if row.lacks:
            yield words.say(LEFT_OUT, title=f"{_title(row, words):<{width}}", column=row.lacks)


def _title(row: PlayRow, words: Words) -> str:
    """Name a play as people do; its channels share one title."""
    return words.titles.get(next(iter(row.offer_ids), row.play), row.play)


def _about(row: PlayRow, words: Words) -> str:
    """Say what a play is for, whether it is more than marketing, and through which channels it goes."""
    what = [row.aim, "" if row.send_class == MARKETING else row.send_class]
    return "; ".join(
        filter(None, [", ".join(map(words.term, filter(None, what))), ", ".join(map(words.term, row.channels))])
    )


def _example_lines(example: Example, words: Words) -> Iterator[str]:
    values = "; ".join(f"{words.label(name)}: {_shown(name, value, words)}" for name, value in example.values.items())
    yield words.say(EXAMPLE[example.is_given], user=example.user_id, day=words.language.day(example.day), values=values)
    for event in example.events:
        more = [str(event["category"])] if event["category"] else []
        more += [words.figures.money(float(event["amount"]))] if event["amount"] is not None else []
        yield f"      {event['at']}  {' '.join([event['event'].replace('_', ' '), *more])}"


def _shown(name: str, value: object, words: Words) -> str:
    if isinstance(value, str) and name == STAGE:
        return words.group(value, value.replace("_", " "))
    if isinstance(value, bool | int | float | Decimal):
        return words.value({"column": name, "value": None, "number": float(value)})
    return words.value({"column": name, "value": None if value is None else str(value), "number": None})
