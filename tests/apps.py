"""Small apps for the tests: rows written as raw Parquet files beside the SQL source that maps them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from configs.settings import Settings, load_settings
from features.ingestion.contract import ALIASES, CONTRACT
from features.ingestion.ingest_source import TableIngest, ingest_source
from features.ingestion.table_rows import DayRange
from features.materialise.as_of_view import AsOfView, open_as_of
from features.materialise.build_daily import build_aggregates
from features.materialise.build_snapshots import build_snapshots
from features.storage.lake import Lake

Row = dict[str, object]
Rows = Iterable[Row] | pa.Table

ARROW_TYPES = {"text": pa.string(), "number": pa.float64(), "flag": pa.bool_(), "instant": pa.timestamp("us", "UTC")}
TINY_FIRST_DAY = date(2024, 1, 1)
TINY_DAYS = 200
TINY_AS_OF = TINY_FIRST_DAY + timedelta(days=TINY_DAYS)
TINY_USERS = 160
NOW = datetime(2025, 1, 1, tzinfo=UTC)

TINY_OFFERS = """
[come_back]
title = "Come back"
play = "win-back push"
channel = "push"
message = "{{ discount }} off {{ category }} until {{ last_day }}."
discounts = [0.05, 0.10, 0.20]
valid_days = 7
contact_cost = 0.01
covered_spend = 20.0

[bundle]
title = "Bundle"
play = "bundle mail"
channel = "email"
message = "{{ title }}: {{ discount }} off until {{ last_day }}."
discounts = [0.10]
valid_days = 10
contact_cost = 0.02
covered_spend = 30.0
"""


@dataclass(frozen=True)
class App:
    """One app of a test: its settings, and the steps of the two lowest layers."""

    settings: Settings

    @property
    def lake(self) -> Lake:
        """The app's lake."""
        return Lake(self.settings.data_dir)

    def write(self, **tables: Rows) -> App:
        """Replace the raw files, and the source that reads them, by these tables."""
        raw = Path(self.settings.ingest.raw)
        raw.mkdir(parents=True, exist_ok=True)
        for name, rows in tables.items():
            pq.write_table(rows if isinstance(rows, pa.Table) else arrow(name, rows), raw / f"{name}.parquet")
        Path(self.settings.ingest.source).write_text(source_sql(*tables), encoding="utf-8")
        return self

    def copy_to(self, folder: Path) -> App:
        """Copy everything to another folder; the copy is free to change."""
        shutil.copytree(self.settings.data_dir.parent, folder, dirs_exist_ok=True)
        own = {"source": str(folder / "app.sql"), "raw": str(folder / "raw")}
        ingest = self.settings.ingest.model_copy(update=own)
        changes = {"data_dir": folder / "data", "ingest": ingest, "offers": str(folder / "offers.toml")}
        return App(self.settings.model_copy(update=changes))

    def ingest(self, now: datetime = NOW, replacing: DayRange | None = None) -> dict[str, TableIngest]:
        """Ingest the raw files; one report per table."""
        return {report.table: report for report in ingest_source(self.settings, self.lake, now, replacing)}

    def aggregate(self) -> list[date]:
        """Bring the daily aggregates up to date."""
        return build_aggregates(self.settings, self.lake)

    def history(self, as_of: date) -> AbstractContextManager[AsOfView]:
        """Open the lake as it stood at the start of `as_of`."""
        return open_as_of(self.settings, self.lake, as_of)

    def snapshots(self, *days: date) -> pd.DataFrame:
        """Compute and read back the snapshots of `days`, indexed by (user, day)."""
        with self.history(max(days)) as history:
            build_snapshots(history, list(days))
        tables = [
            pd.read_parquet(self.lake.partition("snapshots", day), partitioning=None).assign(day=day) for day in days
        ]
        return pd.concat(tables).set_index(["user_id", "day"]).sort_index()


def source_sql(*tables: str) -> str:
    """Source that takes each raw table as it is."""
    views = (
        f"CREATE VIEW {name} AS SELECT * FROM read_parquet(getvariable('raw') || '/{name}.parquet');" for name in tables
    )
    return "\n".join(views)


def arrow(table: str, rows: Iterable[Row]) -> pa.Table:
    """Rows of a contract table as Arrow; a column that no row has is left out, an unknown one is inferred."""
    rows = list(rows)
    kinds = {
        column.name: ARROW_TYPES[column.kind]
        for part in (*CONTRACT, ALIASES)
        if part.name == table
        for column in part.columns
    }
    if table == "users":  # known for as long as any test goes back, unless it says since when
        rows = [{"known_from": at("2000-01-01"), **row} for row in rows]
    names = list(dict.fromkeys(name for row in rows for name in row)) or list(kinds)
    return pa.table({name: pa.array([row.get(name) for row in rows], kinds.get(name)) for name in names})


