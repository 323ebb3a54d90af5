"""The ledger of decisions: append-only, one entry per user, instant and trigger.

``ledger/day=YYYY-MM-DD/<instant>-<trigger>.parquet`` holds what counts, one row per user. It is a fact: other decisions
for its moment are refused, unless somebody supersedes it with a reason (`supersessions`); it then moves to
``ledger/superseded``, where it can be read and counts no more. What counts lands in the contract's ``treatments`` too,
where features and models find it like any other treatment.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from configs.errors import InputError
from configs.offers import NO_OFFER, Catalogue
from configs.settings import MACHINES, Settings
from features.ingestion.contract import TREATMENTS
from features.storage.lake import Lake
from features.storage.storage_interface import Publication
from features.storage.whole_writes import content_hash
from features.tables.duckdb_sessions import reading_session, sql_text
from features.tables.parquet_files import PACKED, column_names, read_notes, read_parquet, write_batches
from serving.stored_days.decision_moment import DecisionMoment
from serving.stored_days.supersessions import refusal, supersede

CONTENT, SEEN = b"winback.content", b"winback.seen"
SUPERSEDED = "ledger/superseded"
INSTANT = pa.timestamp("us", "UTC")
LANDING = ("policy", "explore", "control", "by_rule", "win_back")
# what a decision does not depend on: machines, folders, clocks, and what made the models, which have names
NO_MATTER = MACHINES | {"profile", "as_of", "ingest", "training", "offers", "guards", "segments"}

SCHEMA = pa.schema(
    [
        ("decision_id", pa.string()), ("user_id", pa.string()), ("as_of", INSTANT), ("trigger", pa.string()),
        ("policy_version", pa.string()), ("arm", pa.string()),
        ("offer_id", pa.string()), ("discount", pa.float64()), ("channel", pa.string()),
        ("propensity", pa.float64()), ("intended_offer_id", pa.string()), ("intended_discount", pa.float64()),
        ("intended_channel", pa.string()), ("expected_cost", pa.float64()), ("expected_value", pa.float64()),
        ("remaining_value", pa.float64()), ("p_churn", pa.float64()), ("risk_band", pa.string()),
        ("stage", pa.string()), ("lot_propensity", pa.float64()),
        ("experiment", pa.string()), ("variant", pa.string()),
    ]
)  # fmt: skip
OF_EXPERIMENTS = ("experiment", "variant")  # entries of an older winback lack them: nobody was in one
ARROW = {"text": pa.string(), "instant": INSTANT, "number": pa.float64(), "flag": pa.bool_()}
TREATMENTS_OF = """
    SELECT decision_id, user_id, as_of AS decided_at, offer_id, discount,
           coalesce(channel, 'none') AS channel, coalesce(lot_propensity, 1.0) AS propensity,
           coalesce(cost, 0.0) AS cost, valid_until,
           NULL::DOUBLE AS outcome, NULL::TIMESTAMPTZ AS outcome_at, NULL::BOOLEAN AS is_holdout
    FROM read_parquet({ledger}, hive_partitioning = false) LEFT JOIN offers USING (offer_id, as_of) WHERE arm IN {arms}
