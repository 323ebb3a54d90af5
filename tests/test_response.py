"""Response: what serving knows about offers, read back from the registry."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import AS_OF, FEATURES, offer, redemptions, small_settings, treated_rows

from configs.offers import Catalogue
from features.storage.lake import Lake
from models.champion_gate.promotion import Published, publish, publish_propensities
from models.effects.observational_effects import OfferEffect, estimate_effects
from models.learn.benefit_cost import redemption_costs
from models.learn.redemption import train_redemption
from models.learn.training import Trained
from models.model_cards.model_notes import RedemptionNotes
from models.registry.response import load_response, propensity_subject

SETTINGS = small_settings()
NAME = "10%/week: 'B'"  # an offer that the registry would refuse as it is


@pytest.fixture(scope="module")
def rows():
    """Rows of an offer with an effect."""
    frame = treated_rows(500, np.random.default_rng(52), margin=2.0, retention=0.2)
    return frame.assign(offer_given=frame["offer_given"].replace("bundle", NAME))


@pytest.fixture(scope="module")
def known(registry: Lake, rows) -> tuple[OfferEffect, Trained, Published]:
    """Effect, redemption model and its entry in the registry."""
    (effect,) = estimate_effects(rows, SETTINGS)
    publish_propensities(registry, [effect], rows, SETTINGS, AS_OF, AS_OF)
    treatments = redemptions(120, np.random.default_rng(53))
    trained = train_redemption(treatments, FEATURES, SETTINGS, AS_OF)
    assert trained.spend is not None
    notes = RedemptionNotes(trained.spend, (effect.effect,))
    return effect, trained, publish(registry, trained, treatments, FEATURES, SETTINGS, AS_OF, AS_OF, notes)


def test_what_is_loaded_is_what_was_learnt(registry, known):
    effect, trained, published = known
    found = load_response(registry)
    assert found.name == published.champion
    assert found.spend == trained.spend
    assert found.personal is None  # nothing randomised
    bundle = Catalogue(offers=(offer("bundle", discounts=(0.1,)),))
    assert (redemption_costs(trained.latest, bundle.options, bundle, found.spend, SETTINGS.categories) == 4.0).all()
    treatments = trained.latest
    assert (found.redemption.predict(treatments) == trained.winner.estimator.predict(treatments)).all()
    assert list(found.effects) == [NAME]
    assert found.effects[NAME].evidence == "observational"
    assert found.effects[NAME].redemption_rate == effect.effect.redemption_rate


def test_decisions_use_the_effects_pulled_to_zero(registry, known):
    effect = known[0].effect
    found = load_response(registry).effects[NAME]
    assert (found.margin, found.retention) == (effect.margin_shrunk, effect.retention_shrunk)
    assert found.margin < effect.margin.value


def test_who_is_comparable_is_remembered(registry, known, rows):
    found = load_response(registry).effects[NAME].propensity
    assert (found.predict(rows) == known[0].propensity.predict(rows)).all()


def test_effects_of_targeted_offers_are_found_without_a_redemption_model(tmp_path, rows):
    lake = Lake(tmp_path)
    (effect,) = estimate_effects(rows, SETTINGS)
    publish_propensities(lake, [effect], rows, SETTINGS, AS_OF, AS_OF)
    found = load_response(lake, ["unheard", NAME])
    assert (found.redemption, found.name, list(found.effects)) == (None, "", [NAME])
    assert found.effects[NAME].margin == effect.effect.margin_shrunk
    assert load_response(lake, ["unheard"]) is None


def test_there_is_no_response_before_a_redemption_model(tmp_path):
    assert load_response(Lake(tmp_path)) is None


def test_each_offer_has_a_subject_of_its_own():
    names = ["a", "a/b", "a:b", "a'b", "a b", "a%2Fb"]
    assert len({propensity_subject(name) for name in names}) == len(names)
