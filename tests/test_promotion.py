"""Promotion: from what a training found to what the registry holds."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import AS_OF, FEATURES, outcomes, small_settings

from features.storage.lake import Lake
from models.learn.churn import train_churn
from models.learn.value import train_value
from models.registry.promotion import parameters, publish, quality_pictures
from models.registry.promotion_log import promotion_log
from models.registry.registry_state import CHALLENGER
from models.registry.tracking import connect, load, registered_name

SETTINGS = small_settings()


@pytest.fixture(scope="module")
def frame():
    return outcomes(120, np.random.default_rng(51))


@pytest.fixture(scope="module")
def churn(frame):
    return train_churn(frame, FEATURES, SETTINGS, AS_OF)


@pytest.fixture(scope="module")
def published(registry: Lake, churn, frame):
    return publish(registry, churn, frame, FEATURES, SETTINGS, AS_OF, frame["day"].min())


def test_the_winner_is_champion_with_the_reason_of_the_gate_and_the_other_challenges(registry, churn, published):
    champion = load(registry, "churn")
    assert champion.lineage.candidate == churn.verdict.winner
    assert champion.lineage.name == published.champion
    assert champion.version == published.version
    assert load(registry, "churn", CHALLENGER).lineage.candidate != churn.verdict.winner
    entry = next(entry for entry in promotion_log(registry) if entry.subject == "churn")
    assert entry.reason == published.reason == churn.verdict.reason


def test_the_champion_s_run_holds_every_metric_and_the_other_its_own(registry, churn, published):
    client = connect(registry)
    metrics = {}
    for alias in ("champion", "challenger"):
        version = client.get_model_version_by_alias(registered_name("churn"), alias)
        metrics[alias] = client.get_run(version.run_id).data.metrics
    assert {name for name in metrics["champion"] if not name.endswith((".low", ".high"))} == set(churn.metrics)
    loser = next(name for name in churn.candidates if name != churn.verdict.winner)
    assert set(metrics["challenger"]) == {f"churn.auc_{loser}{end}" for end in ("", ".low", ".high")}


def test_training_again_registers_nothing_new(registry, churn, frame, published):
    again = publish(registry, churn, frame, FEATURES, SETTINGS, AS_OF, frame["day"].min())
    assert again == published
    assert len(connect(registry).search_model_versions(f"name = '{registered_name('churn')}'")) == 2
    assert len([entry for entry in promotion_log(registry) if entry.subject == "churn"]) == 1


def test_settings_that_no_model_reads_give_no_new_version(registry, churn, frame, published):
    moved = SETTINGS.model_copy(update={"scoring": SETTINGS.scoring.model_copy(update={"budget": 1.0}), "threads": 2})
    assert publish(registry, churn, frame, FEATURES, moved, AS_OF, frame["day"].min()).version == published.version


def test_another_horizon_gives_a_new_version(registry, churn, frame, published):
    churn_settings = SETTINGS.churn.model_copy(update={"horizon_days": 30})
    other = SETTINGS.model_copy(update={"churn": churn_settings})
    again = publish(registry, churn, frame, FEATURES, other, AS_OF, frame["day"].min())
    assert again.version != published.version
    assert again.champion != published.champion
    assert load(registry, "churn").version == again.version


def test_every_picture_is_a_png(churn, frame):
    value = train_value(frame, FEATURES, SETTINGS, AS_OF)
    for trained, names in ((churn, {"calibration", "lift"}), (value, {"calibration"})):
        pictures = quality_pictures(trained, SETTINGS, FEATURES)
        assert set(pictures) == names | {"shap_beeswarm", "shap_bar"}
        assert all(picture.startswith(b"\x89PNG") for picture in pictures.values())


def test_parameters_tell_what_the_model_was_made_with(churn):
    trees, linear = (parameters(SETTINGS, churn.candidates[name].estimator, 10) for name in ("lightgbm", "logistic"))
    assert trees["trees"] == 20
    assert "trees" not in linear
    assert (linear["rows"], linear["churn_horizon_days"], linear["seed"]) == (10, 28, SETTINGS.seed)
