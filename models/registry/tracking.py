"""MLflow: runs, registration and aliases. Only this module imports it."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import Metric as LoggedMetric
from mlflow.entities import Param
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from configs.errors import InputError
from configs.masking import masked
from configs.progress import announce
from features.storage.lake import Lake
from features.storage.whole_writes import content_hash, scratch_folder, write_bytes
from features.stores.database import TRACKING, sqlalchemy_address
from models.estimator_families.estimators import Estimator
from models.estimator_families.model_families import description_of
from models.metrics.drift import Reference
from models.metrics.metric import Metric
from models.model_cards.run_description import LONGEST, TrainingRun
from models.registry.artifact_digests import DIGEST, ESTIMATOR, damage_of, digests_tag
from models.registry.model_reader import ModelLineage
from models.registry.movable_artifacts import ARTIFACTS, FOLDER, SCHEME, SQLITE, keep_beside, movable_artifacts
from models.registry.registry_state import (
    DATABASE,
    FORMAT,
    FORMAT_READ,
    PREFIX,
    check_store,
    place_of,
    registered_model,
)

EXPERIMENT = "winback"
OPENS_ON_RUNS = {"mlflow.experimentKind": "custom_model_development"}  # else its page asks what kind it is, or traces
OF_US = {"mlflow.source.name": EXPERIMENT}  # else the path of our script
TELLS_TWICE = "mlflow.store.db.utils"  # it prints the traceback of a disk that is full, and raises it as well
AT_ONCE = 100  # parameters that MLflow takes in one call
REQUIREMENTS = ["lightgbm", "scikit-learn", "pandas"]


def connect(lake: Lake) -> MlflowClient:
    """Point MLflow at the lake's SQLite store, creating it once.

    Raises
    ------
    InputError
        The store is damaged, or another version of MLflow made it.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    logging.getLogger(TELLS_TWICE).setLevel(logging.CRITICAL)
    _artifact_repository_registry.register(SCHEME, movable_artifacts)
    check_store(lake)
    keep_beside(tracking_uri(lake), lake.path(FOLDER))
    if lake.stores.database or not lake.files.exists(DATABASE):
        lake.files.make_folder(FOLDER)
        SqlAlchemyStore(tracking_uri(lake), ARTIFACTS)  # else MLflow notes the working directory in it
    mlflow.set_tracking_uri(tracking_uri(lake))
    try:
        client = MlflowClient()
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None and experiment.artifact_location != ARTIFACTS:
            announce(f"a new experiment of MLflow in {lake.root}, as files of the one before lie outside of the folder")
            client.rename_experiment(experiment.experiment_id, f"{EXPERIMENT}, files elsewhere")
            experiment = None
        if experiment is None:
            client.create_experiment(EXPERIMENT, artifact_location=ARTIFACTS, tags=OPENS_ON_RUNS)
        elif not OPENS_ON_RUNS.items() <= experiment.tags.items():
            for key, value in OPENS_ON_RUNS.items():
                client.set_experiment_tag(experiment.experiment_id, key, value)
    except MlflowException as error:
        store = lake.stores.database or lake.path(DATABASE)
        raise InputError(f"MLflow {mlflow.__version__} cannot use {store}: {error.message}") from error
    return client


def tracking_uri(lake: Lake) -> str:
    """Address of the lake's MLflow store; that of a database may hold its password, which nobody is told."""
    if lake.stores.database:
        return sqlalchemy_address(lake.stores, TRACKING)
    return f"{SQLITE}{lake.path(DATABASE)}"


def fingerprint(digest: str, settings: str) -> str:
    """Digest of training rows, by theirs, and settings; equal inputs have equal fingerprints."""
    return content_hash(text=f"{settings}|{digest}")


def rows_digest(frame: pd.DataFrame) -> str:
    """Digest of the rows and columns of a frame, 16 hexadecimal digits."""
    rows = pd.util.hash_pandas_object(frame.astype(dict.fromkeys(frame.select_dtypes("category"), str)), index=False)
    return content_hash(text=f"{list(frame.columns)}|{rows.sum()}|{len(rows)}")


def register(
    lake: Lake, lineage: ModelLineage, estimator: Estimator, sample: pd.DataFrame, *, parameters: Mapping[str, object],
    metrics: Mapping[str, Metric], pictures: Mapping[str, bytes], notes: Mapping[str, object], verdict: str,
    tags: Mapping[str, str] = {}, folders: Mapping[str, Callable[[Path], None]] = {},
    training: TrainingRun | None = None, digest: str = "", reference: Reference | None = None,
) -> int:  # fmt: skip
    """Log one candidate as an MLflow run and register it; the same fingerprint is never registered twice.

    Parameters
    ----------
    sample
        A few rows of the training frame, for the signature.
    tags
        Of the model's version.
    folders
        What writes further artifacts, by the name of their folder.
    training
        The training that the candidate is part of: its run is the parent of this one.
    digest
        Of the training rows, from `rows_digest`.
    reference
        The population that it was taught on.

    Returns
    -------
    Number of the model version.
    """
    client = connect(lake)
    _end_broken_off(lake, client)
    known = _version_of(lake, lineage)
    if known is not None:
        return known
    mlflow.set_experiment(EXPERIMENT)
    name = f"{lineage.subject} {lineage.candidate} {lineage.as_of}"
    own_tags = {**OF_US, **({"mlflow.parentRunId": _parent(client, training), **training.tags} if training else {})}
    with mlflow.start_run(run_name=name, tags=own_tags):
        if digest:
            source = CodeDatasetSource({"folder": "snapshots", **(training.tags if training else {})})
            mlflow.log_input(MetaDataset(source, f"{lineage.subject} rows", digest), context="training")
        period = {"data_from": lineage.data_from, "data_to": lineage.data_to}
        known_by = {**parameters, **period, "data_fingerprint": lineage.fingerprint}
        mlflow.log_params({name: masked(str(value)) for name, value in known_by.items()})
        mlflow.log_metrics({
            f"{name}{end}": value
            for name, metric in metrics.items()
            for end, value in (("", metric.value), (".low", metric.low), (".high", metric.high))
        })  # fmt: skip
        for name, content in pictures.items():
            _log_bytes(lake, f"{name}.png", content)
        described = {**description_of(estimator), "lineage": _json(asdict(lineage)), "notes": notes}
        described |= {"reference": asdict(reference)} if reference is not None else {}
        mlflow.log_dict(described, ESTIMATOR)
        for name, write in folders.items():
            with scratch_folder(lake.path("tmp")) as folder:
                write(folder)
                mlflow.log_artifacts(str(folder), name)
        mlflow.set_tag("verdict", verdict)
        model = _log_core(estimator, sample)
        version = _create_version(lake, client, lineage, model.model_uri, str(model.run_id), tags)
    return int(version.version)


