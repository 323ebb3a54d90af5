"""The feature store: views, registration and point-in-time joins. Only this module imports Feast."""

from __future__ import annotations

import os
import string
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pyarrow as pa
import typeguard
import yaml

from configs.errors import InputError
from configs.named_files import FOLDER
from configs.settings import Engine
from features.definitions.registry import VIEWS, Feature
from features.materialise.spark_executor import address, in_utc
from features.storage.lake import Lake, literal
from features.storage.whole_writes import write_bytes
from features.stores.database import REGISTRY, sqlalchemy_address
from features.tables.duckdb_sessions import named_when_unreadable
from features.training_data.snapshot_lookup import looked_up

METRICS_FOLDERS = ("PROMETHEUS_MULTIPROCESS_DIR", "PROMETHEUS_MULTIPROC_DIR")


@contextmanager
def unchecked() -> Iterator[None]:
    """Leave functions as they are while modules are imported that mark them with ``@typeguard.typechecked``.

    typeguard parses and compiles a whole module again for every mark in it, which takes most of Feast's import. Its
    checks are meant for development; ``python -O`` leaves them out as well.
    """
    checked = typeguard.typechecked
    typeguard.typechecked = lambda target: target  # type: ignore[assignment]
    try:
        yield
    finally:
        typeguard.typechecked = checked


@contextmanager
def without_metrics_files() -> Iterator[None]:
    """Let Feast keep counters of its own in memory: for a server of many processes it would make a folder of them.

    That folder lies among the system's temporary ones and stays where a process is killed.
    """
    import prometheus_client  # noqa: F401 - it counts in memory where it is imported without a folder

    kept = {name: os.environ.get(name) for name in METRICS_FOLDERS}
    os.environ.update(dict.fromkeys(METRICS_FOLDERS, os.devnull))  # a name that is set is not made
    try:
        yield
    finally:
        for name, value in kept.items():
            os.environ.pop(name)
            os.environ.update({name: value} if value is not None else {})


with unchecked(), without_metrics_files():
    from feast import Entity, FeatureService, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast import FeatureStore as FeatureStore
    from feast.data_source import DataSource
    from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
    from feast.infra.offline_stores.offline_store import RetrievalJob
    from feast.infra.registry.file import FileRegistryStore
    from feast.types import Float64, String

ENTITY = "user_id"
EVENT_TIMESTAMP = "event_timestamp"
ROW = "entity_row"
STORE_TYPE = f"{__name__}.WholeRegistryStore"
DAY_STORE_TYPE = f"{__name__}.DayOfflineStore"
VALID = timedelta(hours=22)  # less than the shortest day: asked at the start of a day, no snapshot but its own answers
ALIVE = {"pool_pre_ping": True}  # of SQLAlchemy: a session that a restart of the server ended is not used
INSTANT = pa.timestamp("us", "UTC")
SERVICES = ("training", "scoring")  # every frame is one of these; models choose their columns from it


class WholeRegistryStore(FileRegistryStore):  # type: ignore[misc]
    """Feast's registry in a file that is written whole or not at all.

    Feast's own takes whatever a disk that is nearly full took of it for all, and finds later that it cannot be read.
    """

    def _write_registry(self, registry_proto: Any) -> None:  # noqa: ANN401 - of Feast's protocol buffers
        registry_proto.version_id = uuid4().hex
        registry_proto.last_updated.GetCurrentTime()
        write_bytes(self._filepath, registry_proto.SerializeToString())


class DayOfflineStoreConfig(DuckDBOfflineStoreConfig):  # type: ignore[misc]
    """Feast finds it by the name of its store."""

    type: str = DAY_STORE_TYPE


