"""Policies on the simulated world: their values are estimated right, and without effects the gate lets nothing pass.

Small instances of tests/benchmarks/bench_policy_value.py and bench_gate.py.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from benchmarks.bench_gate import NO_EFFECT, NO_PULL, discounts_given, judged
from benchmarks.bench_policy_value import (
    ESTIMATORS,
    SETTINGS,
    Metrics,
    Morning,
    coverage,
    covered,
    cross_predicted,
    logged_sample,
    outcomes,
    silent_morning,
    some_users,
    targets,
    worth_more,
    worth_of_nobody,
)

from configs.offers import NOTHING
from features.simulator.simulated_day import Given, World
from features.simulator.simulator_run import at_random
from models.judge.policies import judge_policies
from models.policy_value.evidence import Evidence
from models.policy_value.policy_verdict import PERSONAL, Deployed, PolicyValue, PolicyVerdict

SIZE, LIVES = 1_500, 60
ENOUGH = 0.85  # a right interval covers fewer than 85 of 100 times once in 10,000
TOLERANCE = 3.5  # standard errors; the seeds are fixed


@pytest.fixture(scope="module")
def morning() -> Morning:
    return silent_morning(2_000, 56)


@pytest.fixture(scope="module")
def samples(full) -> int:
    return 400 if full else 100


@pytest.fixture(scope="module")
def found(morning, samples) -> Metrics:
    level, error = worth_of_nobody(morning, LIVES)
    assert error < 0.05
    return covered(morning, samples, SIZE, level)


def blinds(world: World, nothing_share: float) -> tuple[Given, np.ndarray]:
    """Draw like `at_random` and state the same propensities, but leave who is about to leave without an offer."""
    given, _ = at_random(world, nothing_share)
    fading = world.state.slump | (world.people.hazard > np.median(world.people.hazard))
    kept = ~fading | (world.draws("blind").random(len(fading)) < 0.5)
    option = np.where(kept, given.option, NOTHING).astype(np.intp)
    options = len(world.menu)
    stated = np.where(option == NOTHING, nothing_share, (1 - nothing_share) / options)
    return Given(option, given.decision_id), stated


# --- values of policies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("what", ["value", "difference"])
def test_intervals_cover_the_truth_of_the_world(morning, found, samples, what, estimator):
    for name in targets(morning):
        one = found[f"policy_value.coverage_{what}_{estimator}_{name}"]
        assert one["n"] == samples
        assert one["value"] >= ENOUGH, (name, one)
        assert abs(one["bias_in_errors"]) < TOLERANCE, (name, one)
        assert 0.75 < one["spread_of_errors"] < 1.25, (name, one)


def test_predictions_narrow_the_intervals(morning, found):
    for name in targets(morning):
        width = {each: found[f"policy_value.coverage_difference_{each}_{name}"]["half_width"] for each in ESTIMATORS}
        assert width["doubly_robust"] < width["snips"] < width["ips"], name


def test_propensities_that_are_not_those_of_the_draws_are_seen(morning):
    level, _ = worth_of_nobody(morning, 10)
    wrong = covered(morning, 8, SIZE, level, blinds)
    for estimator in ESTIMATORS:
        one = wrong[f"policy_value.coverage_difference_{estimator}_constant"]
        assert one["value"] < ENOUGH or abs(one["bias_in_errors"]) > TOLERANCE, (estimator, one)


@pytest.mark.parametrize("option", [0, 2])
def test_outcomes_differ_on_average_by_the_truth_about_an_option(morning, option):
    members = len(morning.known)

    def brought(place: int, seed: int) -> float:
        world = some_users(morning.world, np.arange(members), seed)
        given = Given(np.full(members, place, dtype=np.intp), np.full(members, None, dtype=object))
        return float(outcomes(world.decide(given), morning.truth.remaining_value).mean())

    more = np.array([brought(option, seed) - brought(NOTHING, seed) for seed in range(LIVES)])  # the same luck
    error = more.std(ddof=1) / np.sqrt(LIVES)
    assert error < 0.03
    assert abs(more.mean() - morning.truth.value[:, option].mean()) < TOLERANCE * error


def test_a_sample_is_drawn_by_its_seed_and_predicted_by_others(morning):
    one, same, other = (logged_sample(morning, seed, 500) for seed in (1, 1, 2))
    assert np.array_equal(one.logged.outcome, same.logged.outcome)
    assert not np.array_equal(one.rows, other.rows)
    assert one.logged.user_id.is_unique
    options = morning.gain.shape[1] - 1
    mine = np.arange(500) % 5 == 0
    changed = np.where(mine, one.logged.outcome + 1_000, one.logged.outcome)
    moved = cross_predicted(
        morning.known[one.rows], type(one.logged)(one.logged.action, one.logged.propensity, changed,
                                                  one.logged.user_id), options)  # fmt: skip
    assert np.array_equal(moved[mine], one.predicted[mine])
    assert not np.allclose(moved[~mine], one.predicted[~mine])


def test_the_worth_of_a_policy_by_hand(morning):
    members, options = morning.gain.shape
    assert worth_more(morning, np.zeros(members, dtype=int)) == 0.0
    assert worth_more(morning, np.full(members, 2)) == pytest.approx(morning.truth.value[:, 1].mean())
    even = np.full((members, options), 1 / options)
    assert worth_more(morning, even) == pytest.approx(morning.truth.value.sum() / members / options)


def test_coverage_by_hand():
    values = [PolicyValue(middle, middle - 1, middle + 1, 9, 50.0) for middle in (0.0, 0.5, 2.5, 1.0)]
    one = coverage(values, 1.2)
    assert (one["value"], one["n"], one["too_low"], one["too_high"]) == (0.5, 4, 1, 1)
    assert one["mean_error"] == pytest.approx(-0.2)
    assert one["low"] == pytest.approx(0.15, abs=0.005) and one["high"] == pytest.approx(0.85, abs=0.005)
    assert one["half_width"] == 1.0


@pytest.fixture
def no_pictures(monkeypatch):
    """Models are registered without pictures, which take a third of a training."""
    monkeypatch.setattr("models.champion_gate.promotion.quality_pictures", lambda *_: {})


# --- the gate -------------------------------------------------------------------------------------------------


def test_without_effects_no_personal_policy_is_deployed(tmp_path, no_pictures, full):
    few = {} if full else {"trees": 20, "folds": 2}  # of who leaves and redeems; the effects have trees of their own
    trained = judged(tmp_path, 2, NO_EFFECT, users=1_500, **few)
    assert trained.world.expected(SETTINGS).value.max() <= 0
    assert trained.verdict.lead.is_known
    assert trained.verdict.deployed.name != PERSONAL, trained.verdict.reason


@pytest.mark.full
def test_without_pull_of_the_discount_none_is_given_even_if_the_gate_lets_everything_pass(
    tmp_path, no_pictures, monkeypatch
):
    verdicts = []

    def lenient(evidence: Evidence) -> PolicyVerdict:
        verdicts.append(judge_policies(evidence))
        return replace(verdicts[0], deployed=Deployed(PERSONAL))

    monkeypatch.setattr("models.training_run.response_models.judge_policies", lenient)
    monkeypatch.setattr(
        "features.simulator.population.SHARES", (0.03, 0.94, 0.02, 0.01)
    )  # persuadables, so that few are enough
    discounted, treated = discounts_given(judged(tmp_path, 2, NO_PULL, users=2_000))
    assert treated > 100
    assert discounted == 0
    deployed = verdicts[0].deployed
    assert deployed.option is None or deployed.option[1] == 0, verdicts[0].reason
