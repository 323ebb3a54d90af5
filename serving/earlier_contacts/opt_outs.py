"""Users who opted out, per channel, by events of the roles opt_out and opt_in."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from configs.channel_names import channel_names
from configs.offers import Catalogue
from configs.settings import Settings
from features.arrays.calendar_days import start_of
from features.ingestion.contract import EVENTS
from features.storage.lake import Lake
from features.tables.duckdb_sessions import sql_text
from features.tables.fingerprints import remembered
from features.tables.parquet_files import readable
from serving.contact_rules.channels import channels_of
from serving.contact_rules.contact_history import NEVER, RESTRICTIONS, ContactHistory, of_opt_out
from serving.stored_days.day_tables import connect
from serving.stored_days.decision_moment import DecisionMoment

WISHES = """
    SELECT user_id, list_contains($out, event_name) AS is_out, coalesce(trim(channel), '') AS channel,
           max(occurred_at) AS said_at
    FROM read_parquet([{files}], union_by_name = true, hive_partitioning = false)
    WHERE (list_contains($out, event_name) OR list_contains($back, event_name)) AND occurred_at < $ends
    GROUP BY ALL
"""
OUT = """
    SELECT user_id, what, {never}::BIGINT AS until FROM wishes JOIN meant USING (channel) GROUP BY user_id, what
    HAVING max(said_at) FILTER (is_out) >= coalesce(max(said_at) FILTER (NOT is_out), max(said_at) FILTER (is_out))
    ORDER BY user_id
"""


def opt_outs(lake: Lake, settings: Settings, catalogue: Catalogue, moment: DecisionMoment) -> ContactHistory:
    """Find who has opted out of which channel of a catalogue by the end of a day, and not in again later.

    An event without a channel speaks of all of them. Which days have such events is remembered.

    Raises
    ------
    InputError
        A file of the events cannot be read.
    """
    channels = list(dict.fromkeys(each for offer in catalogue.offers for each in channels_of(offer)))
    names, roles = tuple(map(of_opt_out, channels)), settings.roles
    ends = start_of(moment.day + timedelta(days=1), settings.time_zone)
    files = _files(lake, [*roles.opt_out, *roles.opt_in], moment)
    if not files or not channels:
        return ContactHistory(names=names)
    with connect(lake) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        about = {"out": [*roles.opt_out], "back": [*roles.opt_in], "ends": ends}
        query = WISHES.format(files=", ".join(map(sql_text, files)))
        wishes = connection.execute(query, about).to_arrow_table()
        connection.register("wishes", wishes)
        connection.register("meant", _meant(pc.unique(wishes["channel"]).to_pylist(), channels))
        return ContactHistory(connection.execute(OUT.format(never=NEVER)).to_arrow_table().cast(RESTRICTIONS), names)


def _meant(texts: list[str], channels: list[str]) -> pa.Table:
    """Say which channels, by their numbers, each text of an event means."""
    pairs = [
        (text, place)
        for text in texts
        for place, channel in enumerate(channels)
        if not text or channel in channel_names(text)
    ]
    columns = {"channel": pa.array([text for text, _ in pairs], pa.string())}
    return pa.table(columns | {"what": pa.array([place for _, place in pairs], pa.int16())})


def _files(lake: Lake, event_names: list[str], moment: DecisionMoment) -> list[Path]:
    """List the days of events that have some of these."""
    if not event_names:
        return []
    with remembered(lake, "opt_outs.json", partial(_has_any, event_names), *sorted(event_names)) as has_any:
        paths = [lake.partition(EVENTS.name, day) for day in lake.days(EVENTS.name) if day <= moment.day]
        return [path for path in paths if has_any(path)]


def _has_any(event_names: list[str], path: Path) -> bool:
    with readable(path):
        found = pq.read_table(path, columns=["event_name"], partitioning=None)["event_name"]
    return bool(pc.any(pc.is_in(found, value_set=pa.array(event_names, found.type))).as_py())
