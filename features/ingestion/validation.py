"""Validation of rows: checks of columns, and SQL that names what is wrong with each bad row."""

from __future__ import annotations

import re
from datetime import datetime
from difflib import get_close_matches

from configs.errors import InputError, did_you_mean
from configs.offers import POLICIES, plain_name
from configs.settings import Settings
from features.ingestion.contract import EVENTS, LEAST_PROPENSITY, SQL_TYPES, TREATMENTS, USERS, Column, Table
from features.ingestion.row_repairs import BREAKS, EARLIEST, EARLIEST_INSTANT, UNSEEN, latest
from features.tables.duckdb_sessions import WHOLE_NUMBERS, sql_text

NAIVE = ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "DATE")
NUMERIC = (*WHOLE_NUMBERS, *(f"U{kind}" for kind in WHOLE_NUMBERS), "FLOAT", "DOUBLE", "DECIMAL")
ACCEPTED = {"number": NUMERIC, "flag": ("BOOLEAN",), "instant": ("TIMESTAMP WITH TIME ZONE", "VARCHAR")}
NESTED = re.compile(r"(STRUCT|MAP|UNION)\(|.*\]$")
NO_ID = re.compile(r"FLOAT|DOUBLE|BOOLEAN|DECIMAL\(\d+,(?!0\))")  # damaged on the way: 17850 reads 17850.0, 0042 true
TRAIT = re.compile(f"(?!.*\\])({'|'.join((*NUMERIC, 'BOOLEAN', 'VARCHAR', 'ENUM', 'UUID', 'JSON', '.NULL'))})")
NEAR = 0.8  # of names that may be meant for another
UNTYPED = '"NULL"'
# words that ingestion adds, and names that the feature store and LightGBM take: Feast loses columns ending in _y
RESERVED = ("day", "reason", "is_known")
TRAIT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}(?<!_y)")

Fault = tuple[str, str]


def check_columns(table: Table, types: dict[str, str], source: str) -> None:
    """Refuse a whole table whose columns cannot be the contract's.

    Parameters
    ----------
    types
        SQL type of each column that the source yields.

    Raises
    ------
    InputError
        A required column is missing, an unknown one is there, or a type is wrong.
    """
    for column in table.columns:
        if column.name in types:
            _check_type(table, column, types[column.name], source)
        elif column.required:
            raise InputError(f"{table.name} of {source} lacks the column {column.name!r} ({column.meaning}); select it")
    for name in (name for name in types if name not in table.names):
        if table is not USERS:
            hint = did_you_mean(name, table.names)
            raise InputError(f"{table.name} of {source} has a column {name!r} outside the contract; {hint}")
        if name.lower() in RESERVED or not TRAIT_NAME.fullmatch(name):
            raise InputError(
                f"users of {source} has a column {name!r}, which cannot name a trait; rename it in the SQL (a "
                "letter, then letters, digits and underscores, 63 in all, no _y at the end, none of "
                f"{', '.join(RESERVED)})"
            )


def _check_type(table: Table, column: Column, found: str, source: str) -> None:
    name = f"{table.name}.{column.name}"
    if column.kind == "instant" and found in NAIVE:
        clock = "UTC' (or the zone whose clock told it)"
        if found == "DATE":
            clock = "…' with the time_zone of your profile, whose midnight begins the day"
        raise InputError(
            f"{name} of {source} is a {found} without a time zone; write {column.name} AT TIME ZONE '{clock}"
        )
    if column.is_id and NO_ID.match(found):
        raise InputError(
            f"{name} of {source} is {found}, which cannot be an id: 17850.0 here is not 17850 elsewhere; "
            "read it as text or as a whole number (CAST(… AS BIGINT)) in the SQL"
        )
    accepted = ACCEPTED.get(column.kind, (found,))
    is_no_text = found == "BLOB" or (NESTED.match(found) and column.name != "properties")
    if found != UNTYPED and (is_no_text or not found.startswith(accepted)):
        raise InputError(f"{name} of {source} is {found}, wanted {SQL_TYPES[column.kind]}; cast it in the SQL")


