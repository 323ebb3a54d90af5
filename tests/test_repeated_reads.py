"""Sources that say something else each time: noticed before the lake has the rows twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from apps import App, event, small_app
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import InputError
from features.ingestion import repeated_reads

ROWS = [event("a", f"2024-03-{day:02d} 10:00", "purchase", amount=5.0) for day in range(1, 21)]
EVENTS = "SELECT * REPLACE ({key} AS event_id) FROM read_parquet(getvariable('raw') || '/events.parquet')"
BY_CHANCE = ["uuid()::VARCHAR", "md5(random()::VARCHAR)", "event_id || now()", "event_id || current_timestamp",
             "event_id || current_date", "event_id || today()", "gen_random_uuid()"]  # fmt: skip
SAME = ["event_id", "md5(event_id)", "CASE WHEN now() > occurred_at THEN event_id END", "nextval('s')::VARCHAR",
        "CASE WHEN current_date > DATE '2024-03-05' THEN event_id END"]  # fmt: skip


@pytest.fixture(scope="module")
def app(tmp_path_factory) -> App:
    return small_app(tmp_path_factory.mktemp("repeated"), events=ROWS)


def write(app: App, select: str) -> None:
    text = f"CREATE SEQUENCE s; CREATE VIEW events AS {select}"
    Path(app.settings.ingest.source).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("key", BY_CHANCE)
def test_keys_by_chance_or_from_the_clock_are_refused(app, key):
    write(app, EVENTS.format(key=key))
    with pytest.raises(InputError, match=r"gives other keys each time .*20 of 20 event_id of events, such as '"):
        app.ingest()
    assert app.lake.days("events") == []


def test_one_branch_by_chance_is_enough(app):
    write(app, f"{EVENTS.format(key='event_id')} UNION ALL {EVENTS.format(key='uuid()::VARCHAR')}")
    with pytest.raises(InputError, match=r"20 of 40 event_id of events"):
        app.ingest()


def test_a_sample_is_another_one_each_time(app):
    write(app, EVENTS.format(key="event_id") + " USING SAMPLE 50 PERCENT (bernoulli)")
    with pytest.raises(InputError, match="gives other keys each time"):
        for _ in range(20):  # a sample may be the same by chance
            app.ingest()


@settings(max_examples=3, deadline=None)
@given(st.sampled_from(SAME), st.sampled_from(["", " WHERE occurred_at < now()", " WHERE occurred_at::DATE < today()"]))
def test_who_asks_the_clock_and_gives_the_same_keys_is_read(tmp_path_factory, key, asked):
    app = small_app(tmp_path_factory.mktemp("same"), events=ROWS)
    write(app, EVENTS.format(key=key) + asked)
    assert app.ingest()["events"].added == app.ingest()["events"].unchanged == 20


def test_a_decision_without_an_id_that_is_dated_now_is_refused(app):
    write(app, EVENTS.format(key="event_id"))
    with Path(app.settings.ingest.source).open("a") as file:
        file.write("; CREATE VIEW treatments AS SELECT 'a' AS user_id, now() AS decided_at, 'x' AS offer_id, "
                   "0.1 AS discount, 'mail' AS channel")  # fmt: skip
    with pytest.raises(InputError, match="1 of 1 decision_id of treatments"):
        app.ingest()


def test_a_source_without_chance_is_read_once(app, monkeypatch):
    write(app, EVENTS.format(key="event_id"))
    monkeypatch.setattr(repeated_reads, "open_source", None)
    app.ingest()
