"""Aliases: what an old id did is the user's, known to be theirs since then; a circle is nobody."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apps import App, at, event, small_app, treatment
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import InputError
from features.definitions.labels import attributed_redemptions
from features.ingestion.table_rows import EVERY_DAY
from features.ingestion.user_aliases import MERGED, merge_users
from serving.offer_measurement.closed_decisions import open_ledger

SIGNED_IN = "2024-02-02 09:00"
EVENTS = [
    event("anon-9", "2024-02-01 10:05", "purchase", amount=50.0),
    event("u1", "2024-02-02 10:00", "purchase", amount=20.0),
    event("u2", "2024-02-02 10:00", "purchase", amount=5.0),
]


def alias(old: str, new: str, since: str = SIGNED_IN) -> dict[str, object]:
    return {"old_user_id": old, "user_id": new, "since": at(since)}


def app_with(folder: Path, **tables: list[dict[str, object]]) -> App:
    own = {"source": str(folder / "app.sql"), "raw": str(folder / "raw"), "max_bad_share": 0.6}
    return small_app(folder, overrides={"ingest": own, "features": {"min_history_days": 1}}, **tables)


def stored(app: App) -> pd.DataFrame:
    days = [pd.read_parquet(app.lake.partition("events", day), partitioning=None) for day in app.lake.days("events")]
    return pd.concat(days, ignore_index=True)


def bytes_of(app: App) -> dict[str, bytes]:
    return {name: app.lake.files.read(name) for name in app.lake.files.list("events/*/*.parquet")}


def test_spend_of_before_the_sign_in_is_the_users_whenever_the_alias_is_told(tmp_path):
    at_once = app_with(tmp_path / "at once", events=EVENTS, aliases=[alias("anon-9", "u1")])
    at_once.ingest()
    later = app_with(tmp_path / "later", events=EVENTS)
    later.ingest()
    later.aggregate()
    reports = later.write(events=EVENTS, aliases=[alias("anon-9", "u1")]).ingest()
    assert (reports["events"].unchanged, reports["aliases"].added) == (3, 1)
    assert bytes_of(later) == bytes_of(at_once)
    assert later.aggregate() == [date(2024, 2, 1)]
    spend = stored(later).groupby("user_id")["amount"].sum()
    assert spend.to_dict() == {"u1": 70.0, "u2": 5.0}


def test_features_of_before_the_sign_in_see_nothing_of_it(tmp_path):
    app = app_with(tmp_path, events=EVENTS, aliases=[alias("anon-9", "u1")])
    app.ingest()
    app.aggregate()
    before, after = date(2024, 2, 2), date(2024, 2, 3)
    spend = app.snapshots(before, after)["spend_sum_7d"]
    assert spend.to_dict() == {("u1", after): 70.0, ("u2", after): 5.0}


def test_an_alias_counts_for_events_that_come_after_it(tmp_path):
    app = app_with(tmp_path, events=EVENTS[1:], aliases=[alias("anon-9", "u1")])
    app.ingest()
    assert app.write(events=EVENTS).ingest()["events"].added == 1
    assert app.ingest()["events"].unchanged == 3
    assert set(stored(app)["user_id"]) == {"u1", "u2"}


def test_an_alias_told_again_with_another_moment_is_no_news_and_the_first_user_keeps_the_id(tmp_path):
    rows = [alias("anon-9", "u1"), alias("anon-9", "u1", "2024-02-05"), alias("u1", "u1")]
    app = app_with(tmp_path, events=EVENTS, aliases=rows)
    report = app.ingest()["aliases"]
    assert (report.read, report.added, report.duplicates, report.quarantined) == (1, 1, 0, 0)
    app.write(events=EVENTS, aliases=[alias("anon-9", "u1", "2024-02-05")])
    assert app.ingest()["aliases"].unchanged == 1
    assert stored(app)["received_at"].dropna().tolist() == [at(SIGNED_IN)]
    report = app.write(events=EVENTS, aliases=[alias("anon-9", "u2"), alias("anon-9", "u1")]).ingest()["aliases"]
    assert (report.unchanged, report.reasons) == (1, {"old_user_id stands for two different rows": 1})


def test_traits_of_an_old_id_are_left_out(tmp_path):
    users = [{"user_id": "anon-9", "plan": "free"}, {"user_id": "u1", "plan": "plus"}]
    app = app_with(tmp_path, events=EVENTS, users=users)
    app.ingest()
    app.write(events=EVENTS, users=users, aliases=[alias("anon-9", "u1")]).ingest()
    assert pd.read_parquet(app.lake.path("users", "users.parquet"))["user_id"].tolist() == ["u1"]


def test_aliases_that_the_source_tells_no_more_go_with_a_replacement(tmp_path):
    app = app_with(tmp_path, events=EVENTS, aliases=[alias("anon-9", "u1")])
    app.ingest()
    assert app.write(events=EVENTS).ingest()["events"].unchanged == 3
    assert app.ingest(replacing=EVERY_DAY)["aliases"].replaced == 1
    assert app.lake.days("aliases") == []
    assert set(stored(app)["user_id"]) == {"anon-9", "u1", "u2"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"old_user_id": None}, "old_user_id is missing"),
        ({"since": None}, "since is missing"),
        ({"since": at("2099-01-01")}, "since lies in the future"),
    ],
)
def test_a_bad_alias_is_quarantined(tmp_path, change, reason):
    rows = [alias("anon-9", "u1"), {**alias("anon-8", "u2"), **change}]
    assert app_with(tmp_path, events=EVENTS, aliases=rows).ingest()["aliases"].reasons == {reason: 1}


def test_a_circle_is_refused_and_leaves_the_lake_as_it_was(tmp_path):
    app = app_with(tmp_path, events=EVENTS)
    app.ingest()
    before = bytes_of(app)
    app.write(events=EVENTS, aliases=[alias("u3", "u1"), alias("u1", "u2"), alias("u2", "u1")])
    with pytest.raises(InputError, match=r"aliases go round in a circle \(u1 → u2 → u1\), so nobody can say who"):
        app.ingest()
    assert bytes_of(app) == before
    assert app.lake.days("aliases") == []


def followed(pairs: dict[int, tuple[int, int]], start: int) -> tuple[int, int] | None:
    """Walk a chain step by step; None where it never ends."""
    place, since = pairs[start]
    for _ in range(len(pairs)):
        if place not in pairs:
            return place, since
        place, since = pairs[place][0], max(since, pairs[place][1])
    return None


@given(st.dictionaries(st.integers(0, 9), st.tuples(st.integers(0, 12), st.integers(0, 9)), min_size=1))
def test_chains_of_any_length_end_at_one_user_or_are_refused(pairs):
    pairs = {old: (new, since) for old, (new, since) in pairs.items() if old != new}
    expected = {old: followed(pairs, old) for old in pairs}
    epoch = datetime(2024, 1, 1)
    rows = pa.table(
        {
            "old_user_id": pa.array(map(str, pairs), pa.string()),
            "user_id": pa.array([str(new) for new, _ in pairs.values()], pa.string()),
            "since": pa.array([epoch + timedelta(days=since) for _, since in pairs.values()], pa.timestamp("us")),
        }
    )
    with duckdb.connect() as connection:
        connection.register("pairs", rows)
        if None in expected.values():
            with pytest.raises(InputError, match="in a circle"):
                merge_users(connection, "SELECT * FROM pairs")
            return
        merge_users(connection, "SELECT * FROM pairs")
        found = connection.execute(f"SELECT * FROM {MERGED}").fetchall()
    assert {int(old): (int(new), (since - epoch).days) for old, new, since in found} == expected


def test_decisions_about_an_old_id_are_measured_as_the_users(tmp_path):
    rows = [alias("anon-9", "u0"), alias("u0", "u1")]
    app = app_with(tmp_path, events=EVENTS, aliases=rows)
    app.ingest()
    app.aggregate()
    entries = {"user_id": ["anon-9", "u2"], "arm": ["policy", "control"]}
    app.lake.files.make_folder("ledger")
    pq.write_table(pa.table(entries), app.lake.path("ledger", "nightly.parquet"))
    with app.history(date(2024, 2, 4)) as history:
        ledger = open_ledger(history, [app.lake.path("ledger", "nightly.parquet")]).to_pandas()
    assert sorted(ledger.user_id) == ["u1", "u2"]


def test_what_was_given_to_an_old_id_is_the_users_also_where_no_source_tells_of_it(tmp_path):
    used = event("old", "2024-03-04 10:00", "offer_redeem", discount=1.0, decision_id="old|2024-03-02|come_back")
    events = [event("old", "2024-03-01 10:00", "purchase", amount=5.0), used]
    app = small_app(tmp_path, events=events, treatments=[treatment("old", "2024-03-02", "come_back", 0.1)])
    app.ingest()
    known = [{"old_user_id": "old", "user_id": "u1", "since": at("2024-03-06")}]
    app.write(events=events, aliases=known)  # such as treatments that are winback's own decisions
    assert app.ingest()["treatments"].read == 0
    app.aggregate()
    with app.history(date(2024, 4, 1)) as history:
        asked = (history.treatments, history.events, app.settings, {"come_back": 7})
        found = attributed_redemptions(*asked).to_pandas()
        assert history.treatments.to_pandas()["user_id"].tolist() == ["u1"]
    assert found["treatment"].tolist() == ["old|2024-03-02|come_back"]
    assert "treatments" not in app.ingest()  # there is nothing new of anybody
