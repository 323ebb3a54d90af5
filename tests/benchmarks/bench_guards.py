"""How often guards fire where nothing is wrong, and whether they do where something is, in simulated apps.

Each world is trained once and decided on the mornings after; on the last of them faults are planted. Prints one JSON
object. What guards cost is a part of a day in ``bench_daily.py``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from configs.offers import load_catalogue
from configs.settings import Settings, load_settings
from features.materialise.as_of_view import open_as_of
from features.materialise.build_daily import build_aggregates
from features.simulator.world_request import begin_world
from features.storage.lake import Lake
from features.tables.parquet_files import write_parquet
from features.training_data.feature_store import open_store
from features.training_data.snapshot_run import bring_snapshots_up_to_date
from models.registry.model_reader import load
from models.training_run.outcome_models import fit_outcomes
from models.training_run.training_frames import collect_frames
from serving.decide.chosen_models import sampled_users
from serving.guards.data_guards import data_guards
from serving.guards.guard_findings import FIRED, Finding
from serving.guards.model_guards import model_findings

START, TAUGHT = date(2024, 1, 1), 140  # days before the training
Spoil = Callable[[pd.DataFrame], pd.DataFrame]
OF_MODELS: dict[str, Spoil] = {
    "days in hours": lambda rows: rows.assign(days_since_last_activity=rows["days_since_last_activity"] * 24),
    "a window that is empty": lambda rows: rows.assign(active_days_count_90d=0.0, active_days_count_28d=0.0),
    "money lost": lambda rows: rows.assign(spend_sum_90d=float("nan"), spend_sum_365d=float("nan")),
}
OF_EVENTS: dict[str, Spoil] = {
    "half of the day": lambda rows: rows.iloc[: len(rows) * 2 // 5],
    "names spelt anew": lambda rows: rows.assign(event_name=rows["event_name"].str.upper()),
    "ids of another kind": lambda rows: rows.assign(user_id="x" + rows["user_id"]),
}


def fired(findings: list[Finding]) -> int:
    """Count what fired."""
    return sum(finding.state == FIRED for finding in findings)


def of_events(settings: Settings, lake: Lake, day: date) -> dict[str, int]:
    """Spoil the events of the day before, each way once, and count what fires."""
    path, found = lake.partition("events", day - timedelta(days=1)), {}
    whole = pq.read_table(path, partitioning=None)
    for name, spoil in OF_EVENTS.items():
        rows = spoil(whole.to_pandas())
        write_parquet(whole.from_pandas(rows, schema=whole.schema, preserve_index=False), path)
        found[name] = fired(data_guards(settings, lake, day))
    write_parquet(whole, path)
    return found


def of_models(settings: Settings, lake: Lake, day: date) -> tuple[list[int], dict[str, int]]:
    """Ask the guards of churn and value about a morning, and again about the same users, spoilt."""
    bring_snapshots_up_to_date(settings, lake, day, only_today=True)
    with open_as_of(settings, lake, day) as history:
        store = open_store(lake, history.features, only=day)
        users = sampled_users(settings, lake, day, store, load_catalogue(settings.offers))
    models = [load(lake, subject) for subject in ("churn", "value")]

    def asked(rows: pd.DataFrame) -> list[int]:
        return [fired(model_findings(model, rows, settings.guards)) for model in models]

    return asked(users), {name: sum(asked(spoil(users))) for name, spoil in OF_MODELS.items()}


def world(seed: int, users: int, mornings: int, folder: Path) -> dict[str, object]:
    """Live one world, teach it once, and ask on every morning after."""
    settings = load_settings("simulated", folder, seed=seed)
    lake, taught = Lake(folder), START + timedelta(days=TAUGHT)
    begin_world(settings, lake, users=users, days=TAUGHT + mornings, random_weeks=0, nothing_share=0.2)
    build_aggregates(settings, lake)
    bring_snapshots_up_to_date(settings, lake, taught)
    fit_outcomes(settings, lake, taught, collect_frames(settings, lake, taught))
    days = [taught + timedelta(days=later) for later in range(1, mornings + 1)]
    alarms = [fired(data_guards(settings, lake, day)) for day in days]
    asked = [of_models(settings, lake, day) for day in days]
    return {
        "mornings": mornings,
        "data_guards_fired": sum(map(bool, alarms)),
        "model_guards_fired": sum(any(found) for found, _ in asked),
        "found_in_events": of_events(settings, lake, days[-1]),
        "found_in_models": asked[-1][1],
    }


def main() -> None:
    """Print what was found in each world, and the rates over all of them."""
    quick = "--quick" in sys.argv
    worlds, users, mornings = (1, 1_500, 6) if quick else (4, 5_000, 20)
    found = []
    for seed in range(worlds):
        with tempfile.TemporaryDirectory() as folder:
            found.append(world(seed + 1, users, mornings, Path(folder)))
    asked = worlds * mornings
    rates = {
        name: sum(int(str(each[name])) for each in found) / asked
        for name in ("data_guards_fired", "model_guards_fired")
    }
    sys.stdout.write(json.dumps({"mornings": asked, "false_alarm_rates": rates, "worlds": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
