"""Daily aggregates: hand-computed sums, whole days however late their events came, and only stale days computed."""

from __future__ import annotations

from datetime import date
from itertools import chain
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apps import App, event, small_app, treatment

from configs.errors import InputError
from features.definitions.daily_measures import MEASURES
from features.tables.fingerprints import DAILY_TABLES
from features.tables.parquet_files import write_parquet
from features.tables.row_group_reader import KeyRange, read_users, user_ranges

MONDAY = date(2024, 3, 4)
DAY = [
    event("a", "2024-03-04 09:00", "session_start", session_id="s1"),
    event("a", "2024-03-04 09:01", "view_item", session_id="s1", item_category="tea"),
    event("a", "2024-03-04 09:02", "view_item", session_id="s1", item_category="tea", item_id="2"),
    event("a", "2024-03-04 09:03", "add_to_cart", session_id="s1", item_category="tea"),
    event("a", "2024-03-04 09:04", "begin_checkout", session_id="s1"),
    event(
        "a",
        "2024-03-04 09:05",
        "purchase",
        session_id="s1",
        item_id="1",
        item_category="tea",
        amount=0.29,
        discount=0.2,
    ),
    event("a", "2024-03-04 09:05", "purchase", session_id="s1", item_id="2", item_category="tea", amount=0.2),
    event("a", "2024-03-04 20:00", "purchase", session_id="s2", item_category="pots", amount=10.0, discount=0.0),
    event("a", "2024-03-04 21:00", "refund", amount=-0.2),
    event("a", "2024-03-04 21:01", "sign_up"),
    event("a", "2024-03-04 21:02", "notification_receive"),
    event("a", "2024-03-04 21:03", "notification_open"),
    event("a", "2024-03-04 21:04", "offer_redeem", amount=9.0, discount=1.0),
    event("a", "2024-03-04 21:05", "payment_failed"),
    event("a", "2024-03-04 21:06", "app_remove"),
    event("a", "2024-03-04 21:07", "unheard_of", amount=99.0),
    event("b", "2024-03-04 23:59", "session_start"),
]
GIVEN = [treatment("a", "2024-03-04 08:00", "come_back", 0.1), treatment("b", "2024-03-04 08:00", "none", 0.0)]


def stored(app: App, table: str, day: date = MONDAY) -> pd.DataFrame:
    return pd.read_parquet(app.lake.partition(table, day), partitioning=None)


def aggregated(folder: Path, *events: dict[str, object], **settings: object) -> App:
    app = small_app(folder, overrides=settings, events=events)
    app.ingest()
    app.aggregate()
    return app


def test_a_day_is_summed_by_hand(tmp_path):
    app = small_app(tmp_path, events=DAY, treatments=GIVEN)
    app.ingest()
    assert app.aggregate() == [MONDAY]
    row = stored(app, "aggregates").set_index("user_id").loc["a"]
    assert row.to_dict() == {
        "known_on": MONDAY,
        "activity_count": 8,
        "sessions_count": 2,
        "purchases_count": 2,
        "items_count": 3,
        "spend_micros": 290_000 + 200_000 + 10_000_000,
        "refund_micros": 200_000,
        "discount_micros": 200_000,
        "offer_discount_micros": 1_000_000,
        "discounted_items_count": 1,
        "views_count": 2,
        "carts_count": 1,
        "checkouts_count": 1,
        "onboarding_count": 1,
        "step_sign_up_count": 1,
        "step_tutorial_complete_count": 0,
        "messages_sent_count": 1,
        "messages_opened_count": 1,
        "treatments_count": 1,
        "redemptions_count": 1,
        "payment_failures_count": 1,
        "cancellations_count": 1,
        "active_days": 1,
        "purchase_days": 1,
        "spend_of_day_micros": 10_490_000,
    }


def test_control_is_no_treatment(tmp_path):
    app = small_app(tmp_path, events=DAY, treatments=GIVEN)
    app.ingest()
    app.aggregate()
    assert stored(app, "aggregates").set_index("user_id").loc["b", "treatments_count"] == 0


def test_sums_are_whole_numbers_on_disk(tmp_path):
    schema = pq.read_schema(aggregated(tmp_path, *DAY).lake.partition("aggregates", MONDAY))
    assert {str(schema.field(name).type) for name in MEASURES} == {"int64"}