def told_columns(table: Table, types: dict[str, str]) -> list[str]:
    """Say of a table's own columns which cannot be traits, and which may be misspelt ones of the contract."""
    own = {name: kind for name, kind in types.items() if name not in table.names}
    told = []
    if left := ", ".join(f"{name} ({kind})" for name, kind in own.items() if not TRAIT.match(kind)):
        told.append(
            f"{table.name}: {left} can be no traits and are left out; make numbers or texts of them in the SQL, "
            "such as the year of a date"
        )
    absent = [name for name in table.names if name not in types]
    for name in own:
        for near in get_close_matches(name.lower(), absent, 1, NEAR):
            told.append(f"{table.name}.{name} is taken for a trait; where {near!r} is meant, name it so in the SQL")
    return told


def given_columns(table: Table, types: dict[str, str]) -> str:
    """Write the SELECT list of what is taken from a source: columns of the contract by their names, and traits."""
    listed = [f"{_given(column, types)} AS {column.name}" for column in table.columns if column.name in types]
    return ", ".join(listed + [f'"{name}"' for name in _traits(table, types)])


def _given(column: Column, types: dict[str, str]) -> str:
    if _is_text_instant(column, types):
        return column.name
    if column.name == "properties" and NESTED.match(types[column.name]):
        return "system.main.to_json(properties)::VARCHAR"  # whatever the source calls to_json
    return f"{column.name}::{SQL_TYPES[column.kind]}"


def _traits(table: Table, types: dict[str, str]) -> list[str]:
    return [name for name, kind in types.items() if name not in table.names and TRAIT.match(kind)]


def typed_columns(table: Table, types: dict[str, str]) -> str:
    """Write the SELECT list that makes the contract's columns of those given.

    An instant that comes as text is parsed when it names its zone, and is kept beside as ``_raw_<column>``.
    """
    columns = [f"{_value(column, types)} AS {column.name}" for column in table.columns]
    columns += [f'"{name}"' for name in _traits(table, types)]
    columns += [f"{name} AS _raw_{name}" for name in text_instants(table, types)]
    return ", ".join(columns)


def text_instants(table: Table, types: dict[str, str]) -> list[str]:
    """Name the instants that the source yields as text."""
    return [column.name for column in table.columns if _is_text_instant(column, types)]


def _is_text_instant(column: Column, types: dict[str, str]) -> bool:
    return column.kind == "instant" and types.get(column.name) == "VARCHAR"


def _value(column: Column, types: dict[str, str]) -> str:
    if _is_text_instant(column, types):
        return f"CASE WHEN {_names_its_zone(column.name)} THEN TRY_CAST({column.name} AS TIMESTAMPTZ) END"
    if column.name in types:
        return f"nullif({column.name}, '')" if column.is_id else column.name
    if column is TREATMENTS.columns[0]:
        return "md5(concat_ws('|', user_id, decided_at, offer_id))"
    return f"NULL::{SQL_TYPES[column.kind]}"


def _names_its_zone(text: str) -> str:
    return f"regexp_matches({text}, ':[0-9.]+([zZ]| UTC|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?)$')"


def fault_of_row(table: Table, types: dict[str, str], settings: Settings, now: datetime) -> str:
    """Write the SQL expression for the first clause of the contract that a row breaks; NULL for a good row."""
    faults = [fault for column in table.columns for fault in _column_faults(table, column)]
    faults += [fault for name in text_instants(table, types) for fault in _text_faults(name)]
    if table.instant is not None:
        faults += _instant_faults(table.instant, settings, now)
    if table is EVENTS:
        faults += _event_faults(settings, now)
    if table is TREATMENTS:
        faults += _treatment_faults(settings, now)
    # a text that is no timestamp is also a missing instant: the sharper sentence comes first
    faults.sort(key=lambda fault: fault[1].endswith("is missing"))
    return "CASE " + " ".join(f"WHEN {broken} THEN '{reason}'" for broken, reason in faults) + " END"


