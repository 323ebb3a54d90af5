"""Repairs of values with only one possible meaning: blanks around ids, signs of refunds, clock skew.

Everything is written in SQL over columns that have the types of the contract already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import available_timezones

import duckdb

from configs.counted import counted
from configs.errors import InputError
from configs.offers import NO_OFFER
from configs.settings import Settings
from features.ingestion.contract import EVENTS, TREATMENTS, USERS, Table
from features.tables.duckdb_sessions import sql_text

EARLIEST = "1990-01-01"
EARLIEST_INSTANT = f"TIMESTAMPTZ '{EARLIEST} 00:00:00+00'"
MOST_LATE = 0.1  # share of the events whose clocks may be wrong by more than a year
LATEST_END_YEARS = 10  # an offer that is open for longer has an end that stands for none
NO_NUMBER = "a trait is not a finite number, and is taken as missing"
# characters that print nothing: spaces of every kind, line breaks, tabs, NUL and zero-width ones
UNSEEN = r"\p{Z}\p{Cc}\x{00AD}\x{180E}\x{200B}-\x{200F}\x{202A}-\x{202E}\x{2060}-\x{206F}\x{FEFF}"
# of them what has no business inside an id
BREAKS = r"[\p{Cc}\p{Zl}\p{Zp}\x{200B}\x{2060}\x{FEFF}]"


@dataclass(frozen=True)
class Repair:
    """A fault of one column that has one meaning: rows that are `broken` get `value`, and people are `told`.

    More than the share `most` of a table's rows cannot be meant.
    """

    column: str
    broken: str
    value: str
    told: str
    most: float = 1.0


def row_repairs(table: Table, types: dict[str, str], settings: Settings, now: datetime) -> list[Repair]:
    """List what is put right in the rows of a table, at most once per column; `types` are those of the source."""
    own = [name for name, kind in types.items() if name not in table.names and kind in ("FLOAT", "DOUBLE")]
    found = [Repair(f'"{name}"', f'NOT isfinite("{name}")', "NULL", NO_NUMBER) for name in own]
    found += [
        _trimmed(column.name)
        for column in table.columns
        if column.is_id and types.get(column.name, "").startswith(("VARCHAR", "ENUM"))
    ]
    if table is USERS and "signed_up_at" in types:
        found.append(_as_missing("signed_up_at", f"> {latest(settings, now)}", "in the future"))
    if table is USERS and "known_from" in types:
        found.append(_as_missing("known_from", f"> {latest(settings, now)}", "in the future"))
    if table is USERS and types.get("time_zone") == "VARCHAR":
        found.append(_zone_by_name())
    if table is TREATMENTS:
        found = [_as_none(each) if each.column == "offer_id" else each for each in found]
    if table is TREATMENTS and "valid_until" in types:
        late = f"> {latest(settings, now)} + INTERVAL {LATEST_END_YEARS} YEAR"
        found.append(_as_missing("valid_until", late, f"more than {LATEST_END_YEARS} years ahead"))
    return [*found, *_of_events(types, settings, now)] if table is EVENTS else found


def _trimmed(name: str) -> Repair:
    inner = f"regexp_replace({name}, '^[{UNSEEN}]+|[{UNSEEN}]+$', '', 'g')"
    value = f"nullif(nfc_normalize(replace({inner}, chr(0), chr(1))), '')"  # what comes after a NUL would be lost
    return Repair(
        name, f"{name} <> nfc_normalize({name}) OR regexp_matches({name}, '^[{UNSEEN}]|[{UNSEEN}]$')", value,
        f"{name} has blanks around it (spaces, tabs, line breaks or what prints nothing), which are cut off, or "
        "letters in two signs (NFD), which become one (NFC), as both are the same to people",
    )  # fmt: skip


def _as_none(trimmed: Repair) -> Repair:
    """Let `none` be written in other letters, too: else who got nothing would count as given an offer of that name."""
    return Repair(
        "offer_id", f"{trimmed.broken} OR (lower(offer_id) = '{NO_OFFER}' AND offer_id <> '{NO_OFFER}')",
        f"CASE WHEN lower({trimmed.value}) = '{NO_OFFER}' THEN '{NO_OFFER}' ELSE {trimmed.value} END",
        f"{trimmed.told}, or means {NO_OFFER!r} in other letters",
    )  # fmt: skip


def _zone_by_name() -> Repair:
    """Tell of a time zone that there is none of: who is said to live there is written to by the app's clock."""
    names = ", ".join(map(sql_text, sorted(available_timezones())))
    return Repair(
        "time_zone", f"time_zone NOT IN (SELECT unnest([{names}]))", "NULL",
        "time_zone is no IANA name such as 'Europe/Berlin', and is taken as missing: the app's own clock says when it "
        "is night there",
    )  # fmt: skip


