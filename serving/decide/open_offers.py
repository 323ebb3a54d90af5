"""Who holds an offer that can still be used: contacts that the rules of eligibility are asked with."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

from configs.offers import NO_OFFER, Catalogue
from configs.settings import Settings
from features.ingestion.contract import TREATMENTS
from features.storage.duckdb_sessions import sql_text
from features.storage.lake import Lake
from serving.decide.day_tables import connect
from serving.decide.decision_moment import DecisionMoment
from serving.valuation.eligibility import CONTACTS

OPEN = """
    SELECT user_id, decided_at, offer_id, channel, true AS is_open
    FROM read_parquet([{files}], union_by_name = true, hive_partitioning = false)
    LEFT JOIN known USING (offer_id)
    WHERE offer_id <> $none AND decided_at < $now
      AND coalesce(valid_until, decided_at + to_days(coalesce(valid_days, $otherwise)::INTEGER)) > $now
    ORDER BY ALL
"""


def open_offers(lake: Lake, settings: Settings, catalogue: Catalogue, moment: DecisionMoment) -> pd.DataFrame:
    """List the offers that were given before a moment and have not ended by then, as `CONTACTS`.

    One that does not say when it ends is open for the catalogue's days, or for ``churn.horizon_days``. A rerun finds
    what the first run found: what was decided at the moment itself does not count.

    Raises
    ------
    InputError
        A file of the treatments cannot be read.
    """
    days = [day for day in lake.days(TREATMENTS.name) if day <= moment.day]
    if not days or settings.contact.offers_overlap:
        return pd.DataFrame(columns=list(CONTACTS))
    known = {offer.offer_id: offer.valid_days for offer in catalogue.offers}
    files = ", ".join(sql_text(lake.partition(TREATMENTS.name, day)) for day in days)
    fields = [("offer_id", pa.string()), ("valid_days", pa.int64())]
    with connect(lake) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("known", pa.table([list(known), list(known.values())], schema=pa.schema(fields)))
        return connection.execute(
            OPEN.format(files=files),
            {"none": NO_OFFER, "now": moment.in_utc, "otherwise": settings.churn.horizon_days},
        ).df()
