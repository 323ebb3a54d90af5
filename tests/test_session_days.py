"""A session or basket over midnight is one and belongs to the day it began, for whoever knew of it by then."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from apps import App, Row, event, small_app
from hypothesis import given
from hypothesis import strategies as st

from configs.settings import load_settings
from features.arrays.calendar_days import start_of
from features.engine.daily_aggregation import EVENT_COLUMNS, day_rows
from features.engine.session_days import open_sessions

MONDAY, TUESDAY = date(2024, 3, 4), date(2024, 3, 5)
ROLES = load_settings().roles
ZONES = ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/Sao_Paulo"]
MINUTES = st.lists(st.integers(-359, 359), min_size=1, max_size=6).filter(lambda found: min(found) < 0)


def rows_of(events: list[Row], day: date, zone: str) -> pd.DataFrame:
    """Daily rows of a day of which only the days beside it are known."""
    table = pa.Table.from_pylist([{"received_at": None, "discount": None, **row} for row in events], EVENT_COLUMNS)
    local = pc.local_timestamp(pc.assume_timezone(table["occurred_at"].cast(pa.timestamp("us")), "UTC").cast(
        pa.timestamp("us", zone)))  # fmt: skip
    before, own, after = (
        table.filter(pc.equal(pc.cast(pc.floor_temporal(local, unit="day"), pa.date32()), day + timedelta(days=step)))
        for step in (-1, 0, 1)
    )
    begun, going_on = open_sessions(before, own, zone), open_sessions(own, after, zone)
    tables = day_rows(own, None, day, ROLES, zone, begun_before=begun, after=after, going_on=going_on)
    return tables["aggregates"].to_pandas().set_index("user_id")


def visit(user: str, moments: list[datetime]) -> list[Row]:
    """A view and a line of a basket at each moment, in one session."""
    lines = (("view_item", None), ("purchase", 10.0))
    return [
        {"user_id": user, "event_name": name, "session_id": f"s {user}", "occurred_at": at, "amount": amount}
        for at in moments
        for name, amount in lines
    ]


@given(MINUTES, st.sampled_from(ZONES))
def test_a_session_over_midnight_counts_as_one_at_noon_does(minutes, zone):
    midnight, noon = start_of(TUESDAY, zone).astimezone(UTC), datetime(2024, 3, 4, 12, tzinfo=ZoneInfo(zone))
    events = visit("over", [midnight + timedelta(minutes=each) for each in minutes])
    events += visit("noon", [noon.astimezone(UTC) + timedelta(minutes=each) / 2 for each in minutes])
    rows = rows_of(events, MONDAY, zone)
    sums = rows.drop(columns="known_on").groupby("user_id").agg("sum").drop(columns="spend_of_day_micros")
    assert sums.loc["over"].to_dict() == sums.loc["noon"].to_dict()
    assert sums.loc["over", ["sessions_count", "purchases_count", "active_days"]].tolist() == [1, 1, 1]
    assert rows_of(events, TUESDAY, zone).empty
    # what the night before Tuesday could know is what it would have known had nothing followed
    before = [row for row in events if row["occurred_at"] < midnight]
    pd.testing.assert_frame_equal(rows[rows["known_on"] == MONDAY], rows_of(before, MONDAY, zone))


def test_what_became_known_before_the_evening_did_stays_on_its_own_day():
    evening, morning = (
        visit("a", [datetime(2024, 3, 4, 23, tzinfo=UTC)]),
        visit("a", [datetime(2024, 3, 5, 1, tzinfo=UTC)]),
    )
    evening = [row | {"received_at": datetime(2024, 3, 6, 9, tzinfo=UTC)} for row in evening]
    assert rows_of(evening + morning, TUESDAY, "UTC")["purchases_count"].tolist() == [1]
    late = [row | {"received_at": datetime(2024, 3, 6, 10, tzinfo=UTC)} for row in morning]
    assert rows_of(evening + late, TUESDAY, "UTC").empty
    assert rows_of(evening + late, MONDAY, "UTC")["purchases_count"].tolist() == [1]


def test_an_id_that_is_used_for_days_is_a_session_on_each():
    days = [datetime(2024, 3, day, hour, tzinfo=UTC) for day in (3, 4, 5) for hour in (7, 13, 17)]
    for day in (MONDAY, TUESDAY):
        assert rows_of(visit("a", days), day, "UTC")["sessions_count"].tolist() == [1]


def test_only_a_session_that_may_go_on_computes_yesterday_again(tmp_path):
    evening = event("a", "2024-03-04 23:50", "view_item", session_id="s")
    app = small_app(tmp_path, events=[evening])
    app.ingest()
    assert app.aggregate() == [MONDAY]
    app.write(
        events=[
            event("b", "2024-03-05 12:00", "view_item", session_id="t"),
            event("c", "2024-03-05 01:00", "view_item"),
        ]
    )
    app.ingest()
    assert app.aggregate() == [TUESDAY]
    app.write(events=[event("a", "2024-03-05 00:10", "view_item", session_id="s")])
    app.ingest()
    assert app.aggregate() == [MONDAY, TUESDAY] and app.aggregate() == []
    found = pd.read_parquet(app.lake.partition("aggregates", MONDAY))
    assert found[["user_id", "known_on", "sessions_count", "views_count"]].values.tolist() == [
        ["a", MONDAY, 1, 1], ["a", TUESDAY, 0, 1],
    ]  # fmt: skip


def test_the_case_of_two_users_who_do_the_same(repository, tmp_path):
    case = repository.parent / "shared" / "cases" / "06-session-over-midnight"
    if not case.is_dir():
        pytest.skip("no ../shared/cases")
    ingest = {"source": str(case / "source.sql"), "raw": str(case / "raw")}
    app = App(load_settings(str(case / "profile.toml"), tmp_path, ingest=ingest))
    app.ingest()
    app.aggregate()
    found = app.snapshots(app.settings.as_of).loc[(slice(None), app.settings.as_of), :].reset_index(drop=True)
    wanted = {"sessions_count_28d": 2.0, "purchases_count_28d": 1.0, "order_value_mean_365d": 20.0}
    assert found[[*wanted]].to_dict("records") == [wanted, wanted]
    differs = {name for name in found if len(set(found[name].astype(str))) > 1}
    assert differs == {"favourite_hour_90d"}
