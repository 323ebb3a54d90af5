"""What is loaded of a registered model, and what is not: no code of its files runs, and no changed file is used."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import lightgbm as lgb
import mlflow
import numpy as np
import pandas as pd
import pytest
import skops.io
import yaml
from hypothesis import given
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from synthetic import AS_OF, outcomes, small_settings

from features.storage.lake import Lake
from models.champion_gate.champions import promote, rollback
from models.estimator_families.estimators import Estimator
from models.estimator_families.linear_estimators import fit_linear
from models.estimator_families.tree_estimators import fit_lightgbm
from models.registry.artifact_digests import (
    DIGEST,
    ESTIMATOR,
    StoredVersion,
    UnreadableModelError,
    damage_of,
    digests_tag,
    read_checked,
)
from models.registry.fold_models import FoldModels, write_folds
from models.registry.model_reader import ModelLineage, load, read_folds
from models.registry.registry_state import registered_model
from models.registry.tracking import connect, register, registered_name

COLUMNS = ["days_since_last_activity", "active_days_count_90d", "trait_plan"]
SETTINGS = small_settings()


class Mark:
    """What leaves a folder behind where it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.place),)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return outcomes(60, np.random.default_rng(1), snapshots=2)


@pytest.fixture(scope="module")
def fitted(frame: pd.DataFrame) -> dict[str, Estimator]:
    return {
        "trees": fit_lightgbm(frame, "is_churned", COLUMNS, SETTINGS),
        "linear": fit_linear(frame, "is_churned", COLUMNS),
    }


@pytest.fixture(scope="module")
def stored(registry: Lake, frame: pd.DataFrame, fitted: dict[str, Estimator]) -> Lake:
    """Registry with a champion of each kind of core, the second one of trees."""
    for kind, estimator in fitted.items():
        for mark in "ab" if kind == "trees" else "a":
            folds = FoldModels({0: estimator}, 1)
            version = register(
                registry, ModelLineage(f"stored {kind}", "only", AS_OF, AS_OF, AS_OF, mark * 16), estimator,
                frame.head(9), parameters={}, metrics={}, pictures={"lift": b"PNG"}, notes={"a": 1}, verdict="",
                tags=folds.tags, folders={"folds": partial(write_folds, folds)},
            )  # fmt: skip
            promote(registry, f"stored {kind}", version, "the only candidate")
    return registry


@pytest.fixture
def lake(stored: Lake, tmp_path: Path) -> Lake:
    """Copy of the registry that a test may damage."""
    shutil.copytree(stored.root, tmp_path / "lake")
    return Lake(tmp_path / "lake")


def folder_of(lake: Lake, subject: str) -> Path:
    version = registered_model(lake, subject).named
    assert version is not None
    return lake.path(str(version.model))


def forget_digests(lake: Lake, subject: str) -> None:
    """Be the registry of a winback that kept none, so that nothing but the formats stands in the way."""
    connect(lake).delete_model_version_tag(
        registered_name(subject), str(registered_model(lake, subject).number), DIGEST
    )


def described(folder: Path, flavour: str, **changes: object) -> None:
    """Change what an MLmodel says of its flavours."""
    kept = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    for name, value in changes.items():
        kept["flavors"]["python_function" if name == "loader_module" else flavour][name] = value
    (folder / "MLmodel").write_text(yaml.safe_dump(kept), encoding="utf-8")


def unpickle_as_booster(folder: Path, mark: Path) -> None:
    (folder / "model.pkl").write_bytes(pickle.dumps(Mark(mark)))
    changes = {"model_class": "lightgbm.sklearn.LGBMClassifier", "serialization_format": "cloudpickle"}
    described(folder, "lightgbm", data="model.pkl", **changes)


def unpickle_in_place(folder: Path, mark: Path) -> None:
    (folder / "model.lgb").write_bytes(pickle.dumps(Mark(mark)))
    described(folder, "lightgbm", model_class="lightgbm.sklearn.LGBMClassifier", serialization_format="pickle")


def unpickle_as_pipeline(folder: Path, mark: Path) -> None:
    (folder / "model.skops").write_bytes(pickle.dumps(Mark(mark)))
    described(folder, "sklearn", serialization_format="cloudpickle")


def trust_all(folder: Path, mark: Path) -> None:
    core = make_pipeline(FunctionTransformer(os.mkdir).fit([[1]]))
    (folder / "model.skops").write_bytes(skops.io.dumps(core))
    described(folder, "sklearn", skops_trusted_types=skops.io.get_untrusted_types(file=folder / "model.skops"))


def load_by_code(flavour: str, folder: Path, mark: Path) -> None:
    (folder / "code").mkdir()
    (folder / "code" / "winback_mark.py").write_text(f"import os; os.mkdir({str(mark)!r})", encoding="utf-8")
    described(folder, flavour, code="code", loader_module="winback_mark")


ATTACKS = {
    "a pickle as another class": ("trees", unpickle_as_booster, "names model_class 'lightgbm.sklearn.LGBMClassifier'"),
    "a pickle in the place of the text": ("trees", unpickle_in_place, "names model_class"),
    "a pickle as a pipeline": ("linear", unpickle_as_pipeline, "names serialization_format 'cloudpickle'"),
    "a file that says what to trust": ("linear", trust_all, "model.skops: .*mkdir"),
    "code beside trees": ("trees", partial(load_by_code, "lightgbm"), "names loader_module 'winback_mark'"),
    "code beside a pipeline": ("linear", partial(load_by_code, "sklearn"), "names loader_module 'winback_mark'"),
    "another flavour": ("linear", lambda folder, _: described_as_pyfunc(folder), "describes no sklearn model"),
}  # fmt: skip