def small_app(folder: Path, *, overrides: dict[str, object] | None = None, **tables: Rows) -> App:
    """App below `folder` whose raw files hold exactly these tables."""
    settings = load_settings(
        **{
            "data_dir": folder / "data",
            "ingest": {"source": str(folder / "app.sql"), "raw": str(folder / "raw")},
            "threads": 1,
            **(overrides or {}),
        }
    )
    return App(settings).write(**tables)


def at(text: str) -> datetime:
    """Instant in UTC: ``at("2024-03-01")`` or ``at("2024-03-01 23:59")``."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def event(user: str, moment: str, name: str, **columns: object) -> Row:
    """Event of the contract; its id is made of the three unless given."""
    instants = {key: at(str(columns.pop(key))) for key in ("received_at",) if key in columns}
    return {
        "event_id": f"{user}|{moment}|{name}|{columns.get('item_id', '')}",
        "user_id": user,
        "event_name": name,
        "occurred_at": at(moment),
        **columns,
        **instants,
    }


def treatment(user: str, moment: str, offer: str, discount: float, **columns: object) -> Row:
    """Treatment of the contract by push."""
    instants = {key: at(str(columns.pop(key))) for key in ("valid_until",) if key in columns}
    return {
        "decision_id": f"{user}|{moment}|{offer}",
        "user_id": user,
        "decided_at": at(moment),
        "offer_id": offer,
        "discount": discount,
        "channel": "push",
        **columns,
        **instants,
    }


def tiny_app(folder: Path, *, seed: int = 7, **overrides: object) -> App:
    """App of 160 users over 200 days with everything in it: the whole funnel, late events, randomised offers, dirt.

    Users come at a rate of their own until they leave; who comes rarely leaves sooner. Every fourth week each
    user gets nothing or one of four options, each with propensity 0.2; a higher discount is redeemed more often.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "offers.toml").write_text(TINY_OFFERS, encoding="utf-8")
    random = np.random.default_rng(seed)
    users = [_tiny_user(random, number) for number in range(TINY_USERS)]
    treatments = list(_tiny_treatments(random, users))
    events = [row for user in users for row in _tiny_visits(random, user)] + list(_tiny_redemptions(random, treatments))
    for number, row in enumerate(events):
        row["event_id"] = f"e{number:06d}"
    late = random.choice(len(events), size=len(events) // 50, replace=False)
    for number in late:
        events[number]["received_at"] = events[number]["occurred_at"] + timedelta(hours=int(random.integers(20, 100)))
    dirt = events[:5] + [{**row, "event_id": f"bad-{row['event_id']}", "user_id": None} for row in events[5:8]]
    columns = [{name: value for name, value in user.items() if not name.startswith("_")} for user in users]
    given = [{name: value for name, value in row.items() if not name.startswith("_")} for row in treatments]
    return small_app(
        folder,
        overrides={**tiny_overrides(folder), **overrides},
        events=arrow("events", events + dirt),
        users=columns,
        treatments=given,
    )


def tiny_overrides(folder: Path) -> dict[str, object]:
    """Settings under which the tiny app has enough of everything."""
    return {
        "app": "Tiny",
        "offers": str(folder / "offers.toml"),
        "features": {"snapshot_every_days": 14, "min_history_days": 56},
        "churn": {"lookback_days": 56, "horizon_days": 28},
        "value": {"horizon_days": 28},
        "response": {"holdout_days": 42, "min_treatments": 100},
        "training": {"holdout_days": 28, "bootstrap_samples": 100, "min_users": 50, "trees": 20, "min_leaf_rows": 10},
        "scoring": {"budget": 20.0, "batch_users": 60},
    }


def _tiny_user(random: np.random.Generator, number: int) -> Row:
    rate = float(random.beta(1.2, 5.0)) + 0.03
    joined = int(random.integers(0, 60))
    stays = int(random.exponential(60 + 900 * rate)) + 3
    return {
        "user_id": f"u{number:03d}",
        "signed_up_at": _instant(joined, 0.3),
        "country": str(random.choice(["DE", "FR", "US"])),
        "device": str(random.choice(["ios", "android"])),
        "birth_year": float(random.integers(1950, 2005)),
        "gender": str(random.choice(["f", "m"])),
        "consent_push": bool(random.random() < 0.8),
        "consent_email": bool(random.random() < 0.6),
        "plan": str(random.choice(["free", "plus"])),
        "household_size": int(random.integers(1, 6)),
        "nickname": f"nick {number}",
        "_rate": rate,
        "_days": range(joined, min(TINY_DAYS, joined + stays)),
    }


def _tiny_visits(random: np.random.Generator, user: Row) -> Iterator[Row]:
    days = user["_days"]
    favourite = int(random.integers(0, 5))
    yield _tiny_event(user, days[0], 0.3, "sign_up", "start")
    if random.random() < 0.7:
        yield _tiny_event(user, days[0], 0.31, "tutorial_complete", "start")
    for day in range(days[0], TINY_DAYS, 7):
        yield _tiny_event(user, day, 0.4, "notification_receive", None, channel="push")
        if day in days and random.random() < 0.3:
            yield _tiny_event(user, day, 0.45, "notification_open", None, channel="push")
    for day in (day for day in days if random.random() < user["_rate"]):
        category = f"category {favourite if random.random() < 0.6 else int(random.integers(0, 5))}"
        yield from _tiny_visit(random, user, day, category)


def _tiny_visit(random: np.random.Generator, user: Row, day: int, category: str) -> Iterator[Row]:
    start, basket = float(random.uniform(0.3, 0.9)), f"{user['user_id']}-{day}"
    yield _tiny_event(user, day, start, "session_start", basket)
    for step in range(int(random.integers(1, 4))):
        item = {"item_id": f"i{int(random.integers(0, 40))}", "item_category": category}
        yield _tiny_event(user, day, start + 0.005 * step, "view_item", basket, **item)
    if random.random() < 0.6:
        yield _tiny_event(user, day, start + 0.02, "add_to_cart", basket, **item)
        if random.random() < 0.7:
            yield _tiny_event(user, day, start + 0.03, "begin_checkout", basket)
            if random.random() < 0.15:
                yield _tiny_event(user, day, start + 0.035, "payment_failed", basket)
                return
            amount = round(float(random.gamma(3.0, 8.0)) + 1.0, 2)
            cut = round(amount * 0.1, 2) if random.random() < 0.3 else 0.0
            yield _tiny_event(user, day, start + 0.04, "purchase", basket, amount=amount, discount=cut, **item)
            if random.random() < 0.04 and day + 3 < TINY_DAYS:
                yield _tiny_event(user, day + 3, 0.5, "refund", basket, amount=-amount, **item)
    if day == user["_days"][-1] and day < TINY_DAYS - 1 and random.random() < 0.5:
        yield _tiny_event(user, day, 0.95, "app_remove", None)


def _tiny_treatments(random: np.random.Generator, users: list[Row]) -> Iterator[Row]:
    options = [("none", 0.0, "none"), ("bundle", 0.10, "email")]
    options += [("come_back", discount, "push") for discount in (0.05, 0.10, 0.20)]
    for day in range(63, TINY_DAYS, 14):
        for user in users:
            if user["_days"][0] >= day or random.random() < 0.5:
                continue
            offer, discount, channel = options[int(random.integers(0, len(options)))]
            yield {
                "decision_id": f"d-{user['user_id']}-{day}",
                "user_id": user["user_id"],
                "decided_at": _instant(day, 0.25),
                "offer_id": offer,
                "discount": discount,
                "channel": channel,
                "propensity": 0.2,
                "_user": user,
                "_day": day,
            }


def _tiny_redemptions(random: np.random.Generator, treatments: list[Row]) -> Iterator[Row]:
    for row in (row for row in treatments if row["offer_id"] != "none"):
        user, day = row["_user"], row["_day"] + int(random.integers(1, 7))
        is_here = day in user["_days"]
        if day >= TINY_DAYS or random.random() > 1.5 * row["discount"] + (user["_rate"] if is_here else -0.1):
            continue
        amount = round(float(random.gamma(3.0, 8.0)) + 1.0, 2)
        money = {"amount": amount, "discount": round(amount * row["discount"], 2)}
        basket = f"{user['user_id']}-{day}-offer"
        offer = {"offer_id": row["offer_id"], "decision_id": row["decision_id"]}
        yield _tiny_event(user, day, 0.6, "purchase", basket, item_category="category 0", **money)
        yield _tiny_event(user, day, 0.6, "offer_redeem", basket, **money, **offer)


def _tiny_event(user: Row, day: int, clock: float, name: str, basket: str | None, **columns: object) -> Row:
    moment = _instant(day, clock)
    return {"user_id": user["user_id"], "event_name": name, "occurred_at": moment, "session_id": basket, **columns}


def _instant(day: int, clock: float) -> datetime:
    midnight = datetime.combine(TINY_FIRST_DAY, datetime.min.time(), tzinfo=UTC)
    return midnight + timedelta(days=day, seconds=round(clock * 86_400))
