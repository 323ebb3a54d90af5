"""Spark: what it builds has the bits of what one machine builds, and either takes over from the other."""

from __future__ import annotations

import importlib.util
import os
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apps import NOW, App, event, small_app
from synthetic import AS_OF, behaviour, small_policy, small_settings

from configs.errors import InputError
from configs.offers import load_catalogue
from configs.settings import load_settings
from features.arrays.calendar_days import start_of
from features.materialise.as_of_view import AsOfView
from features.materialise.build_snapshots import build_snapshots
from features.materialise.spark_executor import INSTALL, SparkEngine, open_session
from features.storage.fingerprints import file_metadata
from features.storage.lake import Lake
from features.training_data.feature_store import everybodys_features, open_store
from features.training_data.frames import (
    experiment_frame,
    known_users,
    measured_frame,
    outcome_frame,
    redemption_frame,
    scoring_frame,
)
from flows.outcome import open_run, remember_profile
from serving.decide.day_tables import day_folder
from serving.decide.decisions import decide
from serving.decide.executors import LocalExecutor, SparkExecutor

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


def files(app: App, *tables: str) -> dict[str, pa.Table]:
    """Contents of the files of some tables, by path."""
    paths = [path for table in tables for path in sorted(app.lake.path(table).glob("*/*.parquet"))]
    return {str(path.relative_to(app.lake.root)): pq.ParquetFile(path).read() for path in paths}


def notes(app: App, *tables: str) -> dict[str, dict[bytes, bytes]]:
    """What the footers of the files of some tables say."""
    return {path: file_metadata(app.lake.root / path) for path in files(app, *tables)}


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
        app.ingest(NOW)
        for table in ("aggregates", "facets"):
            for path in app.lake.path(table).glob("*/*.parquet"):
                path.unlink()
    return build(apps[0]), build(on_spark(apps[1]))


@NEEDS_SPARK
def test_daily_rows_have_the_bits_of_duckdb(both):
    one, other = (files(app, "aggregates", "facets") for app in both)
    assert len(one) > 300
    assert one == other


@NEEDS_SPARK
def test_snapshots_have_the_bits_of_duckdb(both):
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
    assert notes(both[0], "aggregates", "snapshots") == notes(both[1], "aggregates", "snapshots")


def frames_of(history: AsOfView) -> dict[str, pd.DataFrame]:
    """Every frame that models and measurements read."""
    store = open_store(history.lake, history.features, engine=history.settings.engine)
    outcomes = outcome_frame(history, store, list(DAYS[:2]), horizon_days=14)
    closed = redemption_frame(history, store, load_catalogue(history.settings.offers))
    entries = outcomes[["user_id"]].assign(as_of=pd.Timestamp(start_of(DAYS[0], history.settings.time_zone)))
    return {
        "outcomes": outcomes,
        "redemptions": closed,
        "lots": experiment_frame(history, outcomes, closed),
        "measured": measured_frame(history, entries.drop_duplicates()),
        "scoring": scoring_frame(history, store, known_users(history)),
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
        frame = scoring_frame(history, open_store(history.lake, history.features, engine="spark"),
                              pd.Series(["nobody", *known_users(history)[:3], "nobody"]))  # fmt: skip
    assert frame["user_id"].tolist()[::4] == ["nobody", "nobody"]
    assert frame["tenure_days"].isna().tolist() == [True, False, False, False, True]


@NEEDS_SPARK
def test_everybodys_features_are_the_scoring_frame(both):
    with both[1].history(DAYS[-1]) as history:
        store = open_store(history.lake, history.features, only=DAYS[-1], engine="spark")
        frame = scoring_frame(history, store, known_users(history))
        everybody = everybodys_features(store, "scoring", DAYS[-1]).toPandas().sort_values("user_id", ignore_index=True)
    columns = [name for name in frame.columns if name != "event_timestamp"]
    assert everybody.columns.tolist() == frame.columns.tolist()
    pd.testing.assert_frame_equal(everybody[columns], frame[columns].astype(everybody[columns].dtypes))


@NEEDS_SPARK
def test_a_day_without_events_of_activity_has_a_file_of_no_rows(tmp_path):
    rows = [event("a", "2024-03-01 09:00", "purchase", amount=5.0), event("a", "2024-03-02 09:00", "unheard_of")]
    app = on_spark(small_app(tmp_path, events=rows))
    app.ingest()
    assert len(app.aggregate()) == 2
    assert [len(rows) for rows in files(app, "facets").values()] == [1, 0]


@NEEDS_SPARK
@pytest.mark.parametrize("scoring", [{}, {"channel_capacity": {"email": 9}}], ids=["budget", "budget and places"])
def test_decisions_of_machines_are_those_of_threads(tmp_path, scoring, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parent)]))
    settings = small_settings(engine="spark", **LOCAL, **({"scoring": scoring} if scoring else {}))
    policy = small_policy(settings)
    users = behaviour(200, np.random.default_rng(71)).sort_values("user_id", ignore_index=True)
    texts = {name: object for name in users.columns if isinstance(users[name].dtype, pd.CategoricalDtype)}
    engine = SparkEngine(settings)
    machines = SparkExecutor(engine, engine.session.createDataFrame(users.astype(texts)), 3)
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
