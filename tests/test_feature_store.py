"""The store: every example keeps its row, and joins only what was known at its moment."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from datetime import date, timedelta

import pandas as pd
import pyarrow as pa
import pytest
from apps import App, event, small_app

from configs.errors import InputError
from features.definitions.registry import VIEWS, Feature
from features.definitions.snapshot_features import CATEGORY_SHARES, catalogue
from features.storage.kept_stores import keep_stores
from features.storage.lake import Lake
from features.stores.database import REGISTRY, query
from features.tables.parquet_files import read_parquet, write_parquet
from features.training_data.feature_store import SERVICES, FeatureStore, open_store, point_in_time_frame
from features.training_data.snapshot_lookup import looked_up

UNCHECKED = """
import os
import typeguard
checked = typeguard.typechecked
from features.training_data.feature_store import METRICS_FOLDERS, Entity
print("typeguard" in str(Entity.__init__.__code__.co_names), typeguard.typechecked is checked)
Entity(name=3)
print(sorted({*METRICS_FOLDERS} & {*os.environ}), flush=True)
os._exit(0)  # as a process that is killed: it tidies nothing up
"""
DAYS = (date(2024, 4, 1), date(2024, 4, 2), date(2024, 6, 1))


@pytest.fixture(scope="module")
def app(copy_tiny, tmp_path_factory) -> App:
    """The tiny app with the snapshots of three days and no other."""
    app = copy_tiny(tmp_path_factory.mktemp("store"))
    app.snapshots(*DAYS)
    return app


@pytest.fixture(scope="module")
def snapshots(app) -> pd.DataFrame:
    """Snapshots of the tiny app on three days."""
    return app.snapshots(*DAYS)


@pytest.fixture(scope="module")
def features(app) -> list[Feature]:
    """Data catalogue of the tiny app."""
    with app.history(DAYS[-1]) as history:
        return history.features


@pytest.fixture(scope="module")
def store(app, features) -> FeatureStore:
    """Store of the tiny app, holding the three snapshots alone."""
    return open_store(app.lake, features)


def examples(*rows: tuple[str, str]) -> pd.DataFrame:
    spine = pd.to_datetime([moment for _, moment in rows], utc=True, format="ISO8601")
    return pd.DataFrame({"user_id": [user for user, _ in rows], "event_timestamp": spine, "label": range(len(rows))})


def test_every_row_is_kept_in_its_order_with_its_own_values(snapshots, store):
    rows = [("u011", "2024-06-01"), ("u003", "2024-04-02"), ("nobody", "2024-04-01"), ("u011", "2024-04-01")]
    rows += [("u003", "2024-04-02"), ("u011", "2020-01-01"), ("u003", "2024-06-01"), ("u003", "2024-04-01")]
    given = examples(*rows)
    before = given.copy()
    frame = point_in_time_frame(store, "scoring", given)
    pd.testing.assert_frame_equal(given, before)
    pd.testing.assert_frame_equal(frame[list(given.columns)], given, check_dtype=False)
    for number, (user, moment) in enumerate(rows):
        key = (user, date.fromisoformat(moment))
        own = frame.loc[number, "tenure_days"], frame.loc[number, "favourite_category_90d"]
        if key in snapshots.index:
            assert own == tuple(snapshots.loc[key, ["tenure_days", "favourite_category_90d"]])
        else:
            assert pd.isna(own[0]) and pd.isna(own[1])


def test_the_frame_of_all_users_equals_the_snapshot(snapshots, store):
    day = DAYS[2]
    wanted = snapshots.xs(day, level="day")
    frame = point_in_time_frame(store, "scoring", examples(*((user, str(day)) for user in wanted.index)))
    columns = list(frame.columns.drop(["user_id", "event_timestamp", "label"]))
    pd.testing.assert_frame_equal(frame.set_index("user_id")[columns], wanted[columns], check_exact=True)
    assert set(columns) == set(wanted.columns) - {"as_of", "created_at", CATEGORY_SHARES}


def test_a_moment_before_the_first_snapshot_has_nulls(store):
    frame = point_in_time_frame(store, "training", examples(("u003", "2024-03-31 23:59")))
    assert frame.drop(columns=["user_id", "event_timestamp", "label"]).isna().all(axis=None)


def test_a_snapshot_does_not_answer_for_the_next_day_however_short_its_own(store):
    rows = [("u003", "2024-04-02 22:00"), ("u003", "2024-04-02 23:00"), ("u003", "2024-04-03")]
    assert point_in_time_frame(store, "training", examples(*rows)).tenure_days.isna().tolist() == [False, True, True]


def test_a_snapshot_that_was_computed_later_than_the_row_is_not_used(tmp_path):
    app = small_app(tmp_path, events=[event("a", "2024-03-01 09:00", "purchase", amount=5.0)])
    app.ingest()
    app.aggregate()
    days = [date(2024, 3, 2), date(2024, 3, 3)]
    app.snapshots(*days)
    corrected(app.lake, days[1], spend=99.0, created=pd.Timestamp("2024-03-03 06:00", tz="UTC"))
    store = open_store(app.lake, catalogue())
    rows = examples(("a", "2024-03-02 12:00"), ("a", "2024-03-03 05:59"), ("a", "2024-03-03 06:00"))
    assert point_in_time_frame(store, "training", rows).spend_sum_7d.isna().tolist() == [False, True, False]
    assert point_in_time_frame(store, "training", rows).spend_sum_7d.dropna().tolist() == [5.0, 99.0]


def corrected(lake: Lake, day: date, *, spend: float, created: pd.Timestamp) -> None:
    """Replace a snapshot by one that was computed later and says something else."""
    path = lake.partition("snapshots", day)
    rows = read_parquet(path)
    for name, value in (("spend_sum_7d", spend), ("created_at", created)):
        kind = rows.schema.field(name).type
        rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array([value] * len(rows), kind))
    write_parquet(rows, path)


def test_each_service_holds_the_views_that_it_says(store, features):
    for service in SERVICES:
        frame = point_in_time_frame(store, service, examples(("u003", "2024-04-01")))
        wanted = [feature.name for view in VIEWS[service] for feature in features if feature.view == view]
        assert list(frame.columns) == ["user_id", "event_timestamp", "label", *wanted]


def test_churn_never_reads_what_we_sent(features):
    contact = {feature.name for feature in features if feature.view == "contact"}
    assert contact and "contact" not in VIEWS["churn"] and "contact" not in VIEWS["value"]
    assert {feature.name for feature in features if feature.role in ("message_sent", "treatments")} <= contact


def test_the_registry_describes_every_feature(store, features):
    described = {field.name: field.description for view in store.list_feature_views() for field in view.features}
    assert described == {feature.name: feature.meaning for feature in features}


def test_a_service_is_one_view_without_the_traits_that_there_are_not(tmp_path):
    app = small_app(tmp_path, events=[event("a", "2024-03-01 09:00", "purchase", amount=5.0)])
    app.ingest()
    app.aggregate()
    app.snapshots(date(2024, 3, 2))
    store = open_store(app.lake, catalogue())
    assert {view.name for view in store.list_feature_views()} == set(SERVICES)
    families = {feature.name: feature.view for feature in catalogue()}
    read = {families[field.name] for view in store.list_feature_views() for field in view.features}
    assert read == {"behaviour", "contact", "taste", "habits", "contract", "onboarding"}
    assert point_in_time_frame(store, "training", examples(("a", "2024-03-02"))).spend_sum_7d.tolist() == [5.0]


def test_a_store_in_a_folder_of_any_name_reads_that_folder(tmp_path):
    for folder, amount in (("data 1", 7.0), ("data [1]", 5.0)):
        own = {"source": str(tmp_path / folder / "app.sql"), "raw": str(tmp_path / folder / "raw")}
        rows = [event("a", "2024-03-01 09:00", "purchase", amount=amount)]
        app = small_app(tmp_path / folder, overrides={"ingest": own}, events=rows)
        app.ingest()
        app.aggregate()
        app.snapshots(date(2024, 3, 2))
    for only in (None, date(2024, 3, 2)):
        store = open_store(app.lake, catalogue(), only=only)
        assert point_in_time_frame(store, "training", examples(("a", "2024-03-02"))).spend_sum_7d.tolist() == [5.0]


def test_a_store_of_one_day_reads_that_day_as_the_whole_store_does(app, store, features):
    day = max(app.lake.days("snapshots"))
    narrow = open_store(app.lake, features, only=day)
    users = ("u003", "u001", "nobody", "u003", "u002", "u002", "u003")
    moments = (f"{day} 00:00", f"{day} 00:00", f"{day} 00:00", f"{day - timedelta(days=1)} 23:59",
               f"{day} 21:59", f"{day} 22:01", f"{day} 10:00")  # fmt: skip
    rows = examples(*zip(users, moments, strict=True))
    both = [point_in_time_frame(each, "scoring", rows) for each in (narrow, store)]
    pd.testing.assert_frame_equal(*both)
    assert both[0]["tenure_days"].notna().tolist() == [True, True, False, False, True, False, True]
    assert narrow.config.registry != store.config.registry


@pytest.mark.parametrize("ordered", [True, False])
def test_users_are_looked_up_in_every_row_group_that_may_hold_one(tmp_path, ordered):
    users = ["a", "b", "c", "d", "e"] if ordered else ["d", "a", "e", "b", "c"]
    day = pd.Timestamp("2024-04-02", tz="UTC")
    held = pd.DataFrame({"user_id": users, "as_of": day, "created_at": day, "spend": [1.0, 2.0, 3.0, 4.0, 5.0]})
    path = tmp_path / "snapshots.parquet"
    write_parquet(pa.Table.from_pandas(held, preserve_index=False), path, row_group_rows=2)
    asked = ["e", "nobody", "a", "a", "c"]
    instants = pa.array([day] * 5, pa.timestamp("us", "UTC"))
    found = looked_up(path, pa.array(asked), instants, ["spend"], timedelta(hours=22))["spend"].to_pylist()
    spend = held.set_index("user_id")["spend"]
    assert found == [spend.get(user) for user in asked]


def test_a_registry_of_which_the_disk_takes_a_part_is_an_error_and_no_registry(tmp_path):
    lake, (usual, most) = Lake(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, most))  # where Feast's own write would end without a word
    try:
        with pytest.raises(OSError, match="File too large"):
            open_store(lake, catalogue())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (usual, most))
    assert not [path for path in (tmp_path / "feast").iterdir() if path.suffix == ".part"]
    open_store(lake, catalogue())


def test_opening_the_store_twice_changes_nothing(app, store, features):
    again = open_store(app.lake, features)
    assert [view.name for view in again.list_feature_views()] == [view.name for view in store.list_feature_views()]


def test_a_store_without_snapshots_says_what_to_run_first(tmp_path):
    store = open_store(Lake(tmp_path), catalogue())
    with pytest.raises(InputError, match="holds no snapshots; run winback build-features first"):
        point_in_time_frame(store, "training", examples(("a", "2024-03-02")))


def test_a_corrupt_snapshot_is_named(tmp_path):
    app = small_app(tmp_path, events=[event("a", "2024-03-01 09:00", "purchase", amount=5.0)])
    app.ingest()
    app.aggregate()
    app.snapshots(date(2024, 3, 2))
    app.lake.partition("snapshots", date(2024, 3, 2)).write_bytes(b"broken")
    store = open_store(app.lake, catalogue())
    with pytest.raises(InputError, match=r"cannot be read .*snapshots\.parquet.*; delete it and run winback"):
        point_in_time_frame(store, "training", examples(("a", "2024-03-02")))


def test_a_join_that_loses_rows_is_an_error_and_never_a_smaller_frame(store, monkeypatch):
    class Losing:
        def to_df(self) -> pd.DataFrame:
            return pd.DataFrame({"entity_row": [0]})

    monkeypatch.setattr(store, "get_historical_features", lambda **_: Losing())
    with pytest.raises(RuntimeError, match="returned 1 rows for 2; no example may be lost or doubled"):
        point_in_time_frame(store, "training", examples(("a", "2024-03-02"), ("b", "2024-03-02")))


def test_feast_is_imported_without_checks_of_its_own_arguments_and_makes_no_temporary_folder(tmp_path):
    own = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", UNCHECKED], capture_output=True, text=True, check=True, env=own)
    assert done.stdout.split() == ["False", "True", "[]"]
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("name", ["my app #1", "a: b", "it's [1]"])
def test_a_folder_of_any_name_holds_its_own_registry(tmp_path, name):
    open_store(Lake(tmp_path / name), catalogue())
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "feast" / "registry.db").is_file()


@pytest.mark.parametrize("content", [b"", b"garbage", b"null"])
def test_a_damaged_registry_is_written_again(tmp_path, content):
    lake = Lake(tmp_path)
    lake.files.write("feast/registry.db", content)
    assert len(open_store(lake, catalogue()).list_feature_views()) == len(SERVICES)


def test_a_join_through_a_registry_in_postgresql_is_that_of_a_folder_alone(app, features, store, stores, tmp_path):
    spine = examples(("u011", "2024-04-01"), ("nobody", "2024-06-01"), ("u003", "2024-04-02"))
    alone = point_in_time_frame(store, "scoring", spine)
    shutil.copytree(app.lake.root, tmp_path / "data")
    keep_stores(tmp_path / "data", stores)
    dropped = next(name for name in alone.columns if name in {feature.name for feature in features})
    for own in (features, [feature for feature in features if feature.name != dropped], features):
        shared = point_in_time_frame(open_store(Lake(tmp_path / "data"), own), "scoring", spine)
        assert (dropped in shared) == (own is features)
    pd.testing.assert_frame_equal(shared, alone)
    names = query(stores, {"views": "SELECT feature_view_name FROM feature_views ORDER BY 1"}, REGISTRY)["views"]
    assert [name for (name,) in names] == sorted(SERVICES)
    assert not (tmp_path / "data" / "feast" / "registry.db").exists()
