"""The snapshot builder: arrays find what the oracle finds, from nothing and from checkpoints, late events and all."""

from __future__ import annotations

import io
import shutil
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from apps import App, Row, event, small_app, treatment
from hypothesis import given
from hypothesis import strategies as st
from oracle_snapshots import snapshots
from pandas.testing import assert_frame_equal

from configs.errors import InputError
from features.definitions import app_declarations
from features.definitions.registry import CATALOGUE, WINDOWED, largest, summed
from features.definitions.snapshot_features import CATEGORY_SHARES
from features.engine import state_store as checkpoint
from features.engine.category_state import MonotonicQueue, RollingMaximum
from features.engine.window_state import ALWAYS, Change, changes
from features.materialise.build_snapshots import build_snapshots
from features.tables.fingerprints import Fingerprint
from features.tables.parquet_files import read_parquet

FIRST = date(2023, 1, 2)
NAMES = (
    "view_item", "purchase", "purchase", "add_to_cart", "notification_receive", "offer_redeem", "unheard_of",
    "tutorial_complete",
)  # fmt: skip
DAYS = [FIRST + timedelta(days=day) for day in (3, 5, 41, 131, 380, 382, 449)]


def long_history(*, seed: int = 1) -> list[Row]:
    """Events of 450 days: busy users and rare ones, pauses longer than a year, and every fourth event late."""
    rng = np.random.default_rng(seed)
    events = []
    for number in range(500):
        user = str(rng.choice([*"abcdefgh"], p=[0.5, 0.2, 0.1, 0.1, 0.04, 0.03, 0.02, 0.01]))
        at = datetime(2023, 1, 2, int(rng.integers(24))) + timedelta(days=int(450 * rng.random()))
        late = int(rng.choice([0, 0, 0, 1, 2, 9, 40]))
        columns: dict[str, object] = {"session_id": f"s{number // 2}"} if number % 5 else {}
        columns |= {"received_at": f"{at + timedelta(days=late):%Y-%m-%d %H:30}"} if late else {}
        columns |= {"item_category": str(rng.choice(["tea", "pots", "9"]))} if number % 3 else {}
        amount = round(float(rng.gamma(2.0, 9.0)), 2)
        moment = f"{at:%Y-%m-%d %H}:{number % 60:02d}"
        events.append(
            event(user, moment, str(rng.choice(NAMES)), amount=amount, discount=float(rng.integers(3)), **columns)
        )
    return events


@pytest.fixture(scope="module")
def old_app(tmp_path_factory) -> App:
    treatments = [treatment("a", f"2023-{month:02d}-07 08:00", "come_back", 0.1) for month in range(1, 13)]
    users = [
        {"user_id": name, "signed_up_at": datetime(2023, 1 + place, 3), "country": "DE" if place % 2 else "FR"}
        for place, name in enumerate("abcxyz")
    ]
    app = small_app(tmp_path_factory.mktemp("old"), events=long_history(), treatments=treatments, users=users)
    app.ingest()
    app.aggregate()
    return app


def declared(app: App, day: date) -> pd.DataFrame:
    """Compute a snapshot by the declared expressions."""
    with app.history(day) as history:
        rows = snapshots(history.aggregates, history.category_hour_counts, history.users, history.spine([day]))
        return rows.order_by("user_id").drop("day").to_pandas()


def forget(app: App) -> None:
    """Leave no snapshot, and nothing that one could start from."""
    for name in ("snapshots", checkpoint.FOLDER):
        shutil.rmtree(app.lake.path(name), ignore_errors=True)


def built(app: App, *days: date) -> dict[date, bytes]:
    """Build snapshots; returns their files."""
    with app.history(max(days)) as history:
        build_snapshots(history, list(days))
    return {day: app.lake.partition("snapshots", day).read_bytes() for day in days}


@pytest.fixture(scope="module")
def whole(old_app) -> dict[date, bytes]:
    """Snapshots, each computed from nothing."""
    return {day: (forget(old_app), built(old_app, day)[day])[1] for day in DAYS}


@pytest.mark.parametrize("day", [day if number in (0, 2, 5) else pytest.param(day, marks=pytest.mark.full)
                                 for number, day in enumerate(DAYS)])  # fmt: skip
def test_arrays_find_what_is_declared(old_app, whole, day):
    found = pd.read_parquet(io.BytesIO(whole[day])).drop(columns=CATEGORY_SHARES)  # its oracle: test_stored_snapshots
    expected = declared(old_app, day)
    assert len(found) == len(expected) > 0
    assert_frame_equal(found, expected[list(found.columns)], check_exact=True, check_dtype=False)


