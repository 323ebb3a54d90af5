"""Promotion: from what a training found to what the registry holds."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import AS_OF, FEATURES, outcomes, redemptions, small_settings, treated_rows

from features.lake import Lake
from models.churn import train_churn
from models.effects import estimate_effects
from models.promotion import parameters, publish, publish_propensities, quality_pictures
from models.response import load_response, propensity_subject
from models.redemption import train_redemption
from models.tracking import CHALLENGER, connect, load, promotion_log, registered_name
from models.value import train_value

SETTINGS = small_settings()


@pytest.fixture(scope="module")
def frame():
    return outcomes(120, np.random.default_rng(51))


@pytest.fixture(scope="module")
def churn(frame):
    return train_churn(frame, FEATURES, SETTINGS, AS_OF)


@pytest.fixture(scope="module")
def published(registry: Lake, churn, frame):
    return publish(registry, churn, frame, SETTINGS, AS_OF, frame["day"].min())


def test_the_winner_is_champion_with_the_reason_of_the_gate_and_the_other_challenges(registry, churn, published):
    champion = load(registry, "churn")
    assert champion.training.candidate == churn.verdict.winner
    assert champion.training.name == published.champion
    assert champion.version == published.version
    assert load(registry, "churn", CHALLENGER).training.candidate != churn.verdict.winner
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
    again = publish(registry, churn, frame, SETTINGS, AS_OF, frame["day"].min())
    assert again == published
    assert len(connect(registry).search_model_versions(f"name = '{registered_name('churn')}'")) == 2
    assert len([entry for entry in promotion_log(registry) if entry.subject == "churn"]) == 1


def test_settings_that_no_model_reads_give_no_new_version(registry, churn, frame, published):
    moved = SETTINGS.model_copy(update={"scoring": SETTINGS.scoring.model_copy(update={"budget": 1.0}), "threads": 2})
    assert publish(registry, churn, frame, moved, AS_OF, frame["day"].min()).version == published.version


def test_another_horizon_gives_a_new_version(registry, churn, frame, published):
    churn_settings = SETTINGS.churn.model_copy(update={"horizon_days": 30})
    other = SETTINGS.model_copy(update={"churn": churn_settings})
    again = publish(registry, churn, frame, other, AS_OF, frame["day"].min())
    assert again.version != published.version
    assert again.champion != published.champion
    assert load(registry, "churn").version == again.version


def test_every_picture_is_a_png(churn, frame):
    value = train_value(frame, FEATURES, SETTINGS, AS_OF)
    for trained, names in ((churn, {"calibration", "lift"}), (value, {"calibration"})):
        pictures = quality_pictures(trained, SETTINGS)
        assert set(pictures) == names | {"shap_beeswarm", "shap_bar"}
        assert all(picture.startswith(b"\x89PNG") for picture in pictures.values())


def test_parameters_tell_what_the_model_was_made_with():
    trees, linear = (parameters(SETTINGS, family, 10) for family in ("lightgbm", "linear"))
    assert trees["trees"] == 20
    assert "trees" not in linear
    assert (linear["rows"], linear["churn_horizon_days"], linear["seed"]) == (10, 28, SETTINGS.seed)


def test_there_is_no_response_before_a_redemption_model(tmp_path):
    assert load_response(Lake(tmp_path)) is None


def test_what_is_known_about_responses_is_what_was_published(registry):
    rng = np.random.default_rng(52)
    rows = treated_rows(500, rng, margin=2.0, retention=0.2)
    rows["offer_given"] = rows["offer_given"].replace("bundle", "10%/week: 'B'")  # no name that MLflow would take
    effects = estimate_effects(rows, SETTINGS)
    publish_propensities(registry, effects, rows, SETTINGS, AS_OF, AS_OF)
    treatments = redemptions(120, rng)
    trained = train_redemption(treatments, FEATURES, SETTINGS, AS_OF)
    trained.notes["effects"] = {offer.effect.offer_id: offer.effect.as_dict() for offer in effects}
    champion = publish(registry, trained, treatments, SETTINGS, AS_OF, AS_OF)
    found = load_response(registry)
    (known,), (offer,) = found.effects.values(), effects
    assert list(found.effects) == ["10%/week: 'B'"]
    assert found.name == champion.champion
    assert found.covered_spend == trained.notes["covered_spend"]
    assert (known.margin, known.retention) == (offer.effect.margin_shrunk, offer.effect.retention_shrunk)
    assert (known.redemption_rate, known.evidence) == (offer.effect.redemption_rate, "observational")
    assert (known.propensity.predict(rows) == offer.propensity.predict(rows)).all()
    assert (found.redemption.predict(treatments) == trained.winner.estimator.predict(treatments)).all()


def test_each_offer_has_a_subject_of_its_own():
    names = ["a", "a/b", "a:b", "a'b", "a b", "a%2Fb"]
    assert len({propensity_subject(name) for name in names}) == len(names)
