"""The registry: never trained, no champion, unreadable and foreign are told apart, and only the first is none."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from synthetic import AS_OF, outcomes

from configs.errors import InputError
from features.storage.lake import Lake
from models.champion_gate.champions import promote, withhold
from models.estimator_families.linear_estimators import fit_proportional
from models.metrics.metric import Metric
from models.registry.artifact_digests import DIGEST
from models.registry.model_reader import ModelLineage, load, load_if_any
from models.registry.registry_state import (
    CHAMPION,
    FORMAT,
    ModelState,
    registered_model,
    registered_models,
)
from models.registry.tracking import connect, register, registered_name

SUBJECT = "states"


def register_pace(lake: Lake, subject: str, mark: str) -> int:
    frame = outcomes(60, np.random.default_rng(1), snapshots=2)
    return register(
        lake, ModelLineage(subject, "pace", AS_OF, AS_OF, AS_OF, mark * 16),
        fit_proportional(frame, "margin", "spend_sum_90d"), frame.head(9), parameters={},
        metrics={"value.mean": Metric(2.0, 1.0, 3.0, 9)}, pictures={}, notes={}, verdict="pace stays",
    )  # fmt: skip


@pytest.fixture(scope="module")
def stored(registry: Lake) -> Lake:
    """Registry that holds two versions of one model, the second of which is champion."""
    register_pace(registry, SUBJECT, "a")
    promote(registry, SUBJECT, register_pace(registry, SUBJECT, "b"), "the only candidate")
    return registry


@pytest.fixture
def lake(stored: Lake, tmp_path: Path) -> Lake:
    """Copy of the registry that a test may damage."""
    shutil.copytree(stored.root, tmp_path / "lake")
    return Lake(tmp_path / "lake")


def file_of(lake: Lake, name: str, subject: str = SUBJECT) -> Path:
    """File of the champion."""
    version = registered_model(lake, subject).named
    assert version is not None
    return lake.path(str(version.run if name == "estimator.json" else version.model), name)


def change(query: str) -> Callable[[Lake], None]:
    """Change the registry behind winback's back."""

    def damage(lake: Lake) -> None:
        with sqlite3.connect(lake.path("mlflow", "mlflow.db")) as store:
            store.execute(query)

    return damage


def write(name: str, content: bytes) -> Callable[[Lake], None]:
    def damage(lake: Lake) -> None:
        file_of(lake, name).write_bytes(content)

    return damage


