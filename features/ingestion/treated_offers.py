"""A catalogue derived from an experiment that has none: the offers and levels of its treatments."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from configs.offers import NO_OFFER
from configs.settings import OFFERS_FILE, Settings
from features.ingestion.contract import TREATMENTS
from features.ingestion.table_rows import stored_rows
from features.storage.lake import Lake
from features.tables.duckdb_sessions import duckdb_session, sql_text

GIVEN = """
    SELECT offer_id, mode(channel ORDER BY channel), list_sort(list(DISTINCT discount)), coalesce(avg(cost), 0),
           greatest(1, coalesce(max(date_diff('day', decided_at, valid_until)), {horizon}))
    FROM ({rows}) WHERE offer_id <> {nothing} GROUP BY offer_id ORDER BY offer_id
"""


def write_treated_offers(settings: Settings, lake: Lake) -> None:
    """Write the catalogue of what treatments gave, where the settings ask for that (``offers = "treatments"``).

    A contact costs what it did on average, and an offer is open as long as the longest was.
    """
    if Path(settings.offers) != lake.path(OFFERS_FILE) or not lake.days(TREATMENTS.name):
        return
    query = GIVEN.format(
        rows=stored_rows(lake, TREATMENTS), nothing=sql_text(NO_OFFER), horizon=settings.churn.horizon_days
    )
    with duckdb_session(settings) as connection:
        rows = connection.execute(query).fetchall()
    content = "\n".join(line for row in rows for line in _table(*row)).encode()
    if not lake.files.exists(OFFERS_FILE) or lake.files.read(OFFERS_FILE) != content:
        lake.files.publish_file(OFFERS_FILE, content)


def _table(offer_id: str, channel: str, discounts: list[float], cost: float, days: int) -> Iterator[str]:
    """Write one offer as TOML, whose basic strings are those of JSON."""
    name = json.dumps(offer_id)
    yield f"[{name}]"
    yield from (f"title = {name}", f"play = {name}", f"channel = {json.dumps(channel)}", 'message = "{{ title }}"')
    yield from (f"discounts = {discounts}", f"valid_days = {days}", f"contact_cost = {cost:.6f}", "covered_spend = 1.0")
    yield ""
