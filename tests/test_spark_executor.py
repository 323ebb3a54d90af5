"""Spark: what it builds has the bits of what one machine builds, and either takes over from the other."""

from __future__ import annotations

import importlib.util
import os
import shutil
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from apps import NOW, TINY_AS_OF, App, event, small_app, tiny_app
from synthetic import AS_OF, behaviour, small_policy, small_settings
from test_cli import STEPS, Shell, write_profile

from configs.errors import InputError
from configs.offers import load_catalogue
from configs.settings import load_settings
from features.arrays.calendar_days import start_of
from features.engine import state_store
from features.materialise.as_of_view import AsOfView
from features.materialise.build_snapshots import build_snapshots
from features.materialise.spark_executor import INSTALL, open_session, spark_machines
from features.storage.lake import TIME_ZONE_FILE, Lake
from features.tables.parquet_files import write_parquet
from features.training_data.feature_store import open_store
from features.training_data.frames import experiment_frame, measured_frame, outcome_frame, redemption_frame
from features.training_data.scoring_frames import known_users, scoring_frame
from flows.runs.kept_profile import remember_profile
from flows.runs.opened_run import open_run
from serving.decide.decisions import decide
from serving.decide.executors import LocalExecutor, SparkExecutor
from serving.stored_days.day_tables import day_folder

HERE = Path(__file__).parent
NEEDS_SPARK = pytest.mark.skipif(
    importlib.util.find_spec("pyspark") is None,
    reason="PySpark is a download of 400 MB and needs Java: make test-spark installs it and runs these tests",
)
DAYS = (date(2024, 4, 29), date(2024, 5, 27), date(2024, 7, 1))  # the first two are days of treatments
LOCAL = {"spark": {"master": "local[2]", "driver_memory": "1g", "pieces": 2}}


def on_spark(app: App) -> App:
    """The same app, computed by Spark."""
    spark = app.settings.spark.model_copy(update=LOCAL["spark"])
    return App(app.settings.model_copy(update={"engine": "spark", "spark": spark}))


def files(app: App, *tables: str) -> dict[str, bytes]:
    """Bytes of the files of some tables, by path."""
    paths = [path for table in tables for path in sorted(app.lake.path(table).glob("*/*.parquet"))]
    return {str(path.relative_to(app.lake.root)): path.read_bytes() for path in paths}


def build(app: App) -> App:
    """Build aggregates and snapshots."""
    app.aggregate()
    with app.history(DAYS[-1]) as history:
        build_snapshots(history, list(DAYS))
    return app


@pytest.fixture(scope="module")
def both(copy_tiny, tmp_path_factory) -> tuple[App, App]:
    """The tiny app in a time zone of its own, built by one machine and by Spark."""
    apps = [copy_tiny(tmp_path_factory.mktemp(engine)) for engine in ("duckdb", "spark")]
    apps = [App(app.settings.model_copy(update={"time_zone": "America/New_York"})) for app in apps]
    for app in apps:
        app.lake.files.publish_file(TIME_ZONE_FILE, b"America/New_York")
        app.ingest(NOW)
        for table in ("aggregates", "category_hour_counts"):
            for path in app.lake.path(table).glob("*/*.parquet"):
                path.unlink()
    return build(apps[0]), build(on_spark(apps[1]))


@NEEDS_SPARK
def test_daily_rows_have_the_bytes_of_one_machine(both):
    one, other = (files(app, "aggregates", "category_hour_counts") for app in both)
    assert len(one) > 300
    assert one == other


@NEEDS_SPARK
def test_snapshots_have_the_bytes_of_one_machine(both):
    one, other = (files(app, "snapshots") for app in both)
    assert len(one) == len(DAYS)
    assert one == other


@NEEDS_SPARK
def test_either_engine_takes_over_what_the_other_has_built(both):
    for app in both:
        changed = App(app.settings.model_copy(update={"engine": "duckdb"})), on_spark(app)
        for taken_over in changed:
            assert taken_over.aggregate() == []
            with taken_over.history(DAYS[-1]) as history:
                assert build_snapshots(history, list(DAYS)) == []


@NEEDS_SPARK
@pytest.mark.parametrize("spark_is_first", [True, False])
def test_either_executor_carries_on_from_the_others_checkpoint(both, tmp_path, spark_is_first, monkeypatch):
    monkeypatch.setattr(state_store, "MOST_USERS", 50)
    app = both[0].copy_to(tmp_path)
    for name in ("snapshots", state_store.FOLDER):
        shutil.rmtree(app.lake.path(name))
    apps = [on_spark(app), app] if spark_is_first else [app, on_spark(app)]
    for each, day in zip(apps, DAYS[1:], strict=True):
        with each.history(day) as history:
            assert build_snapshots(history, [day]) == [day]
        assert state_store.read_checkpoint(app.lake).day == day
    whole = files(both[0], "snapshots")
    assert {path: rows for path, rows in whole.items() if str(DAYS[0]) not in path} == files(app, "snapshots")


