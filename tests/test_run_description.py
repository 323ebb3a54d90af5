"""What MLflow is told of a training: the commit of its profile, and the parameters in which candidates differ."""

from __future__ import annotations

import subprocess
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from mlflow.utils.validation import _validate_param
from synthetic import AS_OF, MIXED, outcomes, small_settings

from configs.named_files import FOLDER
from configs.run_identity import run_id
from configs.section import Section
from configs.settings import Settings, load_settings
from models.estimator_families.linear_estimators import fit_linear
from models.estimator_families.tree_estimators import fit_lightgbm
from models.model_cards.run_description import code_tags, parameters, training_run

SETTINGS = small_settings()


def settings_at(folder: Path) -> Settings:
    """Settings whose profile lies in a folder."""
    (folder / "app.sql").write_text("-- nothing\n", encoding="utf-8")
    return SETTINGS.model_copy(
        update={"ingest": SETTINGS.ingest.model_copy(update={"source": str(folder / "app.sql")})}
    )


def git(folder: Path, *words: str) -> str:
    own = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    return subprocess.run(["git", *own, *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def test_a_profile_in_a_repository_gives_its_commit_and_whether_it_was_changed(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    git(tmp_path, "init", "-q")
    assert "mlflow.source.git.commit" not in code_tags(settings)  # it is in the folder and not in the repository
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "The app")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert code_tags(settings)["mlflow.source.git.commit"] == commit
    (tmp_path / "app.sql").write_text("-- another\n", encoding="utf-8")
    assert code_tags(settings)["mlflow.source.git.commit"] == f"{commit}-dirty"


def test_a_profile_outside_of_a_repository_gives_winback_s_version_and_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = code_tags(settings_at(tmp_path))
    assert set(found) == {"winback.version", "winback.run"}
    assert found["winback.run"] == run_id()
    monkeypatch.setenv("PATH", str(tmp_path))  # no git at all
    assert set(code_tags(SETTINGS)) == {"winback.version", "winback.run"}


def test_parameters_tell_in_what_candidates_differ() -> None:
    frame = outcomes(60, np.random.default_rng(1), snapshots=2)
    models = fit_linear(frame, "is_churned", MIXED[:2]), fit_lightgbm(frame, "is_churned", MIXED, SETTINGS)
    linear, trees = (parameters(SETTINGS, model, 10) for model in models)
    assert (linear["C"], "C" in trees, trees["trees"], "trees" in linear) == (0.1, False, 20, False)
    assert (linear["columns_count"], trees["columns_count"]) == (2, len(MIXED))
    assert trees["columns"] == ", ".join(MIXED)
    assert all(len(str(value)) <= 6000 for value in trees.values())


def test_settings_under_words_of_people_have_names_that_mlflow_takes() -> None:
    names = {"DOG & CAT: food": "Pets", "käse (20%)": "Cheese"}
    categories = SETTINGS.categories.model_copy(update={"names": names})
    found = training_run(SETTINGS.model_copy(update={"categories": categories}), AS_OF).parameters
    assert found["categories.names"] == names
    assert found["seed"] == SETTINGS.seed
    for name, value in found.items():
        _validate_param(name, str(value))


@pytest.mark.parametrize("profile", sorted(path.stem for path in (FOLDER / "profiles").glob("*.toml")))
def test_the_settings_of_every_profile_have_names_that_mlflow_takes(profile: str) -> None:
    named = training_run(load_settings(profile), date(2024, 7, 1)).parameters
    assert named["churn.horizon_days"] == load_settings(profile).churn.horizon_days
    for name, value in named.items():
        _validate_param(name, str(value)[:6000])
        assert not isinstance(value, Section), name


def test_words_of_an_app_are_values_and_no_names() -> None:
    custom = {"a_b": {"role": "value", "measure": "count", "windows": [28], "meaning": "ä & b"}}
    other = load_settings(features={"custom": custom})
    assert "a_b" in str(training_run(other, date(2024, 7, 1)).parameters["features.custom"])
