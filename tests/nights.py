"""Nights of an app, run by the schedule's own flow functions without Prefect around them, the clock given."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apps import App
from prefect import Flow, Task

from features.storage.lake import Lake
from flows import backfill, scheduled_runs
from flows.runs.kept_profile import PROFILE_FILE

MODULES = (
    "backfill", "build_features", "ingest", "measure_offers", "scheduled_runs", "score_users", "send_list",
    "train_models",
)  # fmt: skip
ARTIFACTS = {"create_markdown_artifact", "create_link_artifact"}
DELIVERIES = """
CREATE VIEW events AS SELECT * FROM read_parquet(getvariable('raw') || '/deliveries/*.parquet');
CREATE VIEW users AS SELECT * FROM read_parquet(getvariable('raw') || '/users.parquet');
CREATE VIEW treatments AS SELECT * FROM read_parquet(getvariable('raw') || '/treatments.parquet');
"""


def without_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every flow and task be the function that it was made of; artifacts are not shown."""
    for name in MODULES:
        module = importlib.import_module(f"flows.{name}")
        for word, value in list(vars(module).items()):
            if isinstance(value, Flow | Task):
                monkeypatch.setattr(module, word, value.fn)
            elif word in ARTIFACTS:
                monkeypatch.setattr(module, word, lambda *_, **__: None)


def delivers_daily(app: App, history: pa.Table, treatments: pa.Table) -> App:
    """Let the raw folder of an app be one that a file is added to every day; the first holds its history."""
    raw = Path(app.settings.ingest.raw)
    (raw / "deliveries").mkdir()
    (raw / "events.parquet").unlink()
    pq.write_table(history, raw / "deliveries" / "0000.parquet")
    pq.write_table(treatments, raw / "treatments.parquet")
    Path(app.settings.ingest.source).write_text(DELIVERIES, encoding="utf-8")
    return app


@dataclass(frozen=True)
class Nights:
    """One app's folder, the profile that it is run by, and the events that arrive on each day."""

    app: App
    profile: Path
    arrivals: dict[date, pa.Table]

    @property
    def lake(self) -> Lake:
        """The app's lake."""
        return self.app.lake

    def new_folder(self) -> Nights:
        """Let the folder be filled by its own profile: it is a copy."""
        self.lake.files.remove(PROFILE_FILE)
        return self

    def deliver(self, day: date, name: str = "") -> None:
        """Put what arrived on a day into the raw folder."""
        path = Path(self.app.settings.ingest.raw) / "deliveries" / f"{day}{name}.parquet"
        pq.write_table(self.arrivals[day], path)

    def run(self, as_of: date) -> list[str]:
        """Run the daily flow; say what it warned of."""
        return scheduled_runs.score_daily(str(self.profile), str(self.lake.root), as_of).warnings

    def all_is_well(self, days: Iterable[date]) -> Nights:
        """Run nights of which each finds the file of the day before."""
        for as_of in days:
            self.deliver(as_of - timedelta(days=1))
            self.run(as_of)
        return self

    def make_up_for(self, first: date, last: date) -> None:
        """Ingest what has arrived by now, and decide the days that were missed."""
        given = str(self.profile), str(self.lake.root)
        scheduled_runs.ingest(*given, last)
        backfill.backfill(*given, first, last, decisions=True)

    def results(self, as_of: date) -> dict[str, pa.Table]:
        """Read what a night left: features and decisions."""
        places = {"decisions": ("decisions", "decisions"), "snapshots": ("snapshots", "snapshots")}
        places |= {"predictions": ("decisions", "predictions")}
        return {
            name: pq.read_table(self.lake.path(folder, f"day={as_of}", f"{file}.parquet"), partitioning=None)
            for name, (folder, file) in places.items()
        }


def differing(some: Nights, others: Nights, days: Iterable[date]) -> list[tuple[date, str]]:
    """Name every result of a night that two folders have different."""
    return [
        (day, name)
        for day in days
        for name, table in some.results(day).items()
        if not table.equals(others.results(day)[name])
    ]
