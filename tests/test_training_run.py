"""A training goes on without what the data cannot teach, says so, and decisions and gate live with what there is."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
from synthetic import (
    AS_OF,
    DRAWN_OPTIONS,
    FEATURES,
    behaviour,
    outcomes,
    randomised_treatments,
    redemptions,
    small_policy,
    small_settings,
)
from synthetic import offer as offer_of

from configs.errors import InputError
from configs.offers import Catalogue
from features.storage.lake import Lake
from features.training_data.frames import RedemptionCounts
from models.effects.uplift import LearntEffects, learn_effects
from models.estimator_families.linear_estimators import fit_proportional
from models.learn.redeemed_spend import RedeemedSpend
from models.policy_value.off_policy import value_difference
from models.policy_value.policy_verdict import NOBODY
from models.registry.model_reader import load_if_any
from models.registry.response import gather_evidence, load_response
from models.training_run import response_models
from models.training_run.outcome_models import EARLIER, FittedOutcomes, fit_outcomes, lack_of
from models.training_run.response_models import FittedResponse, fit_response
from models.training_run.run_summary import keep_training, model_table, training_metrics, training_warnings
from models.training_run.training_frames import TrainingFrames
from models.training_run.training_record import cold_start, latest_training
from serving.contact_rules.contact_rule import NOT_VALUED
from serving.decide.scoring import Policy, score

SETTINGS = small_settings(training={"trees": 5, "bootstrap_samples": 100}, value={"horizon_days": 28})
CATALOGUE = Catalogue(offers=(offer_of("bundle", discounts=(0.1, 0.3), contact_cost=0.5),))


@pytest.fixture(scope="module")
def frames() -> TrainingFrames:
    """A history in which nobody uses an offer and nothing brings money, and treatments that keep users all the same."""
    left = outcomes(150, np.random.default_rng(81), snapshots=3).assign(margin=0.0, margin_later=0.0)
    randomised, _ = randomised_treatments(400, np.random.default_rng(82))
    randomised = randomised.assign(margin_soon=0.0, is_redeemed=0.0, discount_given=0.0)
    given = redemptions(150, np.random.default_rng(83)).assign(is_redeemed=0, discount_given=0.0)
    return TrainingFrames(left, given, pd.DataFrame(), randomised.reset_index(drop=True), FEATURES, date(2024, 1, 1))


Run = tuple[Lake, FittedOutcomes, FittedResponse]


@pytest.fixture(scope="module")
def poor(frames, tmp_path_factory) -> Run:
    """What that history teaches."""
    lake, patch = Lake(tmp_path_factory.mktemp("poor")), pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(response_models, "load_catalogue", lambda _: CATALOGUE)
        patched.setattr("models.champion_gate.promotion.quality_pictures", lambda *_: {})
        found = fit_outcomes(SETTINGS, lake, AS_OF, frames)
        return lake, found, fit_response(SETTINGS, lake, AS_OF, frames)


def test_each_model_that_cannot_be_trained_is_left_out_and_the_others_are_trained(poor):
    _, left, response = poor
    table = {row["model"]: row for row in model_table([*left.published, *response.published], lacking(poor))}
    trained = {name: row["is_trained"] for name, row in table.items()}
    assert trained == {
        "churn": True, "value": False, "redemption": False, "effect on margin": False, "effect on retention": True,
    }  # fmt: skip
    assert "no money is known" in table["value"]["why"]
    assert "people instead of money" in table["value"]["meaning"]
    assert "is_redeemed = 0 for all" in table["redemption"]["why"]
    assert "as if 100% of users used it (response.assumed_redemption_rate)" in table["redemption"]["meaning"]


def lacking(run: Run) -> list:
    return [*run[1].untrained, *run[2].untrained]


def test_without_money_the_gate_lets_nobody_decide_and_effects_are_those_on_staying(poor):
    _, left, response = poor
    assert response.verdict.deployed.name == NOBODY
    assert "no event brings money" in response.verdict.reason
    metrics = training_metrics([*left.published, *response.published], response)
    assert "bundle.incremental_margin" not in metrics
    assert metrics["bundle.incremental_retention"].n > 0
    assert not [name for name in metrics if name.startswith("policy.")]


def test_the_record_and_the_decisions_live_without_the_missing_models(poor):
    lake, left, response = poor
    keep_training(lake, AS_OF, left, response)
    record = latest_training(lake, AS_OF)
    assert [lack.subject for lack in record.untrained] == ["value", "redemption", "effect on margin"]
    assert record.lack_of("churn") is None
    known = load_response(lake)
    assert known.redemption is None
    assert not known.has_money
    policy = Policy(SETTINGS, CATALOGUE, load_if_any(lake, "churn"), load_if_any(lake, "value"), known)
    users = behaviour(40, np.random.default_rng(84)).assign(days_since_last_activity=3.0)
    batch = score(policy, users.astype({"trait_plan": "category", "favourite_category_90d": "category"}))
    assert np.isfinite(batch.p_churn).all()
    assert np.isnan(batch.retained_value).all()
    assert (batch.options.why_not[users["payment_failures_count_28d"] == 0] == NOT_VALUED).all()
    assert "effect on margin" in policy.model_versions


@pytest.mark.parametrize("missing", ["churn", "value", "response"])
def test_decisions_live_without_any_one_model(missing):
    policy = replace(small_policy(), **{missing: None})
    users = behaviour(40, np.random.default_rng(85)).astype({"trait_plan": "category"})
    batch = score(policy, users.astype({"favourite_category_90d": "category"}))
    assert np.isfinite(batch.options.value).all()
    assert np.isnan(batch.p_churn).all() == (missing == "churn")
    assert np.isnan(batch.remaining_value).all() == (missing == "value")
    assert np.isnan(batch.options.p_redeem).all() == (missing == "response")
    assert policy.version


def test_where_nothing_can_be_taught_the_training_is_refused_and_leaves_nothing(frames, tmp_path):
    lake = Lake(tmp_path)
    nobody = replace(frames, outcomes=frames.outcomes.assign(is_churned=1), treatments=frames.treatments.head(28))
    found, response = fit_outcomes(SETTINGS, lake, AS_OF, nobody), fit_response(SETTINGS, lake, AS_OF, nobody)
    with pytest.raises(InputError, match=r"no model could be trained: .*is_churned = 1.*28 of 100 treatments .*share"):
        keep_training(lake, AS_OF, found, response)
    assert latest_training(lake, AS_OF) is None


@pytest.mark.parametrize(("offers", "told"), [("none", "'none' is an empty catalogue"), ("example", "at random")])
def test_an_app_without_offers_is_not_told_to_draw_at_random(frames, offers, told, tmp_path):
    few = replace(frames, treatments=frames.treatments.head(28))
    response = fit_response(SETTINGS.model_copy(update={"offers": offers}), Lake(tmp_path), AS_OF, few)
    assert [lack.subject for lack in response.untrained] == ["redemption", "effects"]
    assert all(re.search(told, lack.reason) for lack in response.untrained)
    assert ("exploration" in response.untrained[0].reason) == (offers != "none")


def test_where_an_earlier_champion_goes_on_a_failed_training_says_so(poor):
    assert lack_of(poor[0], "churn", "too few users", "nobody's risk is known").meaning == EARLIER
    assert lack_of(poor[0], "value", "no money", "worth is not known").meaning == "worth is not known"


def test_a_cold_start_says_how_far_it_is_and_what_to_do():
    assert cold_start(280, 500, 0.0).startswith("280 of 500 treatments")
    assert "set scoring.exploration.share" in cold_start(280, 500, 0.0)
    assert "set scoring.exploration.share" not in cold_start(280, 500, 0.05)


def test_redemptions_that_count_for_no_treatment_are_told(frames):
    told = training_warnings(replace(frames, redemptions=RedemptionCounts(found=9, counted=7, foreign=3)), [], [])
    assert told[0].startswith("2 of 9 redemptions count for no treatment")
    assert told[1].startswith("3 of 9 redemptions name a decision_id that no treatment has")
    assert training_warnings(replace(frames, redemptions=RedemptionCounts(9, 9, 0)), [], []) == []


@pytest.fixture(scope="module")
def learnt() -> tuple[pd.DataFrame, dict[str, LearntEffects]]:
    """Treatments and what they teach."""
    randomised, _ = randomised_treatments(1500, np.random.default_rng(86))
    return randomised, learn_effects(randomised, DRAWN_OPTIONS, FEATURES, SETTINGS)


def test_where_nobody_returns_later_a_constant_gains_its_mean_effect_on_margin_less_its_cost(learnt):
    randomised, effects = learnt
    rich = fit_proportional(randomised.assign(margin=50.0 * randomised["spend_sum_90d"]), "margin", "spend_sum_90d")
    levels = {"bundle": (0.1, 0.3), "come_back": (0.05, 0.2, 0.3)}
    both = Catalogue(offers=tuple(offer_of(name, discounts=own, contact_cost=0.5) for name, own in levels.items()))
    worth = dict.fromkeys(range(SETTINGS.training.folds), rich)

    def gain(option: int, share: float) -> float:
        evidence = gather_evidence(
            randomised.assign(discount_given=0.0), effects, None, worth, RedeemedSpend(), both, DRAWN_OPTIONS, 1e9,
            categories=SETTINGS.categories, later_share=share, assumed_rate=0.0,
        )  # fmt: skip
        constant, nothing = np.full(len(randomised), option + 1), np.zeros(len(randomised), dtype=np.intp)
        return value_difference(evidence.logged, constant, nothing, predicted=evidence.predicted).value

    for option, mean in enumerate(effects["margin_soon"].mean):
        assert gain(option, 0.0) == pytest.approx(mean - 0.5, abs=effects["margin_soon"].offer_error.max() / 2)
    assert abs(gain(0, 1.0) - gain(0, 0.0)) > 1.0  # what came later would have counted
