"""How good tastes and hours are: The Complete Journey at three cuts, and a simulated app whose hours are known.

Again and new: lists of five categories, judged on the 28 days from each cut on by a model that was learnt before it.
Hours: the share of users with ten or more openings whose best hour is within two of the planted one, and what a day of
offers to everybody costs. Run as a script it prints one JSON object; ``--quick`` takes one cut and few users.
The data folder is that of ``winback demo`` (``WINBACK_DATA_DIR``, else ``data``).
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from configs.offers import load_catalogue
from configs.settings import load_settings
from features.arrays.calendar_days import days_since_1970
from features.materialise.as_of_view import AsOfView, open_as_of
from features.simulator.simulated_events import own_hours
from features.simulator.simulator_run import new_world, simulate
from features.storage.lake import USERS_FILE, Lake
from features.tables.duckdb_sessions import duckdb_session, ibis_engine
from features.training_data.purchases import Purchases, read_purchases
from features.training_data.recent_events import active_hours
from features.training_data.scoring_frames import known_users
from models.send_time.hour_weights import population_weights, time_weights
from models.tastes.taste_training import HORIZON, fit_tastes, judge_tastes

CUTS = (date(2017, 10, 2), date(2017, 11, 27), date(2017, 8, 7))
USERS, DAYS = 100_000, 90
Metrics = dict[str, dict[str, float]]


def tastes(cuts: tuple[date, ...]) -> Metrics:
    """Judge again and new on real households."""
    settings = load_settings("complete_journey")
    lake, last = Lake(settings.data_dir), date(2018, 1, 1)
    with open_as_of(settings, lake, last) as history:
        everybody = known_users(lake, last)
        found = read_purchases(history, everybody, 400)
    first, metrics = days_since_1970(history.first_day), dict[str, dict[str, float]]()
    for cut in cuts:
        began = time.perf_counter()
        number = days_since_1970(cut)
        known = found.day < number + HORIZON
        seen = Purchases(*(column[known] for column in found[:4]), found.categories)
        model = fit_tastes(seen, len(everybody), number, first)
        assert model is not None
        for name, metric in judge_tastes(model, seen, len(everybody), number).items():
            metrics[f"{cut}.{name}"] = metric.as_dict()
        metrics[f"{cut}.tastes.seconds"] = {"value": time.perf_counter() - began}
    return metrics


def hours(users: int) -> Metrics:
    """Find planted hours, and time it for everybody."""
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings("simulated", Path(folder), seed=1)
        lake = Lake(settings.data_dir)
        simulate(settings, lake, new_world(settings, load_catalogue("simulated"), users, days=DAYS), DAYS, 0, 0.2)
        people = pd.read_parquet(lake.path(USERS_FILE), columns=["user_id", "time_zone"])
        as_of, began = lake.days("events")[-1] + timedelta(days=1), time.perf_counter()
        with duckdb_session(settings) as connection:
            nobody: dict[str, bool] = {}
            history = AsOfView(settings, lake, as_of, ibis_engine(connection, settings), None, nobody)
            zones = people["time_zone"].to_numpy(dtype=object)
            found = active_hours(history, people["user_id"], zones, settings.send_time.history_days)
        population = population_weights(found, users, as_of, settings.send_time)
        push = np.full(users, "push", dtype=object)
        weights = time_weights(found, push, users, as_of, settings.send_time, population)
        seconds = time.perf_counter() - began
        opened = pd.read_parquet(lake.path("events"), columns=["user_id", "event_name"])
        counts = opened.loc[opened["event_name"] == "notification_open", "user_id"].value_counts()
        is_known = counts.reindex(people["user_id"], fill_value=0).to_numpy() >= 10
    apart = np.abs(weights.hours.argmax(axis=1) - own_hours(users))[is_known]
    is_near = np.minimum(apart, 24 - apart) <= 2
    reach = 1.96 * float(is_near.std()) / np.sqrt(len(is_near))
    share = float(is_near.mean())
    near = {"value": share, "low": share - reach, "high": share + reach, "n": len(is_near)}
    return {"hours.within_two": near, "hours.seconds": {"value": seconds, "n": users}}


def main() -> None:
    """Print what was measured."""
    is_quick = "--quick" in sys.argv
    found = tastes(CUTS[:1] if is_quick else CUTS) | hours(USERS // 10 if is_quick else USERS)
    print(json.dumps({"command": "bench_tastes", "metrics": found}, indent=1, default=float))  # noqa: T201


if __name__ == "__main__":
    main()