def _as_missing(name: str, beyond: str, words: str) -> Repair:
    broken = f"{name} < {EARLIEST_INSTANT} OR {name} {beyond}"
    return Repair(name, broken, "NULL", f"{name} lies before {EARLIEST} or {words}, and is taken as missing")


def _of_events(types: dict[str, str], settings: Settings, now: datetime) -> list[Repair]:
    found = []
    refunds = ", ".join(sql_text(name) for name in settings.roles.refund if name not in settings.roles.value)
    if refunds and "amount" in types:
        paid_back = "amount of a refund is told as a positive number, and is taken as money paid back"
        found.append(Repair("amount", f"event_name IN ({refunds}) AND amount > 0", "-amount", paid_back))
    if "received_at" in types:
        skew = settings.ingest.clock_skew_minutes
        within = f"greatest(least(received_at, {latest(settings, now)}), {EARLIEST_INSTANT})"
        late = settings.ingest.max_late_days
        found.append(
            Repair(
                "occurred_at",
                f"occurred_at < received_at AND occurred_at < {within} - INTERVAL {late} DAY",
                "received_at",
                f"received_at lies more than {late} days after occurred_at (ingest.max_late_days), and the event is "
                "counted when it came; where received_at is when a history was loaded, leave it out",
                MOST_LATE,
            )
        )  # fmt: skip
        soon = clock_skew(settings, within)  # there are instants that nothing can be added to
        found.append(
            Repair(
                "received_at", f"received_at < occurred_at AND {soon} >= occurred_at", "occurred_at",
                f"received_at lies up to {skew} minutes before occurred_at, as clocks differ (ingest."
                "clock_skew_minutes), and is taken as that instant",
            )
        )  # fmt: skip
    return found


def clock_skew(settings: Settings, instant: str) -> str:
    """Write an instant by the clock that goes ahead most."""
    return f"{instant} + INTERVAL {settings.ingest.clock_skew_minutes} MINUTE"


def latest(settings: Settings, now: datetime) -> str:
    """Write the instant after which an event lies in the future, whatever clock told it."""
    here = f"TIMESTAMPTZ '{now.isoformat()}'"
    return f"({clock_skew(settings, here)})"


def repaired(rows: str, repairs: Sequence[Repair]) -> str:
    """Write the SELECT of `rows` as they are put right; a bit of ``_repairs`` stands for each kind of repair."""
    values = [f"CASE WHEN {each.broken} THEN {each.value} ELSE {each.column} END AS {each.column}" for each in repairs]
    broken = [" OR ".join(f"({each.broken})" for each in repairs if each.told == told) for told in _kinds(repairs)]
    bits = [f"CASE WHEN {each} THEN {1 << place} ELSE 0 END" for place, each in enumerate(broken)]
    replaced = f"REPLACE ({', '.join(values)})" if repairs else ""
    return f"SELECT * {replaced}, ({' | '.join(bits) or 0})::USMALLINT AS _repairs FROM ({rows})"


def told_repairs(connection: duckdb.DuckDBPyConnection, table: Table, repairs: Sequence[Repair]) -> list[str]:
    """Count what was put right in the good staged rows of a table, a sentence for each kind.

    Raises
    ------
    InputError
        It is more than can be meant.
    """
    kinds = _kinds(repairs)
    counts = ", ".join(f"count(*) FILTER (_repairs & {1 << place} > 0)" for place in range(len(kinds))) or "0"
    asked = f"SELECT count(*), {counts} FROM staged_{table.name} WHERE reason IS NULL"
    rows, *found = connection.execute(asked).fetchone() or (0,)
    for each in repairs:
        if (count := found[kinds.index(each.told)]) > each.most * rows:
            raise InputError(f"{count:,} of {rows:,} rows of {table.name} are too many to be put right: {each.told}")
    connection.execute(f"ALTER TABLE staged_{table.name} DROP COLUMN _repairs")
    return [
        f"{counted(count, 'row')} of {table.name}: {told}" for count, told in zip(found, kinds, strict=False) if count
    ]


def _kinds(repairs: Sequence[Repair]) -> list[str]:
    return list(dict.fromkeys(each.told for each in repairs))