class DayOfflineStore(DuckDBOfflineStore):  # type: ignore[misc]
    """Feast's offline store of one day: users are looked up in its snapshot, where DuckDB would join and rank rows."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig,  # noqa: ARG004 - as of every store
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame,
        registry: object,  # noqa: ARG004
        project: str,  # noqa: ARG004
        full_feature_names: bool = False,  # noqa: ARG004
        filter_by_created_timestamp: bool = True,  # noqa: ARG004 - whoever asks wants it
    ) -> RetrievalJob:
        """Look the features of one view up: see `snapshot_lookup.looked_up`."""
        return _Lookup(feature_views[0], [name.partition(":")[2] for name in feature_refs], entity_df)


class _Lookup(RetrievalJob):  # type: ignore[misc]
    """What Feast does when somebody asks for the rows."""

    full_feature_names, on_demand_feature_views = False, ()

    def __init__(self, view: FeatureView, names: list[str], keys: pd.DataFrame) -> None:
        self.view, self.names, self.keys = view, names, keys

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:  # noqa: ARG002
        users, instants = pa.array(self.keys[ENTITY], pa.string()), pa.array(self.keys[EVENT_TIMESTAMP], INSTANT)
        own = pa.Table.from_pandas(self.keys, preserve_index=False)
        found = looked_up(Path(self.view.batch_source.path), users, instants, self.names, self.view.ttl)
        return pa.table(dict(zip([*own.column_names, *self.names], [*own.columns, *found.columns], strict=True)))

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return self._to_arrow_internal(timeout).to_pandas()


def open_store(
    lake: Lake, features: list[Feature], *, only: date | None = None, engine: Engine = "duckdb"
) -> FeatureStore:
    """Register the entity and, per service, one view of what it reads, and return the store.

    Every view that a service has costs a join of its own: so it has one.

    Parameters
    ----------
    lake
        Its ``snapshots`` are the offline store, its ``feast`` folder or the team's database holds the registry.
    features
        The data catalogue, traits included.
    only
        Read the snapshot of this day alone, which is much faster than to look for it among all of them; such a store
        has a registry of its own.
    engine
        What joins: DuckDB, or the Spark session of this process. Each has a registry of its own.
    """
    lake.files.make_folder("feast")
    # Feast's DuckDB store reads no place in the data folder: so where this is stands in the registry, written anew
    # here, whatever became of the one before
    lake.files.remove(f"feast/{_registry(only, engine)}")
    store = FeatureStore(config=_config(lake.root, only, engine))
    files = lake.glob("snapshots") if only is None else literal(lake.partition("snapshots", only))
    if only is not None and _is_looked_up(only, engine):
        files = str(lake.partition("snapshots", only))  # which is opened as it is, not matched
    store.apply(_definitions(_source(files, engine), features))
    return store


@cache
def reopened_store(root: Path, only: date) -> FeatureStore:
    """Open the store of one day that `open_store` has registered, once in this process."""
    return FeatureStore(config=_config(root, only, "duckdb"))


def _registry(only: date | None, engine: Engine) -> str:
    return "-".join(["registry", *(["day"] if only else []), *([engine] if engine != "duckdb" else [])]) + ".db"


def _is_looked_up(only: date | None, engine: Engine) -> bool:
    """Whether users are looked up in one file, and nothing is joined."""
    return only is not None and engine == "duckdb"


def _is_shared(lake: Lake, only: date | None) -> bool:
    """Whether the registry lies in the team's database; that of one day's file is of no account to others."""
    return bool(lake.stores.database) and only is None


def _config(root: Path, only: date | None, engine: Engine) -> RepoConfig:
    lake = Lake(root)
    registry = lake.path("feast", _registry(only, engine))
    text = (FOLDER / "feature_store.yaml").read_text(encoding="utf-8")
    filled = _filled(yaml.safe_load(text), {"data_dir": str(root), "engine": engine})
    filled["registry"] = {"registry_store_type": STORE_TYPE, "path": str(registry)}
    if _is_shared(lake, only):
        address = sqlalchemy_address(lake.stores, REGISTRY)
        filled["registry"] = {"registry_type": "sql", "path": address, "sqlalchemy_config_kwargs": ALIVE}
    if _is_looked_up(only, engine):
        filled["offline_store"] = {"type": DAY_STORE_TYPE}
    return RepoConfig(repo_path=root, **filled)


def _filled(part: Any, own: dict[str, str]) -> Any:  # noqa: ANN401
    """Put a run's own values into the texts of a configuration; whatever signs they hold, they stay texts."""
    if isinstance(part, dict):
        return {name: _filled(value, own) for name, value in part.items()}
    return string.Template(part).substitute(own) if isinstance(part, str) else part


