"""Tracking: every training is a run, every model has one version per data, and the log says who was champion."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import asdict
from datetime import UTC, datetime

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.store.db import utils as store_utils
from synthetic import AS_OF, MIXED, outcomes

from configs.errors import InputError
from features.storage.lake import Lake
from models.champion_gate.champions import choose, name_version, promote, rollback, unpin
from models.champion_gate.promotion_log import Promotion, log_promotion, promotion_log
from models.estimator_families.estimators import Estimator
from models.estimator_families.linear_estimators import fit_linear, fit_proportional
from models.metrics.metric import Metric
from models.registry.model_reader import ModelLineage, load, load_if_any
from models.registry.registry_state import CHALLENGER, ModelState, Pin, registered_model
from models.registry.tracking import (
    TELLS_TWICE,
    connect,
    fingerprint,
    register,
    registered_name,
    rows_digest,
    tracking_uri,
)

NOW = datetime(2024, 7, 1, 12, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return outcomes(60, np.random.default_rng(1), snapshots=2)


@pytest.fixture(scope="module")
def pace(frame) -> Estimator:
    return fit_proportional(frame, "margin", "spend_sum_90d")


def mark_of(frame: pd.DataFrame, settings: str) -> str:
    return fingerprint(rows_digest(frame), settings)


def training(subject: str, mark: str, candidate: str = "pace") -> ModelLineage:
    return ModelLineage(subject, candidate, AS_OF, AS_OF, AS_OF, mark * 16)


def registered(lake: Lake, pace: Estimator, frame: pd.DataFrame, subject: str, *marks: str) -> list[int]:
    """Register one version per mark."""
    return [
        register(
            lake, training(subject, mark), pace, frame.head(9), parameters={"rows": 120, "seed": 1},
            metrics={"value.mean": Metric(2.0, 1.0, 3.0, 9)}, pictures={"calibration": b"PNG"},
            notes={"covered_spend": {"a": 1.5}}, verdict="pace stays",
        )
        for mark in marks
    ]  # fmt: skip


def log_of(lake: Lake, subject: str) -> list[tuple[int, str]]:
    return [(entry.version, entry.reason) for entry in promotion_log(lake) if entry.subject == subject]


def test_equal_rows_and_settings_have_equal_fingerprints(frame):
    assert mark_of(frame, "s") == mark_of(frame.copy(deep=True), "s")
    assert re.fullmatch("[0-9a-f]{16}", mark_of(frame, "s"))


@pytest.mark.parametrize("column", ["margin", "is_churned", "user_id", "trait_plan", "day", "trait_plan_plus"])
def test_a_changed_value_changes_the_fingerprint(frame, column):
    changed = frame.copy(deep=True)
    other = frame.index[frame[column].notna() & (frame[column] != frame[column].iloc[3])][0]
    changed.loc[3, column] = frame.loc[other, column]
    assert mark_of(changed, "s") != mark_of(frame, "s")


def test_settings_rows_and_column_names_are_part_of_the_fingerprint(frame):
    marks = [
        mark_of(frame, "s"),
        mark_of(frame, "t"),
        mark_of(frame.head(119), "s"),
        mark_of(frame.rename(columns={"margin": "margins"}), "s"),
        mark_of(pd.concat([frame, frame.tail(1)]), "s"),
        mark_of(frame.assign(margin=frame["margin"].where(frame.index > 0)), "s"),
    ]
    assert len(set(marks)) == len(marks)


def test_the_fingerprint_leaves_the_frame_unchanged(frame):
    before = frame.copy(deep=True)
    mark_of(frame, "s")
    pd.testing.assert_frame_equal(frame, before)


def test_mlflow_prints_no_traceback_of_what_it_raises(registry):
    connect(registry)
    assert store_utils._logger.name == TELLS_TWICE  # whose every error is raised, too
    assert not store_utils._logger.isEnabledFor(logging.ERROR)


def test_the_same_training_is_registered_once(registry, pace, frame):
    first, again, other = registered(registry, pace, frame, "once", "a", "a", "b")
    assert first == again
    assert other == first + 1
    found = connect(registry).search_model_versions(f"name = '{registered_name('once')}'")
    assert len(found) == 2


@pytest.mark.parametrize("status", ["RUNNING", "FAILED"])
def test_what_a_broken_off_training_left_in_mlflow_goes_with_the_next(registry, pace, frame, status, monkeypatch):
    def folders() -> set[str]:
        return {"/".join(name.split("/")[:4]) for name in registry.files.list("mlflow/artifacts/**/*")}

    def break_off(*_: object, **__: object) -> None:
        raise RuntimeError

    subject = f"broken off {status}"
    registered(registry, pace, frame, subject, "a")
    client, whole = connect(registry), folders()
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr("models.registry.tracking._create_version", break_off)
        registered(registry, pace, frame, subject, "b")
    broken = client.search_runs([client.get_experiment_by_name("winback").experiment_id], max_results=1)[0].info
    ends = client.get_model_version(registered_name(subject), "1").run_id
    for run in (broken.run_id, ends):
        client.update_run(run, status=status)
    assert folders() > whole
    assert registered(registry, pace, frame, subject, "a") == [1]
    assert folders() == whole
    assert client.get_run(broken.run_id).info.lifecycle_stage == "deleted"
    assert client.get_run(ends).info.status == "FINISHED"


def test_a_run_holds_parameters_metrics_pictures_signature_and_verdict(registry, frame):
    model = fit_linear(frame, "is_churned", MIXED)
    version = register(
        registry, training("run", "c", "logistic"), model, frame.head(9), parameters={"rows": 120, "seed": 1},
        metrics={"churn.auc": Metric(0.8, 0.7, 0.9, 9)}, pictures={"calibration": b"PNG"}, notes={},
        verdict="logistic stays",
    )  # fmt: skip
    client = connect(registry)
    found = client.get_model_version(registered_name("run"), str(version))
    run = client.get_run(found.run_id)
    assert run.data.params["rows"] == "120"
    assert run.data.params["data_fingerprint"] == "c" * 16
    assert (run.data.params["data_from"], run.data.params["data_to"]) == (str(AS_OF), str(AS_OF))
    assert run.data.metrics == {"churn.auc": 0.8, "churn.auc.low": 0.7, "churn.auc.high": 0.9}
    assert run.data.tags["verdict"] == "logistic stays"
    assert {file.path for file in client.list_artifacts(found.run_id)} >= {"calibration.png", "estimator.json"}
    signature = mlflow.models.get_model_info(found.source).signature
    assert signature.inputs.input_names() == MIXED
    assert not list(registry.path("tmp").iterdir())


def test_a_store_of_no_class_of_ours_can_be_read_without_our_code(registry, pace, frame):
    (version,) = registered(registry, pace, frame, "foreign", "a")
    found = connect(registry).get_model_version(registered_name("foreign"), str(version))
    core = mlflow.sklearn.load_model(found.source)
    assert type(core).__module__.startswith("sklearn")


def test_promotion_writes_since_when_and_why(registry, pace, frame):
    first, second = registered(registry, pace, frame, "log", "a", "b")
    assert promote(registry, "log", first, "the only candidate", at=NOW)
    assert promote(registry, "log", second, "lightgbm beats pace")
    entry, latest = (entry for entry in promotion_log(registry) if entry.subject == "log")
    assert entry == Promotion("log", first, "log-pace-aaaaaaaa", "2024-07-01T12:30:00+00:00", "the only candidate")
    assert (latest.version, latest.reason) == (second, "lightgbm beats pace")
    assert datetime.fromisoformat(latest.since).tzinfo is not None
    lines = registry.path("mlflow", "promotions.jsonl").read_text(encoding="utf-8").splitlines()
    assert asdict(entry) in [json.loads(line) for line in lines]


def test_promoting_the_champion_again_changes_nothing(registry, pace, frame):
    (version,) = registered(registry, pace, frame, "again", "a")
    assert promote(registry, "again", version, "the only candidate")
    assert not promote(registry, "again", version, "the only candidate")
    assert log_of(registry, "again") == [(version, "the only candidate")]


def test_the_former_champion_becomes_the_challenger(registry, pace, frame):
    first, second, third = registered(registry, pace, frame, "alias", "a", "b", "c")
    promote(registry, "alias", first, "first")
    with pytest.raises(InputError, match="there is no challenger of the alias model"):
        load(registry, "alias", CHALLENGER)
    promote(registry, "alias", second, "second")
    assert (load(registry, "alias").version, load(registry, "alias", CHALLENGER).version) == (second, first)
    name_version(registry, "alias", CHALLENGER, third)
    assert (load(registry, "alias").version, load(registry, "alias", CHALLENGER).version) == (second, third)


def test_a_rollback_returns_to_the_champion_before_and_says_so(registry, pace, frame):
    first, second = registered(registry, pace, frame, "back", "a", "b")
    promote(registry, "back", first, "first")
    promote(registry, "back", second, "second")
    entry = rollback(registry, "back", "complaints", by="ana")
    assert (entry.version, entry.reason, entry.by) == (first, "complaints", "ana")
    assert (load(registry, "back").version, load(registry, "back", CHALLENGER).version) == (first, second)
    assert log_of(registry, "back") == [(first, "first"), (second, "second"), (first, "complaints")]


def test_a_rollback_never_takes_a_number_of_an_earlier_registry(registry, pace, frame):
    first, second = registered(registry, pace, frame, "moved away", "a", "b")
    log_promotion(registry, Promotion("moved away", first, "moved away-pace-ffffffff", NOW.isoformat(), "long ago"))
    promote(registry, "moved away", second, "second")
    with pytest.raises(InputError, match="has no earlier champion to return to"):
        rollback(registry, "moved away", "complaints", by="ana")


def test_there_is_no_rollback_before_the_second_champion(registry, pace, frame):
    (version,) = registered(registry, pace, frame, "new", "a")
    for _ in range(2):
        with pytest.raises(InputError, match="the new model has no earlier champion to return to; train and promote"):
            rollback(registry, "new", "complaints", by="ana")
        promote(registry, "new", version, "first")


def test_a_person_s_choice_is_pinned_until_it_is_unpinned(registry, pace, frame):
    first, second = registered(registry, pace, frame, "pinned", "a", "b")
    promote(registry, "pinned", second, "second", at=NOW)
    assert registered_model(registry, "pinned").pin is None
    entry = choose(registry, "pinned", first, "complaints", by="ana")
    pin = registered_model(registry, "pinned").pin
    assert pin == Pin(first, "ana", entry.since, "complaints")
    choose(registry, "pinned", first, "still better", by="bob")  # champion already: the pin is new, the log is not
    assert log_of(registry, "pinned") == [(second, "second"), (first, "complaints")]
    assert unpin(registry, "pinned").by == "bob"
    assert registered_model(registry, "pinned").pin is None
    with pytest.raises(InputError, match="the pinned model is not pinned"):
        unpin(registry, "pinned")


def test_a_version_that_is_not_there_cannot_be_chosen(registry, pace, frame):
    (version,) = registered(registry, pace, frame, "chosen", "a")
    with pytest.raises(InputError, match=r"has no version 7; known are: 1 \(chosen-pace-aaaaaaaa\)"):
        choose(registry, "chosen", 7, "a slip", by="ana")
    registry.path(registered_model(registry, "chosen").versions[version].model, "MLmodel").unlink()
    with pytest.raises(InputError, match="version 1 of the chosen model cannot be read"):
        choose(registry, "chosen", version, "a slip", by="ana")
    assert registered_model(registry, "chosen").number is None
    assert log_of(registry, "chosen") == []


@pytest.mark.parametrize("line", [b"garbage", b"\xff\x00", b"[]", b'{"subject": "churn"}'])
def test_a_damaged_line_of_the_log_is_named(tmp_path, line):
    lake = Lake(tmp_path)
    log_promotion(lake, Promotion("churn", 1, "churn-logistic-1", NOW.isoformat(), "the only candidate"))
    lake.files.append("mlflow/promotions.jsonl", line + b"\n")
    with pytest.raises(InputError, match=r"line 2 of .*promotions\.jsonl is no promotion; remove that line"):
        promotion_log(lake)


def test_what_was_registered_is_loaded(registry, pace, frame):
    (version,) = registered(registry, pace, frame, "load", "a")
    promote(registry, "load", version, "first")
    found = load(registry, "load")
    assert found.lineage == training("load", "a")
    assert found.lineage.name == "load-pace-aaaaaaaa"
    assert found.notes == {"covered_spend": {"a": 1.5}}
    assert (found.estimator.predict(frame) == pace.predict(frame)).all()


def test_a_lake_without_models_says_what_to_run(tmp_path):
    with pytest.raises(InputError, match=r"holds no churn model; run winback train-models first"):
        load(Lake(tmp_path), "churn")
    assert promotion_log(Lake(tmp_path)) == []
    assert not list(tmp_path.iterdir())


def test_a_subject_without_a_champion_says_what_to_run(registry):
    with pytest.raises(InputError, match=r"holds no unheard model; run winback train-models first"):
        load(registry, "unheard")


def test_the_store_is_a_sqlite_file_of_the_lake(registry):
    assert tracking_uri(registry) == f"sqlite:///{registry.root}/mlflow/mlflow.db"
    assert registry.path("mlflow", "mlflow.db").exists()
    places = {each.name: each.artifact_location for each in connect(registry).search_experiments()}
    kinds = {each.name: each.tags.get("mlflow.experimentKind") for each in connect(registry).search_experiments()}
    assert kinds["winback"] == "custom_model_development"  # so that its page opens on the runs
    assert places == {"winback": "winback:/artifacts", "Default": "winback:/artifacts/0"}  # wherever the lake is moved


def test_a_model_that_one_machine_registered_is_read_and_checked_on_another(team, postgres, pace, frame):
    one, two = team("one"), team("two")
    assert load_if_any(one, "churn") is None
    with one.files.lock("winback train-models"):
        (number,) = registered(one, pace, frame, "churn", "a")
    promote(one, "churn", number, "first")
    postgres.stop()
    postgres.start()
    read = two.files.of_one_publish(lambda: load(two, "churn"))
    np.testing.assert_array_equal(read.estimator.predict(frame), pace.predict(frame))
    with two.files.lock("winback train-models"):
        assert registered(two, pace, frame, "churn", "a") == [number]  # the same rows, found by their fingerprint
    assert registered_model(two, "churn").state == ModelState.READY
    assert log_of(two, "churn") == [(number, "first")]
    pictures = two.files.list("mlflow/artifacts/**/calibration.png")
    assert pictures == one.files.list("mlflow/artifacts/**/calibration.png") != []
    assert not [name for lake in (one, two) for name in lake.files.list("mlflow/*.db")]
    assert tracking_uri(two).startswith("postgresql+psycopg://")