@NEEDS_SPARK
def test_a_damaged_checkpoint_is_noticed_on_machines(both, tmp_path):
    app = on_spark(both[1].copy_to(tmp_path))
    checkpoint = state_store.read_checkpoint(app.lake)
    checkpoint.folder.joinpath(checkpoint.shards[0].file).write_bytes(b"broken")
    path = app.lake.partition("snapshots", DAYS[-1])
    whole = path.read_bytes()
    path.unlink()
    with app.history(DAYS[-1]) as history:
        assert build_snapshots(history, [DAYS[-1]]) == [DAYS[-1]]
    assert path.read_bytes() == whole


@NEEDS_SPARK
def test_a_huge_day_is_cut_on_machines(both, tmp_path, monkeypatch):
    app = on_spark(both[0].copy_to(tmp_path))
    day = app.lake.days("events")[120]
    path = app.lake.partition("events", day)
    write_parquet(pq.ParquetFile(path).read(), path, 7)
    app.lake.files.accept("events")
    monkeypatch.setattr("features.materialise.build_daily.EVENTS_AT_ONCE", 20)
    before = pq.read_table(app.lake.partition("category_hour_counts", day), partitioning=None)
    assert app.aggregate() == [day]
    assert pq.read_table(app.lake.partition("category_hour_counts", day), partitioning=None) == before


@NEEDS_SPARK
def test_a_corrupt_file_is_named_by_machines(tmp_path):
    app = on_spark(small_app(tmp_path, events=[event("a", "2024-03-01 09:00", "purchase", amount=5.0)]))
    app.ingest()
    app.lake.partition("events", date(2024, 3, 1)).write_bytes(b"broken")
    with pytest.raises(InputError, match=r"events\.parquet.*; restore it from a backup"):
        app.aggregate()


def frames_of(history: AsOfView) -> dict[str, pd.DataFrame]:
    """Every frame that models and measurements read."""
    store = open_store(history.lake, history.features, engine=history.settings.engine)
    outcomes = outcome_frame(history, store, list(DAYS[:2]), horizon_days=14)
    closed = redemption_frame(history, store, load_catalogue(history.settings.offers))
    entries = outcomes[["user_id"]].assign(as_of=pd.Timestamp(start_of(DAYS[0], history.settings.time_zone)))
    users = known_users(history.lake, history.as_of)
    return {
        "outcomes": outcomes,
        "redemptions": closed,
        "experiment": experiment_frame(history, outcomes, closed),
        "measured": measured_frame(history, entries.drop_duplicates()),
        "scoring": scoring_frame(store, start_of(history.as_of, history.settings.time_zone), users),
    }


@NEEDS_SPARK
def test_labels_and_frames_through_feast_have_the_bits_of_duckdb(both):
    found = []
    for app in both:
        with app.history(DAYS[-1]) as history:
            found.append(frames_of(history))
    assert min(len(frame) for frame in found[0].values()) > 50
    for name, frame in found[0].items():
        pd.testing.assert_frame_equal(frame, found[1][name], check_exact=True, obj=name)


@NEEDS_SPARK
def test_spark_keeps_rows_that_have_no_features(both):
    with both[1].history(DAYS[-1]) as history:
        store = open_store(history.lake, history.features, engine="spark")
        asked = pd.Series(["nobody", *known_users(history.lake, history.as_of)[:3], "nobody"])
        frame = scoring_frame(store, start_of(history.as_of, history.settings.time_zone), asked)
    assert frame["user_id"].tolist()[::4] == ["nobody", "nobody"]
    assert frame["tenure_days"].isna().tolist() == [True, False, False, False, True]


@NEEDS_SPARK
def test_a_day_without_events_of_activity_has_a_file_of_no_rows(tmp_path):
    rows = [event("a", "2024-03-01 09:00", "purchase", amount=5.0), event("a", "2024-03-02 09:00", "unheard_of")]
    app = on_spark(small_app(tmp_path, events=rows))
    app.ingest()
    assert len(app.aggregate()) == 2
    rows = [pq.read_metadata(app.lake.root / path).num_rows for path in files(app, "category_hour_counts")]
    assert rows == [1, 0]


@NEEDS_SPARK
@pytest.mark.parametrize("scoring", [{}, {"channel_capacity": {"email": 9}}], ids=["budget", "budget and places"])
def test_decisions_of_machines_are_those_of_threads(tmp_path, scoring, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parent)]))
    settings = small_settings(engine="spark", **LOCAL, **({"scoring": scoring} if scoring else {}))
    policy = small_policy(settings)
    users = behaviour(200, np.random.default_rng(71)).sort_values("user_id", ignore_index=True)
    parts = [users[slice(*each)].reset_index(drop=True) for each in pairwise((0, 80, 160, 200))]
    machines = SparkExecutor(spark_machines(settings), [lambda part=part: part for part in parts])
    lakes = [Lake(tmp_path / name) for name in ("threads", "machines")]
    spendings = [
        decide(policy, lakes[0], AS_OF, LocalExecutor([lambda: users])),
        decide(policy, lakes[1], AS_OF, machines),
    ]
    one, other = (spending.table().to_pylist()[0] for spending in spendings)
    assert one == pytest.approx(other, rel=1e-12, abs=1e-12)  # sums are added up in another order
    assert spendings[0].limit_prices == pytest.approx(spendings[1].limit_prices)
    assert scoring == {} or min(spendings[0].limit_prices.values()) > 0
    for name in ("predictions", "options", "decisions", "budget_curve"):
        one, other = (pq.ParquetFile(day_folder(lake, AS_OF) / f"{name}.parquet").read() for lake in lakes)
        assert one.equals(other), name
    assert not list(lakes[1].path("scoring").glob("*"))


