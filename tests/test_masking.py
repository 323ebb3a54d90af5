"""Secrets are hidden in errors, in what MLflow keeps, and in the settings that are shown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import AS_OF, outcomes, small_settings

from configs.errors import InputError, first_line
from configs.masking import masked
from features.storage.lake import Lake
from models.estimator_families.linear_estimators import fit_proportional
from models.model_cards.run_description import TrainingRun
from models.registry.model_reader import ModelLineage
from models.registry.tracking import log_training, register
from serving.lookups.settings_list import setting_lines, shown_settings

SECRET = "s3cr3t/Zx9"
ADDRESSES = [
    f"postgresql://ana:{SECRET}@db.example:5432/app",
    f"mysql+pymysql://ana:{SECRET}@db/app?charset=utf8",
    f"host=db user=ana password={SECRET} dbname=app",
    f"host=db user=ana password='{SECRET}' dbname=app",
    f"postgresql://db/app?user=ana&password={SECRET}&sslmode=require",
    f"https://hooks.slack.com/services/T0/B0/{SECRET}",
    f"https://acme.webhook.office.com/{SECRET}",
    f"https://discord.com/api/webhooks/1/{SECRET}",
    f"CREATE SECRET (TYPE s3, KEY_ID 'AKIA', SECRET '{SECRET}')",
    f'{{"token": "{SECRET}"}}',
    f"s3://bucket/x?X-Amz-Signature={SECRET}",
    f"AWS_SECRET_ACCESS_KEY={SECRET}",
]
PLAIN = [
    "http://127.0.0.1:4200/api says no; run winback schedule again",
    "'churn.horizont_days' in the overrides is not a setting; did you mean 'horizon_days'?",
    "tests, sigma = 3, keys: a, b and tokens: 4; mail ana@example.com",
    "sqlite:////tmp/data/mlflow/mlflow.db",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_secret_is_in_no_error_and_no_line_of_one(address: str) -> None:
    assert SECRET not in str(InputError(f"{address} cannot be reached; start it"))
    assert SECRET not in first_line(OSError(f"cannot reach {address}\nbecause"))
    assert "***" in masked(address)


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_secret_stays(text: str) -> None:
    assert masked(text) == text


@given(st.text(st.characters(exclude_characters="@\"'", exclude_categories=["Z", "C"]), min_size=1))
def test_a_password_of_any_signs_is_hidden(password: str) -> None:
    assert masked(f"postgresql://ana:{password}@db/app") == "postgresql://ana:***@db/app"
    assert masked(masked(f"at postgresql://ana:{password}@db/app")) == "at postgresql://ana:***@db/app"


def test_mlflow_keeps_no_secret(registry: Lake) -> None:
    frame = outcomes(60, np.random.default_rng(1), snapshots=2)
    said = {"profile": ADDRESSES[0], "raw": ADDRESSES[5]}
    training = TrainingRun(AS_OF, "masked", said, {"winback.version": "1"})
    register(
        registry, ModelLineage("masked", "pace", AS_OF, AS_OF, AS_OF, "a" * 16),
        fit_proportional(frame, "margin", "spend_sum_90d"), frame.head(9), parameters=said, metrics={}, pictures={},
        notes={}, verdict="", training=training,
    )  # fmt: skip
    log_training(registry, training, {})
    files = [path for path in registry.path("mlflow").rglob("*") if path.is_file()]
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    assert any(b"ana:***@db" in path.read_bytes() for path in files)


def test_the_settings_are_shown_without_secrets(tmp_path: Path) -> None:
    options = {"spark.hadoop.fs.s3a.secret.key": SECRET, "spark.ui.enabled": "false", "spark.x": ADDRESSES[0]}
    settings = small_settings(spark={"options": options}, ingest={"raw": ADDRESSES[0]})
    told = json.dumps(shown_settings(settings)["spark"]) + "\n".join(setting_lines(settings))
    assert SECRET not in told
    assert "spark.ui.enabled" in told


def test_a_file_whose_name_is_that_of_a_secret_is_named():
    sentence = "the source may not read '/etc/passwd': it reads the raw folder, nothing else"
    assert masked(sentence) == sentence
