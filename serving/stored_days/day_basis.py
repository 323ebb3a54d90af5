"""What a day was decided with: models, settings and offers, stored so that days can be compared."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import pairwise
from typing import Any, NamedTuple

import pyarrow as pa

from configs.offers import Catalogue
from configs.settings import Settings
from features.storage.lake import Lake
from features.storage.whole_writes import content_hash
from features.tables.duckdb_sessions import reading_session, sql_text
from features.tables.parquet_files import read_parquet
from serving.stored_days.day_tables import day_file
from serving.stored_days.ledger import deciding_settings

BASIS = "basis"
MODEL, SETTING, OFFER = "model", "setting", "offer"
INPUT, ROWS = "input", "daily rows"  # which is other every day, and so no change
SCHEMA = pa.schema([("kind", pa.string()), ("name", pa.string()), ("value", pa.string())])
LONGEST = 60  # signs of a value, as it is told


class BasisChange(NamedTuple):
    """Something that a day was decided by and the decided day before was not; `before` or `now` is None of none."""

    day: date
    kind: str
    name: str
    before: str | None
    now: str | None


def basis_table(models: str, settings: Settings, catalogue: Catalogue, rows_known: int | None = None) -> pa.Table:
    """List the models by subject, each setting on which a decision rests, and the offers, by what they say.

    Parameters
    ----------
    models
        Names of the models, as decisions have them in ``model_versions``.
    rows_known
        Daily rows that the day's snapshot was made from, as `known_rows` counts them.
    """
    rows = [(MODEL, name.partition("-")[0], name) for name in models.split(", ") if name]
    rows += [(SETTING, name, value) for name, value in _flat("", deciding_settings(settings))]
    offers = [(offer.offer_id, offer.model_dump_json()) for offer in catalogue.offers]
    rows += [(OFFER, offer_id, content_hash(text=said)[:8]) for offer_id, said in offers]
    rows += [(INPUT, ROWS, str(rows_known))] if rows_known is not None else []
    columns = zip(*sorted(rows), strict=True) if rows else ([], [], [])
    return pa.table([pa.array(column, pa.string()) for column in columns], schema=SCHEMA)


def rows_known_then(lake: Lake, day: date) -> int | None:
    """Read how many daily rows were known when a day was decided; None where it did not note that.

    Raises
    ------
    InputError
        The file is damaged.
    """
    if not lake.files.exists(f"decisions/day={day}/{BASIS}.parquet"):
        return None
    rows = read_parquet(day_file(lake, day, BASIS)).to_pylist()
    return next((int(each["value"]) for each in rows if (each["kind"], each["name"]) == (INPUT, ROWS)), None)


def basis_changes(lake: Lake, days: Sequence[date]) -> list[BasisChange]:
    """Name what changed from each of some decided days to the next, in order; days without a basis are left out.

    Raises
    ------
    InputError
        A file is damaged.
    """
    names = {day: f"decisions/day={day:%Y-%m-%d}/{BASIS}.parquet" for day in days}
    known = {day: name for day, name in names.items() if lake.files.exists(name)}
    if len(known) < 2:
        return []
    lake.files.check(*known.values())
    files = ", ".join(sql_text(lake.path(name)) for name in known.values())
    with reading_session(lake) as connection:
        rows = connection.execute(f"""
            SELECT kind, name, list(value ORDER BY day), list(day ORDER BY day)
            FROM read_parquet([{files}], hive_partitioning = true)
            WHERE kind <> '{INPUT}' GROUP BY kind, name
            HAVING count(DISTINCT value) > 1 OR count(*) < {len(known)} ORDER BY kind, name
        """).fetchall()
    found = [
        each
        for kind, name, values, own in rows
        for each in _changes(kind, name, dict(zip(own, values, strict=True)), sorted(known))
    ]
    return sorted(found, key=lambda each: (each.day, each.kind, each.name))


def _changes(kind: str, name: str, of_day: Mapping[date, str], days: Sequence[date]) -> Iterator[BasisChange]:
    for before, now in pairwise(days):
        if of_day.get(before) != of_day.get(now):
            yield BasisChange(now, kind, name, of_day.get(before), of_day.get(now))


def _flat(place: str, value: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - whatever JSON holds
    """Name every setting by its place, such as ``scoring.budget``."""
    if isinstance(value, Mapping) and value:
        for name, each in value.items():
            yield from _flat(f"{place}.{name}" if place else str(name), each)
    else:
        said = json.dumps(value, sort_keys=True)
        yield place, said if len(said) <= LONGEST else f"{said[: LONGEST - 10]}… {content_hash(text=said)[:8]}"
