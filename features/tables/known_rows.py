"""The number of daily rows known on a day, by which days that were short of events are recognised later."""

from __future__ import annotations

from datetime import date, timedelta

import pyarrow.parquet as pq

from features.definitions.watermark import known_before
from features.storage.lake import Lake
from features.tables.parquet_files import readable

DAYS = 31  # before a day that are counted


def known_rows(lake: Lake, as_of: date) -> int:
    """Count the rows of aggregates of the `DAYS` before a day that had become known by its start.

    Footers tell it: each row group of a file of daily rows has one ``known_on``.

    Raises
    ------
    InputError
        A file cannot be read.
    """
    rows = 0
    for day in (as_of - timedelta(days=back) for back in range(1, DAYS + 1)):
        if not lake.has_partition("aggregates", day):
            continue
        with readable(lake.partition("aggregates", day)):
            footer = pq.read_metadata(lake.partition("aggregates", day))
        place = footer.schema.names.index("known_on")
        for group in map(footer.row_group, range(footer.num_row_groups)):
            if known_before(as_of, day, group.column(place).statistics.max):
                rows += group.num_rows
    return rows