def _column_faults(table: Table, column: Column) -> list[Fault]:
    if column.kind == "number":
        return [(f"NOT isfinite({column.name})", f"{column.name} is not a finite number")]
    if column.name != table.key and not column.required:
        return []
    empty = f" OR regexp_full_match({column.name}, '[{UNSEEN}]*')" if column.kind == "text" and not column.is_id else ""
    faults = [(f"{column.name} IS NULL{empty}", f"{column.name} is missing")]
    if column.is_id:
        faults.append((f"regexp_matches({column.name}, '{BREAKS}')", f"{column.name} holds what prints nothing"))
    return faults


def _text_faults(name: str) -> list[Fault]:
    zoneless = f"_raw_{name} IS NOT NULL AND NOT {_names_its_zone(f'_raw_{name}')}"
    offset = f"regexp_matches(_raw_{name}, ':[0-9.]+[+-][0-9:]+$')"
    return [
        (f"{zoneless} AND {offset}", f"{name} has an offset that no time zone has"),
        (f"{zoneless} AND TRY_CAST(_raw_{name} AS TIMESTAMP) IS NOT NULL", f"{name} has no time zone"),
        (
            f"{zoneless} OR _raw_{name} IS NOT NULL AND TRY_CAST(_raw_{name} AS TIMESTAMPTZ) IS NULL",
            f"{name} is not a timestamp",
        ),
    ]


def _instant_faults(name: str, settings: Settings, now: datetime) -> list[Fault]:
    return [
        (f"{name} > {latest(settings, now)}", f"{name} lies in the future"),
        (f"{name} < {EARLIEST_INSTANT}", f"{name} lies before {EARLIEST}"),
    ]


def _event_faults(settings: Settings, now: datetime) -> list[Fault]:
    refunds = ", ".join(sql_text(name) for name in settings.roles.refund) or "''"
    return [
        (f"amount < 0 AND event_name NOT IN ({refunds})", "amount is negative and the event is no refund"),
        (f"abs(amount) > {settings.ingest.max_amount}", "amount exceeds ingest.max_amount"),
        ("discount < 0", "discount is negative"),
        (f"discount > {settings.ingest.max_amount}", "discount exceeds ingest.max_amount"),
        ("received_at < occurred_at", "received_at lies before occurred_at"),
        *_instant_faults("received_at", settings, now),
    ]


def _treatment_faults(settings: Settings, now: datetime) -> list[Fault]:
    policies = ", ".join(sql_text(plain_name(name)) for name in POLICIES)
    return [
        ("offer_id IS NULL", "offer_id is missing, which is none where nothing was given"),
        ("discount IS NULL", "discount is missing"),
        ("NOT discount BETWEEN 0 AND 1", "discount is not a share between 0 and 1"),
        ("NOT (propensity > 0 AND propensity <= 1)", "propensity is not a probability above 0"),
        (
            f"regexp_replace(lower(offer_id), '[^a-z0-9]+', '_', 'g') IN ({policies})",
            "offer_id is the name of a policy",
        ),
        (f"propensity < {LEAST_PROPENSITY}", f"propensity lies below {LEAST_PROPENSITY}"),
        ("cost < 0", "cost is negative"),
        (f"cost > {settings.ingest.max_amount}", "cost exceeds ingest.max_amount"),
        ("valid_until < decided_at", "valid_until lies before decided_at"),
        (f"abs(outcome) > {settings.ingest.max_amount}", "outcome exceeds ingest.max_amount"),
        ("outcome_at < decided_at", "outcome_at lies before decided_at"),
        *_instant_faults("outcome_at", settings, now),
    ]
