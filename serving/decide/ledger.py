"""The ledger of decisions: everything that was ever decided, appended and never changed.

``ledger/day=YYYY-MM-DD/NNNN-<policy version>.parquet``; the newest file of a day is what counts. What counts lands in
the contract's ``treatments`` too, where features and models find it like any other treatment.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from configs.offers import NO_OFFER, Catalogue
from configs.settings import MACHINES, Settings
from features.arrays.calendar_days import start_of
from features.ingestion.contract import TREATMENTS
from features.storage.duckdb_sessions import duckdb_limits, named_when_unreadable, sql_text
from features.storage.lake import Lake
from features.storage.parquet_files import read_notes, read_parquet, write_batches
from features.storage.whole_writes import content_hash

CONTENT = b"winback.content"
INSTANT = pa.timestamp("us", "UTC")
LANDING = ("policy", "explore", "control")
# what a decision does not depend on: machines, folders, clocks, and what made the models, which have names
NO_MATTER = MACHINES | {"profile", "as_of", "ingest", "training", "offers"}

SCHEMA = pa.schema(
    [
        ("decision_id", pa.string()), ("user_id", pa.string()), ("as_of", INSTANT), ("policy_version", pa.string()),
        ("arm", pa.string()), ("offer_id", pa.string()), ("discount", pa.float64()), ("channel", pa.string()),
        ("propensity", pa.float64()), ("intended_offer_id", pa.string()), ("intended_discount", pa.float64()),
        ("intended_channel", pa.string()), ("expected_cost", pa.float64()), ("expected_value", pa.float64()),
        ("remaining_value", pa.float64()), ("p_churn", pa.float64()), ("risk_band", pa.string()),
        ("stage", pa.string()), ("lot_propensity", pa.float64()),
    ]
)  # fmt: skip
ARROW = {"text": pa.string(), "instant": INSTANT, "number": pa.float64(), "flag": pa.bool_()}
TREATMENTS_OF = """
    SELECT decision_id, user_id, {decided_at}::TIMESTAMPTZ AS decided_at, offer_id, discount,
           coalesce(channel, 'none') AS channel, coalesce(lot_propensity, 1.0) AS propensity,
           coalesce(cost, 0.0) AS cost, valid_until
    FROM read_parquet({ledger}, hive_partitioning = false) LEFT JOIN offers USING (offer_id) WHERE arm IN {arms}