STATES = {
    "alias removed": (
        change("DELETE FROM registered_model_aliases WHERE name = 'winback-states'"),
        ModelState.NO_CHAMPION, r"there is no champion of the states model in .*: its alias was removed",
    ),
    "version deleted": (
        change("DELETE FROM model_versions WHERE name = 'winback-states' AND version = 2"),
        ModelState.NO_CHAMPION, r"there is no champion of the states model in .*: version 2, which was, was deleted",
    ),
    "folder deleted": (
        lambda lake: shutil.rmtree(file_of(lake, "MLmodel").parent),
        ModelState.UNREADABLE, r"cannot be read: model/MLmodel is gone",
    ),
    "model cut": (write("model.skops", b"PK"), ModelState.UNREADABLE, r"model/model\.skops is 2 bytes with digest"),
    "MLmodel empty": (write("MLmodel", b""), ModelState.UNREADABLE, r"cannot be read: model/MLmodel is an empty file"),
    "notes changed": (
        write("estimator.json", b"{}"), ModelState.UNREADABLE, r"cannot be read: estimator\.json is 2 bytes with digest"
    ),
    "files of another folder": (
        change("UPDATE model_versions SET storage_location = 'file:///elsewhere/m' WHERE name = 'winback-states'"),
        ModelState.UNREADABLE, r"cannot be read: its files lie outside of this data folder",
    ),
    "digests are none": (
        change(f"UPDATE model_version_tags SET value = '{{broken' WHERE key = '{DIGEST}'"),
        ModelState.UNREADABLE, r"cannot be read: its tag artifacts_digest in the registry holds no digests",
    ),
    "other format": (
        change(f"UPDATE model_version_tags SET value = '2' WHERE key = '{FORMAT}'"),
        ModelState.OTHER_VERSION, r"has format 2, and this winback reads 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", STATES)
def test_what_cannot_be_used_is_named_and_is_never_none(lake: Lake, case: str) -> None:
    spoil, state, sentence = STATES[case]
    spoil(lake)
    assert registered_model(lake, SUBJECT).state == state
    for read in (load, load_if_any):
        with pytest.raises(InputError, match=f"states model in {lake.root}.*; run winback train-models") as raised:
            read(lake, SUBJECT)
        assert raised.match(sentence)


@pytest.mark.parametrize("name", ["model.skops", "MLmodel", "estimator.json"])
def test_a_damaged_file_of_an_older_winback_without_digests_is_one_sentence(registry: Lake, name: str) -> None:
    subject = f"old {name}"
    promote(registry, subject, register_pace(registry, subject, "a"), "the only candidate")
    connect(registry).delete_model_version_tag(registered_name(subject), "1", DIGEST)
    file_of(registry, name, subject).write_bytes(b"\x00\xff{")
    assert registered_model(registry, subject).state == ModelState.READY
    with pytest.raises(InputError, match=r"version 1 of the old .* model in .* cannot be read \(\w+"):
        load_if_any(registry, subject)


def test_never_trained_alone_is_none(stored: Lake, tmp_path: Path) -> None:
    assert load_if_any(stored, "unheard") is None
    assert load_if_any(Lake(tmp_path), SUBJECT) is None
    assert not list(tmp_path.iterdir())
    assert load_if_any(stored, SUBJECT) is not None


def test_what_the_gate_withheld_is_none_until_something_is_promoted(registry: Lake) -> None:
    version = register_pace(registry, "withheld", "a")
    withhold(registry, "withheld", "R² of -0.2 is below 0")
    assert load_if_any(registry, "withheld") is None
    with pytest.raises(InputError, match=r"no withheld model was promoted: R² of -0\.2 is below 0"):
        load(registry, "withheld")
    promote(registry, "withheld", version, "now it is good")
    assert load_if_any(registry, "withheld") is not None


def test_training_again_registers_what_was_damaged_anew(registry: Lake) -> None:
    promote(registry, "anew", register_pace(registry, "anew", "a"), "the only candidate")
    file_of(registry, "model.skops", "anew").write_bytes(b"PK")
    again = register_pace(registry, "anew", "a")
    promote(registry, "anew", again, "the only candidate")
    assert (again, load(registry, "anew").version) == (2, 2)


def test_a_copied_folder_writes_nothing_where_its_store_came_from(
    lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    change(f"UPDATE experiments SET artifact_location = 'file://{elsewhere}' WHERE name = 'winback'")(lake)
    number = register_pace(lake, "copied", "a")
    assert "a new experiment of MLflow" in capsys.readouterr().err
    promote(lake, "copied", number, "the only candidate")
    assert load(lake, "copied").version == number
    assert load(lake, SUBJECT).version == 2
    assert not elsewhere.exists()


@pytest.mark.parametrize("pin", ["null", "[1]", "{", '{"version": "x"}'])
def test_a_pin_that_is_none_is_one_sentence(lake: Lake, pin: str) -> None:
    connect(lake).set_registered_model_tag(registered_name(SUBJECT), "pin", pin)
    with pytest.raises(
        InputError, match=r"the tag 'pin' of winback-states in .*mlflow\.db is no pin of winback's; rem"
    ):
        load(lake, SUBJECT)


def test_a_store_that_is_gone_is_not_taken_for_one_that_never_was(lake: Lake) -> None:
    lake.path("mlflow", "mlflow.db").unlink()
    with pytest.raises(InputError, match=r"mlflow\.db cannot be read as MLflow's store \(it is gone\); put a"):
        load_if_any(lake, SUBJECT)


@pytest.mark.parametrize("content", [b"", b"no database at all" * 99, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_damaged_store_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    lake = Lake(tmp_path)
    lake.files.write("mlflow/mlflow.db", content)
    for ask in (connect, registered_models, lambda lake: load(lake, SUBJECT), lambda lake: load_if_any(lake, SUBJECT)):
        with pytest.raises(InputError, match=r"mlflow\.db cannot be read as MLflow's store .*; put a copy of it back"):
            ask(lake)


def test_a_store_of_another_mlflow_is_one_sentence(lake: Lake) -> None:
    change("UPDATE alembic_version SET version_num = 'unheard'")(lake)
    with pytest.raises(InputError, match=r"MLflow 3\.[\d.]+ cannot use .*mlflow\.db: .*found version unheard"):
        connect(lake)


def test_the_file_says_what_mlflow_says(stored: Lake) -> None:
    client = connect(stored)
    found = {registered_name(model.subject): model for model in registered_models(stored)}
    assert set(found) == {each.name for each in client.search_registered_models()}
    for name, model in found.items():
        known = {int(each.version): each.tags for each in client.search_model_versions(f"name = '{name}'")}
        assert {number: each.tags for number, each in model.versions.items()} == known
        assert client.get_registered_model(name).aliases.get(CHAMPION) == model.number


def test_each_alias_moves_once_so_that_a_killed_promotion_leaves_it_as_it_was_or_as_it_becomes(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest, move = register_pace(lake, SUBJECT, "c"), MlflowClient.set_registered_model_alias
    moved: list[tuple[str, int]] = []

    def noted(client: MlflowClient, name: str, alias: str, version: str) -> None:
        moved.append((alias, int(version)))
        move(client, name, alias, version)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", noted)
    assert promote(lake, SUBJECT, newest, "it is better", challenger=1)
    assert moved == [("challenger", 1), ("champion", newest)]
    assert not promote(lake, SUBJECT, newest, "it stays", challenger=2)
    assert moved[2:] == [("challenger", 2)]
