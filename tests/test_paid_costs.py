"""What those cost whom a policy picks: payments beside expectations, by hand and where models flatter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from configs.errors import InputError
from models.judge.policies import judge_policies, personal_choice, picked_costs
from models.learn.paid_costs import AS_EXPECTED, CostRatios, Payments, cost_ratios
from models.policy_value.evidence import Evidence

CONTACT = 0.05


def payments(paid: list[float], expected: list[float], is_own: list[bool], times: int = 1) -> Payments:
    return Payments(np.tile(paid, times), np.tile(expected, times), np.tile(is_own, times))


def flattered(rows: int, rng: np.random.Generator) -> tuple[Evidence, np.ndarray]:
    """Treatments of an option whose cost is expected with an error; what it truly costs is returned, (rows,).

    Everybody gains alike, so that a policy with a small budget picks whom the model takes for cheap.
    """
    is_own = rng.random(rows) < 0.7
    true = np.where(is_own, 0.3, 0.6) * rng.lognormal(0.0, 0.3, rows)
    expected = np.where(is_own, true * rng.lognormal(-0.08, 0.4, rows), 0.3)
    action = rng.integers(-1, 1, rows)
    paid = np.where(rng.random(rows) < 0.25, true / 0.25, 0.0) + CONTACT
    effect = np.full((rows, 1), 2.0) + rng.normal(0, 0.3, (rows, 1))
    cost = expected[:, None] + CONTACT
    evidence = Evidence(
        options=(("a", 0.1),), action=action, propensity=np.full(rows, 0.5), user_ids=pd.Series(np.arange(rows)),
        fold=np.arange(rows) % 3, net=rng.normal(5.0, 1.0, rows) + np.where(action == 0, effect[:, 0] - paid, 0.0),
        usual=np.full(rows, 5.0), effect=effect - cost, cost=cost, p_redeem=np.full((rows, 1), 0.25),
        columns=pd.DataFrame({"tenure_days": np.arange(rows, dtype=float)}), had_chance=np.ones((rows, 1), dtype=bool),
        is_simple=np.ones(1, dtype=bool), budget=0.06, paid=np.where(action == 0, paid, 0.0),
        contact=np.array([CONTACT]), is_own=is_own[:, None],
    )  # fmt: skip
    return evidence, true


def spent(evidence: Evidence, true: np.ndarray) -> float:
    """What the personal policy truly spends, over its budget."""
    return float(((true + CONTACT) * (personal_choice(evidence) > 0)).mean()) / evidence.budget


def test_few_payments_move_a_ratio_little_and_many_to_what_was_paid():
    few, many = (cost_ratios(payments([1.0, 0.0], [0.25, 0.25], [True, True], times)) for times in (1, 2000))
    assert 1.0 < few.own < 1.5
    assert many.own == pytest.approx(2.0, abs=0.01)
    assert cost_ratios(payments([0.0, 0.0], [0.25, 0.25], [True, False])) == AS_EXPECTED  # nothing was paid at all


@pytest.mark.parametrize(("paid", "expected"), [([1.0, 0.0], [np.nan, 0.25]), ([np.nan, 1.0], [0.2, 0.2])])
def test_a_cost_that_is_no_number_is_refused_and_never_becomes_a_ratio(paid, expected):
    with pytest.raises(InputError, match="of 1 treatment of 2 it is not known what they cost"):
        cost_ratios(payments(paid, expected, [True, True]))


def test_users_without_own_spend_have_a_ratio_of_their_own():
    found = cost_ratios(payments([1.0, 3.0], [1.0, 1.5], [True, False], 1000))
    assert found.own == pytest.approx(1.0, abs=0.01)
    assert found.others == pytest.approx(2.0, abs=0.02)
    assert found.of(np.array([[True, False]])).tolist() == [[found.own, found.others]]
    lone = cost_ratios(payments([1.0, 0.0], [1.0, 0.0], [True, False], 1000))
    assert lone.others == pytest.approx(lone.own, abs=0.02)  # nothing of their own: that of everybody


def test_contacts_cost_what_they_cost():
    evidence, _ = flattered(50, np.random.default_rng(1))
    dear = evidence.charged(CostRatios(own=2.0, others=3.0))
    times = np.where(evidence.is_own, 2.0, 3.0)
    assert dear.cost == pytest.approx(times * (evidence.cost - CONTACT) + CONTACT)
    assert dear.effect + dear.cost == pytest.approx(evidence.effect + evidence.cost)  # what it changes stays
    assert replace(evidence, contact=None).charged(CostRatios(2.0, 2.0)).cost is evidence.cost  # nothing tells


@pytest.mark.parametrize("seed", range(5))
def test_whoever_is_picked_as_cheap_is_charged_what_their_like_cost(seed):
    evidence, true = flattered(20_000, np.random.default_rng(seed))
    assert spent(evidence, true) > 1.3  # the curse
    found = picked_costs(evidence)
    assert found.own > 1.1
    assert spent(evidence.charged(found), true) == pytest.approx(1.0, abs=0.12)
    verdict = judge_policies(evidence)
    assert verdict.costs == found
    assert verdict.gains["personal"].value > 0


def test_treatments_that_the_policy_gave_itself_count_too():
    evidence, _ = flattered(300, np.random.default_rng(2))
    alone, own = picked_costs(evidence), payments([0.0, 4.0], [1.0, 1.0], [True, True], 3000)
    assert picked_costs(evidence, own).own == pytest.approx(2.0, abs=0.05)
    assert picked_costs(evidence, own) != alone
    assert judge_policies(evidence, chosen=own).costs == alone  # another policy decided before: its picks are others


def test_nothing_is_said_where_nothing_was_paid():
    evidence, _ = flattered(300, np.random.default_rng(2))
    assert picked_costs(replace(evidence, paid=None)) == AS_EXPECTED
