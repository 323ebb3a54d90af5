"""Retention: what is older than its period goes, what windows, labels and state still need does not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from apps import TINY_AS_OF, TINY_FIRST_DAY, App, at, event, small_app

from configs.errors import InputError
from configs.settings import load_settings
from features.erasure.retention_periods import remove_expired, retention_line
from features.materialise.as_of_view import snapshot_days
from features.tables.parquet_files import write_parquet
from features.tables.removed_days import first_kept_days

TODAY = date(2024, 7, 1)


def _with(app: App, **days: int) -> App:
    kept = app.settings.retention.model_copy(
        update=days
    )  # not checked: the tiny app's windows are longer than its life
    return App(app.settings.model_copy(update={"retention": kept}))


def test_features_are_the_same_after_old_events_went_and_no_ingest_brings_them_back(
    copy_tiny: Callable[[Path], App], tmp_path: Path
) -> None:
    app = _with(copy_tiny(tmp_path), events=100)
    before = app.snapshots(TINY_AS_OF)
    days = app.lake.days("aggregates")
    (told,) = remove_expired(app.settings, app.lake, TINY_AS_OF)
    first = TINY_AS_OF - timedelta(days=100)
    assert app.lake.days("events")[0] == first and f"before {first} removed ({TINY_FIRST_DAY} to" in told
    assert first_kept_days(app.lake) == {"events": first}
    again = app.ingest()["events"]
    assert again.added == 0 and again.left_out["of days that retention has removed"] > 1000
    assert app.aggregate() == [] and app.lake.days("aggregates") == days
    app.lake.files.remove("snapshots")
    assert app.snapshots(TINY_AS_OF).drop(columns="created_at").equals(before.drop(columns="created_at"))
    assert remove_expired(app.settings, app.lake, TINY_AS_OF) == []


def test_each_table_loses_the_days_before_its_own_period_and_nothing_else(tmp_path: Path) -> None:
    app = _with(
        small_app(tmp_path, events=[event("u", "2024-01-01", "purchase")]),
        options=10,
        cubes=11,
        reports=15,
        runs=5,
        quarantine=30,
    )
    lake = app.lake
    with lake.files.publish() as publication:
        for day in ("2024-06-10", "2024-06-20", "2024-06-21"):
            publication.write(f"decisions/day={day}/options.parquet", b"o")
            publication.write(f"decisions/day={day}/decisions.parquet", b"d")
            publication.write(f"cubes/day={day}/cubes.parquet", b"c")
            publication.write(f"reports/{day}.html", b"r")
        refused = pa.table(
            {
                "event_id": ["a", "b", "c"],
                "occurred_at": pa.array([at("2024-05-31"), at("2024-06-02"), None], pa.timestamp("us", "UTC")),
            }
        )
        write_parquet(refused, publication.path("quarantine/app/events.parquet"))
    for day in ("2024-06-20", "2024-06-30"):
        lake.files.write(f"runs/{day}T000000-one.json", b"{}")
    with lake.files.write_held("runs/2024-06-10T000000-schedule.json", b"{}"):  # by a process that goes on
        told = remove_expired(app.settings, lake, TODAY)
    assert lake.files.list("decisions/*/options.parquet") == ["decisions/day=2024-06-21/options.parquet"]
    assert len(lake.files.list("decisions/*/decisions.parquet")) == 3
    assert len(lake.files.list("cubes/*/cubes.parquet")) == 2
    assert lake.files.list("reports/*.html") == ["reports/2024-06-20.html", "reports/2024-06-21.html"]
    assert lake.files.list("runs/*.json") == [
        "runs/2024-06-10T000000-schedule.json",
        "runs/2024-06-30T000000-one.json",
    ]
    assert told[-1] == "retention: 1 refused row of before 2024-06-01 removed"
    assert not lake.files.suspects()
    assert retention_line(app.settings, lake).startswith(
        "options 10 days (from 2024-06-21 on), cubes 11 days (from 2024-06-20 on), runs 5 days"
    )


def test_a_period_that_takes_what_is_still_needed_is_refused_with_the_arithmetic() -> None:
    with pytest.raises(
        InputError, match=r"retention.events = 400 days .* windows reach 365 days .* keep it for \d+ days"
    ):
        load_settings(retention={"events": 400})
    with pytest.raises(InputError, match=r"retention\.ledger = 30 days"):
        load_settings(retention={"ledger": 30})
    assert load_settings(retention={"events": 4000, "runs": 1}).retention.periods == {"events": 4000, "runs": 1}


def test_models_learn_from_no_snapshot_beyond_its_period(copy_tiny: Callable[[Path], App], tmp_path: Path) -> None:
    app = copy_tiny(tmp_path)
    every = snapshot_days(app.settings, app.lake, TINY_AS_OF, holdouts=(28,))
    kept = snapshot_days(_with(app, snapshots=60).settings, app.lake, TINY_AS_OF, holdouts=(28,))
    assert kept == [day for day in every if day >= TINY_AS_OF - timedelta(days=60)] != every
