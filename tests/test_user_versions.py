"""Traits as they were known: a changed row holds from then on, and no snapshot sees what was told later."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apps import App, Row, event, small_app
from hypothesis import given, settings
from hypothesis import strategies as st

from features.arrays.calendar_days import start_of
from features.definitions.registry import trait
from features.definitions.snapshot_features import catalogue
from features.engine.users_reader import read_traits
from features.materialise.user_traits import keep_traits, user_traits
from features.tables.row_group_reader import KeyRange
from models.training_run.run_summary import training_warnings
from models.training_run.training_frames import TrainingFrames

FIRST = date(2024, 3, 1)
EVENTS = [event(user, "2024-02-20 09:00", "view_item") for user in "abc"]
EVERYBODY: KeyRange[str] = KeyRange()
ROWS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["free", "plus", None]), st.integers(-5, 0) | st.none()),
    min_size=1,
    max_size=4,
    unique_by=lambda row: (row[0], row[2] or 0),  # who is told of without a date is told of today
)


def delivered(app: App, users: list[Row]) -> App:
    """The app with another delivery of its users, where None as ``known_from`` says nothing."""
    kinds = {name: pa.timestamp("us", "UTC") if name == "known_from" else pa.string() for name in users[0]}
    return app.write(events=EVENTS, users=pa.Table.from_pylist(users, pa.schema(kinds)))


def ingested(app: App, day: date) -> tuple[int, int, list[str]]:
    """Ingest in the night of a day; returns rows that were added and put aside, and what is said of dates."""
    report = app.ingest(datetime(day.year, day.month, day.day, 2, tzinfo=UTC))["users"]
    return report.added, report.quarantined, [each for each in report.notes if "known_from" in each]


def plans(app: App, day: date) -> dict[str, object]:
    """Plan of each user at the start of a day."""
    found = read_traits(app.lake, {"plan": True}, "UTC", EVERYBODY, start_of(day, "UTC"))
    return dict(zip(found["user_id"].to_pylist(), found["trait_plan"].to_pylist(), strict=True))


@settings(max_examples=settings.default.max_examples * 3 // 10, deadline=None)  # each is several ingests
@given(st.lists(st.tuples(ROWS, st.integers(6, 8)), min_size=1, max_size=3))
def test_each_day_sees_the_newest_row_that_held_by_then(tmp_path_factory, deliveries):
    app = small_app(tmp_path_factory.mktemp("versions"), events=EVENTS)
    told: dict[tuple[str, date], object] = {}
    today = FIRST
    for rows, pause in deliveries:
        today += timedelta(days=pause)
        users = [
            {"user_id": user, "plan": plan}
            | {"known_from": None if back is None else start_of(today + timedelta(days=back), "UTC")}
            for user, plan, back in rows
        ]
        ingested(delivered(app, users), today)
        told |= {(user, today + timedelta(days=back or 0)): plan for user, plan, back in rows}
        assert ingested(app, today)[:2] == (0, 0)  # told again it is no news
    for day in (FIRST + timedelta(days=step) for step in range(26)):
        held = {user: [told[key] for key in sorted(told) if key[0] == user and key[1] <= day] for user, _ in told}
        assert plans(app, day) == {user: (rows or [None])[-1] for user, rows in held.items()}


def test_traits_without_a_date_are_seen_from_their_ingest_on_and_that_is_said(tmp_path):
    app = small_app(tmp_path, events=EVENTS)
    assert ingested(delivered(app, [{"user_id": "a", "plan": "free"}, {"user_id": "b", "plan": "pro"}]), FIRST)[2] == [
        "2 rows of users without known_from hold from 2024-03-01 on: snapshots before see none of their traits (plan), "
        "and models learn from them from then on; where it is known since when a row holds, select that AS known_from"
    ]
    app.aggregate()
    eve, later = FIRST - timedelta(days=1), FIRST + timedelta(days=3)
    found = app.snapshots(eve, FIRST)["trait_plan"]
    assert found[:, eve].isna().all() and found[:, FIRST].fillna("").tolist() == ["free", "pro", ""]
    delivered(app, [{"user_id": "a", "plan": "plus"}, {"user_id": "b", "plan": "pro"}])
    assert ingested(app, later) == (1, 0, [])
    found = app.snapshots(FIRST, later)["trait_plan"]
    assert found[:, FIRST].fillna("").tolist() == ["free", "pro", ""]
    assert found[:, later].fillna("").tolist() == ["plus", "pro", ""]


def test_a_row_that_is_dated_back_holds_until_the_next_one(tmp_path):
    app = small_app(tmp_path, events=EVENTS)
    ingested(delivered(app, [{"user_id": "a", "plan": "free", "known_from": None}]), FIRST)
    told = [("free", None), ("plus", start_of(FIRST, "UTC"))]
    morrow = FIRST + timedelta(days=1)
    delivered(app, [{"user_id": "a", "plan": plan, "known_from": since} for plan, since in told])
    assert ingested(app, morrow)[:2] == (2, 0) and ingested(app, morrow)[:2] == (0, 0)
    assert [plans(app, day)["a"] for day in (FIRST - timedelta(days=1), FIRST, morrow)] == [None, "plus", "free"]


def test_the_users_table_holds_the_newest_row_of_everybody(tmp_path):
    told = [("pro", 2), ("free", 1)]
    users = [{"user_id": "a", "plan": plan, "known_from": datetime(2024, 2, day, tzinfo=UTC)} for plan, day in told]
    app = delivered(small_app(tmp_path, events=EVENTS), users)
    assert ingested(app, FIRST) == (2, 0, [])
    now, before = (pd.read_parquet(app.lake.path("users", f"{name}.parquet")) for name in ("users", "versions"))
    assert (now["plan"].tolist(), before["plan"].tolist()) == (["pro"], ["free"])
    app.aggregate()
    assert [plans(app, day)["a"] for day in (FIRST, date(2024, 2, 1), date(2024, 1, 31))] == ["pro", "free", None]
    with app.history(FIRST) as history:  # one value now, and another before: it tells days apart
        assert history.traits == {"plan": True} and history.users.to_pandas()["trait_plan"].tolist() == ["pro"]


def test_one_value_more_drops_no_trait_that_a_model_was_taught(tmp_path):
    app = small_app(tmp_path, events=EVENTS, overrides={"features": {"max_trait_values": 2}})
    ingested(
        delivered(app, [{"user_id": user, "plan": plan} for user, plan in zip("ab", ("x", "y"), strict=True)]), FIRST
    )
    taught = user_traits(app.lake, app.settings)
    morrow = FIRST + timedelta(days=1)
    ingested(
        delivered(app, [{"user_id": user, "plan": plan} for user, plan in zip("ab", ("x", "z"), strict=True)]), morrow
    )
    assert (taught, user_traits(app.lake, app.settings)) == ({"plan": True}, {})
    app.aggregate()
    keep_traits(app.lake, catalogue(taught))
    keep_traits(
        app.lake, catalogue({})
    )  # a training without it forgets nothing: an earlier model may be champion again
    assert app.snapshots(morrow)["trait_plan"].fillna("").tolist() == ["x", "z", ""]
    assert user_traits(app.lake, app.settings, is_taught=True) == {}


@pytest.mark.parametrize("content", [b"null", b"3", b"{", b"\xff"])
def test_a_damaged_note_of_what_was_taught_costs_nothing_but_itself(tmp_path, content):
    app = small_app(tmp_path, events=EVENTS)
    ingested(delivered(app, [{"user_id": user, "plan": user} for user in "ab"]), FIRST)
    app.lake.files.write("training/traits.json", content)
    assert user_traits(app.lake, app.settings) == {"plan": True}


def test_many_traits_of_few_users_take_little_memory(tmp_path):
    app, names = small_app(tmp_path), [f"t{number}" for number in range(300)]
    app.lake.files.make_folder("users")
    table = pa.table({"user_id": ["a", "b"]} | {name: pa.array([1.0, 2.0]) for name in names})
    pq.write_table(table, app.lake.path("users", "users.parquet"))
    little = app.settings.model_copy(update={"memory_gib": 0.2})
    assert list(user_traits(app.lake, little)) == names


def test_training_says_which_traits_no_snapshot_that_teaches_knows():
    outcomes = pd.DataFrame({"trait_plan": [None, None], "trait_country": [None, "DE"]})
    nobody, traits = pd.DataFrame(), [trait(name, is_text=True) for name in ("plan", "country")]
    frames = TrainingFrames(outcomes, nobody, nobody, nobody, traits, FIRST)
    (said,) = training_warnings(frames, [], [])
    assert said.startswith("no snapshot that teaches knows plan: models learn from them once they have been known for")
