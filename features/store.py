"""The one door to Feast: what the models may read, and the point-in-time join that reads it."""

from __future__ import annotations

import string
from datetime import timedelta
from pathlib import Path

import pandas as pd
import yaml
from feast import Entity, FeatureService, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast import FeatureStore as FeatureStore
from feast.types import Float64, String

from configs.errors import InputError
from configs.settings import FOLDER
from features.columns import Feature
from features.lake import Lake, named_when_unreadable

ENTITY = "user_id"
EVENT_TIMESTAMP = "event_timestamp"
SERVICES: dict[str, tuple[str, ...]] = {
    "churn": ("behaviour", "traits"),
    "value": ("behaviour", "traits"),
    "redemption": ("behaviour", "contact", "traits"),
    "scoring": ("behaviour", "contact", "traits", "taste"),
}


def open_store(lake: Lake, features: list[Feature]) -> FeatureStore:
    """Register the entity, the views and one feature service per model, and return the store.

    Parameters
    ----------
    lake
        Its ``snapshots`` are the offline store, its ``feast`` folder holds the registry.
    features
        The data catalogue, traits included.
    """
    lake.path("feast").mkdir(parents=True, exist_ok=True)
    text = (FOLDER / "feature_store.yaml").read_text(encoding="utf-8")
    config = yaml.safe_load(string.Template(text).substitute(data_dir=lake.root))
    store = FeatureStore(config=RepoConfig(repo_path=lake.root, **config))
    store.apply(_definitions(lake, features))
    return store


def point_in_time_frame(store: FeatureStore, service: str, entities: pd.DataFrame) -> pd.DataFrame:
    """Join to each row the features as they were known at its moment.

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
    without a snapshot at that moment has nulls.

    Raises
    ------
    InputError
        There is no snapshot at all.
    """
    root = store.config.repo_path
    if root is None or not any(Path(root).glob("snapshots/*/*.parquet")):
        raise InputError(f"{root} holds no snapshots; run winback build-features first")
    numbered = entities.reset_index(drop=True).rename_axis("entity_row").reset_index()
    with named_when_unreadable(Path(root)):
        job = store.get_historical_features(
            entity_df=numbered, features=store.get_feature_service(service), filter_by_created_timestamp=True
        )
        frame = job.to_df().sort_values("entity_row", ignore_index=True)
    if len(frame) != len(entities):
        raise RuntimeError(
            f"the point-in-time join returned {len(frame)} rows for {len(entities)}; no example may be lost or doubled"
        )
    return frame.drop(columns="entity_row")


def _definitions(lake: Lake, features: list[Feature]) -> list[Entity | FeatureView | FeatureService]:
    user = Entity(name="user", join_keys=[ENTITY], value_type=ValueType.STRING, description="one user of the app")
    source = FileSource(
        name="snapshots",
        path=str(Path(lake.glob("snapshots"))),
        timestamp_field="as_of",
        created_timestamp_column="created_at",
        description="one row per user and snapshot day",
    )
    views = {
        name: _view(name, user, source, [feature for feature in features if feature.view == name])
        for name in SERVICES["scoring"]
    }
    filled = {name: view for name, view in views.items() if view is not None}
    services = [
        FeatureService(
            name=name,
            features=[filled[view] for view in parts if view in filled],
            description=f"what the {name} step reads",
        )
        for name, parts in SERVICES.items()
    ]
    return [user, *filled.values(), *services]


def _view(name: str, user: Entity, source: FileSource, features: list[Feature]) -> FeatureView | None:
    if not features:
        return None
    schema = [
        Field(name=feature.name, dtype=String if feature.is_text else Float64, description=feature.meaning)
        for feature in features
    ]
    return FeatureView(name=name, entities=[user], ttl=timedelta(days=1), schema=schema, source=source, online=False)
