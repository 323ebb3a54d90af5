"""Plans of experiments: sample sizes by hand, and what is said where they cannot be reached."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic import WORDS, offer, small_settings

from configs.offers import Offer
from features.storage.lake import Lake
from models.measurement.power import people_per_arm, smallest_effect, unexplained_deviation
from serving.offer_measurement.experiment_audience import costs_a_head
from serving.offer_measurement.experiment_plan import Audience, ExperimentPlan, arms_to_try, plan_experiment
from serving.offer_measurement.plan_lines import plan_lines
from serving.wording.reason_codes import DEPENDS, NO_DATA, Reason
from serving.wording.reason_lists import REASONS

# z of 2.5% and of 1.25% on each side, and of a power of 80%
ONE, TWO, POWER = 1.959964, 2.241403, 0.841621


def test_sample_sizes_are_those_of_the_books():
    # Chow et al. 2018, 3.2: n = 2 (z + z)^2 (deviation / effect)^2
    assert people_per_arm(10.0, 2.0, power=0.8) == int(2 * (ONE + POWER) ** 2 * 25) + 1 == 393
    assert people_per_arm(10.0, 2.0, power=0.8, comparisons=2) == int(2 * (TWO + POWER) ** 2 * 25) + 1 == 476
    assert smallest_effect(10.0, 393, power=0.8) == pytest.approx(2.0, rel=1e-3)


def test_the_power_of_a_sample_size_is_what_it_says():
    rng, people = np.random.default_rng(5), people_per_arm(3.0, 1.0, power=0.8)
    difference = rng.normal(1.0, 3.0, (4000, people)).mean(axis=1) - rng.normal(0.0, 3.0, (4000, people)).mean(axis=1)
    found = np.abs(difference) > ONE * 3.0 * np.sqrt(2 / people)
    assert found.mean() == pytest.approx(0.8, abs=0.02)


def test_what_was_known_before_is_taken_off_the_deviation():
    rng = np.random.default_rng(6)
    known, noise = rng.normal(size=(20_000, 2)), rng.normal(size=20_000)
    assert unexplained_deviation(known @ [3.0, 4.0] + 2 * noise, known) == pytest.approx(2.0, rel=0.02)


SETTINGS = small_settings(scoring={"budget": 10.0, "exploration": {"budget_share": 0.5}}, churn={"horizon_days": 28})
AUDIENCE = Audience(people=100_000, deviation=10.0, explained=0.5, stays=0.8, rows=5000)
APART = offer("a", discounts=(0.1, 0.2, 0.3), valid_days=14, contact_cost=0.5)


def test_a_plan_by_hand():
    plan = planned(most_weeks=600)
    assert [(arm.discount, arm.cost_a_head, arm.is_new) for arm in plan.arms] == [(0.1, 2.5, False), (0.3, 4.5, False)]
    # does 10% bring 2.50, does 30% bring 2.00 more than 10%: 2 (2.2414 + 0.8416)^2 (10 / effect)^2
    assert [(each.effect, each.people_per_arm) for each in plan.comparisons] == [(2.5, 305), (2.0, 476)]
    assert (plan.people_per_arm, plan.people) == (476, 3 * 476)
    assert plan.cost == pytest.approx(476 * (2.5 + 4.5))
    assert (plan.weeks, plan.weeks_to_wait) == (96, 4)  # 3,332 at half of 10 a day, 35 a week; then 28 days
    assert plan.is_reached
    assert plan.share == pytest.approx(0.001)  # 476 x 4 / (7 x 96 x 100,000), rounded up to a thousandth


def planned(audience: Audience = AUDIENCE, most_weeks: int = 20) -> ExperimentPlan:
    costs = {0.1: 2.5, 0.2: 3.5, 0.3: 4.5}
    return plan_experiment(APART, costs, audience, SETTINGS, power=0.8, most_weeks=most_weeks, options=3)


def test_a_plan_that_takes_too_long_says_what_it_can_find():
    plan = planned()
    assert not plan.is_reached
    assert plan.affordable == 100  # 20 weeks of 35 at 7 for one person in each arm
    assert plan.finds == pytest.approx(10.0 * (TWO + POWER) * np.sqrt(2 / 100), rel=1e-5)
    assert plan.finds_staying == pytest.approx(0.4 * (TWO + POWER) * np.sqrt(2 / 100), rel=1e-5)


def test_few_people_take_part_again_when_the_outcome_of_before_is_known():
    assert planned(replace(AUDIENCE, people=50), 600).weeks == (29 - 1) * 4 + 1  # 1,428 people, 50 every four weeks
    nobody = planned(replace(AUDIENCE, people=0))
    assert (nobody.is_reached, nobody.affordable, nobody.finds) == (False, 0, None)


@pytest.mark.parametrize(
    ("discounts", "tried"),
    [
        ((0.25, 0.3, 0.35), [(0.1, True), (0.35, False)]),  # too close to be told apart: half of the lowest instead
        ((0.2,), [(0.1, True), (0.2, False)]),  # only one
        ((0.1, 0.2), [(0.1, False), (0.2, False)]),
        ((0.0, 0.15, 0.3), [(0.0, False), (0.3, False)]),  # the message alone is the lowest
        ((0.05,), [(0.05, False), (0.05, False)]),
    ],
)
def test_the_levels_to_try_are_far_apart(discounts, tried):
    gives = offer("a", discounts=discounts, plain_message="Hi", contact_cost=0.5)
    arms = arms_to_try(gives, {share: 0.5 + 10 * share for share in discounts})
    assert [(arm.discount, arm.is_new) for arm in arms] == tried
    assert [arm.cost_a_head for arm in arms] == pytest.approx([0.5 + 10 * arm.discount for arm in arms])


def test_a_plan_in_words():
    plan = planned()
    page = "\n".join(plan_lines([plan], AUDIENCE, WORDS, power=0.8, left_out=["plain"])).replace("\u00a0", " ")
    assert "Plain: no plan, because on the newest decided day nobody could be given it at random" in page
    assert "100,000 people may be given something at random; what they bring differs by 10.00 USD a head" in page
    assert "try       nothing, 10%, 30%" in page
    assert "learn     whether 10% brings more than nothing by the 2.50 USD a head that it costs more: 305 each" in page
    assert "reach 100 people a group, who show effects from 4.36 USD a head or 17.4 points of staying on" in page
    # whether it can be done stands before the figures that it is about
    assert page.index("verdict   too long") < page.index("  learn ") < page.index("  people ")


def test_absurd_numbers_are_said_to_be_no_plan_before_they_are_told():
    plan = planned(replace(AUDIENCE, people=3))
    page = "\n".join(plan_lines([plan], AUDIENCE, WORDS, power=0.8)).replace("\u00a0", " ")
    assert plan.weeks > 520
    assert "takes     more than ten years of randomised offers and 4 weeks more" in page
    assert page.index("verdict   too long") < page.index("takes ")
    assert "settings" not in page
    nobody = planned(replace(AUDIENCE, people=0))
    assert "verdict   cannot be done" in "\n".join(plan_lines([nobody], AUDIENCE, WORDS, power=0.8))


def test_what_costs_nothing_is_looked_for_at_a_hundredth_of_a_deviation():
    fields = offer("a", message="Hi", contact_cost=0.0).model_dump(exclude={"discounts"}, exclude_unset=True)
    plan = plan_experiment(
        Offer(**fields, benefit="none"), {0.0: 0.0}, AUDIENCE, SETTINGS, power=0.8, most_weeks=20, options=1
    )
    assert [(each.effect, each.people_per_arm) for each in plan.comparisons] == [(0.1, 156_978)]


def test_costs_a_head_are_those_of_who_may_be_given_the_option_at_random(tmp_path: Path):
    lake, day = Lake(tmp_path), date(2024, 7, 1)
    rows = [("a", 0.1, 1.0, None), ("a", 0.1, 3.0, NO_DATA), ("a", 0.1, 9.0, "open_offer"), ("b", 0.2, 2.0, DEPENDS)]
    path = lake.partition("decisions", day).with_name("options.parquet")
    path.parent.mkdir(parents=True)
    offers, levels, costs, codes = zip(*rows, strict=True)
    why_not = pa.array([None if code is None else [Reason(code)._asdict()] for code in codes], REASONS)
    table = {"offer_id": list(offers), "discount": list(levels), "expected_cost": list(costs),
             "eligible": [code is None for code in codes], "why_not": why_not}  # fmt: skip
    pq.write_table(pa.table(table), path)
    assert costs_a_head(lake, day) == {"a": {0.1: 2.0}, "b": {0.2: 2.0}}
