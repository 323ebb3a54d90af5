"""Allocation: never over the budget, one option or nothing each, and as good as the exact solution nearly allows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, linprog, milp

from serving.allocation import BINS, NOTHING, Allocation, Demand, choose, choose_in_turn, dual_bound, hull_steps

BIN_WIDTH = 10 ** (12 / BINS) - 1  # steps this near to each other in efficiency are equals


def allocate(
    value: np.ndarray, cost: np.ndarray, budget: float, *, batch: int | None = None, spends: np.ndarray | None = None
) -> tuple[np.ndarray, Allocation]:
    """Both passes, a batch at a time; returns the choices and what they come to."""
    spends = np.ones(len(value), bool) if spends is None else spends
    parts = [slice(start, start + (batch or len(value))) for start in range(0, len(value), batch or len(value))]
    demand = Demand()
    for part in parts:
        demand.add(value[part][spends[part]], cost[part][spends[part]])
    price = demand.price(budget)
    rest, chosen, bound = price.rest, [], price.high * budget
    for part in parts:
        choice, rest = choose_in_turn(value[part], cost[part], price, rest, spends[part])
        chosen.append(choice)
        bound += dual_bound(value[part][spends[part]], cost[part][spends[part]], price.high)
    choice = np.concatenate(chosen)
    rows = np.flatnonzero((choice != NOTHING) & spends)
    spent, worth = cost[rows, choice[rows]].sum(), value[rows, choice[rows]].sum()
    return choice, Allocation(budget, float(spent), float(worth), bound, price.high)


def exact(value: np.ndarray, cost: np.ndarray, budget: float) -> float:
    """Best total value, by integer programming."""
    users, options = value.shape
    open_ = np.where(np.isfinite(value), value, 0.0).ravel()
    one_each = np.kron(np.eye(users), np.ones((1, options)))
    allowed = np.isfinite(value).ravel().astype(float)
    limits = [LinearConstraint(one_each, ub=np.ones(users)), LinearConstraint(cost.ravel()[None, :], ub=[budget])]
    found = milp(-open_, constraints=limits, integrality=np.ones(users * options), bounds=(0, allowed))
    return float(-found.fun)


def instance(seed: int, users: int, options: int, *, whole: bool) -> tuple[np.ndarray, np.ndarray]:
    """Values and costs, some options ineligible, some worthless; whole numbers make many ties."""
    rng = np.random.default_rng(seed)
    cost = rng.integers(0, 6, (users, options)).astype(float) if whole else rng.gamma(2.0, 1.0, (users, options))
    value = rng.integers(-2, 9, (users, options)).astype(float) if whole else rng.normal(1.5, 2.0, (users, options))
    value[rng.random((users, options)) < 0.2] = -np.inf
    return value, cost


instances = st.builds(
    instance, st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 4), whole=st.booleans()
)  # fmt: skip


def test_hull_steps_by_hand():
    # costs 1, 2, 4 and values 3, 4, 9: the middle one lies below the line from the first to the last
    slope, step = hull_steps(np.array([[4.0, 9.0, 3.0]]), np.array([[2.0, 4.0, 1.0]]))
    assert slope.tolist() == [[3.0, 2.0, 0.0]]
    assert step.tolist() == [[1.0, 3.0, 0.0]]


def test_hull_steps_leave_out_what_is_dominated_worthless_or_ineligible():
    value = np.array([[2.0, 2.0, -1.0], [-np.inf, -np.inf, -np.inf], [-np.inf, 4.0, 5.0]])
    cost = np.array([[1.0, 3.0, 0.5], [1.0, 1.0, 1.0], [0.1, 2.0, 2.0]])
    slope, step = hull_steps(value, cost)
    assert slope.tolist() == [[2.0, 0.0, 0.0], [0.0, 0.0, 0.0], [2.5, 0.0, 0.0]]
    assert step.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]


def test_a_free_option_comes_first_and_a_dearer_one_builds_on_it():
    slope, step = hull_steps(np.array([[1.0, 2.0, 5.0]]), np.array([[0.0, 0.0, 3.0]]))
    assert slope.tolist() == [[np.inf, 1.0, 0.0]]
    assert step.tolist() == [[0.0, 3.0, 0.0]]


@settings(max_examples=80, deadline=None)
@given(instances)
def test_slopes_fall_and_steps_add_up_to_an_option(drawn):
    value, cost = drawn
    slope, step = hull_steps(value, cost)
    finite = np.where(np.isinf(slope), 1e12, slope)
    assert (np.diff(finite, axis=1) <= 1e-9 * finite[:, :-1]).all()
    top = np.where((slope > 0).any(axis=1), step.sum(axis=1), 0.0)
    for user in range(len(value)):
        best = value[user].max(initial=0.0)
        cheapest = cost[user][value[user] == best].min(initial=np.inf) if best > 0 else 0.0
        assert top[user] == pytest.approx(cheapest)


@settings(max_examples=250, deadline=None)
@given(drawn=instances, share=st.floats(0, 1.2), batch=st.integers(1, 8))
def test_an_allocation_keeps_its_promises(drawn, share, batch):
    value, cost = drawn
    budget = share * float(cost.max(axis=1).sum())
    choice, found = allocate(value, cost, budget, batch=batch)
    rows = np.flatnonzero(choice != NOTHING)
    assert found.spent <= budget + 1e-9
    assert choice.shape == (len(value),)
    assert set(choice) <= {NOTHING, *range(value.shape[1])}
    assert np.isfinite(value[rows, choice[rows]]).all()  # never an ineligible one
    assert (value[rows, choice[rows]] > 0).all()  # never one that does not pay
    assert found.value <= found.bound + 1e-9
    assert found.gap >= -1e-9


@settings(max_examples=60, deadline=None)
@given(drawn=instances, share=st.floats(0, 1.2))
def test_the_loss_against_the_exact_solution_is_less_than_one_users_best(drawn, share):
    value, cost = drawn
    budget = share * float(cost.max(axis=1).sum())
    _, found = allocate(value, cost, budget)
    best = exact(value, cost, budget)
    assert found.value <= best + 1e-6
    assert best <= found.bound * (1 + 1e-9) + 1e-6
    # greedy along the hulls: what is lost is at most the one step that did not fit, and the width of a bin
    assert best - found.value <= value.max(initial=0.0) + BIN_WIDTH * found.bound + 1e-6


def test_brute_force_agrees_on_a_handful():
    value = np.array([[3.0, 5.0], [2.0, 6.0], [4.0, -np.inf]])
    cost = np.array([[1.0, 2.0], [1.0, 4.0], [3.0, 1.0]])
    for budget in (0.0, 1.0, 2.0, 3.5, 5.0, 7.0, 9.0):
        best = max(
            sum(value[user, option] for user, option in enumerate(plan) if option != NOTHING)
            for plan in itertools.product((NOTHING, 0, 1), repeat=3)
            if sum(cost[user, option] for user, option in enumerate(plan) if option != NOTHING) <= budget
        )
        assert exact(value, cost, budget) == pytest.approx(best)
        _, found = allocate(value, cost, budget)
        assert best - 4.0 <= found.value <= best <= found.bound + 1e-9


def test_the_bound_is_the_linear_relaxation_and_the_gap_vanishes_with_many_users():
    rng = np.random.default_rng(1)
    value, cost = rng.normal(1.0, 2.0, (400, 3)), rng.gamma(2.0, 1.0, (400, 3))
    budget = 150.0
    one_each = np.kron(np.eye(400), np.ones((1, 3)))
    relaxed = linprog(
        -value.ravel(), A_ub=np.vstack([one_each, cost.ravel()]), b_ub=np.r_[np.ones(400), budget], bounds=(0, 1)
    )
    _, found = allocate(value, cost, budget)
    assert found.bound == pytest.approx(-relaxed.fun, rel=1e-4)
    assert found.bound >= -relaxed.fun - 1e-9
    assert 0 <= found.gap < 0.005
    assert found.spent > 0.99 * budget


def test_what_one_more_unit_of_budget_earns_is_the_shadow_price():
    rng = np.random.default_rng(2)
    value, cost = rng.normal(2.0, 2.0, (3000, 3)), rng.gamma(2.0, 1.0, (3000, 3))
    less, more = (allocate(value, cost, budget)[1] for budget in (1000.0, 1100.0))
    assert less.shadow_price > more.shadow_price > 0
    assert more.shadow_price <= (more.value - less.value) / 100 + 1e-2
    assert (more.value - less.value) / 100 <= less.shadow_price + 1e-2


def test_users_who_are_all_alike_share_the_budget_out():
    value, cost = np.full((1000, 2), [2.0, 2.5]), np.full((1000, 2), [1.0, 2.0])
    choice, found = allocate(value, cost, 500.0)
    assert found.spent == 500.0
    assert (choice == 0).sum() == 500
    assert found.gap < 1e-3


def test_without_a_budget_only_free_options_are_given():
    value, cost = np.array([[5.0, 1.0], [5.0, -1.0], [-np.inf, 3.0]]), np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1e-9]])
    choice, found = allocate(value, cost, 0.0)
    assert choice.tolist() == [1, NOTHING, NOTHING]
    assert found.spent == 0.0


def test_an_option_that_is_nearly_free_cannot_break_the_budget():
    value, cost = np.full((10, 1), 1e4), np.full((10, 1), 1e-4)  # steeper than the histogram reaches
    choice, found = allocate(value, cost, 5e-4)
    assert (choice != NOTHING).sum() == 5
    assert found.spent <= 5e-4


def test_when_everything_fits_the_budget_has_no_price_and_the_bound_is_met():
    value, cost = np.array([[5.0, 7.0], [-1.0, 2.0], [0.0, -np.inf]]), np.array([[1.0, 4.0], [1.0, 1.0], [1.0, 1.0]])
    choice, found = allocate(value, cost, 5.0)
    assert choice.tolist() == [1, 1, NOTHING]
    assert (found.shadow_price, found.spent, found.value, found.bound, found.gap) == (0.0, 5.0, 9.0, 9.0, 0.0)


def test_nothing_to_give_is_no_error():
    for value in (np.zeros((4, 0)), np.full((4, 2), -np.inf), np.full((4, 2), -1.0)):
        choice, found = allocate(value, np.ones(value.shape), 10.0)
        assert choice.tolist() == [NOTHING] * 4
        assert (found.spent, found.value, found.gap) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("batch", [1, 7, 64, 500])
def test_batches_give_the_same_result_as_one(batch):
    rng = np.random.default_rng(3)
    value, cost = rng.normal(1.0, 2.0, (500, 3)), rng.gamma(2.0, 1.0, (500, 3))
    value[:200, 0], cost[:200, 0] = 3.0, 0.5  # equals on the margin
    whole, parts = allocate(value, cost, 60.0), allocate(value, cost, 60.0, batch=batch)
    assert (whole[0] == parts[0]).all()
    assert parts[1].spent == pytest.approx(whole[1].spent)
    assert parts[1].shadow_price == whole[1].shadow_price


def test_who_spends_nothing_is_told_what_they_would_get_and_takes_nobodys_place():
    value, cost = np.full((10, 1), 2.0), np.ones((10, 1))
    spends = np.arange(10) % 2 == 0
    choice, found = allocate(value, cost, 3.0, spends=spends)
    assert found.spent == 3.0
    assert (choice[spends] == 0).tolist() == [True, True, True, False, False]
    assert (choice[~spends] == 0).tolist() == [True, True, False, False, False]


def test_a_choice_prefers_the_cheaper_of_equals_and_nothing_to_what_is_worth_nothing():
    value, cost = np.array([[3.0, 3.0], [0.0, -1.0], [2.0, 4.0]]), np.array([[2.0, 1.0], [0.0, 0.0], [1.0, 2.0]])
    assert choose(value, cost, 0.0).tolist() == [1, NOTHING, 1]
    assert choose(value, cost, 2.0).tolist() == [1, NOTHING, NOTHING]


def test_the_gap_of_nothing_is_nothing():
    assert Allocation(budget=1.0, spent=0.0, value=0.0, bound=0.0, shadow_price=0.0).gap == 0.0
    assert Allocation(budget=1.0, spent=1.0, value=3.0, bound=4.0, shadow_price=1.0).gap == 0.25
