"""Off-policy values: right by hand, unbiased in truth, and no number where there is not enough data."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.policy_value.off_policy import (
    Logged,
    doubly_robust_scores,
    doubly_robust_value,
    ips_value,
    snips_value,
    value_difference,
)
from models.policy_value.policy_verdict import PolicyValue

ESTIMATORS = ["ips", "snips", "doubly_robust"]


def student(effective_users: float) -> float:
    """Quantile that a 95% interval is made of, by the first term of its expansion."""
    return 1.959964 + (1.959964**3 + 1.959964) / (4 * max(effective_users - 1, 1))


def value(estimator: str, logged: Logged, target: np.ndarray, predicted: np.ndarray, **options) -> PolicyValue:
    if estimator == "doubly_robust":
        return doubly_robust_value(logged, target, predicted, **options)
    return {"ips": ips_value, "snips": snips_value}[estimator](logged, target, **options)


class Bandit:
    """Four options whose worth and whose chance depend on a user's taste; the truth is known."""

    def __init__(self, seed: int, rows: int, *, users: int | None = None, floor: float = 0.1, sharpness: float = 1.0):
        rng = np.random.default_rng(seed)
        users = users or rows
        user_id = np.arange(rows) % users
        self.taste = rng.normal(size=users)[user_id]
        self.expected = self.worth(self.taste)
        chance = np.exp(sharpness * np.outer(self.taste, [0.0, 1.0, -1.0, 0.5]))
        self.chance = floor + (1 - 4 * floor) * chance / chance.sum(axis=1, keepdims=True)
        action = (self.chance.cumsum(axis=1)[:, :3] < rng.random((rows, 1))).sum(axis=1)
        mood = 0.5 * rng.normal(size=users)[user_id] if users < rows else 0.0
        outcome = self.expected[np.arange(rows), action] + mood + 0.8 * rng.normal(size=rows)
        self.logged = Logged(action, self.chance[np.arange(rows), action], outcome, pd.Series(user_id))
        self.choice = self.policy(self.taste)
        self.predicted = self.expected + 0.3 * np.sin(3 * self.taste)[:, None]  # not quite right

    @staticmethod
    def worth(taste: np.ndarray) -> np.ndarray:
        return np.c_[1 + 0.5 * taste, 1.3 + 0.2 * taste, 0.8 + taste, 1 + 0.4 * np.sin(taste)]

    @staticmethod
    def policy(taste: np.ndarray) -> np.ndarray:
        return np.where(taste > 0.5, 2, 1)

    @classmethod
    def truth(cls) -> float:
        taste = np.random.default_rng(0).normal(size=2_000_000)
        return float(np.where(taste > 0.5, 0.8 + taste, 1.3 + 0.2 * taste).mean())


TRUTH = 1.4275  # of the policy; option 1 for everybody is worth 1.3


def test_the_truth_of_the_bandit_is_what_it_is():
    assert Bandit.truth() == pytest.approx(TRUTH, abs=0.002)


@pytest.fixture
def small() -> Logged:
    """Four rows that can be worked out by hand."""
    return Logged(
        np.array([1, 0, 1, 1]), np.array([0.5, 0.5, 0.25, 0.8]), np.array([2.0, 7.0, 1.0, 4.0]),
        pd.Series(["a", "b", "c", "d"]),
    )  # fmt: skip


def test_inverse_propensity_scoring_by_hand(small):
    found = ips_value(small, np.ones(4, dtype=int), minimum=1)
    parts = np.array([2 / 0.5, 0, 1 / 0.25, 4 / 0.8])
    half = student(found.effective_sample_size) * parts.std(ddof=1) / 2
    assert found.value == pytest.approx(13 / 4)
    assert (found.low, found.high) == pytest.approx((13 / 4 - half, 13 / 4 + half))
    assert found.n == 4
    assert found.effective_sample_size == pytest.approx((2 + 4 + 1.25) ** 2 / (4 + 16 + 1.5625))


def test_the_self_normalised_value_by_hand(small):
    found = snips_value(small, np.ones(4, dtype=int), minimum=1)
    weight = np.array([2, 0, 4, 1.25])
    mean = (4 + 4 + 5) / 7.25
    assert found.value == pytest.approx(mean)
    error = np.sqrt(((weight * (small.outcome - mean)) ** 2).sum() * 4 / 3) / 7.25
    assert found.high - found.value == pytest.approx(student(found.effective_sample_size) * error)


