"""Who holds an offer that can still be used: contacts that the rules of eligibility are asked with."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from configs.offers import NO_OFFER, Catalogue
from configs.settings import Settings
from features.ingestion.contract import TREATMENTS
from features.storage.lake import Lake
from features.tables.duckdb_sessions import sql_text
from features.tables.fingerprints import remembered
from features.tables.parquet_files import readable
from serving.contact_rules.contact_rule import CONTACTS
from serving.decide.day_tables import connect
from serving.decide.decision_moment import DecisionMoment

OPEN = """
    SELECT user_id, decided_at, offer_id, channel, true AS is_open
    FROM read_parquet([{files}], union_by_name = true, hive_partitioning = false)
    LEFT JOIN known USING (offer_id)
    WHERE offer_id <> $none AND decided_at < $now
      AND coalesce(valid_until > $now,
                   $day <= timezone($zone, decided_at)::DATE + coalesce(valid_days, $otherwise)::INTEGER)
    ORDER BY ALL
"""


def open_offers(lake: Lake, settings: Settings, catalogue: Catalogue, moment: DecisionMoment) -> pd.DataFrame:
    """List the offers that were given before a moment and have not ended by then, as `CONTACTS`.

    One that does not say when it ends is open to the end of the last of the catalogue's days, or of
    ``churn.horizon_days``, as its redemptions count. A rerun finds what the first run found: what was decided at the
    moment itself does not count.

    Raises
    ------
    InputError
        A file of the treatments cannot be read.
    """
    known = {offer.offer_id: offer.valid_days for offer in catalogue.offers}
    longest = timedelta(days=max([settings.churn.horizon_days, *known.values()]))
    days = [] if settings.contact.offers_overlap else [*_days_with_open(lake, moment, longest)]
    if not days:
        return pd.DataFrame(columns=list(CONTACTS))
    files = ", ".join(sql_text(lake.partition(TREATMENTS.name, day)) for day in days)
    fields = [("offer_id", pa.string()), ("valid_days", pa.int64())]
    with connect(lake) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("known", pa.table([list(known), list(known.values())], schema=pa.schema(fields)))
        asked = {"none": NO_OFFER, "otherwise": settings.churn.horizon_days, "zone": settings.time_zone}
        return connection.execute(OPEN.format(files=files), {**asked, "now": moment.in_utc, "day": moment.day}).df()


def _days_with_open(lake: Lake, moment: DecisionMoment, longest: timedelta) -> Iterator[date]:
    """Find the days on which something may have been given that is open: what files say of their ends is remembered."""
    with remembered(lake, "ends_of_offers.json", _ends) as ends_of:
        for day in lake.days(TREATMENTS.name):
            if day <= moment.day:
                last, lacks_some = ends_of(lake.partition(TREATMENTS.name, day))
                is_near = moment.day - day <= longest + timedelta(days=1)
                if (lacks_some and is_near) or (last is not None and datetime.fromisoformat(last) > moment.in_utc):
                    yield day


def _ends(path: Path) -> tuple[str | None, bool]:
    """Find when the last of the offers of a file ends that say so, and whether there may be any that do not."""
    with readable(path):
        rows = pq.read_table(path, columns=["valid_until"], partitioning=None)["valid_until"]
    last = pc.max(rows).as_py()
    return (last.isoformat() if last is not None else None), rows.null_count > 0