def test_a_snapshot_carried_on_has_the_bytes_of_one_from_nothing(old_app, whole):
    forget(old_app)
    assert [day for day in DAYS if built(old_app, day)[day] != whole[day]] == []


@pytest.mark.parametrize("steps", [(1,), (7, 1), (21, 7, 7)])
def test_shards_batches_and_steps_of_any_size_lead_to_the_same_bytes(old_app, monkeypatch, steps):
    last = FIRST + timedelta(days=400)
    forget(old_app)
    whole = built(old_app, last)[last]
    forget(old_app)
    monkeypatch.setattr(checkpoint, "MOST_USERS", 3)
    monkeypatch.setattr("features.engine.snapshot_builder.ROWS_AT_ONCE", 100)
    monkeypatch.setattr("features.engine.snapshot_builder.USERS_AT_ONCE", 2)
    days = [last - timedelta(days=sum(steps[place:])) for place in range(len(steps))]
    assert built(old_app, *days, last)[last] == whole
    assert len(checkpoint.read_checkpoint(old_app.lake).edges) > 1


def test_a_day_carried_on_reads_a_few_days_only(old_app, monkeypatch):
    last = FIRST + timedelta(days=420)
    forget(old_app)
    built(old_app, last)
    read = []
    monkeypatch.setattr(
        "features.engine.snapshot_builder.changes", lambda *words: read.append(changes(*words)) or read[-1]
    )
    built(old_app, last + timedelta(days=1))
    assert all(len(each) <= 12 for each in read)


def test_late_events_are_carried_on_and_a_changed_past_is_not(old_app, tmp_path):
    app = old_app.copy_to(tmp_path)
    forget(app)
    days = [FIRST + timedelta(days=200 + step) for step in (0, 1)]
    built(app, *days)
    assert checkpoint.read_checkpoint(app.lake).day == days[1]
    late = event("a", "2023-05-01 10:00", "purchase", amount=5.0, received_at="2023-07-22 09:00")
    for change in (late, event("a", "2023-05-01 10:01", "purchase", amount=5.0)):
        app.write(events=[*long_history(), late, change])
        app.ingest()
        app.aggregate()
        day = date(2023, 7, 24)
        found = built(app, day)[day]
        forget(app)
        assert found == built(app, day)[day]


@pytest.mark.parametrize("damage", ["notes", "stream", "gone", "short"])
def test_damage_to_a_checkpoint_costs_time_only(old_app, damage):
    forget(old_app)
    first, second = (FIRST + timedelta(days=day) for day in (300, 301))
    whole = built(old_app, second)[second]
    forget(old_app)
    built(old_app, first)
    folder = old_app.lake.path(checkpoint.FOLDER)
    if damage == "notes":
        (folder / checkpoint.NOTES).write_text("{")
    elif damage == "gone":
        (folder / checkpoint.read_checkpoint(old_app.lake).shards[0].file).unlink()
    else:
        file = folder / checkpoint.read_checkpoint(old_app.lake).shards[0].file
        file.write_bytes(b"broken" if damage == "stream" else file.read_bytes()[:-400])
    assert built(old_app, second)[second] == whole


@pytest.fixture
def off_grid():
    """Declare columns over windows that no other column has, for one test."""
    kept = dict(WINDOWED), dict(CATALOGUE)

    def carts_off_grid(days):
        """Items put into the cart."""
        return days.carts_count

    def spend_off_grid(days):
        """Most money spent on one day."""
        return days.spend_of_day_micros

    summed(1, 14, 27, 100, 364, role="cart")(carts_off_grid)
    largest(3, 60, role="value", unit="money")(spend_off_grid)
    app_declarations._declared.cache_clear()  # what an app declares is remembered
    yield [f"carts_off_grid_{days}d" for days in (1, 14, 27, 100, 364)] + ["spend_off_grid_3d", "spend_off_grid_60d"]
    for declarations, before in zip((WINDOWED, CATALOGUE), kept, strict=True):
        declarations.clear()
        declarations.update(before)
    app_declarations._declared.cache_clear()


def test_windows_off_the_grid_hold_what_happened_in_them(old_app, off_grid):
    forget(old_app)
    days = [FIRST + timedelta(days=day) for day in (*range(184, 200), 216, 393)]
    built(old_app, *days)
    raw = pd.DataFrame(long_history()).drop_duplicates("event_id")
    at = pd.to_datetime(raw["occurred_at"]).dt.date
    known = pd.to_datetime(raw["received_at"]).dt.date.where(raw["received_at"].notna(), at)
    for day in days:
        found = read_parquet(old_app.lake.partition("snapshots", day)).to_pandas()
        if day in days[::7]:  # the oracle takes a second a day
            assert_frame_equal(found[off_grid], declared(old_app, day)[off_grid], check_exact=True)
        for window in (1, 14, 27, 100, 364):
            is_in = (raw["event_name"] == "add_to_cart") & (known < day) & (at >= day - timedelta(days=window))
            by_hand = raw[is_in & (at < day)].groupby("user_id").size().reindex(found["user_id"], fill_value=0)
            assert found[f"carts_off_grid_{window}d"].tolist() == by_hand.tolist()


