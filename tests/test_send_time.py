"""The hours of users: by their own clocks, what they opened later than it came most of all, and found where planted."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apps import App
from synthetic import small_settings

from configs.offers import load_catalogue
from configs.settings import load_settings
from features.materialise.as_of_view import AsOfView
from features.simulator.simulated_events import own_hours
from features.simulator.simulator_run import new_world, simulate
from features.storage.lake import USERS_FILE, Lake
from features.tables.duckdb_sessions import duckdb_session, ibis_engine
from features.training_data.contact_details import with_contact_details
from features.training_data.recent_events import ACTIVE, BOUGHT, OPENED, ActiveHours, active_hours
from models.send_time.hour_weights import (
    TimeWeights,
    nobody_known,
    population_weights,
    spread,
    time_weights,
)
from serving.preferences.user_preferences import read_preferences

MONDAY = datetime(2024, 4, 1, tzinfo=UTC)
SETTINGS = small_settings().send_time.model_copy(
    update={"half_life_days": 10.0, "open_weight": 2.0, "purchase_weight": 1.5, "prior_weight": 1.0}
)


def event(user: str, name: str, at: datetime, **more: object) -> dict[str, object]:
    return {"event_id": f"{user}-{name}-{at}", "user_id": user, "event_name": name, "occurred_at": at, **more}


def hours_of(
    lake: Lake, as_of: date, user_ids: list[str], zones: list[str], days: int = 30, app: str = "UTC"
) -> ActiveHours:
    """What users did, read as a history of an app's time zone reads it, without daily rows."""
    settings = small_settings().model_copy(update={"data_dir": lake.root, "time_zone": app})
    with duckdb_session(settings) as connection:
        history = AsOfView(settings, lake, as_of, ibis_engine(connection, settings), None, {})
        return active_hours(history, pd.Series(user_ids), np.array(zones, object), days)


@pytest.fixture
def lake(tmp_path) -> Lake:
    """Users in Kathmandu, a quarter to the hour ahead, and in Berlin, where clocks went forward on 31 March."""
    at = MONDAY.replace
    rows = [
        event("kat", "session_start", at(hour=3, minute=20), session_id="s1"),  # 9:05
        event("kat", "view_item", at(hour=3, minute=50), session_id="s1"),  # 9:35, the same hour
        event("kat", "purchase", at(hour=4, minute=30), session_id="s1", amount=3.0),  # 10:15
        event("kat", "app_store_subscription_renew", at(hour=0), amount=8.0),  # outside of any session
        event("ber", "session_start", at(month=3, day=30, hour=11), session_id="s2"),  # 12:00
        event("ber", "session_start", at(hour=11), session_id="s3"),  # 13:00, after the change
        event("ber", "notification_receive", at(hour=7), channel="push"),
        event("ber", "notification_open", at(hour=7, minute=40), channel="push"),  # in the hour in which it came
        event("ber", "notification_receive", at(hour=15), channel="email"),
        event("ber", "notification_open", at(hour=18), channel="email"),  # 20:00
        event("ber", "session_start", at(hour=12), received_at=at(day=3, hour=1), session_id="s4"),  # not known yet
        event("other", "session_start", at(hour=5), session_id="s5"),
    ]
    names = ["event_id", "user_id", "event_name", "occurred_at", "received_at", "amount", "channel", "session_id"]
    names += ["item_id", "item_category"]
    fields = {
        "occurred_at": pa.timestamp("us", "UTC"),
        "received_at": pa.timestamp("us", "UTC"),
        "amount": pa.float64(),
    }
    schema = pa.schema([(name, fields.get(name, pa.string())) for name in names])
    for day in {row["occurred_at"].date() for row in rows}:
        path = Lake(tmp_path).partition("events", day)
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist([row for row in rows if row["occurred_at"].date() == day], schema), path)
    return Lake(tmp_path)


@pytest.mark.parametrize("app", ["UTC", "America/New_York"])
def test_hours_are_those_of_the_users_own_clock_and_count_once(lake, app):
    zones = ["Asia/Kathmandu", "Europe/Berlin", "UTC"]
    found = hours_of(lake, date(2024, 4, 2), ["kat", "ber", "nobody"], zones, app=app)
    day = 24 * (MONDAY.date() - date(1970, 1, 1)).days
    rows = [(int(user), int(kind), int(hour) - day, channel) for user, kind, hour, channel in zip(*found, strict=True)]
    assert rows == [
        (0, ACTIVE, 9, None), (0, ACTIVE, 10, None), (0, BOUGHT, 10, None),
        (1, OPENED, 20, "email"),
        (1, ACTIVE, 12 - 48, None), (1, ACTIVE, 9, None), (1, ACTIVE, 13, None),
    ]  # fmt: skip


def test_only_the_days_that_are_asked_for_are_read(lake):
    found = hours_of(lake, date(2024, 4, 2), ["ber"], ["Europe/Berlin"], days=1)
    assert len(found.user) == 3  # without the Saturday
    assert not len(hours_of(lake, date(2024, 4, 2), ["nobody"], ["UTC"]).user)


