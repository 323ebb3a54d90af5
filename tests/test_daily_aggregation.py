"""Daily rows: arrays find what the declared expressions find in any events, to the bit."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle_daily import EVENTS, TABLES, TREATMENTS, with_roles
from oracle_windows import what_is_declared
from pandas.testing import assert_frame_equal

from configs.settings import load_settings
from features.arrays.group_by import GroupedRows
from features.definitions.daily_measures import MEASURES, micros
from features.definitions.snapshot_features import WINDOWED
from features.engine.daily_aggregation import day_rows
from features.engine.session_days import open_sessions

MONDAY = date(2024, 3, 4)
ROLES = load_settings().roles
NAMES = [
    "session_start",
    "view_item",
    "purchase",
    "refund",
    "offer_redeem",
    "payment_failed",
    "notification_open",
    "odd",
]
MONEY = [None, 0.0, 0.125, 0.29, -1.005, 1e6]
SCHEMA = pa.schema([field for field in EVENTS.to_pyarrow() if field.name not in ("day", "clock")])


def event_of(users: str, hours: st.SearchStrategy[int], sessions: list[str | None]) -> st.SearchStrategy[tuple]:
    return st.tuples(
        st.sampled_from(users),
        st.sampled_from(NAMES),
        hours,
        st.sampled_from([0, 0, 1, 2, 3]),
        st.sampled_from(sessions),
        st.sampled_from([None, "tea", "9", "hour"]),
        st.sampled_from(MONEY),
        st.sampled_from(MONEY),
    )


NIGHTS = st.sampled_from([-7, -6, -1, 0, 5, 6, 17, 18, 23, 24, 29, 30])  # hours over which sessions go on, or do not
ANY_EVENTS = st.lists(
    event_of("abc", st.integers(0, 23), [None, "s1", "s2", "3"]) | event_of("a", NIGHTS, ["s1", "s2"]), max_size=25
)


def of_monday(rows: ir.Table) -> ir.Table:
    return rows.filter(rows.day == MONDAY).drop("day")


class Declared:
    """The declared expressions, compiled once for a time zone."""

    def __init__(self, time_zone: str) -> None:
        self.engine = ibis.duckdb.connect()
        self.zone = time_zone
        self.engine.raw_sql(f"SET TimeZone = '{time_zone}'")
        events = with_roles(ibis.table(EVENTS, name="events"), ibis.table(TREATMENTS, name="treatments"), ROLES)
        self.queries = {
            name: ibis.to_sql(of_monday(table(events)).order_by(*order), dialect="duckdb")
            for name, (table, order) in TABLES.items()
        }

    def rows(self, events: pa.Table, treatments: pa.Table) -> dict[str, pd.DataFrame]:
        self.engine.con.register("raw", events)
        self.engine.con.register("treatments", treatments.append_column("day", pa.array([MONDAY] * len(treatments))))
        clock = "*, occurred_at::DATE AS day, occurred_at::TIMESTAMP AS clock"
        self.engine.con.execute(f"CREATE OR REPLACE TEMP VIEW events AS SELECT {clock} FROM raw")
        return {name: self.engine.con.execute(query).df() for name, query in self.queries.items()}


ZONES = ("UTC", "Asia/Kolkata", "America/New_York")
declared = cache(Declared)  # compiling takes a second, which every worker would spend on collecting


@settings(deadline=None)
@given(ANY_EVENTS, st.sampled_from(ZONES), st.booleans())
def test_arrays_find_what_is_declared(found, zone, as_words):
    start = datetime(2024, 3, 4, tzinfo=ZoneInfo(zone))
    events = pa.Table.from_pylist(
        [
            {
                "event_id": f"e{number}",
                "user_id": user,
                "event_name": name,
                "session_id": session,
                "item_category": category,
                "occurred_at": start + timedelta(hours=hour),
                "received_at": start + timedelta(days=late, hours=hour) if late else None,
                "amount": amount,
                "discount": discount,
            }
            for number, (user, name, hour, late, session, category, amount, discount) in enumerate(found)
        ],
        schema=SCHEMA,
    )
    given_to = pa.table({"user_id": ["a", "d", "b"], "offer_id": ["x", "x", "none"], "decision_id": ["1", "2", "3"]})
    expected = declared(zone).rows(events, given_to)
    if as_words:
        events = events.set_column(1, events.column_names[1], events.column(1).dictionary_encode())
    day = np.array([hour // 24 for _, _, hour, *_ in found], int)
    before, own, after = (events.filter(pa.array(day == step)) for step in (-1, 0, 1))
    begun, going_on = open_sessions(before, own, zone), open_sessions(own, after, zone)
    tables = day_rows(
        own, given_to, MONDAY, ROLES, zone, what_is_declared(), begun_before=begun, after=after, going_on=going_on
    )  # fmt: skip
    for name, rows in expected.items():
        mine = tables[name].to_pandas().astype(dict.fromkeys({"user_id", "dimension", "label"} & set(rows), object))
        mine["known_on"] = pd.to_datetime(mine["known_on"]).astype(rows["known_on"].dtype)
        assert_frame_equal(mine, rows, check_exact=True, check_dtype=False)


def test_events_are_dated_by_clocks_that_change(monkeypatch):
    night = datetime(2024, 3, 10, tzinfo=ZoneInfo("America/New_York"))  # clocks go from 2 to 3
    spine = [night.astimezone(ZoneInfo("UTC")) + timedelta(hours=hours) for hours in (0, 1, 2, 22)]
    events = pa.Table.from_pylist(
        [{"event_id": str(at), "user_id": "a", "event_name": "view_item", "occurred_at": at} for at in spine],
        schema=SCHEMA,
    )
    counts = day_rows(events, None, night.date(), ROLES, "America/New_York")["category_hour_counts"].to_pandas()
    assert counts.label.tolist() == ["0", "1", "23", "3"]


AMOUNTS = st.decimals(0, 1_000_000, places=6) | st.decimals(0, 2, places=3)


@given(st.lists(AMOUNTS, min_size=1, max_size=30), st.integers(1, 1000))
def test_money_is_exact_to_the_millionth_and_rounded_once(amounts, times):
    events = GroupedRows(
        np.zeros(len(amounts) * times, np.int64), 1, {"amount": np.repeat(np.array(amounts, float), times)}
    )
    found = micros(events.amount).sum(where=np.ones(len(amounts) * times, bool))
    assert found.tolist() == [times * sum(int(amount.scaleb(6)) for amount in amounts)]
    assert found[0] / WINDOWED["spend_sum"].scale == float(times * sum(amounts))


@pytest.mark.parametrize(("amount", "total"), [(0.004, 4.0), (0.006, 6.0), (1.234, 1234.0), (0.29, 290.0)])
def test_a_thousand_small_amounts_add_up_to_what_they_are(amount, total):
    events = pa.Table.from_pylist(
        [
            {"event_id": str(number), "user_id": "a", "event_name": "purchase", "amount": amount}
            | {"occurred_at": datetime(2024, 3, 4, 9, tzinfo=ZoneInfo("UTC")), "item_category": "tea"}
            for number in range(1000)
        ],
        schema=SCHEMA,
    )
    rows = day_rows(events, None, MONDAY, ROLES, "UTC")
    found = [rows["aggregates"]["spend_micros"][0], rows["category_hour_counts"]["spend_micros"][0]]
    assert [value.as_py() / WINDOWED["spend_sum"].scale for value in found] == [total, total]


@pytest.mark.parametrize("amount", [30.0, -30.0])
def test_a_refund_is_money_paid_back_whatever_its_sign(amount):
    events = GroupedRows(np.zeros(1, np.int64), 1, {"amount": np.array([amount]), "is_refund": np.array([True])})
    assert np.asarray(MEASURES["refund_micros"](events)).tolist() == [30_000_000]


@pytest.mark.parametrize(("amount", "whole"), [(0.5, 1), (-0.5, -1), (0.49999999999999994, 0), (2.5, 3), (np.nan, 0)])
def test_money_is_rounded_as_databases_do(amount, whole):
    rows = GroupedRows(np.zeros(1, np.int64), 1, {"amount": np.array([amount])})
    assert rows.amount.round().sum(where=np.array([True])).tolist() == [whole]


def test_an_unknown_column_is_named():
    with pytest.raises(AttributeError, match="colour"):
        _ = GroupedRows(np.zeros(0, np.int64), 0, {}).colour
