"""Users who hold an offer that they can still use."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

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
from serving.contact_rules.contact_history import OPEN, RESTRICTIONS, ContactHistory, of_open
from serving.stored_days.day_tables import connect
from serving.stored_days.decision_moment import DecisionMoment

HELD = """
    SELECT DISTINCT user_id, unnest([0::SMALLINT, own]) AS what, 1::BIGINT AS until
    FROM read_parquet([{files}], union_by_name = true, hive_partitioning = false)
    LEFT JOIN known USING (offer_id)
    WHERE offer_id <> $none AND decided_at < $now
      AND coalesce(valid_until > $now,
                   $day <= timezone($zone, decided_at)::DATE + coalesce(valid_days, $otherwise)::INTEGER)
    ORDER BY ALL
"""


def open_offers(lake: Lake, settings: Settings, catalogue: Catalogue, moment: DecisionMoment) -> ContactHistory:
    """Find to whom an offer was given before a moment that has not ended by then.

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
        return ContactHistory(names=(OPEN,))
    files = ", ".join(sql_text(lake.partition(TREATMENTS.name, day)) for day in days)
    offers = {"offer_id": pa.array(known, pa.string()), "valid_days": pa.array(known.values(), pa.int64())}
    names = (OPEN, *dict.fromkeys(of_open(offer) for offer in catalogue.offers if not offer.is_marketing))
    own = [None if offer.is_marketing else names.index(of_open(offer)) for offer in catalogue.offers]
    offers |= {"own": pa.array(own, pa.int16())}
    with connect(lake) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("known", pa.table(offers))
        asked = {"none": NO_OFFER, "otherwise": settings.churn.horizon_days, "zone": settings.time_zone}
        about = {**asked, "now": moment.in_utc, "day": moment.day}
        found = connection.execute(f"SELECT * FROM ({HELD.format(files=files)}) WHERE what IS NOT NULL", about)
        return ContactHistory(found.to_arrow_table().cast(RESTRICTIONS), names)


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