"""
BATCH = 100_000  # rows at a time
LANDED = pa.schema([(column.name, ARROW[column.kind]) for column in TREATMENTS.columns])


def policy_version(models: str, settings: Settings, catalogue: Catalogue) -> str:
    """Name a policy: eight hexadecimal digits that change with the models, the settings or the offers it rests on."""
    own = deciding_settings(settings)
    return content_hash(text=json.dumps([models, own, catalogue.model_dump(mode="json")], sort_keys=True))[:8]


def deciding_settings(settings: Settings) -> dict[str, Any]:
    """Write the settings on which a decision rests as plain values."""
    own = settings.model_dump(mode="json", exclude=NO_MATTER | {"scoring"})
    return own | {"scoring": settings.scoring.model_dump(mode="json", exclude={"batch_users"})}


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
    at_random = (decisions["propensity"].to_numpy() - np.where(as_intended, 1 - share, 0.0)) / (share or 1.0)
    is_drawn = pc.equal(decisions["arm"], "explore").to_numpy(zero_copy_only=False)
    own = {
        "lot_propensity": np.where(is_drawn, np.clip(at_random, 0.0, 1.0), np.nan),
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
def appending(
    lake: Lake, publication: Publication, moment: DecisionMoment, reason: str | None = None
) -> Iterator[Callable[[pa.Table], None]]:
    """Append the decisions of a moment, a batch at a time; they count once the publication does.

    Nothing is appended when the entry of this moment says the same already, whatever version of the policy made it.
    When it says otherwise, it is superseded for the `reason`: kept below ``ledger/superseded``, where it counts no
    more.

    Raises
    ------
    InputError
        The entry says otherwise and there is no reason, or it was carried out, a user has two rows, a row is of another
        moment, or the entry is damaged.
    """
    name = entry_name(moment)
    lake.files.check(name)
    stored = lake.files.local_path(name) if lake.files.exists(name) else None
    earlier = read_notes(stored).get(CONTENT) if stored else None
    path, content = publication.path(name), _Digest()
    seen = json.dumps([each.stem for each in later_entries(lake, moment)]).encode()
    with pq.ParquetWriter(path, SCHEMA, **PACKED) as writer:

        def enter(rows: pa.Table) -> None:
            _check_moment(rows, moment)
            content.update(rows)
            writer.write_table(rows)

        yield enter
        writer.add_key_value_metadata({CONTENT: content.text, SEEN: seen})
    _check_users(path, moment)
    if content.text == earlier or (stored and _decides_alike(lake, stored, path)):
        publication.discard(name)
    elif stored:
        if reason is None:
            raise InputError(refusal(lake, moment, stored, path))
        number = 1 + len(lake.files.list(f"{SUPERSEDED}/day={moment.day}/{moment.name}-*.parquet"))
        kept = f"{SUPERSEDED}/day={moment.day}/{moment.name}-{number:04d}.parquet"
        supersede(lake, publication, moment, name, kept, reason)


def _check_moment(rows: pa.Table, moment: DecisionMoment) -> None:
    is_own = pc.and_(
        pc.equal(rows["as_of"], pa.scalar(moment.in_utc, INSTANT)), pc.equal(rows["trigger"], moment.trigger)
    )
    if not pc.all(pc.fill_null(is_own, fill_value=False)).as_py():
        raise InputError(f"decisions of another moment than {moment.name} cannot be entered under it; enter them apart")


def _check_users(path: Path, moment: DecisionMoment) -> None:
    """Refuse a second decision of one user: the key of the ledger is user, instant and trigger."""
    user_ids = read_parquet(path, ["user_id"])["user_id"]
    if pc.count_distinct(user_ids, mode="all").as_py() < len(user_ids):
        counts = pc.value_counts(user_ids)
        twice = counts.filter(pc.greater(counts.field("counts"), 1))[0]["values"].as_py()
        raise InputError(f"user {twice!r} has two decisions of {moment.name}; give every user one")


def _decides_alike(lake: Lake, stored: Path, path: Path) -> bool:
    """Tell whether two entries differ in nothing but the name of what made them, as after an upgrade of winback."""
    columns = column_names(stored)
    if [name for name in SCHEMA.names if name not in OF_EXPERIMENTS or name in columns] != columns:
        return False
    old = ", ".join(name if name in columns else f"NULL::VARCHAR AS {name}" for name in SCHEMA.names)
    before, now = (
        f"SELECT * EXCLUDE (policy_version) FROM (SELECT {own} FROM read_parquet({sql_text(each)}, "
        "hive_partitioning = false))"
        for each, own in ((stored, old), (path, "*"))
    )
    with reading_session(lake) as connection:
        return not connection.execute(f"({before} EXCEPT ALL {now}) UNION ALL ({now} EXCEPT ALL {before})").fetchone()


def entry_name(moment: DecisionMoment) -> str:
    """Name the file of what counts of a moment."""
    return f"ledger/day={moment.day:%Y-%m-%d}/{moment.name}.parquet"


def files_of(lake: Lake, day: date, publication: Publication | None = None) -> list[Path]:
    """Files of what counts of a day, one per instant and trigger; also what a publication is about to add."""
    pattern = f"ledger/day={day:%Y-%m-%d}/*.parquet"
    staged = publication.list(pattern) if publication is not None else []
    stored = [lake.files.local_path(name) for name in lake.files.list(pattern) if name not in staged]
    lake.files.check(*(name for name in lake.files.list(pattern) if name not in staged))
    added = [publication.path(name) for name in staged] if publication is not None else []
    return sorted([*stored, *added], key=lambda path: path.name)


def later_entries(lake: Lake, moment: DecisionMoment) -> list[Path]:
    """Files of what was decided on a day at later instants, and yet before a moment's own entry was written.

    A night that is decided late must not write to whom a trigger has reached meanwhile. The entry of a moment notes
    them, so that a rerun finds what the first run found.
    """
    others = [path for path in files_of(lake, moment.day) if path.stem > moment.name]
    if lake.files.exists(entry_name(moment)):
        noted = read_notes(lake.files.local_path(entry_name(moment))).get(SEEN, b"[]")
        return [path for path in others if path.stem in json.loads(noted)]
    return others


def superseded_files(lake: Lake, day: date) -> list[Path]:
    """Files of what counted once and was decided otherwise later, oldest first of each moment."""
    return [lake.files.local_path(name) for name in lake.files.list(f"{SUPERSEDED}/day={day:%Y-%m-%d}/*.parquet")]


def effective_files(lake: Lake, first_day: date, last_day: date) -> list[Path]:
    """Files of what counts from `first_day` to `last_day`, both included, in order."""
    lake.require_whole("ledger")
    days = sorted({name.split("/")[1].removeprefix("day=") for name in lake.files.list("ledger/day=*/*.parquet")})
    wanted = [date.fromisoformat(day) for day in days if f"{first_day}" <= day <= f"{last_day}"]
    return [path for day in wanted for path in files_of(lake, day)]


def entries(lake: Lake, first_day: date, last_day: date, columns: list[str] | None = None) -> pa.Table:
    """Read what counts of some days, both ends included; all columns of `SCHEMA` unless some are named.

    Raises
    ------
    InputError
        A file is damaged.
    """
    wanted = SCHEMA.names if columns is None else columns
    files = effective_files(lake, first_day, last_day)
    parts = [read_parquet(path, [name for name in wanted if name in column_names(path)]) for path in files]
    nothing = SCHEMA.empty_table().select(wanted)
    tables = [nothing, *(part.replace_schema_metadata(None) for part in parts)]
    return pa.concat_tables(tables, promote_options="default")  # what an older winback did not write is missing


def land(lake: Lake, publication: Publication, day: date, catalogue: Catalogue, time_zone: str) -> None:
    """Make what counts of a day's ledger treatments of the contract: what was given, *nothing* included, and control.

    What was superseded is replaced; treatments from elsewhere stay. Who may get nothing at all, or is left to
    business as usual, was not given anything by choice: those decisions say nothing about what offers do. The
    propensity that lands is that within the draw: an explorer's chance among explorers, 1 for everybody else, whose
    option followed from what was known. So effects are learnt from random draws alone, whose chances are never tiny.
    """
    counting, name = files_of(lake, day, publication), lake.partition_name(TREATMENTS.name, day)
    own = _sql_files([*counting, *files_of(lake, day), *superseded_files(lake, day)])
    others = f"""
        UNION ALL BY NAME SELECT * FROM read_parquet({sql_text(lake.files.local_path(name))}, hive_partitioning = false)
        WHERE decision_id NOT IN (SELECT decision_id FROM read_parquet({own}, hive_partitioning = false))
    """
    lake.files.check(name)
    given = TREATMENTS_OF.format(ledger=_sql_files(counting), arms=LANDING)
    with reading_session(lake) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        instants = connection.sql(f"SELECT DISTINCT as_of FROM read_parquet({_sql_files(counting)})")
        moments = [each.astimezone(ZoneInfo(time_zone)) for each in instants.to_arrow_table()["as_of"].to_pylist()]
        connection.register("offers", _costs_and_ends(catalogue, moments))
        rows = connection.execute(f"""
            {given} {others if lake.files.exists(name) else ""}
            ORDER BY user_id, decided_at, decision_id
        """).to_arrow_reader(BATCH)
        write_batches(rows, LANDED, publication.path(name))


def _sql_files(paths: Sequence[Path]) -> str:
    return f"[{', '.join(map(sql_text, paths))}]"


def _costs_and_ends(catalogue: Catalogue, moments: Sequence[datetime]) -> pa.Table:
    """List what a contact of every offer costs, and until when the offer is open if it is given at some instants."""
    given = [(offer, moment) for moment in moments for offer in catalogue.offers]
    ends = [moment + timedelta(days=offer.valid_days) for offer, moment in given]
    return pa.table(
        {
            "offer_id": pa.array([offer.offer_id for offer, _ in given], pa.string()),
            "as_of": pa.array([moment for _, moment in given], INSTANT),
            "cost": pa.array([offer.contact_cost for offer, _ in given], pa.float64()),
            "valid_until": pa.array(ends, INSTANT),
        }
    )


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
