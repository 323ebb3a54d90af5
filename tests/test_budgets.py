"""What every budget buys: the optimal path by hand, by duality and in truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.policy_value.budgets import multi_arm_qini

SEEDS = st.integers(0, 10**6)


def market(seed: int, users: int, options: int) -> tuple[np.ndarray, np.ndarray]:
    """Predicted gains, some negative and some not eligible, and costs, some of them equal and some 0."""
    rng = np.random.default_rng(seed)
    predicted = rng.normal(1.0, 2.0, (users, options)).round(1)
    predicted[rng.random((users, options)) < 0.1] = -np.inf
    return predicted, rng.integers(0, 5, (users, options)).astype(float)


def walk(scores: np.ndarray, predicted: np.ndarray, cost: np.ndarray, *, samples: int = 2, points: int = 101):
    rng = np.random.default_rng(0)
    users = pd.Series(range(len(scores)))
    return multi_arm_qini(scores, predicted, cost, users, points=points, samples=samples, rng=rng)


@given(seed=SEEDS, users=st.integers(2, 12), options=st.integers(1, 5))
def test_the_path_is_the_optimal_allocation_at_every_budget(seed, users, options):
    predicted, cost = market(seed, users, options)
    qini = walk(np.c_[np.zeros(users), np.where(np.isfinite(predicted), predicted, -99.0)], predicted, cost, points=9)
    value, price = np.c_[np.zeros(users), predicted], np.c_[np.zeros(users), cost]
    with np.errstate(invalid="ignore", divide="ignore"):
        swaps = (value[:, :, None] - value[:, None, :]) / (price[:, :, None] - price[:, None, :])
    # linear programming duality: the best value at a budget is the least bound over all prices of money
    prices = np.r_[0.0, swaps[np.isfinite(swaps) & (swaps > 0)]]
    bounds = [[(value - p * price).max(axis=1).sum() + p * spend * users for p in prices] for spend in qini.spend]
    if qini.spend[-1] > 0:
        assert (qini.gain * users).tolist() == pytest.approx(np.min(bounds, axis=1).tolist(), abs=1e-9)


def test_the_path_by_hand():
    # a climbs to its first option (slope 4), then to its second (slope 1); b to its second at once (slope 2)
    predicted, cost = np.array([[4.0, 5.0], [1.0, 4.0]]), np.array([[1.0, 2.0], [1.0, 2.0]])
    scores = np.array([[1.0, 3.0, 7.0], [0.0, 9.0, 5.0]])
    qini = walk(scores, predicted, cost, points=5)
    assert qini.spend.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert qini.gain.tolist() == [0.0, 2 / 2, (2 + 2.5) / 2, (2 + 5) / 2, (2 + 5 + 4) / 2]
    # trapezoids of half a unit, less the triangle below the chord, over a budget of 2
    assert qini.area.value == pytest.approx((0.5 * (0 + 1 + 2.25 + 3.5 + 5.5 / 2) - 5.5) / 2)


def test_what_is_free_is_given_before_anything_is_spent():
    predicted, cost = np.array([[3.0, 1.0], [1.0, 4.0]]), np.array([[0.0, 0.0], [0.0, 2.0]])
    qini = walk(np.array([[0.0, 6.0, 0.0], [2.0, 4.0, 9.0]]), predicted, cost, points=3)
    assert qini.spend.tolist() == [0.0, 0.5, 1.0]
    assert qini.gain.tolist() == [(6 + 2) / 2, (8 + 2.5) / 2, (8 + 5) / 2]
    assert qini.area.value == pytest.approx(0.0)  # one straight step, from what was free


def test_equals_on_the_path_are_treated_together():
    scores = np.c_[np.zeros(40), np.arange(40.0)]
    qini = walk(scores, np.ones((40, 1)), np.ones((40, 1)))
    assert qini.gain == pytest.approx(qini.spend * 19.5)
    assert qini.area.value == pytest.approx(0.0)


def test_the_path_does_not_depend_on_the_order_of_the_users():
    predicted, cost = market(1, 50, 3)
    scores = np.random.default_rng(2).normal(size=(50, 4))
    shuffled = np.random.default_rng(3).permutation(50)
    expected, moved = walk(scores, predicted, cost), walk(scores[shuffled], predicted[shuffled], cost[shuffled])
    assert moved.gain == pytest.approx(expected.gain)
    assert moved.area.value == pytest.approx(expected.area.value)


def test_when_nothing_pays_nothing_is_spent():
    qini = walk(np.ones((5, 3)), np.full((5, 2), -1.0), np.ones((5, 2)))
    assert not qini.spend.any() and not qini.gain.any() and not qini.standard_error.any()
    assert (qini.area.value, qini.area.low, qini.area.high) == (0.0, 0.0, 0.0)


def test_the_error_along_the_path_is_that_of_a_mean_where_all_are_treated():
    rng = np.random.default_rng(4)
    scores = np.c_[np.zeros(500), rng.normal(1.0, 3.0, 500)]
    qini = walk(scores, rng.random((500, 1)) + 0.1, np.ones((500, 1)), samples=400)
    assert qini.standard_error[0] == 0
    assert qini.standard_error[-1] == pytest.approx(scores[:, 1].std() / np.sqrt(500), rel=0.1)


def test_the_interval_of_the_path_covers_the_truth_and_shrinks():
    def draw(seed: int, users: int):
        rng = np.random.default_rng(seed)
        x = rng.random((users, 2))
        action = rng.integers(0, 3, users)
        outcome = np.c_[np.zeros(users), x][np.arange(users), action] * 3 + rng.normal(size=users)
        scores = np.zeros((users, 3))
        scores[np.arange(users), action] = outcome * 3  # inverse propensity
        cost = np.tile([1.0, 1.0], (users, 1))
        # scored with the truth, the many users stand for the world
        truth = np.c_[np.zeros(users), 3 * x]
        return multi_arm_qini(
            truth if users > 10_000 else scores, x, cost, pd.Series(range(users)), samples=80, rng=rng
        )

    world = draw(0, 40_000)
    areas = [draw(seed, 400).area for seed in range(1, 41)]
    assert sum(area.low <= world.area.value <= area.high for area in areas) >= 36
    large = draw(50, 6400).area
    assert large.high - large.low == pytest.approx(np.mean([area.high - area.low for area in areas]) / 4, rel=0.35)


def test_rows_of_one_user_hang_together_along_the_path():
    rng = np.random.default_rng(5)
    predicted, scores = rng.random((100, 1)), np.c_[np.zeros(100), rng.normal(size=100)]
    one = walk(scores, predicted, np.ones((100, 1)), samples=300)
    copies = [np.repeat(table, 9, axis=0) for table in (scores, predicted, np.ones((100, 1)))]
    users = pd.Series(np.repeat(np.arange(100), 9))
    nine = multi_arm_qini(*copies, users, samples=300, rng=np.random.default_rng(0))
    assert nine.gain == pytest.approx(one.gain)
    assert nine.standard_error == pytest.approx(one.standard_error)