@pytest.mark.parametrize("windows", [(), (0,), (-7, 7), (7, 366), (28, 7), (7, 7)])
def test_a_senseless_window_is_refused_where_it_is_declared(windows):
    with pytest.raises(InputError, match="give whole days from 1 to 365, each once, the shortest first"):
        summed(*windows, role="cart")(lambda days: days.carts_count)


def test_an_earlier_day_is_not_made_from_a_later_one(old_app):
    days = [FIRST + timedelta(days=day) for day in range(160, 155, -1)]
    forget(old_app)
    whole = [(forget(old_app), built(old_app, day)[day])[1] for day in days]
    forget(old_app)
    assert [built(old_app, day)[day] for day in days] == whole


def test_a_first_event_that_becomes_known_late_moves_the_beginning(tmp_path):
    day = date(2024, 3, 10)
    late = event("a", "2024-02-01 10:00", "purchase", amount=1.0, received_at="2024-03-10 08:00")
    app = small_app(tmp_path, events=[event("a", "2024-03-08 10:00", "purchase", amount=1.0), late])
    app.ingest()
    app.aggregate()
    tenure = [app.snapshots(each).tenure_days.item() for each in (day, day + timedelta(days=1))]
    assert tenure == [2.0, 39.0]


def test_a_day_that_knows_nobody_has_an_empty_snapshot(tmp_path):
    app = small_app(tmp_path, events=[event("a", "2024-03-01 10:00", "purchase", received_at="2024-03-05 10:00")])
    app.ingest()
    app.aggregate()
    assert [len(app.snapshots(date(2024, 3, day))) for day in (3, 4, 6)] == [0, 0, 1]


def test_changes_are_rows_that_came_grew_older_or_left():
    today = date(2024, 3, 10)
    fingerprints = {
        today - timedelta(days=age): Fingerprint("", {today - timedelta(days=known): ""})
        for age, known in ((1, 1), (2, 1), (3, 3), (8, 8), (9, 9), (29, 29), (366, 366), (5, 0))
    }
    found = {(each.before, each.after) for each in changes(fingerprints, today - timedelta(days=1), today)}
    assert found == {(None, 1), (None, 2), (7, 8), (28, 29), (365, 366)}
    from_nothing = changes(fingerprints, None, today)
    assert {each.after for each in from_nothing} == {1, 2, 3, 8, 9, 29, 366}
    assert all(each.before is None for each in from_nothing)
    assert Change(today, today, 3, 30).bands((7, 28, ALWAYS)) == (7, ALWAYS)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6), st.integers(-2, 3)), max_size=30),
    st.integers(0, 6),
    st.integers(0, 6),
)
def test_rolling_maxima_hold_the_largest_of_every_window(rows, cut, window):
    user, day, value = (
        (np.array(column, np.int64) for column in zip(*rows, strict=True)) if rows else [np.array([], int)] * 3
    )
    early, late = day < cut, day >= cut
    before = RollingMaximum.of([RollingMaximum(user[early], day[early], value[early])], 0)
    queue = MonotonicQueue(4)
    queue.restore(before)
    for number in sorted(set(day[late].tolist()), reverse=True):
        for person in range(4):  # a user occurs once in what is pushed at a time
            for each in value[(day == number) & (user == person)]:
                queue.push(np.array([person]), number, np.array([each]))
    largest = queue.maxima(0)
    for person in range(4):
        mine = value[(user == person) & (day >= window)]
        found = largest.largest(window, 4)[person]
        assert np.isnan(found) if not len(mine) else found == mine.max()
    assert len(largest.user) == len(set(zip(largest.user, largest.value, strict=True)))


def test_a_checkpoint_is_written_whole(old_app, monkeypatch):
    forget(old_app)
    day = FIRST + timedelta(days=60)
    built(old_app, day)
    before = {path.name: path.read_bytes() for path in old_app.lake.path(checkpoint.FOLDER).iterdir()}
    monkeypatch.setattr(
        "features.materialise.build_snapshots._write", lambda *_: (_ for _ in ()).throw(OSError("disk full"))
    )
    with pytest.raises(OSError, match="disk full"):
        built(old_app, day + timedelta(days=1))
    assert {path.name: path.read_bytes() for path in Path(old_app.lake.path(checkpoint.FOLDER)).iterdir()} == before