def test_counts_by_category_and_hour_tell_what_the_activity_was_about(tmp_path):
    counts = stored(aggregated(tmp_path, *DAY), "category_hour_counts")
    rows = counts[counts.user_id == "a"].set_index(["dimension", "label"])[["events_count", "spend_micros"]]
    assert {key: tuple(values) for key, values in rows.T.items()} == {
        ("category", "tea"): (5, 490_000),
        ("category", "pots"): (1, 10_000_000),
        ("hour", "9"): (7, 490_000),
        ("hour", "20"): (1, 10_000_000),
    }


def test_a_late_event_has_a_row_of_its_own_and_the_day_stays_whole(tmp_path):
    app = aggregated(
        tmp_path,
        event("a", "2024-03-04 09:00", "purchase", amount=3.0, session_id="s1"),
        event("a", "2024-03-04 10:00", "purchase", amount=4.0, session_id="s1", received_at="2024-03-06 12:00"),
        event("a", "2024-03-04 11:00", "purchase", amount=5.0, session_id="s2", received_at="2024-03-05 00:00"),
    )
    rows = stored(app, "aggregates").sort_values("known_on")
    columns = ["known_on", "items_count", "purchases_count", "sessions_count", "spend_micros", "spend_of_day_micros"]
    assert rows[columns].values.tolist() == [
        [date(2024, 3, 4), 1, 1, 1, 3_000_000, 3_000_000],
        [date(2024, 3, 5), 1, 1, 1, 5_000_000, 8_000_000],
        [date(2024, 3, 6), 1, 0, 0, 4_000_000, 12_000_000],  # the basket s1 is known since the 4th
    ]
    assert rows.active_days.tolist() == rows.purchase_days.tolist() == [1, 0, 0]


def test_a_day_whose_every_activity_came_late_counts_once_it_is_known(tmp_path):
    app = aggregated(
        tmp_path,
        event("a", "2024-03-04 09:00", "notification_receive"),
        event("a", "2024-03-04 10:00", "view_item", received_at="2024-03-05 09:00"),
        event("a", "2024-03-04 11:00", "purchase", amount=1.0, received_at="2024-03-06 09:00"),
    )
    rows = stored(app, "aggregates").sort_values("known_on")
    assert rows.active_days.tolist() == [0, 1, 0]
    assert rows.purchase_days.tolist() == [0, 0, 1]


def test_an_event_is_known_from_its_day_in_the_configured_time_zone(tmp_path):
    app = aggregated(tmp_path, event("a", "2024-03-05 03:30", "purchase", amount=1.0), time_zone="America/New_York")
    assert stored(app, "aggregates")[["known_on"]].values.tolist() == [[MONDAY]]
    hours = stored(app, "category_hour_counts").query("dimension == 'hour'")
    assert hours.label.tolist() == ["22"]


def test_unchanged_days_are_not_computed_again(copy_tiny, tmp_path):
    app = copy_tiny(tmp_path)
    before = {day: app.lake.partition("aggregates", day).stat().st_mtime_ns for day in app.lake.days("aggregates")}
    assert app.aggregate() == []
    late = event("u001", "2024-02-01 10:00", "purchase", amount=1.0, received_at="2024-06-01")
    app.write(events=[late], treatments=[treatment("u002", "2024-02-03", "bundle", 0.1)]).ingest()
    assert app.aggregate() == [date(2024, 2, 1), date(2024, 2, 3)]
    after = {day: app.lake.partition("aggregates", day).stat().st_mtime_ns for day in before}
    assert {day for day in before if after[day] != before[day]} == {date(2024, 2, 1), date(2024, 2, 3)}


def test_a_changed_role_computes_every_day_again(tmp_path):
    app = aggregated(tmp_path, *DAY)
    other = small_app(tmp_path, overrides={"roles": {"activity": ["purchase"]}}, events=DAY)
    assert other.aggregate() == [MONDAY]
    assert stored(app, "aggregates").set_index("user_id").activity_count.to_dict() == {"a": 3, "b": 0}
    assert set(stored(app, "category_hour_counts").user_id) == {"a"}


def test_a_day_that_a_changed_role_leaves_without_activity_has_no_category_hour_counts(tmp_path):
    app = aggregated(tmp_path, event("a", "2024-03-04 10:00", "view_item", item_category="tea"))
    small_app(tmp_path, overrides={"roles": {"activity": ["purchase"]}}, events=DAY).aggregate()
    assert len(stored(app, "category_hour_counts")) == 0


