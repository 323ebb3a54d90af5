"""Random histories of a small app, and data folders that have received some of their rows."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from apps import App, Row, arrow

from configs.settings import load_settings
from features.arrays.calendar_days import start_of
from features.engine import state_store
from features.ingestion.contract import EVENTS, TREATMENTS
from features.materialise.build_snapshots import build_snapshots
from features.tables.parquet_files import write_parquet

AS_OF = date(2024, 7, 1)
ROLES = load_settings().roles
EVENT_NAMES = [*sorted({name for _, names in ROLES for name in names}), "unheard_of"]
EDGES = [edge + more for edge in (0, 7, 14, 28, 90, 365) for more in (-1, 0, 1)]  # days before a snapshot
MINUTE = timedelta(minutes=1)
CONTRACTS = {"events": EVENTS, "treatments": TREATMENTS}


@dataclass(frozen=True)
class History:
    """Rows of an app of four users, and days of snapshots of which the last is `AS_OF`."""

    time_zone: str
    days: list[date]
    rows: dict[str, list[Row]]
    users: pa.Table

    def start(self, day: date) -> datetime:
        """First instant of a day."""
        return start_of(day, self.time_zone)

    def known_before(self, day: date) -> dict[str, list[Row]]:
        """Rows that had happened and had arrived before a day."""
        start = self.start(day)
        return {
            "events": [row for row in self.rows["events"] if (row["received_at"] or row["occurred_at"]) < start],
            "treatments": [row for row in self.rows["treatments"] if row["decided_at"] < start],
        }

    def users_of_the_oracle(self) -> pa.Table:
        """The users table as it joins in the oracle: days of signing up, and traits by the names of their columns."""
        signed_up_on = self.users["signed_up_at"].cast(pa.date32())
        traits = {f"trait_{name}": self.users[name] for name in ("country", "pets")}
        return pa.table({"user_id": self.users["user_id"], "signed_up_on": signed_up_on, **traits})


def random_history(seed: int, *, time_zone: str = "UTC") -> History:
    """Draw a history: events near the edges of windows and of the snapshots' days, every third of them late.

    Some days long ago hold events that no step from snapshot to snapshot moves from window to window, so that to carry
    on is always less work than to begin anew.
    """
    rng = np.random.default_rng(seed)
    steps = np.cumsum(rng.integers(1, 9, size=rng.integers(1, 3)))[::-1].tolist()
    days = [*(AS_OF - timedelta(days=step) for step in steps), AS_OF]
    still = [int(age) for age in rng.choice(np.arange(130, 330), 6, replace=False)]
    ages = [*still, *rng.choice(EDGES, 6), *rng.integers(-12, 40, 4), *rng.integers(0, 420, 2)]
    snapshots = [AS_OF] * len(still) + [days[place] for place in rng.integers(0, len(days), len(ages) - len(still))]
    starts = [start_of(day, time_zone) for day in days]
    events: list[Row] = []
    for age, snapshot in zip(ages, snapshots, strict=True):
        for _ in range(int(rng.integers(1, 4))):
            hours = float(rng.choice([0.0, 23.99, 24 * rng.random()]))
            at = start_of(snapshot - timedelta(days=int(age)), time_zone) + timedelta(hours=hours)
            events.append(_event(rng, len(events), at, starts))
    treatments = [
        {
            "decision_id": f"d{number}",
            "user_id": str(rng.choice([*"abc"])),
            "offer_id": str(rng.choice(["gift", "none"])),
            "decided_at": start_of(AS_OF - timedelta(days=int(age)), time_zone),
            "discount": 0.1,
            "channel": "push",
        }
        for number, age in enumerate(rng.choice([*EDGES, *range(-5, 30)], 4))
    ]
    return History(time_zone, days, {"events": events, "treatments": treatments}, _users(rng, days, time_zone))


def _event(rng: np.random.Generator, number: int, at: datetime, starts: list[datetime]) -> Row:
    """Draw an event; what is late arrives hours or weeks later, or at the very start of a snapshot's day."""
    late = at + timedelta(hours=float(rng.choice([1, 30, 700 * rng.random()])))
    at_start = [start - more for start in starts for more in (timedelta(0), MINUTE) if start - more >= at]
    arrivals = [None, None, None, late, *([at_start[int(rng.integers(len(at_start)))]] if at_start else [])]
    return {
        "event_id": f"e{number}",
        "user_id": str(rng.choice([*"abcd"], p=[0.5, 0.3, 0.15, 0.05])),
        "event_name": str(rng.choice(["purchase", "view_item", str(rng.choice(EVENT_NAMES))])),
        "occurred_at": at,
        "received_at": arrivals[int(rng.integers(len(arrivals)))],
        "amount": [None, 0.1, 19.99, 250.0][int(rng.integers(4))],
        "discount": [None, 0.0, 0.1, 5.0][int(rng.integers(4))],
        "item_category": [None, "tea", "pots", "9"][int(rng.integers(4))],
        "session_id": [None, "s1", "s2"][int(rng.integers(3))],
    }


def _users(rng: np.random.Generator, days: list[date], time_zone: str) -> pa.Table:
    signed_up = [start_of(days[-1] - timedelta(days=int(age)), time_zone) for age in rng.choice([400, 30, 1, 0, -3], 3)]
    return pa.table(
        {
            "user_id": ["a", "b", "new"],
            "signed_up_at": pa.array(signed_up, pa.timestamp("us", "UTC")),
            "country": ["DE", None, "US"],
            "pets": [1.0, 2.0, None],
        }
    )


class Folder:
    """A data folder that receives rows as ingestion would write them, and the snapshots that are stored in it."""

    def __init__(self, root: Path, history: History) -> None:
        self.app = App(load_settings(data_dir=root, threads=1, time_zone=history.time_zone))
        self.history = history
        write_parquet(history.users, self.app.lake.path("users", "users.parquet"))

    def receive(self, rows: dict[str, list[Row]]) -> Folder:
        """Hold exactly these rows, and bring the daily rows up to date."""
        for table, of_table in rows.items():
            instant = CONTRACTS[table].instant
            by_day: dict[date, list[Row]] = defaultdict(list)
            for row in of_table:
                by_day[row[instant].astimezone(self.history.start(AS_OF).tzinfo).date()].append(row)
            for day, found in by_day.items():
                write_parquet(contract_table(table, found), self.app.lake.partition(table, day))
        self.app.aggregate()
        return self

    def stored(self, *days: date) -> bytes:
        """Bring the snapshots of some days up to date, one after another; returns the file of the last."""
        for day in days:
            with self.app.history(day) as history:
                build_snapshots(history, [day])
        return self.app.lake.partition("snapshots", days[-1]).read_bytes()

    def forget(self) -> Folder:
        """Leave no snapshot and no checkpoint."""
        for name in ("snapshots", state_store.FOLDER):
            shutil.rmtree(self.app.lake.path(name), ignore_errors=True)
        return self


def contract_table(table: str, rows: Iterable[Row]) -> pa.Table:
    """Rows of a contract table with all of its columns, in the order of users."""
    names = CONTRACTS[table].names
    return arrow(
        table, [{name: row.get(name) for name in names} for row in sorted(rows, key=lambda row: row["user_id"])]
    )
