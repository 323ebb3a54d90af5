"""Days are those of the calendar: some have 23 hours, some 25, some no midnight, and none is 24 hours by rule."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pytest
from apps import App, event, small_app, treatment
from hypothesis import given
from hypothesis import strategies as st

from configs.offers import load_catalogue
from configs.settings import load_settings
from features.arrays.calendar_days import days_later, local_time, start_of
from features.training_data.feature_store import open_store
from features.training_data.frames import redemption_frame, with_snapshot
from features.training_data.snapshot_run import bring_snapshots_up_to_date
from models.learn.churn import split_outcomes
from models.training_run.run_summary import training_warnings
from models.training_run.training_frames import TrainingFrames

ODD_DAYS = {  # a day on which clocks are put back, put forward, and one whose midnight there is not
    "Europe/Berlin": [date(2024, 10, 27), date(2024, 3, 31)],
    "America/Sao_Paulo": [date(2017, 10, 15), date(2018, 2, 17)],
    "Asia/Kathmandu": [date(2024, 10, 27)],
    "UTC": [date(2024, 10, 27)],
}
ZONES = sorted(ODD_DAYS)
HOUR = timedelta(hours=1)


def hours_of(day: date, time_zone: str) -> list[datetime]:
    """Each half past of a day."""
    start, end = (start_of(each, time_zone).astimezone(UTC) for each in (day, day + timedelta(days=1)))
    return list(takewhile(lambda at: at < end, (start + HOUR / 2 + HOUR * hour for hour in range(26))))


def app_of(folder, time_zone: str, day: date, **features: object) -> App:
    """One user who bought before a day, and was given an offer in each of its hours."""
    bought = {"event_id": "1", "user_id": "a", "event_name": "purchase", "amount": 7.0}
    events = [bought | {"occurred_at": start_of(day - timedelta(days=20), time_zone)}]
    treatments = [
        treatment("a", str(day), "gift", 0.1, valid_until=str(day + timedelta(days=3)))
        | {"decided_at": at, "decision_id": f"d{number:02d}"}
        for number, at in enumerate(hours_of(day, time_zone))
    ]
    overrides = {"time_zone": time_zone, "offers": "none", "features": {"min_history_days": 7} | features}
    return small_app(folder, overrides=overrides, events=events, treatments=treatments)


@pytest.mark.parametrize(("time_zone", "day"), [(zone, ODD_DAYS[zone][0]) for zone in ZONES if zone != "UTC"])
def test_a_treatment_at_any_hour_carries_the_snapshot_of_its_day(tmp_path, time_zone, day):
    app = app_of(tmp_path, time_zone, day)
    app.ingest()
    app.aggregate()
    as_of = day + timedelta(days=10)
    app.snapshots(day, day + timedelta(days=1))
    with app.history(as_of) as history:
        store = open_store(app.lake, history.features)
        frame = redemption_frame(history, store, load_catalogue("none"))
        assert len(frame) == len(hours_of(day, time_zone))
        assert set(frame["treatments_count_28d"]) == {0.0} and set(frame["days_since_last_purchase"]) == {20.0}
        assert len(with_snapshot(frame)) == len(frame)


CHANGES = {  # about when clocks changed; in Newfoundland and at Casey it was a minute past
    "America/St_Johns": ["2010-03-14 03:31", "2010-11-07 02:31"], "Antarctica/Casey": ["2020-10-03 16:01"],
    "Australia/Lord_Howe": ["2024-04-06 15:00"], "Europe/Berlin": ["2024-03-31 01:00", "2024-10-27 01:00"],
}  # fmt: skip


@given(st.data(), st.sampled_from(sorted(CHANGES)), st.lists(st.integers(-2_000, 2_000), min_size=1, max_size=20))
def test_instants_are_read_off_the_clocks_also_in_the_minutes_in_which_these_change(data, time_zone, seconds):
    change = datetime.fromisoformat(data.draw(st.sampled_from(CHANGES[time_zone]))).replace(tzinfo=UTC)
    at = [change + timedelta(seconds=each) for each in seconds]
    clocks = [each.astimezone(ZoneInfo(time_zone)).replace(tzinfo=UTC) for each in at]
    instants, read = (pa.array(each, pa.timestamp("us", "UTC")) for each in (at, clocks))
    assert local_time(instants, time_zone, 0).tolist() == read.cast(pa.int64()).to_pylist()


@given(
    st.sampled_from(ZONES), st.dates(date(2015, 1, 1), date(2030, 1, 1)), st.integers(1, 400), st.integers(0, 86_399)
)
def test_a_horizon_ends_at_the_start_of_a_day(time_zone, day, days, second):
    end = start_of(day + timedelta(days=days), time_zone)
    assert days_later(start_of(day, time_zone), days, time_zone).astimezone(UTC) == end.astimezone(UTC)
    starts = pd.to_datetime([start_of(day, time_zone)], utc=True)
    frame = pd.DataFrame({"user_id": ["a"], "event_timestamp": starts})
    zoned = load_settings(time_zone=time_zone)
    cuts = (pd.Timestamp(end), pd.Timestamp(end.astimezone(UTC) - timedelta(seconds=1)))
    assert [split_outcomes(frame, days, cut, zoned).train.tolist() for cut in cuts] == [[True], [False]]
    later = start_of(day, time_zone).astimezone(UTC) + timedelta(seconds=second)  # whatever the hour of the first day
    if later.astimezone(ZoneInfo(time_zone)).date() == day:
        assert days_later(later, days, time_zone).astimezone(UTC) == end.astimezone(UTC)


@pytest.mark.parametrize("time_zone", ["Europe/Madrid", "Pacific/Auckland", "America/Los_Angeles"])
def test_a_day_of_treatments_alone_is_built_the_first_time_and_again(tmp_path, time_zone):
    zone = ZoneInfo(time_zone)
    decided = datetime(2024, 1, 2, 0, 30, tzinfo=zone).astimezone(UTC)
    given_to = treatment("a", "2024-01-02", "none", 0.0, propensity=0.5) | {"decided_at": decided}
    events = [event("a", f"2024-01-0{day} 20:00", "view_item") for day in (1, 3)]
    app = small_app(
        tmp_path, overrides={"time_zone": time_zone, "offers": "none"}, events=events, treatments=[given_to]
    )
    as_of = date(2024, 1, 5)
    found = []
    for _ in range(2):
        app.ingest()
        app.aggregate()
        run = bring_snapshots_up_to_date(app.settings, app.lake, as_of)
        found.append((len(run.built), [app.lake.partition("snapshots", day).read_bytes() for day in run.days]))
    assert [built for built, _ in found] == [len(found[0][1]), 0] and found[0][1] == found[1][1]


def test_treatments_that_no_snapshot_knows_teach_nothing_and_are_counted(tmp_path):
    day = date(2024, 3, 2)
    given_to = [treatment(user, f"{day} 09:00", "gift", 0.1, valid_until="2024-03-05") for user in ("a", "unknown")]
    given_to.append(treatment("a", "2024-03-01 09:00", "gift", 0.1, valid_until="2024-03-05"))
    events = [event("a", "2024-02-20 10:00", "view_item")]
    app = small_app(tmp_path, overrides={"offers": "none"}, events=events, treatments=given_to)
    app.ingest()
    app.aggregate()
    app.snapshots(day - timedelta(days=2), day)  # that of March 1 is missing
    with app.history(date(2024, 3, 10)) as history:
        store = open_store(app.lake, history.features)
        closed = redemption_frame(history, store, load_catalogue("none"))
        known = with_snapshot(closed)
    assert (len(closed), known["decision_id"].tolist()) == (3, [f"a|{day} 09:00|gift"])
    nobody = pd.DataFrame()
    frames = TrainingFrames(nobody, known, nobody, nobody, [], day, left_out=len(closed) - len(known))
    assert any(
        "2 of 3 closed treatments taught nothing: no snapshot of their day knows their user" in each
        for each in training_warnings(frames, [], [])
    )
