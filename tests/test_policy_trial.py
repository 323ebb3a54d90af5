"""The trial of policies: its draws have the chances that are logged, and nobody pays for it but those who may."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from synthetic import AS_OF, DRAWN_OPTIONS, behaviour, offer, randomised_treatments, small_policy, small_settings
from test_decisions import batches, read
from test_explanations import personal_effects
from test_options import DRAWN, randomised

from configs.offers import NOTHING, Catalogue
from features.arrays.array_types import Flags, Floats
from features.storage.lake import Lake
from models.policy_value.off_policy import Logged, ips_value
from models.policy_value.policy_verdict import CONSTANT, NOBODY, PERSONAL, RANKING, Arm, Deployed, Trial
from serving.arms.assignment import CONTROL, EXPLORE, allocation_input, assign, propensities
from serving.arms.policy_trial import with_trial
from serving.decide.decisions import decide
from serving.decide.scoring import Policy
from serving.stored_days.ledger import entries
from serving.valuation.options import LEARNT, Options
from serving.valuation.trial_choices import learnt_effects, trial_choices

TRIAL = Trial(
    (
        Arm(Deployed(NOBODY), 0.3),
        Arm(Deployed(CONSTANT, DRAWN_OPTIONS[0]), 0.2, 0.5),
        Arm(Deployed(PERSONAL), 0.5),
    ),
    share=0.5, budget_share=1.0, price=0.2,
)  # fmt: skip
USERS = 300
SETTINGS = small_settings(
    scoring={"budget": 1e6, "control_share": 0.1, "exploration": {"share": 0.2, "budget_share": 1.0, "floor": 0.02}}
)


@pytest.fixture
def options() -> Options:
    """Options of some users whose three arms choose differently."""
    rng = np.random.default_rng(3)
    catalogue = Catalogue(offers=(offer("bundle", discounts=(0.1, 0.2)),))
    shape = (USERS, 2)
    own = {name: np.zeros(shape) for name in ("p_redeem", "incremental_retention", "incremental_margin", "value_error")}
    own |= {name: np.full(shape, np.nan) for name in LEARNT}
    tried = np.c_[np.full(USERS, NOTHING), np.zeros(USERS), rng.integers(-1, 2, USERS)].astype(np.int8)
    free = np.zeros(shape, dtype=np.int8)
    return Options(
        catalogue, **own, discount_cost=np.zeros(shape), expected_cost=np.full(shape, 0.5), value=np.full(shape, -0.1),
        why_not=free, ineligible=free[:, 0], tried=tried,
    )  # fmt: skip


def user_ids() -> pd.Series:
    return pd.Series([f"u{place}" for place in range(USERS)])


def day(options: Options, number: int, budget_share: float = 1.0) -> tuple[np.ndarray, Floats, Flags]:
    """What everybody got on a day, how likely that was, and who is in the control group."""
    as_of = AS_OF + timedelta(days=number)
    trial = replace(TRIAL, budget_share=budget_share)
    found = allocation_input(user_ids(), np.zeros(USERS), options, SETTINGS, (), as_of, trial)
    assignment = assign([found], with_trial(SETTINGS, trial), ())
    assert assignment.explorers.spent <= 1e6 * min(1.0, 1.0 + budget_share)
    return (
        assignment.given,
        propensities(options, assignment, SETTINGS, (), as_of, trial),
        assignment.arm == CONTROL,
    )


def test_replayed_draws_come_as_often_as_is_logged(options):
    days = 600
    counts, chance = np.zeros((USERS, 3)), np.zeros((USERS, 3))
    for number in range(days):
        given, logged, _ = day(options, number)
        counts[np.arange(USERS), given] += 1
        chance[np.arange(USERS), given] = logged
    drawn = counts > 0
    spread = np.sqrt(chance * (1 - chance) / days)
    assert np.abs(counts / days - chance)[drawn].max() <= 5 * spread[drawn].max()
    ratio = ((counts / days - chance)[drawn] / np.maximum(spread[drawn], 1e-9))[chance[drawn] < 1]
    assert np.mean(ratio**2) == pytest.approx(1.0, abs=0.2)
    # by hand: who is offered option 1 by personal draws it with .7 * (.02 + .94 * weight), .5/.7 of the draws being the
    # trial's, half of which follow personal, and the others drawing 1 with the softmax of equal worths
    softmax = np.exp(-0.1) / (1 + 2 * np.exp(-0.1))
    by_hand = 0.7 * (0.02 + 0.94 * (0.2 / 0.7 * softmax + 0.5 / 0.7 * 0.5))
    found = chance[(options.tried[:, 2] == 1) & drawn[:, 1], 1]
    assert found == pytest.approx(np.full(len(found), by_hand))


def test_ips_on_the_log_of_a_trial_is_unbiased(options):
    rng = np.random.default_rng(5)
    truth = rng.normal(0, 2.0, (USERS, 3))  # the last column is nothing
    target = rng.integers(-1, 2, USERS)
    may = ~day(options, 0)[2]
    found = []
    for number in range(200):
        given, logged, _ = day(options, number)
        outcome = truth[np.arange(USERS), given]
        log = Logged(given[may] + 1, logged[may], outcome[may], user_ids()[may])
        found.append(ips_value(log, target[may] + 1).value)
    expected = truth[np.arange(USERS), target][may].mean()
    error = np.std(found) / np.sqrt(len(found))
    assert np.mean(found) == pytest.approx(expected, abs=3.5 * error)
    assert error < 0.05


def test_nobody_in_control_is_tried_and_the_money_holds(options):
    for number in range(5):
        given, logged, is_control = day(options, number)
        assert is_control.any()
        assert (given[is_control] == NOTHING).all()
        assert (logged[is_control] == 1.0).all()
    poor = SETTINGS.model_copy(
        update={
            "scoring": SETTINGS.scoring.model_copy(
                update={
                    "budget": 100.0,
                    "exploration": SETTINGS.scoring.exploration.model_copy(update={"share": 0.0}),
                }
            )
        }
    )
    trial = replace(TRIAL, share=0.9, budget_share=0.1)
    found = allocation_input(user_ids(), np.zeros(USERS), options, poor, (), AS_OF, trial)
    assignment = assign([found], with_trial(poor, trial), ())
    assert 5.0 < assignment.explorers.spent <= 10.0
    assert assignment.explorers.share < 0.9


def test_what_every_arm_chooses_by_hand():
    frame = pd.DataFrame({"user_id": ["a", "b"]})
    catalogue = Catalogue(offers=(offer("bundle"),))
    arms = (
        Arm(Deployed(NOBODY), 0.25),
        Arm(Deployed(CONSTANT, DRAWN[1]), 0.25),
        Arm(Deployed(RANKING, DRAWN[0], "p_redeem", 0.3), 0.25),
        Arm(Deployed(PERSONAL), 0.25),
    )
    known = randomised(Deployed(NOBODY)).personal
    p_redeem, cost = np.array([[0.2, 0.5], [0.4, 0.8]]), np.array([[0.65, 3.05], [1.25, 4.85]])
    worth, risk = np.array([[100.0], [10.0]]), np.array([0.9, 0.3])
    free = np.ones((2, 2), dtype=bool)

    def chosen(price: float, may: Flags = free) -> list[list[int]]:
        personal = replace(known, trial=Trial(arms, 0.5, 0.5, price))
        learnt = learnt_effects(frame, risk, p_redeem, personal, catalogue)
        return trial_choices(frame, risk, p_redeem, worth, cost, may, personal, catalogue, learnt).tolist()

    # to the first user the options are worth 3 + 10 - .65 and 4 + 20 - 3.05, to the second less than nothing
    assert chosen(0.0) == [[NOTHING, 1, NOTHING, 1], [NOTHING, 1, 0, NOTHING]]
    assert chosen(4.0) == [[NOTHING, 1, NOTHING, 0], [NOTHING, 1, 0, NOTHING]]  # 12.35 - 2.6 is more than 20.95 - 12.2
    assert chosen(0.0, np.array([[True, False], [False, True]])) == [
        [NOTHING, NOTHING, NOTHING, 0],
        [NOTHING, 1, NOTHING, NOTHING],
    ]


@pytest.fixture(scope="module")
def tried() -> Policy:
    """Policy that gives nobody anything but at random, and tries two."""
    policy = small_policy()
    arms = (
        Arm(Deployed(NOBODY), 0.3),
        Arm(Deployed(RANKING, DRAWN_OPTIONS[0], "p_redeem", 0.05), 0.3),
        Arm(Deployed(PERSONAL), 0.4),
    )
    effects = personal_effects(randomised_treatments(400, np.random.default_rng(72))[0])
    effects = replace(effects, deployed=Deployed(NOBODY), trial=Trial(arms, 0.8, 0.5, 0.0))
    settings = small_settings(scoring={"budget": 1e4, "exploration": {"share": 0.0}})
    return replace(policy, settings=settings, response=replace(policy.response, effects={}, personal=effects))


def test_a_day_with_a_trial_is_written_with_its_chances_and_says_which_policy_chose(tried, tmp_path):
    users = behaviour(200, np.random.default_rng(71))
    lake, pieces = Lake(tmp_path / "one"), Lake(tmp_path / "pieces")
    spending = decide(tried, lake, AS_OF, batches(users))
    decide(tried, pieces, AS_OF, batches(users, 33))
    found = read(lake)
    assert read(pieces).equals(found)
    at_random = found[found["arm"] == EXPLORE]
    given = at_random[at_random["offer_id"] != "none"]
    assert 0.6 < len(at_random) / (found["arm"].isin(["policy", EXPLORE])).sum() < 0.95
    assert set(found.loc[found["arm"] != EXPLORE, "offer_id"]) == {"none"}
    assert spending.spent == spending.exploration_spent <= 0.5 * 1e4
    own = "as a policy on trial would choose: each user gets what is expected to be worth most for them"
    rule = "as a policy on trial would choose: Bundle, 10% off, for users whose chance to use it is above 5%"
    told = given["why"].str.extract(f"; ({own}|{rule})$")[0]
    assert set(told.dropna()) == {own, rule}
    log = entries(lake, AS_OF, AS_OF).to_pandas()
    explored = log[log["arm"] == EXPLORE]
    # 6 options at the floor, and what is left by the arms: a user whom one of them chose for draws it that often
    floor = 0.01
    chances = {round(floor + (1 - 7 * floor) * part, 9) for part in (0.0, 0.3, 0.4, 0.6, 0.7, 1.0)}
    assert set(explored["lot_propensity"].round(9)) <= chances
    assert explored["propensity"].tolist() == pytest.approx(
        (0.8 * explored["lot_propensity"] + 0.2 * (explored["offer_id"] == "none")).tolist()
    )