def test_the_doubly_robust_value_by_hand(small):
    predicted = np.tile([5.0, 3.0], (4, 1))
    found = doubly_robust_value(small, np.ones(4, dtype=int), predicted, minimum=1)
    parts = np.array([3 + 2 * (2 - 3), 3, 3 + 4 * (1 - 3), 3 + 1.25 * (4 - 3)])
    assert found.value == pytest.approx(parts.mean())
    assert found.high - found.value == pytest.approx(student(found.effective_sample_size) * parts.std(ddof=1) / 2)


def test_a_policy_that_draws_at_random_by_hand(small):
    target = np.array([[0.5, 0.5], [0.25, 0.75], [0.0, 1.0], [0.2, 0.8]])
    assert ips_value(small, target, minimum=1).value == pytest.approx((1 * 2 + 0.5 * 7 + 4 * 1 + 1 * 4) / 4)
    assert snips_value(small, target, minimum=1).value == pytest.approx(13.5 / 6.5)
    predicted = np.tile([5.0, 3.0], (4, 1))
    expected = (4 + 3.5 + 3 + 3.4 + 1 * (2 - 3) + 0.5 * (7 - 5) + 4 * (1 - 3) + 1 * (4 - 3)) / 4
    assert doubly_robust_value(small, target, predicted, minimum=1).value == pytest.approx(expected)


def test_the_difference_by_hand(small):
    treat, nobody = np.ones(4, dtype=int), np.zeros(4, dtype=int)
    found = value_difference(small, treat, nobody, estimator="ips", minimum=1)
    parts = np.array([4.0, -14.0, 4.0, 5.0])
    assert found.value == pytest.approx(parts.mean())
    assert found.high - found.value == pytest.approx(student(1) * parts.std(ddof=1) / 2)
    assert found.effective_sample_size == 1  # one row speaks for nobody


@pytest.mark.parametrize("estimator", ESTIMATORS)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_order_of_the_rows_has_no_effect_and_a_choice_is_a_certain_draw(estimator, seed):
    bandit = Bandit(seed, 300, users=200)
    expected = value(estimator, bandit.logged, bandit.choice, bandit.predicted, minimum=1)
    shuffled = np.random.default_rng(seed).permutation(300)
    log = bandit.logged
    moved = Logged(log.action[shuffled], log.propensity[shuffled], log.outcome[shuffled], log.user_id.iloc[shuffled])
    certain = np.eye(4)[bandit.choice]
    for found in (
        value(estimator, moved, bandit.choice[shuffled], bandit.predicted[shuffled], minimum=1),
        value(estimator, log, certain, bandit.predicted, minimum=1),
    ):
        assert found.is_known
        assert list(found.as_dict().values()) == pytest.approx(list(expected.as_dict().values()), abs=1e-5)


def test_predictions_of_zero_leave_inverse_propensity_scoring():
    bandit = Bandit(1, 500)
    assert doubly_robust_value(bandit.logged, bandit.choice, np.zeros((500, 4))) == ips_value(
        bandit.logged, bandit.choice
    )


def test_a_constant_added_to_all_outcomes_moves_two_values_by_it_and_the_third_by_something_else():
    bandit = Bandit(2, 500)
    log = bandit.logged
    richer = Logged(log.action, log.propensity, log.outcome + 100, log.user_id)
    moved = {}
    for estimator in ESTIMATORS:
        before = value(estimator, log, bandit.choice, bandit.predicted)
        after = value(estimator, richer, bandit.choice, bandit.predicted + 100)
        moved[estimator] = (after.value - before.value, after.high - after.low - before.high + before.low)
    assert moved["snips"] == pytest.approx((100, 0))
    assert moved["doubly_robust"] == pytest.approx((100, 0))
    assert abs(moved["ips"][0] - 100) > 1
    assert moved["ips"][1] > 10


def test_inverse_propensity_scoring_is_unbiased_and_so_is_doubly_robust_with_wrong_predictions():
    bandits = [Bandit(seed, 200) for seed in range(400)]
    wrong = np.tile([3.0, -2.0, 5.0, 0.0], (200, 1))
    for estimator, predicted in (("ips", None), ("doubly_robust", wrong)):
        values = [value(estimator, each.logged, each.choice, predicted, minimum=0).value for each in bandits]
        assert abs(np.mean(values) - TRUTH) < 3 * np.std(values) / np.sqrt(400)


def test_a_value_that_ignores_the_propensities_would_be_wrong():
    bandit = Bandit(3, 20_000)
    matched = bandit.logged.outcome[bandit.logged.action == 2].mean()  # those whom it suits least used to get it
    assert matched < 0.5
    assert snips_value(bandit.logged, np.full(20_000, 2)).value == pytest.approx(0.8, abs=0.05)