def point_in_time_frame(store: FeatureStore, service: str, entities: pd.DataFrame) -> pd.DataFrame:
    """Join to each row the features as they were known at its instant.

    Parameters
    ----------
    store
        From `open_store`.
    service
        Name of a feature service: one of `SERVICES`.
    entities
        ``user_id`` and ``event_timestamp`` (instants, UTC) and any columns to keep; one row per example.

    Returns
    -------
    The rows of `entities`, all of them and in their order, with the service's features appended; a user
    without a snapshot at that instant has nulls.

    Raises
    ------
    InputError
        There is no snapshot at all.
    """
    rows = entities.reset_index(drop=True)
    # the keys alone: no store keeps the order of the rows, and an engine may change what it does not need
    keys = rows[[ENTITY, EVENT_TIMESTAMP]].rename_axis(ROW).reset_index()
    with named_when_unreadable(_folder_with_snapshots(store)), _own_zone(store):
        frame = _join(store, service, keys).to_df().sort_values(ROW, ignore_index=True)
    if len(frame) != len(rows):
        raise RuntimeError(
            f"the point-in-time join returned {len(frame)} rows for {len(rows)}; no example may be lost or doubled"
        )
    return pd.concat([rows, frame.drop(columns=keys.columns)], axis=1, copy=False)


def text_columns(store: FeatureStore, service: str) -> list[str]:
    """Name the features of a service that are texts; all others are numbers."""
    views = store.get_feature_service(service).feature_view_projections
    return [field.name for view in views for field in view.features if field.dtype == String]


def _join(store: FeatureStore, service: str, keys: pd.DataFrame) -> RetrievalJob:
    with _without_alarm():
        return store.get_historical_features(
            entity_df=keys, features=store.get_feature_service(service), filter_by_created_timestamp=True
        )


def _folder_with_snapshots(store: FeatureStore) -> Path:
    root = store.config.repo_path
    if root is None or not Lake(Path(root)).days("snapshots"):
        raise InputError(f"{root} holds no snapshots; run winback build-features first")
    return Path(root)


def _own_zone(store: FeatureStore) -> AbstractContextManager[None]:
    """Let Spark read Feast's instants, which name no zone, in the zone that Feast means."""
    return in_utc() if store.config.offline_store.type == "spark" else nullcontext()


def _source(files: str, engine: Engine) -> DataSource:
    columns = {"timestamp_field": "as_of", "created_timestamp_column": "created_at"}
    about = "one row per user and snapshot day"
    if engine == "duckdb":
        return FileSource(name="snapshots", path=files, description=about, **columns)
    from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource

    with _without_alarm():
        return SparkSource(name="snapshots", path=address(files), file_format="parquet", description=about, **columns)


@contextmanager
def _without_alarm() -> Iterator[None]:
    """Keep quiet that Feast calls its Spark store young; the tests compare it with DuckDB's."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The spark .* is an experimental feature", RuntimeWarning)
        yield


def _definitions(source: DataSource, features: list[Feature]) -> list[Entity | FeatureView | FeatureService]:
    user = Entity(name="user", join_keys=[ENTITY], value_type=ValueType.STRING, description="one user of the app")
    views = {
        name: _view(
            name, user, source, [feature for family in VIEWS[name] for feature in features if feature.view == family]
        )
        for name in SERVICES
    }
    services = [
        FeatureService(name=name, features=[view], description=f"what the {name} step reads")
        for name, view in views.items()
    ]
    return [user, *views.values(), *services]


def _view(name: str, user: Entity, source: DataSource, features: list[Feature]) -> FeatureView:
    schema = [
        Field(name=feature.name, dtype=String if feature.is_text else Float64, description=feature.meaning)
        for feature in features
    ]
    return FeatureView(name=name, entities=[user], ttl=VALID, schema=schema, source=source, online=False)
