"""Promotion: from what a training found to what the registry holds."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest
from synthetic import AS_OF, FEATURES, outcomes, small_settings

from features.storage.lake import Lake
from models.champion_gate.promotion import publish, quality_pictures
from models.champion_gate.promotion_log import promotion_log
from models.learn.churn import MEASURES, train_churn
from models.learn.training import NotTrainableError
from models.learn.value import train_value
from models.model_cards.run_description import parameters, training_run
from models.registry.fold_models import read_folds
from models.registry.model_reader import load, load_if_any
from models.registry.registry_state import CHALLENGER, ModelState, registered_model
from models.registry.tracking import connect, registered_name, rows_digest

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


def test_a_champion_keeps_how_its_population_was_and_how_far_that_moves_by_itself(registry, published, frame):
    """No rows: counts of bins of every column that it reads, of its scores, and what they promise."""
    champion = load(registry, "churn")
    known, latest = champion.reference, frame[frame["day"] == frame["day"].max()]
    assert set(known.inputs) == set(champion.estimator.columns)
    assert {sum(bins.counts) for bins in (*known.inputs.values(), known.score)} == {len(latest)}
    assert all(0 <= bins.moves < 0.5 for bins in (*known.inputs.values(), known.score))
    assert known.score.drift(pd.Series(champion.estimator.predict(latest))).index == 0
    assert 0.5 < known.expected_auc < 1
    assert load(registry, "churn", CHALLENGER).reference is not None


def test_every_candidate_is_measured_alike_so_that_they_can_be_compared(registry, churn, published):
    client = connect(registry)
    runs = {}
    for alias in ("champion", "challenger"):
        version = client.get_model_version_by_alias(registered_name("churn"), alias)
        runs[alias] = client.get_run(version.run_id).data.metrics
    names = {f"churn.{name}{end}" for name in MEASURES for end in ("", ".low", ".high")}
    assert set(runs["champion"]) == set(runs["challenger"]) == names
    winner, loser = churn.verdict.winner, next(name for name in churn.candidates if name != churn.verdict.winner)
    for alias, name in (("champion", winner), ("challenger", loser)):
        assert runs[alias]["churn.auc"] == churn.metrics[f"churn.auc_{name}"].value
    assert runs["champion"]["churn.auc.low"] == churn.metrics["churn.auc"].low


def test_what_is_below_the_floor_is_registered_and_not_promoted(registry, frame):
    value = train_value(frame, FEATURES, SETTINGS, AS_OF)
    short = replace(value, verdict=replace(value.verdict, shortfall="its R² of -0.200 is below 0"))
    for _ in range(2):
        with pytest.raises(
            NotTrainableError, match=r"the value model is not promoted: .* its R² of -0\.200 is below 0"
        ):
            publish(registry, short, frame, FEATURES, SETTINGS, AS_OF, frame["day"].min())
    found = registered_model(registry, "value")
    assert (found.state, found.number, len(found.versions)) == (ModelState.WITHHELD, None, len(value.candidates))
    assert load_if_any(registry, "value") is None
    published = publish(registry, value, frame, FEATURES, SETTINGS, AS_OF, frame["day"].min())
    assert load(registry, "value").version == published.version
    scores = {name: value.metrics[f"value.r_squared_{name}"].value for name in value.candidates}
    del scores[value.verdict.winner]  # of three the best of the others challenges
    assert load(registry, "value", CHALLENGER).lineage.candidate == max(scores, key=lambda name: scores[name])


def test_every_candidate_is_kept_with_what_could_judge_it_later(registry, churn, published):
    versions = registered_model(registry, "churn").versions
    kept = {each.name: each for each in versions.values() if each.name.endswith(published.champion[-8:])}
    assert len(kept) == len(churn.candidates)
    for name, candidate in churn.candidates.items():
        found = read_folds(registry, kept[f"churn-{name}-{published.champion[-8:]}"])
        assert sorted(found) == sorted(candidate.by_fold)


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


def test_a_training_is_the_parent_of_its_candidates_and_says_what_they_are_made_of(registry, churn, frame, published):
    client = connect(registry)
    versions = client.search_model_versions(f"name = '{registered_name('churn')}'")
    of_training = [each for each in versions if each.tags["name"].endswith(published.champion[-8:])]
    runs = [client.get_run(each.run_id) for each in of_training]
    assert len(runs) == 2
    (parent,) = {run.data.tags["mlflow.parentRunId"] for run in runs}
    training = client.get_run(parent)
    assert training.info.run_name == f"training {AS_OF}"
    assert training.data.params["churn.horizon_days"] == "28"
    assert training.data.params["training.trees"] == "20"
    metrics = training.data.metrics
    assert metrics["churn.auc"] == churn.metrics["churn.auc"].value
    assert metrics["churn.auc_recency.low"] == churn.metrics["churn.auc_recency"].low
    for run in runs:
        (used,) = run.inputs.dataset_inputs
        assert (used.dataset.name, used.dataset.digest) == ("churn rows", rows_digest(frame))
        assert run.data.tags["feast.feature_service"] == "training"
        assert run.data.tags["winback.version"] == version("winback")
    first, second = (run.data.params for run in runs)
    assert {"family", "columns", "columns_count"} <= {name for name in first if first[name] != second.get(name)}


def test_the_runs_of_another_training_have_another_parent(registry, churn, frame, published):
    other = SETTINGS.model_copy(update={"training": SETTINGS.training.model_copy(update={"trees": 21})})
    keys = [training_run(settings, AS_OF).key for settings in (SETTINGS, SETTINGS.model_copy(), other)]
    assert keys[0] == keys[1] != keys[2]
    assert training_run(SETTINGS, AS_OF.replace(day=2)).key != keys[0]


def test_parameters_tell_what_the_model_was_made_with(churn):
    trees, linear = (parameters(SETTINGS, churn.candidates[name].estimator, 10) for name in ("lightgbm", "logistic"))
    assert trees["trees"] == 20
    assert "trees" not in linear
    assert (linear["rows"], linear["churn_horizon_days"], linear["seed"]) == (10, 28, SETTINGS.seed)
