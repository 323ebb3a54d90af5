"""The ladder: what is not proven climbs with the evidence, loses no more than allowed, is retired when disproved."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter
from test_policies import evidence_of, opposite

from configs.errors import InputError
from configs.ladder_settings import Ladder as Allowance
from configs.settings import load_settings
from models.judge.calibrated_value import DoublyRobust
from models.judge.confidence_sequence import anytime, anytime_width
from models.judge.ladder import Candidate, climb
from models.judge.policies import judge_policies
from models.judge.realised_cost import dearest_ratio
from models.policy_value.off_policy import Logged
from models.policy_value.policy_verdict import (
    CONSTANT,
    NOBODY,
    ON_TRIAL,
    PERSONAL,
    RETIRED,
    WAITING,
    Deployed,
    Ladder,
    PolicyValue,
    PolicyVerdict,
    Rung,
)

STEPS = (0.1, 0.3, 0.6)
GIVE = Deployed(CONSTANT, ("a", 0.1))


def on_the_ladder(
    gain: float, *, error: float = 3.0, rows: int = 2000, cost: float = 0.5, loss_share: float = 0.3, seed: int = 0,
    dearest: float = 1.0, before: tuple[Rung, ...] = (),
) -> Ladder:  # fmt: skip
    """Ladder of one option that changes the outcome by exactly `gain` in the sample, within a budget of 1 a head."""
    rng = np.random.default_rng(seed)
    action = np.arange(rows) % 2
    noise = rng.normal(0, error, rows)
    noise -= np.where(action == 1, noise[action == 1].mean(), noise[action == 0].mean())
    logged = Logged(action, np.full(rows, 0.5), noise + gain * action, pd.Series(np.arange(rows)))
    nothing, always = (np.tile(each, (rows, 1)) for each in ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]))
    candidates = {
        NOBODY: Candidate(Deployed(NOBODY), nothing, 0.0),
        CONSTANT: Candidate(GIVE, always, cost, dearest=dearest),
    }
    allowance = Allowance(steps=STEPS, loss_share=loss_share)
    return climb(DoublyRobust(logged, np.zeros((rows, 3))), candidates, NOBODY, 1.0, allowance, before=before)


def test_the_share_climbs_with_the_evidence_step_by_step():
    # the gain has a standard error of 2 * 3 / sqrt(2000) = .134
    shares = [on_the_ladder(ratio * 0.134, cost=0.01).rungs[0].share for ratio in (-1.0, 0.05, 0.3, 0.6, 1.0, 3.0)]
    assert shares == pytest.approx([0.0, 0.0, 0.1, 0.3, 0.6, 0.6])  # 2p - 1 is .04, .24, .45, .68, 1


def test_what_is_disproved_is_retired_and_what_is_not_known_waits():
    retired, near = on_the_ladder(-1.0), on_the_ladder(-0.2)
    assert (retired.rungs[0].state, near.rungs[0].state) == (RETIRED, WAITING)
    assert str(retired) == "retired, as proven worse: a at 10% for everybody"
    assert not retired.trial.arms
    few = on_the_ladder(1.0, rows=20)
    assert (few.rungs[0].state, str(few)) == (WAITING, "nothing is on trial")


@pytest.mark.parametrize("loss_share", [0.0, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("gain", [0.02, 0.2, 0.35, 0.6])
@pytest.mark.parametrize("cost", [0.05, 1.0])
def test_a_trial_may_never_lose_more_than_allowed(loss_share, gain, cost):
    found = on_the_ladder(gain, loss_share=loss_share, cost=cost)
    (rung,) = found.rungs
    assert found.may_lose <= found.allowed + 1e-12
    assert found.allowed == loss_share
    worst = min(max(-rung.gain.low, 0.0), cost)
    assert found.may_lose == pytest.approx(rung.share * worst)
    assert rung.share in (0.0, *STEPS) or rung.share * worst == pytest.approx(loss_share)


def test_a_trial_is_as_small_as_what_was_really_paid_asks():
    cheap, dear = (on_the_ladder(0.2, cost=0.1, loss_share=0.03, dearest=dearest) for dearest in (1.0, 2.0))
    assert dear.rungs[0].share == pytest.approx(cheap.rungs[0].share / 2)
    assert dear.may_lose == pytest.approx(cheap.may_lose) == pytest.approx(0.03)


@pytest.mark.parametrize("factor", [1.0, 1.6])
def test_the_dearest_ratio_covers_the_true_one_and_shrinks_to_it(factor):
    rng, missed, widths = np.random.default_rng(12), 0, []
    for users, runs in ((300, 150), (30_000, 3)):
        price = rng.lognormal(1.0, 0.8, (runs, users))
        weight = rng.choice([0.0, 3.0, 9.0], (runs, users))
        paid = price * (rng.random((runs, users)) < 0.06 * factor)
        found = [
            dearest_ratio(p, 0.06 * q, w, pd.Series(range(users))) for p, q, w in zip(paid, price, weight, strict=True)
        ]
        missed += sum(ratio < factor for ratio in found)
        widths.append(np.median(found) / factor)
    assert missed <= 9  # 2.5% of 150 and some more, as prices are heavy-tailed
    assert widths[1] < 1.25 < widths[0]


def test_where_nothing_was_paid_for_a_policy_all_rows_speak_and_where_nothing_was_nobody_does():
    users, ones = pd.Series(range(1000)), np.ones(1000)
    paid = np.r_[np.ones(200), np.zeros(800)]
    own = np.r_[np.zeros(200), np.ones(800)]  # the policy's own rows were paid for never
    assert dearest_ratio(paid, 0.1 * ones, own, users) == dearest_ratio(paid, 0.1 * ones, ones, users) > 2.0
    assert dearest_ratio(0 * paid, 0.1 * ones, ones, users) == 1.0


def test_the_gate_bounds_a_trial_by_what_was_paid():
    allowance = load_settings().scoring.ladder.model_copy(update={"loss_share": 0.2})
    evidence = replace(evidence_of(opposite(400) / 15, seed=6), budget=0.05)
    given = (evidence.action >= 0) & (evidence.action < 2)
    expected = np.where(given, 0.1, 0.0)
    shares = []
    for times in (1.0, 3.0):
        found = judge_policies(replace(evidence, paid=times * expected), allowance).ladder
        assert found.may_lose <= found.allowed + 1e-12
        shares.append(sum(rung.share for rung in found.rungs))
    assert 0 < shares[1] < 0.6 * shares[0]


def test_a_step_is_held_until_half_of_its_evidence_is_gone():
    ratios = (0.6, 0.35, 0.2, 0.05, -0.5)  # 2p - 1 is .45, .27, .16, .04, below 0
    fresh = [on_the_ladder(ratio * 0.134, cost=0.01).rungs[0] for ratio in ratios]
    assert [rung.step for rung in fresh] == [0.3, 0.1, 0.1, 0.0, 0.0]
    held = [on_the_ladder(ratio * 0.134, cost=0.01, before=(fresh[0],)).rungs[0] for ratio in ratios]
    assert [rung.step for rung in held] == [0.3, 0.3, 0.3, 0.0, 0.0]
    again = on_the_ladder(ratios[2] * 0.134, cost=0.01, before=(held[2],))
    assert again.rungs == (held[2],)  # judged anew it stands where it stood


def test_a_trial_by_hand():
    found = on_the_ladder(0.4, cost=1.0)
    assert found.rungs[0].gain.low < 0 < found.rungs[0].gain.high
    nobody, tried = found.trial.arms
    # 30% of all users, by what is allowed; of the trial's users a third stay with the proven policy
    worst = -found.rungs[0].gain.low
    assert found.rungs[0].share == pytest.approx(min(0.6, 0.3 / worst))
    assert found.trial.share == pytest.approx(1.5 * found.rungs[0].share)
    assert (nobody.policy, tried.policy) == (Deployed(NOBODY), GIVE)
    assert (nobody.share, tried.share) == pytest.approx((1 / 3, 2 / 3))
    assert found.trial.budget_share == pytest.approx(found.rungs[0].share)


def test_without_steps_nothing_is_tried():
    allowance = load_settings().scoring.ladder
    evidence = evidence_of(opposite(400) / 15, seed=6)
    assert judge_policies(evidence).ladder is None
    assert judge_policies(evidence, allowance.model_copy(update={"steps": ()})).ladder is None
    assert judge_policies(evidence, allowance).ladder is not None


def test_what_is_proven_needs_no_ladder_and_what_is_not_says_where_it_stands():
    allowance = load_settings().scoring.ladder
    assert judge_policies(evidence_of(opposite()), allowance).ladder is None
    evidence = replace(evidence_of(opposite(400) / 15, seed=6), budget=0.05)
    found = judge_policies(evidence, allowance)
    assert found.deployed == Deployed(NOBODY)
    assert found.reason.endswith(str(found.ladder))
    states = {rung.policy.name: rung.state for rung in found.ladder.rungs}
    assert states.keys() == {CONSTANT, "rule", "response ranking", PERSONAL}
    assert ON_TRIAL in states.values()
    assert sum(arm.share for arm in found.trial.arms) == pytest.approx(1.0)


def test_candidates_that_are_alike_share_a_trial_and_the_worse_one_is_left_out():
    rng, rows = np.random.default_rng(4), 4000
    action, noise = np.arange(rows) % 4, rng.normal(0, 1.0, rows)
    noise -= np.array([noise[action == place].mean() for place in range(4)])[action]
    outcome = noise + np.array([0.0, 0.08, 0.08, -0.3])[action]
    logged = Logged(action, np.full(rows, 0.25), outcome, pd.Series(np.arange(rows)))
    chances = np.eye(5)
    names = (NOBODY, "a", "b", "c")
    candidates = {
        name: Candidate(Deployed(name), np.tile(chances[place], (rows, 1)), 0.1 * (place > 0))
        for place, name in enumerate(names)
    }
    found = climb(
        DoublyRobust(logged, np.zeros((rows, 5))), candidates, NOBODY, 1.0, Allowance(steps=STEPS, loss_share=1.0)
    )
    shares = {rung.policy.name: rung.share for rung in found.rungs}
    assert shares["a"] > 0.05
    assert shares["b"] > 0.05
    assert shares["c"] == 0
    assert sum(shares.values()) == pytest.approx(0.6)


def test_the_sequence_covers_the_truth_at_every_look_and_the_usual_interval_does_not():
    rng, runs, looks = np.random.default_rng(8), 400, np.arange(500, 20_001, 500)
    sums = rng.normal(0, np.sqrt(500), (runs, len(looks))).cumsum(axis=1)
    z = np.abs(sums) / np.sqrt(looks)
    widths = np.array([anytime_width(users) for users in looks])
    assert (z > widths).any(axis=1).mean() <= 0.05
    assert (z > 1.96).any(axis=1).mean() > 0.25


def test_an_unknown_gain_stays_unknown():
    unknown = PolicyValue(float("nan"), float("-inf"), float("inf"), 10, 3.0)
    assert anytime(unknown, 100) is unknown


def test_a_verdict_with_a_ladder_is_read_back_as_it_was():
    evidence = replace(evidence_of(opposite(400) / 15, seed=6), budget=0.05)
    verdict = judge_policies(evidence, load_settings().scoring.ladder)
    again = TypeAdapter(PolicyVerdict).validate_python(json.loads(json.dumps(asdict(verdict))))
    assert again == verdict


def test_steps_that_do_not_rise_are_refused():
    with pytest.raises(InputError, match="do not rise"):
        load_settings(scoring={"ladder": {"steps": [0.3, 0.1]}})