def test_right_predictions_make_doubly_robust_the_most_precise():
    bandits = [Bandit(seed, 300) for seed in range(100)]
    spread = {
        estimator: np.std([value(estimator, each.logged, each.choice, each.expected).value for each in bandits])
        for estimator in ESTIMATORS
    }
    assert spread["doubly_robust"] < 0.9 * spread["snips"] < 0.81 * spread["ips"]


@pytest.mark.parametrize(
    "world",
    [{"rows": 1500}, {"rows": 6000, "floor": 0.02, "sharpness": 1.5}, {"rows": 4000, "users": 800, "floor": 0.05}],
    ids=["randomised", "uneven", "several rows per user"],
)
def test_an_interval_covers_the_truth_at_least_nine_times_in_ten(world):
    covered = dict.fromkeys([*ESTIMATORS, *(f"{name} difference" for name in ESTIMATORS)], 0)
    for seed in range(300):
        bandit = Bandit(seed, **world)
        everybody = np.ones(len(bandit.logged), dtype=int)
        for name in ESTIMATORS:
            found = value(name, bandit.logged, bandit.choice, bandit.predicted)
            covered[name] += found.low <= TRUTH <= found.high
            more = value_difference(bandit.logged, bandit.choice, everybody, estimator=name, predicted=bandit.predicted)
            assert found.is_known and more.is_known
            covered[f"{name} difference"] += more.low <= TRUTH - 1.3 <= more.high
    assert min(covered.values()) >= 270 and max(covered.values()) < 298, covered


def test_few_effective_users_widen_an_interval():
    for degrees, exact in ((29, 2.0452), (60, 2.0003), (1000, 1.9623)):  # tables of Student's t
        assert student(degrees + 1) == pytest.approx(exact, abs=0.005)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_intervals_shrink_with_the_root_of_the_rows(estimator):
    def width(rows: int) -> float:
        bandits = [Bandit(seed, rows) for seed in range(20)]
        found = [value(estimator, each.logged, each.choice, each.predicted) for each in bandits]
        return float(np.mean([each.high - each.low for each in found]))

    assert width(8000) == pytest.approx(width(500) / 4, rel=0.1)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_rows_of_one_user_hang_together(estimator):
    bandit = Bandit(4, 400)
    log = bandit.logged
    nine = Logged(*(np.repeat(column, 9) for column in (log.action, log.propensity, log.outcome)),
                  pd.Series(np.repeat(log.user_id, 9)))  # fmt: skip
    one = value(estimator, log, bandit.choice, bandit.predicted)
    found = value(estimator, nine, np.repeat(bandit.choice, 9), np.repeat(bandit.predicted, 9, axis=0))
    assert (found.value, found.low, found.high) == pytest.approx((one.value, one.low, one.high))
    assert found.effective_sample_size == pytest.approx(one.effective_sample_size)
    assert found.n == 9 * one.n


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_difference_is_paired_and_has_a_sign(estimator):
    bandit = Bandit(5, 4000)
    everybody = np.ones(4000, dtype=int)
    new, old = (value(estimator, bandit.logged, each, bandit.predicted) for each in (bandit.choice, everybody))
    more, less = (
        value_difference(bandit.logged, *pair, estimator=estimator, predicted=bandit.predicted)
        for pair in ((bandit.choice, everybody), (everybody, bandit.choice))
    )
    assert more.value == pytest.approx(new.value - old.value)
    assert (less.low, less.high) == pytest.approx((-more.high, -more.low))
    assert more.high - more.low < np.hypot(new.high - new.low, old.high - old.low)
    assert more.effective_sample_size < min(new.effective_sample_size, old.effective_sample_size)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_policy_is_worth_nothing_more_than_itself(estimator):
    bandit = Bandit(6, 100)
    same = value_difference(
        bandit.logged, bandit.choice, bandit.choice.copy(), estimator=estimator, predicted=bandit.predicted
    )
    assert (same.value, same.low, same.high, same.is_known) == (0.0, 0.0, 0.0, True)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_better_policy_wins_with_its_whole_interval_over_seeds(estimator):
    wins = 0
    for seed in range(10):
        bandit = Bandit(seed, 12_000)
        difference = value_difference(
            bandit.logged, bandit.choice, np.zeros(12_000, dtype=int), estimator=estimator, predicted=bandit.predicted
        )
        wins += difference.low > 0
    assert wins == 10