def log_training(lake: Lake, training: TrainingRun, metrics: Mapping[str, Metric]) -> None:
    """Log what was measured of champions and policies with the run of a training; what it has already is left alone."""
    client = connect(lake)
    run = _parent(client, training)
    known, now = client.get_run(run).data.metrics, int(time.time() * 1000)
    found = {
        f"{name}{end}": value
        for name, metric in metrics.items()
        for end, value in (("", metric.value), (".low", metric.low), (".high", metric.high))
        if math.isfinite(value) and known.get(f"{name}{end}") != value
    }
    client.log_batch(run, metrics=[LoggedMetric(name, value, now, 0) for name, value in found.items()])


def save_core(estimator: Estimator, folder: Path) -> None:
    """Write the core of a model into a folder, as the library that made it does."""
    flavour = getattr(mlflow, estimator.flavour)
    flavour.save_model(estimator.core, str(folder), pip_requirements=REQUIREMENTS, **estimator.save_options)


def registered_name(subject: str) -> str:
    """Name of a subject in MLflow's registry."""
    return f"{PREFIX}{subject}"


def _parent(client: MlflowClient, training: TrainingRun) -> str:
    """Find the run of a training, or make it."""
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    found = client.search_runs([experiment], f"tags.training = '{training.key}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    tags = {**OF_US, **training.tags, "training": training.key}
    run = str(client.create_run(experiment, run_name=f"training {training.as_of}", tags=tags).info.run_id)
    named = [Param(name, masked(str(value))[:LONGEST]) for name, value in training.parameters.items()]
    for first in range(0, len(named), AT_ONCE):
        client.log_batch(run, params=named[first : first + AT_ONCE])
    client.set_terminated(run)
    return run


def _end_broken_off(lake: Lake, client: MlflowClient) -> None:
    """End what a training left that was killed or failed: a run that has a version is done, any other goes whole."""
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    ours = f"attributes.status != 'FINISHED' AND tags.`mlflow.source.name` = '{EXPERIMENT}'"
    for run in client.search_runs([experiment], ours):
        run_id = run.info.run_id
        if client.search_model_versions(f"run_id = '{run_id}'"):
            client.set_terminated(run_id)
            continue
        models = client.search_logged_models([experiment], filter_string=f"source_run_id = '{run_id}'")
        for uri in (run.info.artifact_uri, *(model.artifact_location for model in models)):
            if place := place_of(uri):
                lake.files.remove(place.rpartition("/")[0])
        for model in models:
            client.delete_logged_model(model.model_id)
        client.delete_run(run_id)


def _version_of(lake: Lake, lineage: ModelLineage) -> int | None:
    """Find the version of a lineage whose files are as they were registered."""
    found = registered_model(lake, lineage.subject).versions
    ours = (number for number, each in found.items() if each.name == lineage.name and not damage_of(lake, each))
    return next(ours, None)


def _log_core(estimator: Estimator, sample: pd.DataFrame) -> Any:  # noqa: ANN401 - MLflow's ModelInfo has no stable home
    inputs = estimator.inputs(sample)
    texts = dict.fromkeys(inputs.select_dtypes("category"), str)
    signature = mlflow.models.infer_signature(inputs.astype(texts), estimator.predict(sample))
    common = {"name": "model", "signature": signature, "pip_requirements": REQUIREMENTS}
    return getattr(mlflow, estimator.flavour).log_model(estimator.core, **estimator.save_options, **common)


def _create_version(
    lake: Lake, client: MlflowClient, lineage: ModelLineage, source: str, run_id: str, own_tags: Mapping[str, str]
) -> ModelVersion:
    name = registered_name(lineage.subject)
    try:
        client.create_registered_model(name)
    except MlflowException:
        client.get_registered_model(name)
    tags = {"name": lineage.name, "fingerprint": lineage.fingerprint, "as_of": str(lineage.as_of), FORMAT: FORMAT_READ}
    tags |= own_tags
    model = place_of(client.get_logged_model(source.rpartition("/")[2]).artifact_location)
    run = place_of(client.get_run(run_id).info.artifact_uri)
    if model is not None and run is not None:
        tags[DIGEST] = digests_tag(lake, model, run)
        lake.files.share(model.rpartition("/")[0], run.rpartition("/")[0])  # a version is never without its files
    return client.create_model_version(name, source, run_id=run_id, tags=tags)


def _log_bytes(lake: Lake, name: str, content: bytes) -> None:
    with scratch_folder(lake.path("tmp")) as folder:
        write_bytes(folder / name, content)
        mlflow.log_artifact(str(folder / name))


def _json(values: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, date) else value for name, value in values.items()}