def test_a_day_with_treatments_alone_is_aggregated(tmp_path):
    app = small_app(tmp_path, events=[DAY[0]], treatments=[treatment("c", "2024-03-06", "come_back", 0.1)])
    app.ingest()
    app.lake.partition("events", MONDAY).unlink()
    app.lake.files.accept("events")
    assert app.aggregate() == [date(2024, 3, 6)]  # the whole chunk holds no event
    app.ingest()
    assert app.aggregate() == [MONDAY]
    row = stored(app, "aggregates", date(2024, 3, 6)).iloc[0]
    assert (row.user_id, row.treatments_count, row.activity_count) == ("c", 1, 0)


def test_a_day_of_control_alone_is_computed_once(tmp_path):
    app = small_app(tmp_path, events=[DAY[0]], treatments=[treatment("c", "2024-03-06", "none", 0.0)])
    app.ingest()
    assert app.aggregate() == [MONDAY, date(2024, 3, 6)]
    assert len(stored(app, "aggregates", date(2024, 3, 6))) == 0
    assert app.aggregate() == []


def test_an_app_without_any_activity_has_aggregates(tmp_path):
    app = aggregated(tmp_path, event("a", "2024-03-04 10:00", "notification_receive"))
    features = app.snapshots(date(2024, 3, 5)).loc[("a", date(2024, 3, 5))]
    assert (features.messages_sent_count_7d, features.active_days_count_7d) == (1, 0)


@pytest.mark.parametrize("table", ["aggregates", "category_hour_counts"])
def test_a_corrupt_aggregate_is_computed_again(tmp_path, table):
    app = aggregated(tmp_path, *DAY)
    good = app.lake.partition(table, MONDAY).read_bytes()
    app.lake.partition(table, MONDAY).write_bytes(b"broken")
    assert app.aggregate() == [MONDAY]
    assert app.lake.partition(table, MONDAY).read_bytes() == good


@pytest.mark.parametrize("table", ["events", "treatments"])
def test_a_corrupt_input_is_named(tmp_path, table):
    app = small_app(tmp_path, events=DAY, treatments=GIVEN)
    app.ingest()
    app.lake.partition(table, MONDAY).write_bytes(b"broken")
    with pytest.raises(InputError, match=rf"{table}\.parquet.*; restore it from a backup"):
        app.aggregate()
    assert app.lake.days("aggregates") == []


def cut_into_row_groups(app: App, days: list[date]) -> None:
    """Write the events of some days again, a few to a row group: by those a huge day is cut."""
    for day in days:
        path = app.lake.partition("events", day)
        write_parquet(pq.ParquetFile(path).read(), path, 7)
    app.lake.files.accept("events")


def test_a_huge_day_in_ranges_of_users_has_the_bytes_of_one_at_once(copy_tiny, tmp_path, monkeypatch):
    app = copy_tiny(tmp_path)
    days = app.lake.days("events")[-40:]
    cut_into_row_groups(app, days)
    assert app.aggregate() == days
    paths = [app.lake.partition(table, day) for day in days for table in DAILY_TABLES]
    whole = {path: path.read_bytes() for path in paths}
    for path in paths:
        path.unlink()
    monkeypatch.setattr("features.materialise.build_daily.EVENTS_AT_ONCE", 20)
    ranges = [len(user_ranges(app.lake.partition("events", day), 20)) for day in days]
    assert max(ranges) > 3
    app.aggregate()
    assert [path for path in paths if path.read_bytes() != whole[path]] == []


def test_users_are_cut_between_row_groups(tmp_path):
    users = [*"aabbbcccccdd"]
    write_parquet(pa.table({"user_id": users}), tmp_path / "rows.parquet", 2)
    found = user_ranges(tmp_path / "rows.parquet", 4)
    assert found == [KeyRange(None, "b"), KeyRange("b", "c"), KeyRange("c", None)]
    read = [read_users(tmp_path / "rows.parquet", ["user_id"], each)["user_id"].to_pylist() for each in found]
    assert list(chain(*read)) == users
    shuffled = tmp_path / "shuffled.parquet"
    write_parquet(pa.table({"user_id": users[::-1] + users}), shuffled, 5)
    read = [read_users(shuffled, ["user_id"], each)["user_id"].to_pylist() for each in user_ranges(shuffled, 4)]
    assert sorted(chain(*read)) == sorted(users * 2)
