"""The source of Online Retail on its real data; test_demo.py looks at The Complete Journey."""

from __future__ import annotations

from datetime import UTC, datetime

import duckdb
import pytest
from apps import App, TableIngest

from configs.settings import load_settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)


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
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(select.format(table=f"read_parquet('{app.lake.glob(table)}')")).fetchall()


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