def described_as_pyfunc(folder: Path) -> None:
    kept = {"flavors": {"python_function": {"loader_module": "mlflow.pyfunc.model", "python_model": "model.pkl"}}}
    (folder / "MLmodel").write_text(yaml.safe_dump(kept), encoding="utf-8")


@pytest.mark.parametrize("has_digests", [True, False])
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_code_of_a_swapped_model_runs(lake: Lake, tmp_path: Path, attack: str, has_digests: bool) -> None:
    kind, swap, words = ATTACKS[attack]
    subject, mark = f"stored {kind}", tmp_path / "mark"
    if not has_digests:
        forget_digests(lake, subject)
    swap(folder_of(lake, subject), mark)
    with pytest.raises(UnreadableModelError, match="was registered|not registered" if has_digests else words) as raised:
        load(lake, subject)
    assert str(raised.value).count("; run winback train-models") == 1
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["trees", "linear"])
def test_models_are_read_where_mlflow_forbids_pickles(
    stored: Lake, fitted: dict[str, Estimator], frame: pd.DataFrame, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    found = load(stored, f"stored {kind}")
    assert (found.estimator.predict(frame) == fitted[kind].predict(frame)).all()
    version = registered_model(stored, f"stored {kind}").named
    assert version is not None
    folds = read_folds(stored, version)
    assert (folds[0].predict(frame) == fitted[kind].predict(frame)).all()
    if kind == "linear":
        with pytest.raises(mlflow.MlflowException, match="MLFLOW_ALLOW_PICKLE_DESERIALIZATION"):
            mlflow.sklearn.load_model(str(stored.path(str(version.model))))


SMALL = {"model/MLmodel": b"flavors", "model/model.lgb": b"tree", "folds/0/model/model.lgb": b"other", ESTIMATOR: b"{}"}


@given(
    name=st.sampled_from(sorted(SMALL)), place=st.integers(0, 99),
    change=st.sampled_from(["flipped", "cut", "emptied", "lost", "replaced"]),
)  # fmt: skip
def test_every_changed_file_of_a_version_is_named(name: str, place: int, change: str) -> None:
    content = SMALL[name]
    at, bit = place % len(content), 1 << place % 8
    flipped = content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]
    changed = {"flipped": flipped, "cut": content[:at], "emptied": b"", "replaced": SMALL[name] + b" "}
    with TemporaryDirectory() as folder:
        lake, place_of = (
            Lake(Path(folder)),
            {each: f"m/{each}" if "model/" in each[:6] else f"r/{each}" for each in SMALL},
        )
        for each, place_in_lake in place_of.items():
            lake.files.write(place_in_lake.replace("m/model/", "m/"), SMALL[each])
        version = StoredVersion("m", "r", {DIGEST: digests_tag(lake, "m", "r")})
        assert (damage_of(lake, version), version.digests.keys()) == ("", SMALL.keys())
        own = place_of[name].replace("m/model/", "m/")
        lake.files.remove(own) if change == "lost" else lake.files.write(own, changed[change])
        assert damage_of(lake, version).startswith(f"{name} is ")
        with pytest.raises(UnreadableModelError, match=f"^{name} is "):
            read_checked(lake, version, name)


def test_a_file_that_was_not_registered_is_named(lake: Lake) -> None:
    folder = folder_of(lake, "stored trees")
    (folder / "extra.py").write_text("", encoding="utf-8")
    with pytest.raises(UnreadableModelError, match=r"model/extra\.py was not registered with it; run winback train-m"):
        load(lake, "stored trees")


def test_files_of_another_folder_are_never_read(lake: Lake) -> None:
    folder = folder_of(lake, "stored trees")
    version = registered_model(lake, "stored trees").named
    assert version is not None
    version.model = None
    assert damage_of(lake, version) == "its files lie outside of this data folder"
    assert folder.is_dir()


def test_another_booster_or_description_does_not_fit(lake: Lake, frame: pd.DataFrame) -> None:
    forget_digests(lake, "stored trees")
    other = lgb.train({"verbosity": -1}, lgb.Dataset(frame[COLUMNS[:2]], frame["is_churned"]), 2)
    other.save_model(folder_of(lake, "stored trees") / "model.lgb")
    with pytest.raises(UnreadableModelError, match=r"model\.lgb has 2 columns, and its description 3"):
        load(lake, "stored trees")


def test_a_rollback_leads_away_from_a_damaged_champion(lake: Lake) -> None:
    (folder_of(lake, "stored trees") / "model.lgb").write_bytes(b"")
    with pytest.raises(UnreadableModelError, match=r"model/model\.lgb is an empty file"):
        load(lake, "stored trees")
    assert rollback(lake, "stored trees", "its file was emptied", by="ana").version == 1
    assert load(lake, "stored trees").version == 1


def test_the_digests_cover_what_is_read_and_stand_in_the_registry_alone(stored: Lake) -> None:
    version = registered_model(stored, "stored linear").named
    assert version is not None
    assert {"model/MLmodel", "model/model.skops", ESTIMATOR, "folds/0/model/model.skops"} <= version.digests.keys()
    texts = [path for path in stored.path("mlflow", "artifacts").rglob("*") if path.is_file()]
    assert not [path for path in texts if version.digests[ESTIMATOR].encode() in path.read_bytes()]
