"""The record of a training: it comes back as it went, and a damaged or foreign one is named in one sentence."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from synthetic import small_settings

from configs.errors import InputError
from configs.offers import Option
from features.storage.lake import Lake
from models.effects.average_effect import AverageEffect
from models.metrics.metric import Leak, Metric
from models.policy_value.policy_verdict import NOBODY, RULE, Deployed, PolicyValue, PolicyVerdict
from models.registry.artifact_digests import StoredVersion
from models.registry.registry_state import ModelState, RegisteredModel
from models.training_run import response_models
from models.training_run.training_record import (
    ModelRecord,
    TrainingRecord,
    latest_training,
    lost_training,
    picture_of,
    read_training,
    trained_days,
    write_training,
)

DAY = date(2024, 7, 1)
AUC = Metric(0.875, 0.857, 0.891, 2317)


def record(day: date = DAY) -> TrainingRecord:
    gain = PolicyValue(0.9, 0.2, 1.6, 300, 120.5)
    unknown = PolicyValue(math.nan, -math.inf, math.inf, 3, 2.0)
    deployed = Deployed(RULE, Option("mail", 0.1), "spend_sum_28d", 12.5)
    verdict = PolicyVerdict(deployed, {"rule": gain}, gain, {"rule": gain, "personal": unknown})
    leak = Leak("trait_status", 0.9, AUC)
    effect = AverageEffect("mail", "randomised", 349, 2689, 1.0, 0.2, AUC, AUC, 1.5, 0.01)
    return TrainingRecord(
        day, {"churn": ModelRecord("churn-logistic-1", "simple", {"churn.auc": AUC}, (leak,))}, (effect,), verdict
    )


def test_a_record_comes_back_as_it_went(tmp_path: Path) -> None:
    lake, kept = Lake(tmp_path), record()
    write_training(lake, kept, {"churn_lift": b"PNG"})
    found = read_training(lake, DAY)
    assert repr(found) == repr(kept)  # NaN is not equal to itself
    assert found.verdict is not None and found.verdict.deployed.option == Option("mail", 0.1)
    assert found.metrics == {"churn.auc": AUC}
    assert picture_of(lake, found, "churn_lift") == b"PNG"
    assert picture_of(lake, found, "churn_shap_bar") is None


def test_a_training_without_an_experiment_has_no_verdict(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    write_training(lake, TrainingRecord(DAY, {}), {})
    assert latest_training(lake, DAY) == TrainingRecord(DAY, {})


def test_the_newest_on_or_before_a_day_counts_and_a_rerun_replaces_it(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    assert latest_training(lake, DAY) is None
    for days in (30, 7, -1):
        write_training(lake, record(DAY - timedelta(days=days)), {})
    write_training(lake, TrainingRecord(DAY - timedelta(days=7), {}), {})
    assert latest_training(lake, DAY) == TrainingRecord(DAY - timedelta(days=7), {})
    assert len(trained_days(lake)) == 3


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '"x"', "null", '{"version": 1}', '{"version": 1, "as_of": "2024-07-01", "models": {"churn": 7}}'],
)
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    lake = Lake(tmp_path)
    (write_training(lake, record(), {}) / "training.json").write_text(text, encoding="utf-8")
    with pytest.raises(
        InputError, match=r"training\.json is damaged; run winback train-models --as-of 2024-07-01 again"
    ):
        latest_training(lake, DAY)


@pytest.mark.parametrize(("version", "words"), [(None, "none"), (2, "2"), ("1", "1")])
def test_a_foreign_record_is_told_by_its_version(tmp_path: Path, version: object, words: str) -> None:
    lake = Lake(tmp_path)
    kept = json.loads(json.dumps(asdict(record()), default=str)) | {"version": version}
    if version is None:
        del kept["version"]
    (write_training(lake, record(), {}) / "training.json").write_text(json.dumps(kept), encoding="utf-8")
    lake.files.accept("training")
    with pytest.raises(InputError, match=f"is a training record of version {words}, and this winback reads 1; run"):
        latest_training(lake, DAY)


def test_a_record_that_is_gone_is_told_while_its_models_are_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, days = Lake(tmp_path), [DAY - timedelta(days=7), DAY]
    versions = {number: StoredVersion("m", "r", {"as_of": str(day)}) for number, day in enumerate(days)}
    models = [RegisteredModel("churn", ModelState.READY, versions=versions)]
    monkeypatch.setattr("models.training_run.training_record.registered_models", lambda _: models)
    write_training(lake, record(days[0]), {})
    assert lost_training(lake, days[0]) == []
    (told,) = lost_training(lake, DAY)
    assert re.match(
        r"models of 2024-07-01 are registered, and .*day=2024-07-01 is gone, .*train-models --as-of 2024", told
    )
    write_training(lake, record(), {})
    assert lost_training(lake, DAY) == []


def test_a_folder_that_names_no_day_is_no_training(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    write_training(lake, TrainingRecord(DAY, {}), {})
    for name in ("day=2024-13-45", "day=2024-02-31", "day=copy of 2024-07-01"):
        lake.files.write(f"training/{name}/training.json", b"{}")
    assert trained_days(lake) == [DAY]


def test_the_gate_is_told_what_it_said_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, told = Lake(tmp_path), []
    empty, drawn = pd.DataFrame(), pd.DataFrame({"user_id": ["u"]})
    frames = SimpleNamespace(outcomes=empty, experiment=drawn, share=1.0)
    learnt = {"margin_soon": SimpleNamespace(options=())}
    nobody = SimpleNamespace(deployed=Deployed(NOBODY))
    monkeypatch.setattr(response_models, "closed_values", lambda *_: empty)
    monkeypatch.setattr(response_models, "load_if_any", lambda *_: None)
    monkeypatch.setattr(response_models, "gather_evidence", lambda *_, **__: None)
    monkeypatch.setattr(response_models, "judge_policies", lambda *words: told.append(words[2]) or nobody)

    def judged(day: date) -> PolicyVerdict | None:
        assert response_models.judge_experiment(small_settings(), lake, day, frames, learnt, None, None)[1] is None
        return told[-1]

    assert judged(DAY) is None
    write_training(lake, record(), {})
    assert judged(DAY - timedelta(days=1)) is None  # what comes later is not known
    assert repr(judged(DAY + timedelta(days=7))) == repr(record().verdict)
    (tmp_path / "training" / f"day={DAY}" / "training.json").write_text("{", encoding="utf-8")
    assert judged(DAY) is None