@NEEDS_SPARK
def test_who_everybody_is_and_what_is_decided_have_the_bytes_of_one_machine(tmp_path, monkeypatch):
    """Stages, segments, personas by the same centroids, tastes, hours, and every file of a scored day."""
    monkeypatch.setattr("models.champion_gate.promotion.quality_pictures", lambda *_: {})
    tiny = tiny_app(tmp_path / "app")
    one = Shell(write_profile(tiny, tmp_path / "tiny.toml"), tmp_path / "one")
    for step in STEPS[:3]:
        one.answer(step)
    spark = tiny.settings.spark.model_dump(mode="json") | LOCAL["spark"]
    other = Shell(write_profile(tiny, tmp_path / "spark.toml", engine="spark", spark=spark), tmp_path / "other")
    shutil.copytree(one.data_dir, other.data_dir)
    for shell in (one, other):
        shell.answer("score-users")
    files_of_day = [one.data_dir.glob(f"{table}/day={TINY_AS_OF}/*.parquet") for table in ("decisions", "segments")]
    found = {path.name: path for paths in files_of_day for path in paths}
    decided = pq.read_table(found["decisions.parquet"], partitioning=None)
    assert found.keys() >= {"hours.parquet", "tastes.parquet", "segments.parquet", "sizes.parquet"}
    assert len(set(decided["persona"].to_pylist())) > 1 and len(set(decided["stage"].to_pylist())) > 3
    assert pq.read_metadata(found["tastes.parquet"]).num_rows > 100
    theirs = {name: other.data_dir / path.relative_to(one.data_dir) for name, path in found.items()}
    assert [name for name, path in found.items() if path.read_bytes() != theirs[name].read_bytes()] == []


def test_without_pyspark_one_sentence_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "pyspark.sql", None)
    monkeypatch.setitem(__import__("sys").modules, "pyspark.errors", None)
    with pytest.raises(InputError, match="make spark"):
        open_session(load_settings(data_dir=tmp_path, engine="spark"))
    assert "winback[spark]" in INSTALL


def test_the_spark_profile_is_laid_over_the_datas_own(tmp_path):
    remember_profile(Lake(tmp_path), "simulated")
    settings, _, _ = open_run("spark", str(tmp_path), date(2024, 1, 1))
    assert (settings.profile, settings.app, settings.engine) == ("simulated", "The simulated app", "spark")
    settings, _, _ = open_run("simulated,spark", str(tmp_path), date(2024, 1, 1))
    assert (settings.profile, settings.engine) == ("simulated", "spark")
    assert open_run(None, str(tmp_path), date(2024, 1, 1))[0].engine == "duckdb"


def test_a_profile_of_another_app_is_still_refused(tmp_path):
    remember_profile(Lake(tmp_path), "simulated")
    with pytest.raises(InputError, match="holds the data of profile 'simulated'"):
        open_run("starbucks,spark", str(tmp_path), date(2024, 1, 1))


def test_the_policy_is_the_same_on_every_engine():
    one, other = (small_policy(small_settings(engine=engine, **LOCAL)) for engine in ("duckdb", "spark"))
    assert one.version == other.version


@NEEDS_SPARK
def test_an_apps_own_columns_have_the_bytes_of_one_machine(tmp_path):
    table = {"meaning": "Plays", "events": ["play"], "windows": [3, 30]}
    custom = {
        "long_plays": table | {"measure": "count", "where": ["$.seconds > 180"]},
        "play_seconds": table | {"measure": "sum", "of": "$.seconds"},
        "longest_play": table | {"measure": "max", "of": "$.seconds"},
        "play": table | {"measure": "last", "windows": []},
    }
    events = [
        event(user, f"2024-04-{day:02d} 10:00", "play", properties=f'{{"seconds": {30 * day}}}')
        for day in range(1, 29)
        for user in "abc"[: 1 + day % 3]
    ]
    one = small_app(tmp_path, events=events, overrides={"features": {"custom": custom}})
    one.ingest()
    build(one)
    found = files(one, "aggregates", "snapshots")
    for name in ("aggregates", "category_hour_counts", "snapshots", state_store.FOLDER):
        shutil.rmtree(one.lake.path(name))
    build(on_spark(one))
    assert files(one, "aggregates", "snapshots") == found
    assert one.snapshots(DAYS[0]).loc[("a", DAYS[0]), "long_plays_count_30d"] == 22
