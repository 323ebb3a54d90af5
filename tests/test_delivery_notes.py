"""Notes on a delivery: names that nearly match, and ids that are written in two ways, are told with what they cost."""

from __future__ import annotations

import duckdb
import pytest
from apps import event, small_app
from hypothesis import given
from hypothesis import strategies as st

from configs.currencies import decimals_of
from configs.settings import load_settings
from features.ingestion.contract import EVENTS
from features.ingestion.delivery_notes import EventName, id_notes, name_notes, stored_name_notes

DUCKDB = duckdb.connect()


def overlap(here: set[str], there: set[str]) -> list[str]:
    rows, users = (f"SELECT unnest({sorted(each)}::VARCHAR[]) AS user_id" for each in (here, there))
    return id_notes(DUCKDB, EVENTS, rows, users)


@given(st.sets(st.integers(0, 60), max_size=40), st.sets(st.integers(0, 60), max_size=40))
def test_a_word_is_said_when_hardly_a_user_is_in_both_tables(here, there):
    found = overlap(set(map(str, here)), set(map(str, there)))
    is_hardly = bool(here and there) and len(here & there) < 0.1 * min(len(here), len(there))
    assert bool(found) == is_hardly


def test_ids_written_in_two_ways_are_shown():
    _, note = overlap({"17850.0", "13047.0"}, {"17850", "13047", "12345"})
    assert note.startswith("of 2 users of events 0 are among the 3 of the users table: ids look to be written in two")
    assert "('13047.0', '12345')" in note


def test_ids_that_were_floats_are_told_without_a_users_table():
    (note,) = id_notes(
        DUCKDB, EVENTS, "SELECT unnest(['17850', '17850.0', '7.0', '1.0.0', 'v1.0', '1.50']) AS user_id", None
    )
    assert note == (
        "2 of 6 users of events have ids such as '17850.0', which were floats on the way, and 1 of them are there "
        "without the .0, too; cast them to BIGINT first in the SQL"
    )


def test_events_without_a_role_are_listed_with_counts_and_money(tmp_path):
    names = ["purchase"] * 2 + ["Purchase"] * 3 + ["purchase "] * 2 + ["app_crash"]
    events = [
        event(f"u{n}", f"2024-03-0{n + 1}", name, **({"amount": 20.0} if "urchase" in name else {}))
        for n, name in enumerate(names)
    ]
    app = small_app(tmp_path, events=events)
    (note,) = app.ingest()["events"].notes
    assert note.startswith(
        "6 events with 100.00 USD have a name without any role: 'Purchase' (3 events with 60.00 USD, nearly "
        "'purchase'), 'purchase ' (2 events with 40.00 USD, nearly 'purchase'), 'app_crash' (1 event); where"
    )
    assert stored_name_notes(app.settings, app.lake) == [note]
    app.lake.partition("events", app.lake.days("events")[0]).write_bytes(b"no parquet")
    assert "cannot be read" in stored_name_notes(app.settings, app.lake)[0]


def test_names_of_the_profile_that_never_occur_are_told_and_those_of_the_defaults_are_not():
    custom = {"calls": {"meaning": "Calls", "events": ["cal"], "measure": "count", "windows": [7]}}
    app = load_settings(roles={"value": ["purchse", "purchase"], "cart": ["add_to_cart"]}, features={"custom": custom})
    found = [EventName("purchase", 3, 9.0), EventName("call", 1, 0.0)]
    role, own = [
        note for note in name_notes(found, ["purchase", "call"], app) if "names" in note and "no event" in note
    ]
    assert role == "roles.value names 'purchse', and no event is called so; did you mean 'purchase'?"
    assert own == "features.custom.calls.events names 'cal', and no event is called so; did you mean 'call'?"
    assert name_notes(found[:1], ["purchase", "purchse", "cal"], app) == []


def test_a_long_list_of_names_is_cut():
    (note,) = name_notes([EventName(f"n{n}", 1, 0.0) for n in range(20)], ["n0"], load_settings())
    assert "and 12 more" in note and "USD" not in note


@pytest.mark.parametrize(
    ("currency", "decimals"), [("KWD", 3), ("JPY", 0), ("EUR", 2), ("usd", 2), ("CLF", 4), ("XXX", 2)]
)
def test_money_has_the_decimals_of_its_currency(currency, decimals):
    assert decimals_of(currency) == decimals
    (note,) = name_notes([EventName("x", 1, 1.5)], [], load_settings(currency=currency.upper()))
    assert f"{1.5:.{decimals}f} {currency.upper()}" in note
