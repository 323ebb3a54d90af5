"""The ledger of decisions: everything that was ever decided, appended and never changed.

``ledger/day=YYYY-MM-DD/NNNN-<policy version>.parquet``; the newest file of a day is what counts. What counts lands in
the contract's ``treatments`` too, where features and models find it like any other treatment.
"""

from __future__ import annotations

import hashlib
import json
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from configs.offers import NOTHING as NO_OFFER
from configs.offers import Catalogue, Offer
from configs.settings import Settings
from features.contract import TREATMENTS
from features.lake import Lake, content_hash, named_when_unreadable, read_parquet, sql_text, write_parquet
from features.snapshots import start_of

CONTENT = b"winback.content"
INSTANT = pa.timestamp("us", "UTC")
LANDING = ("policy", "explore", "control")
# what a decision does not depend on: machines, folders, clocks, and what made the models, which have names
NO_MATTER = {"threads", "data_dir", "profile", "as_of", "schedule", "ingest", "training", "offers"}

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
LANDED = pa.schema([(column.name, ARROW[column.kind]) for column in TREATMENTS.columns])


def policy_version(models: str, settings: Settings, catalogue: Catalogue) -> str:
    """Name a policy: eight hexadecimal digits that change with the models, the settings or the offers it rests on."""
    own = settings.model_dump(mode="json", exclude=NO_MATTER | {"scoring"})
    own["scoring"] = settings.scoring.model_dump(mode="json", exclude={"batch_users"})
    return content_hash(text=json.dumps([models, own, catalogue.model_dump(mode="json")], sort_keys=True))[:8]


def entry_table(
    decisions: pa.Table, intended: npt.NDArray[np.intp], choices: list[tuple[Offer, float]], version: str,
    share: float,
) -> pa.Table:  # fmt: skip
    """Make ledger rows of decisions.

    Parameters
    ----------
    decisions
        Rows of the day's decisions.
    intended
        Place in `choices` of what the policy would have given, -1 for nothing; shape (users,).
    share
        Of those who may explore, who did. An explorer's ``lot_propensity`` is the chance of what was drawn among
        explorers; it is missing for everybody else.
    """
    offers = np.array([*(offer.offer_id for offer, _ in choices), NO_OFFER], dtype=object)
    channels = np.array([*(offer.channel for offer, _ in choices), None], dtype=object)
    as_intended = (offers[intended] == decisions["offer_id"].to_numpy(zero_copy_only=False)) & np.isclose(
        np.array([*(discount for _, discount in choices), 0.0])[intended], decisions["discount"].to_numpy()
    )
    by_lot = (decisions["propensity"].to_numpy() - np.where(as_intended, 1 - share, 0.0)) / (share or 1.0)
    is_lot = pc.equal(decisions["arm"], "explore").to_numpy(zero_copy_only=False)
    own = {
        "lot_propensity": np.where(is_lot, np.clip(by_lot, 0.0, 1.0), np.nan),
        "policy_version": [version] * len(decisions),
        "intended_offer_id": offers[intended],
        "intended_discount": np.array([*(discount for _, discount in choices), 0.0])[intended],
        "intended_channel": channels[intended],
    }
    columns = [
        pa.array(own[field.name], field.type, from_pandas=True) if field.name in own else decisions[field.name]
        for field in SCHEMA
    ]
    return pa.table(columns, schema=SCHEMA)


def append(lake: Lake, as_of: date, version: str, table: pa.Table) -> Path:
    """Append a day's decisions under the next number, unless its newest file says the same already.

    Returns
    -------
    The file that counts.

    Raises
    ------
    InputError
        The newest file is damaged.
    """
    content = _digest(table)
    files = files_of(lake, as_of)
    if files and (read_parquet(files[-1]).schema.metadata or {}).get(CONTENT) == content:
        return files[-1]
    number = int(files[-1].name[:4]) + 1 if files else 1
    path = _folder(lake, as_of) / f"{number:04d}-{version}.parquet"
    write_parquet(table.replace_schema_metadata({CONTENT: content}), path)
    return path


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
    parts = [read_parquet(path).select(wanted) for path in effective_files(lake, first_day, last_day)]
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
    landed = _treatments(read_parquet(files[-1]), start_of(as_of, time_zone), catalogue)
    own = ", ".join(sql_text(file) for file in files)
    others = f"""
        UNION ALL BY NAME SELECT * FROM read_parquet({sql_text(path)}, hive_partitioning = false)
        WHERE decision_id NOT IN (SELECT decision_id FROM read_parquet([{own}], hive_partitioning = false))
    """
    with named_when_unreadable(lake.root), duckdb.connect() as connection:
        connection.register("landed", landed)
        rows = connection.execute(f"""
            SELECT * FROM landed {others if path.exists() else ""} ORDER BY user_id, decided_at, decision_id
        """).to_arrow_table()
    write_parquet(rows.cast(LANDED), path)


def _treatments(entries: pa.Table, decided_at: datetime, catalogue: Catalogue) -> pa.Table:
    """Write ledger rows in the contract's columns."""
    rows = entries.filter(pc.is_in(entries["arm"], pa.array(LANDING)))
    offer_id = rows["offer_id"].to_pandas()
    cost = {offer.offer_id: offer.contact_cost for offer in catalogue.offers}
    ends = {offer.offer_id: decided_at + timedelta(days=offer.valid_days) for offer in catalogue.offers}
    own = {
        "decided_at": [decided_at] * len(rows),
        "propensity": pc.fill_null(rows["lot_propensity"], 1.0),
        "channel": pc.fill_null(rows["channel"], NO_OFFER),
        "cost": offer_id.map(cost).fillna(0.0),
        "valid_until": pd.to_datetime(offer_id.map(ends), utc=True),
    }
    columns = [
        pa.array(own[field.name], field.type, from_pandas=True) if field.name in own else rows[field.name]
        for field in LANDED
    ]
    return pa.table(columns, schema=LANDED)


def _folder(lake: Lake, day: date) -> Path:
    return lake.path("ledger", f"day={day:%Y-%m-%d}")


def _digest(table: pa.Table) -> bytes:
    """Hash the rows, in their order, whatever file or version of a library holds them."""
    digest = hashlib.sha256()
    for name, column in zip(table.column_names, table.columns, strict=True):
        plain = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        hashed = pd.util.hash_array(plain.to_pandas().to_numpy(), categorize=True)
        digest.update(name.encode() + hashed.tobytes())
    return digest.hexdigest().encode()