"""
BATCH = 100_000  # rows at a time
LANDED = pa.schema([(column.name, ARROW[column.kind]) for column in TREATMENTS.columns])


def policy_version(models: str, settings: Settings, catalogue: Catalogue) -> str:
    """Name a policy: eight hexadecimal digits that change with the models, the settings or the offers it rests on."""
    own = settings.model_dump(mode="json", exclude=NO_MATTER | {"scoring"})
    own["scoring"] = settings.scoring.model_dump(mode="json", exclude={"batch_users"})
    return content_hash(text=json.dumps([models, own, catalogue.model_dump(mode="json")], sort_keys=True))[:8]


def entry_table(
    decisions: pa.Table, intended: npt.NDArray[np.intp], catalogue: Catalogue, version: str,
    share: float,
) -> pa.Table:  # fmt: skip
    """Make ledger rows of decisions.

    Parameters
    ----------
    decisions
        Rows of the day's decisions.
    intended
        Place among the catalogue's options of what the policy would have given, -1 for nothing; shape (users,).
    share
        Of those who may explore, who did. An explorer's ``lot_propensity`` is the chance of what was drawn among
        explorers; it is missing for everybody else.
    """
    offers = np.array([*(option.offer_id for option in catalogue.options), NO_OFFER], dtype=object)
    channels = np.array([*(offer.channel for offer in catalogue.offer_of_options), None], dtype=object)
    discounts = np.array([*(option.discount for option in catalogue.options), 0.0])
    as_intended = (offers[intended] == decisions["offer_id"].to_numpy(zero_copy_only=False)) & np.isclose(
        discounts[intended], decisions["discount"].to_numpy()
    )
    by_lot = (decisions["propensity"].to_numpy() - np.where(as_intended, 1 - share, 0.0)) / (share or 1.0)
    is_lot = pc.equal(decisions["arm"], "explore").to_numpy(zero_copy_only=False)
    own = {
        "lot_propensity": np.where(is_lot, np.clip(by_lot, 0.0, 1.0), np.nan),
        "policy_version": [version] * len(decisions),
        "intended_offer_id": offers[intended],
        "intended_discount": discounts[intended],
        "intended_channel": channels[intended],
    }
    columns = [
        pa.array(own[field.name], field.type, from_pandas=True) if field.name in own else decisions[field.name]
        for field in SCHEMA
    ]
    return pa.table(columns, schema=SCHEMA)


@contextmanager
def appending(lake: Lake, as_of: date, version: str) -> Iterator[Callable[[pa.Table], None]]:
    """Append a day's decisions, a batch at a time, under the next number when the block ends well.

    Nothing is appended when the day's newest file says the same already.

    Raises
    ------
    InputError
        The newest file is damaged.
    """
    files = files_of(lake, as_of)
    newest = read_notes(files[-1]).get(CONTENT) if files else None
    number = int(files[-1].name[:4]) + 1 if files else 1
    path = _folder(lake, as_of) / f"{number:04d}-{version}.parquet"
    part, content = path.with_name(f".{path.name}.part"), _Digest()
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        with pq.ParquetWriter(part, SCHEMA, compression="zstd") as writer:

            def enter(rows: pa.Table) -> None:
                content.update(rows)
                writer.write_table(rows)

            yield enter
            writer.add_key_value_metadata({CONTENT: content.text})
        if content.text != newest:
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def files_of(lake: Lake, day: date) -> list[Path]:
    """Files of a day, oldest first; the last one counts."""
    return sorted(_folder(lake, day).glob("[0-9][0-9][0-9][0-9]-*.parquet"))


def effective_files(lake: Lake, first_day: date, last_day: date) -> list[Path]:
    """File that counts of each day from `first_day` to `last_day`, both included, in order."""
    days = sorted(path.name.removeprefix("day=") for path in lake.path("ledger").glob("day=*"))
    wanted = [date.fromisoformat(day) for day in days if f"{first_day}" <= day <= f"{last_day}"]
    return [files[-1] for day in wanted if (files := files_of(lake, day))]


def entries(lake: Lake, first_day: date, last_day: date, columns: list[str] | None = None) -> pa.Table:
    """Read what counts of some days, both ends included; all columns of `SCHEMA` unless some are named.

    Raises
    ------
    InputError
        A file is damaged.
    """
    wanted = SCHEMA.names if columns is None else columns
    parts = [read_parquet(path, wanted) for path in effective_files(lake, first_day, last_day)]
    nothing = SCHEMA.empty_table().select(wanted)
    return pa.concat_tables([nothing, *(part.replace_schema_metadata(None) for part in parts)])


def land(lake: Lake, as_of: date, catalogue: Catalogue, time_zone: str) -> None:
    """Make what counts of a day's ledger treatments of the contract: what was given, *nothing* included, and control.

    Earlier versions of the day are replaced; treatments from elsewhere stay. Who may get nothing at all, or is left to
    business as usual, was not given anything by choice: those decisions say nothing about what offers do. The
    propensity that lands is that within the lot: an explorer's chance among explorers, 1 for everybody else, whose
    option followed from what was known. So effects are learnt from lots alone, whose chances are never tiny.
    """
    files, path = files_of(lake, as_of), lake.partition(TREATMENTS.name, as_of)
    versions = ", ".join(sql_text(file) for file in files)
    others = f"""
        UNION ALL BY NAME SELECT * FROM read_parquet({sql_text(path)}, hive_partitioning = false)
        WHERE decision_id NOT IN (SELECT decision_id FROM read_parquet([{versions}], hive_partitioning = false))
    """
    with named_when_unreadable(lake.root), duckdb.connect(config=duckdb_limits(lake.root)) as connection:
        decided_at = start_of(as_of, time_zone)
        connection.register("offers", _costs_and_ends(catalogue, decided_at))
        own = TREATMENTS_OF.format(
            ledger=sql_text(files[-1]), arms=LANDING, decided_at=sql_text(decided_at.isoformat())
        )
        rows = connection.execute(f"""
            {own} {others if path.exists() else ""}
            ORDER BY user_id, decided_at, decision_id
        """).to_arrow_reader(BATCH)
        write_batches(rows, LANDED, path)


def _costs_and_ends(catalogue: Catalogue, decided_at: datetime) -> pa.Table:
    """List what a contact of every offer costs, and until when the offer is open if it is given now."""
    offers = catalogue.offers
    ends = [decided_at + timedelta(days=offer.valid_days) for offer in offers]
    return pa.table(
        {
            "offer_id": pa.array([offer.offer_id for offer in offers], pa.string()),
            "cost": pa.array([offer.contact_cost for offer in offers], pa.float64()),
            "valid_until": pa.array(ends, INSTANT),
        }
    )


def _folder(lake: Lake, day: date) -> Path:
    return lake.path("ledger", f"day={day:%Y-%m-%d}")


class _Digest:
    """Hash of rows, in their order, whatever file, batches or version of a library hold them."""

    def __init__(self) -> None:
        self.columns = {name: hashlib.sha256() for name in SCHEMA.names}

    def update(self, rows: pa.Table) -> None:
        """Take in more rows."""
        for name, column in zip(rows.column_names, rows.columns, strict=True):
            plain = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
            self.columns[name].update(pd.util.hash_array(plain.to_pandas().to_numpy(), categorize=True).tobytes())

    @property
    def text(self) -> bytes:
        """What stands in the file."""
        whole = "".join(name + digest.hexdigest() for name, digest in self.columns.items())
        return hashlib.sha256(whole.encode()).hexdigest().encode()