def is_unknown(found: PolicyValue) -> bool:
    return np.isnan(found.value) and found.low == -np.inf and found.high == np.inf and not found.is_known


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_too_few_matched_users_give_no_number(estimator):
    bandit = Bandit(7, 100)
    never = np.full(100, 3)
    rarely = np.where(np.arange(100) < 30, bandit.logged.action, (bandit.logged.action + 1) % 4)
    size = ips_value(bandit.logged, rarely, minimum=0).effective_sample_size
    assert 20 < size < 30
    assert is_unknown(value(estimator, bandit.logged, rarely, bandit.predicted))
    assert value(estimator, bandit.logged, rarely, bandit.predicted, minimum=size).is_known
    log = bandit.logged
    unseen = Logged(np.minimum(log.action, 2), log.propensity, log.outcome, log.user_id)
    assert is_unknown(value(estimator, unseen, never, bandit.predicted, minimum=0))
    assert str(value(estimator, unseen, never, bandit.predicted)) == "not enough data: 0 effective users"


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_many_rows_of_few_users_give_no_number(estimator):
    bandit = Bandit(8, 2000, users=20)
    assert is_unknown(value(estimator, bandit.logged, bandit.choice, bandit.predicted))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_difference_needs_rows_that_speak_for_either_policy(estimator):
    bandit = Bandit(9, 2000)
    log = bandit.logged
    old = log.action.copy()
    new = np.where(np.arange(2000) < 500, (log.action + 1) % 4, old)  # no row speaks for the change
    for pair in ((new, old), (old, new)):
        assert is_unknown(value_difference(log, *pair, estimator=estimator, predicted=bandit.predicted))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_outcomes_that_are_all_the_same_say_nothing_about_their_spread(estimator):
    log = Bandit(10, 500).logged
    nobody_bought = Logged(log.action, log.propensity, np.zeros(500), log.user_id)
    assert is_unknown(value(estimator, nobody_bought, np.ones(500, dtype=int), np.zeros((500, 4))))


def test_scores_average_to_the_values():
    bandit = Bandit(11, 400)
    rows = np.arange(400)
    for predicted in (bandit.predicted, np.zeros((400, 4))):
        before = predicted.copy()
        scores = doubly_robust_scores(bandit.logged, predicted)
        expected = doubly_robust_value(bandit.logged, bandit.choice, predicted).value
        assert scores[rows, bandit.choice].mean() == pytest.approx(expected)
        assert (predicted == before).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"propensity": np.array([0.5, np.nan])}, "propensity of 1 rows is not in \\(0, 1\\]"),
        ({"propensity": np.array([0.0, 1.5])}, "propensity of 2 rows"),
        ({"outcome": np.array([1.0, np.nan])}, "outcome is not finite"),
        ({"action": np.array([0, -1])}, "action is negative"),
        ({"action": np.array([0])}, "differ in length: \\[1, 2\\]"),
    ],
)
def test_a_log_that_cannot_be_true_is_refused(changes, message):
    columns = {
        "action": np.array([0, 1]), "propensity": np.array([0.5, 1.0]), "outcome": np.array([1.0, 2.0]),
        "user_id": pd.Series(["a", "b"]),
    }  # fmt: skip
    Logged(**columns)
    with pytest.raises(ValueError, match=message):
        Logged(**(columns | changes))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (np.array([1.0, 0.0, 1.0, 1.0]), "whole numbers"),
        (np.array([-1, 0, 1, 1]), "from 0 \\(nothing\\)"),
        (np.array([1, 1]), "policy has 2 rows and the log 4"),
        (np.full((4, 2), 0.6), "add up to 1"),
        (np.tile([1.5, -0.5], (4, 1)), "at least 0"),
    ],
)
def test_a_policy_that_cannot_be_followed_is_refused(small, target, message):
    for estimator in ESTIMATORS:
        with pytest.raises(ValueError, match=message):
            value(estimator, small, target, np.zeros((4, 2)))


def test_a_doubly_robust_difference_needs_predictions(small):
    with pytest.raises(ValueError, match="pass predicted="):
        value_difference(small, np.ones(4, dtype=int), np.zeros(4, dtype=int))


def test_a_value_is_printed_as_json_and_in_words():
    found = PolicyValue(1.23456789, 1.0, 1.5, 100, 61.5)
    assert json.loads(json.dumps(found.as_dict())) == {
        "value": 1.234568, "low": 1.0, "high": 1.5, "n": 100, "effective_sample_size": 61.5,
    }  # fmt: skip
    assert str(found) == "1.235 [1.000, 1.500] from 62 effective users"