def test_weights_are_decayed_counts_smoothed_towards_everybody():
    """By hand: e-mail opened 10 days ago at 20 h counts 2/2, a purchase of today at 9 h 1.5."""
    day = 24 * (date(2024, 4, 11) - date(1970, 1, 1)).days
    found = ActiveHours(
        np.zeros(2, np.intp), np.array([OPENED, BOUGHT], np.int8), np.array([day - 240 + 20, day + 9]),
        np.array(["email", None], object),
    )  # fmt: skip
    flat = TimeWeights(np.full((1, 24), 1 / 24), np.full((1, 7), 1 / 7), np.zeros(1))
    as_of = date(2024, 4, 11)
    mail, push = (time_weights(found, np.array([c], object), 1, as_of, SETTINGS, flat) for c in ("email", "push"))
    assert mail.evidence.tolist() == [2.5]
    assert push.evidence.tolist() == [2.0]  # opened elsewhere: as a session
    assert mail.hours[0, [20, 19, 9, 8, 0]] * 3.5 == pytest.approx(np.array([0.5, 0.25, 0.75, 0.375, 0]) + 1 / 24)
    assert mail.weekdays[0, [0, 3]] * 3.5 == pytest.approx([1.0 + 1 / 7, 1.5 + 1 / 7])  # a Monday and a Thursday
    for weights in (mail, push, nobody_known()):
        assert weights.hours.sum() == pytest.approx(1)
        assert weights.weekdays.sum() == pytest.approx(1)


def test_midnight_has_neighbours_and_nobody_says_noon():
    assert np.flatnonzero(spread(np.eye(1, 24, 23))[0]).tolist() == [0, 22, 23]
    nothing = ActiveHours(np.zeros(0, np.intp), np.zeros(0, np.int8), np.zeros(0, np.int64), np.zeros(0, object))
    assert population_weights(nothing, 5, date(2024, 4, 11), SETTINGS).hours.argmax() == 12


def test_a_user_without_a_time_zone_has_that_of_their_country(tmp_path):
    users = {
        "user_id": ["a", "b", "c", "d", "e"], "country": ["US", "US", "US", None, "FR"],
        "time_zone": [None, "America/Chicago", "America/Chicago", None, None],
    }  # fmt: skip
    (tmp_path / USERS_FILE).parent.mkdir()
    pq.write_table(pa.table(users), tmp_path / USERS_FILE)
    found = with_contact_details(Lake(tmp_path), pd.DataFrame({"user_id": ["d", "a", "c", "e"]}))
    assert found["time_zone"].tolist() == [None, "America/Chicago", "America/Chicago", None]


def test_the_planted_hours_of_a_simulated_app_are_found(tmp_path):
    """Bar of the field: within two hours for 60% of those with ten or more openings, where luck gives 21%."""
    settings = load_settings("simulated", tmp_path, seed=11)
    lake, people = Lake(tmp_path), 300
    simulate(settings, lake, new_world(settings, load_catalogue("simulated"), people, days=70), 70, 0, 0.2)
    users = pd.read_parquet(tmp_path / USERS_FILE)
    as_of = lake.days("events")[-1] + timedelta(days=1)
    found = hours_of(lake, as_of, users["user_id"].tolist(), users["time_zone"].tolist(), days=70)
    population = population_weights(found, people, as_of, settings.send_time)
    push = np.full(people, "push", object)
    weights = time_weights(found, push, people, as_of, settings.send_time, population)
    opened = pd.read_parquet(lake.path("events"), columns=["user_id", "event_name"])
    counts = opened[opened["event_name"] == "notification_open"]["user_id"].value_counts()
    is_known = counts.reindex(users["user_id"], fill_value=0).to_numpy() >= 10
    apart = np.abs(weights.hours.argmax(axis=1) - own_hours(people))
    assert is_known.sum() > 100
    assert (np.minimum(apart, 24 - apart) <= 2)[is_known].mean() >= 0.6


def test_only_those_who_are_given_something_are_looked_at(tiny: App):
    as_of, nobody = date(2024, 7, 1), load_catalogue("none")
    tiny.snapshots(as_of)
    ids = pd.read_parquet(tiny.lake.partition("snapshots", as_of), columns=["user_id"], partitioning=None)["user_id"]
    given = np.full(len(ids), -1)
    given[[3, 8]] = 0
    few = tiny.settings.model_copy(update={"tastes": tiny.settings.tastes.model_copy(update={"everybody_up_to": 0})})
    found = read_preferences(few, tiny.lake, as_of, load_catalogue(tiny.settings.offers), given)
    assert found.user_ids.tolist() == ids.iloc[[3, 8]].tolist()
    weights = found.hours_of(ids.iloc[[8, 0, 3]])
    assert weights[[0, 2]] == pytest.approx(found.own.hours[[1, 0]])
    assert weights[1] == pytest.approx(found.population.hours[0])
    assert not len(read_preferences(few, tiny.lake, as_of, nobody, np.full(len(ids), -1)).user_ids)
