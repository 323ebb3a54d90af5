"""How often each offer was given before, for offers with a total stock."""

from __future__ import annotations

from configs.offers import Catalogue
from features.ingestion.contract import TREATMENTS
from features.storage.lake import Lake
from features.tables.duckdb_sessions import sql_text
from serving.stored_days.day_tables import connect
from serving.stored_days.decision_moment import DecisionMoment


def places_left(lake: Lake, catalogue: Catalogue, moment: DecisionMoment) -> dict[str, int]:
    """Say how many may still get each offer that has a `total_stock`, at a moment; by offer.

    What was decided at the moment itself does not count, so that a rerun finds what the first run found.

    Raises
    ------
    InputError
        A file of the treatments cannot be read.
    """
    stocks = {offer.offer_id: offer.total_stock for offer in catalogue.offers if offer.total_stock is not None}
    days = [day for day in lake.days(TREATMENTS.name) if day <= moment.day] if stocks else []
    if not days:
        return stocks
    files = ", ".join(sql_text(lake.partition(TREATMENTS.name, day)) for day in days)
    ids = ", ".join(map(sql_text, stocks))
    with connect(lake) as connection:
        given = connection.execute(f"""
            SELECT offer_id, count(*) FROM read_parquet([{files}], union_by_name = true, hive_partitioning = false)
            WHERE offer_id IN ({ids}) AND decided_at < TIMESTAMPTZ '{moment.in_utc.isoformat()}' GROUP BY offer_id
        """).fetchall()
    return stocks | {offer_id: max(stocks[offer_id] - count, 0) for offer_id, count in given}
