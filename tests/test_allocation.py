"""Allocation: never more than there is, one option or nothing each, and as good as the exact solution nearly allows."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from benchmarks.bench_allocation import instance as realistic
from benchmarks.bench_allocation import lp_bound, run, scarcity
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, milp

from configs.errors import InputError
from configs.offers import NOTHING, Catalogue, Offer
from configs.settings import load_settings
from models.policy_value.budgets import hull_steps
from serving.knapsack import allocation
from serving.knapsack import dual_prices as prices
from serving.knapsack.allocation import Allocation, Limit, allocate, allocate_parts, budget_curve, choose, limits_of
from serving.knapsack.problem import Knapsack, Shard, offered

INF = float("inf")


def limit(name: str, *options: int, most: int, of: int) -> Limit:
    return Limit(name, np.isin(np.arange(of), options), most)


def totals(choice: np.ndarray, value: np.ndarray, cost: np.ndarray) -> tuple[float, float]:
    """Value and cost of a choice, counted anew."""
    rows = np.flatnonzero(choice != NOTHING)
    return float(value[rows, choice[rows]].sum()), float(cost[rows, choice[rows]].sum())


def places(choice: np.ndarray, of: Limit) -> int:
    return int(of.options[choice[choice != NOTHING]].sum())


def exact(value: np.ndarray, cost: np.ndarray, budget: float, limits: list[Limit]) -> float:
    """Best total value, by integer programming."""
    users, options = value.shape
    pays = (value > 0).ravel()
    worth, price = np.where(pays, value.ravel(), 0.0), np.where(pays, cost.ravel(), 0.0)
    rules = [LinearConstraint(np.kron(np.eye(users), np.ones((1, options))), ub=np.ones(users))]
    rules += [LinearConstraint(np.tile(each.options, users)[None].astype(float), ub=[each.most]) for each in limits]
    if np.isfinite(budget):
        rules.append(LinearConstraint(price[None], ub=[budget]))
    found = milp(-worth, constraints=rules, integrality=np.ones(users * options), bounds=(0, pays.astype(float)))
    return float(-found.fun)


@st.composite
def instances(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, float, list[Limit]]:
    """Few users and options, some ineligible or worthless; whole numbers make many ties, some costs are negative."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    users, options = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    if draw(st.booleans()):
        cost, value = rng.integers(0, 6, (users, options)).astype(float), rng.integers(-2, 9, (users, options)) * 1.0
    else:
        cost, value = rng.gamma(2.0, 1.0, (users, options)), rng.normal(1.5, 2.0, (users, options))
    cost -= draw(st.sampled_from([0.0, 0.0, 1.0]))
    value[rng.random((users, options)) < 0.2] = -np.inf
    budget = draw(st.sampled_from([0.0, 0.1, 0.3, 0.6, 1.2, INF])) * (float(cost.max(axis=1).sum()) or 1.0)
    groups = draw(st.lists(st.tuples(st.integers(1, 2**options - 1), st.integers(0, users)), max_size=3))
    limits = [
        Limit(f"limit {place}", (group >> np.arange(options)) % 2 == 1, most)
        for place, (group, most) in enumerate(groups)
    ]
    return value, cost, max(budget, 0.0), limits


def test_hull_steps_by_hand():
    # costs 1, 2, 4 and values 3, 4, 9: the middle one lies below the line from the first to the last
    gain, step = hull_steps(np.array([[4.0, 9.0, 3.0]]), np.array([[2.0, 4.0, 1.0]]))
    assert (gain.tolist(), step.tolist()) == ([0.0, 3.0, 6.0], [0.0, 1.0, 3.0])


def test_hull_steps_leave_out_what_is_dominated_worthless_or_ineligible():
    value = np.array([[2.0, 2.0, -1.0], [-INF, -INF, -INF], [-INF, 4.0, 5.0]])
    cost = np.array([[1.0, 3.0, 0.5], [1.0, 1.0, 1.0], [0.1, 2.0, 2.0]])
    gain, step = hull_steps(value, cost)
    assert (gain.tolist(), step.tolist()) == ([0.0, 0.0, 0.0, 2.0, 5.0], [0.0, 0.0, 0.0, 1.0, 2.0])


def test_a_free_option_comes_first_and_a_dearer_one_builds_on_it():
    gain, step = hull_steps(np.array([[1.0, 2.0, 5.0]]), np.array([[0.0, 0.0, 3.0]]))
    assert (gain.tolist(), step.tolist()) == ([2.0, 3.0], [0.0, 3.0])


def test_an_option_that_brings_money_in_is_where_the_walk_begins():
    gain, step = hull_steps(np.array([[1.0, 4.0, 6.0]]), np.array([[-3.0, -2.0, 2.0]]))
    assert (gain.tolist(), step.tolist()) == ([1.0, 3.0, 2.0], [-3.0, 1.0, 4.0])


def test_the_budget_goes_where_a_unit_of_it_earns_most():
    value, cost = np.array([[4.0, 5.0], [3.0, 9.0], [1.0, 2.0]]), np.array([[1.0, 2.0], [1.0, 4.0], [1.0, 2.0]])
    found = allocate(value, cost, 5.0)
    assert found.choice.tolist() == [0, 1, NOTHING]  # steps earn 4, 3, 2 and then 1 per unit: the last do not fit
    assert (found.value, found.spent, found.bound, found.gap) == (13.0, 5.0, pytest.approx(13.0), pytest.approx(0.0))
    assert found.shadow_price == 1.0
    assert allocate(value, cost, 6.0).choice.tolist() == [1, 1, NOTHING]


def test_a_step_too_large_for_the_rest_is_followed_by_one_that_fits():
    value, cost = np.array([[9.0], [8.0], [1.0]]), np.array([[3.0], [4.0], [1.0]])
    assert allocate(value, cost, 4.0).choice.tolist() == [0, NOTHING, 0]


def test_a_channel_goes_to_those_who_lose_most_without_it():
    value, cost = np.array([[5.0, 4.0], [5.0, 1.0], [5.0, 3.0]]), np.zeros((3, 2))
    found = allocate(value, cost, INF, [limit("push", 0, most=1, of=2)])
    assert found.choice.tolist() == [1, 0, 1]
    assert (found.value, found.used, found.spent) == (12.0, {"push": 1}, 0.0)
    assert 2.0 <= found.limit_prices["push"] <= 4.0  # the second place would earn 5 - 3
    assert found.bound == pytest.approx(12.0)
    assert found.option_prices.tolist() == [found.limit_prices["push"], 0.0]


def test_channel_stock_and_budget_bind_together():
    value = np.array([[6.0, 5.0, 4.0], [6.0, 5.5, 1.0], [6.0, 3.0, 2.0], [9.0, 8.0, 2.0]])
    cost = np.array([[2.0, 1.0, 1.0]] * 4)
    limits = [limit("channel", 0, 1, most=2, of=3), limit("stock", 0, most=1, of=3)]
    found = allocate(value, cost, 4.0, limits)
    assert found.value == exact(value, cost, 4.0, limits)
    assert (found.used["channel"], found.used["stock"]) <= (2, 1)


def test_what_there_is_none_of_is_given_to_nobody_and_priced_at_what_one_would_earn():
    value, cost = np.array([[5.0, 4.0], [7.0, 1.0], [-INF, 3.0]]), np.zeros((3, 2))
    found = allocate(value, cost, INF, [limit("empty", 0, most=0, of=2)])
    assert (found.choice.tolist(), found.value, found.gap) == ([1, 1, 1], 8.0, 0.0)
    assert found.limit_prices["empty"] == 6.0
    broke = allocate(value, cost + 2.0, 0.0, [limit("roomy", 0, most=3, of=2)])
    assert (broke.choice.tolist(), broke.spent, broke.gap) == ([NOTHING] * 3, 0.0, 0.0)
    assert broke.shadow_price == 3.5


@settings(max_examples=300, deadline=None)
@given(drawn=instances())
def test_an_allocation_keeps_its_promises(drawn):
    value, cost, budget, limits = drawn
    before = value.copy(), cost.copy()
    found = allocate(value, cost, budget, limits)
    worth, spent = totals(found.choice, value, cost)
    rows = np.flatnonzero(found.choice != NOTHING)
    assert found.choice.shape == (len(value),)
    assert set(found.choice) <= {NOTHING, *range(value.shape[1])}
    assert (value[rows, found.choice[rows]] > 0).all()  # never an ineligible one, nor one that is worth nothing
    assert spent <= budget + 1e-9
    assert (found.value, found.spent) == (pytest.approx(worth), pytest.approx(spent))
    for each in limits:
        assert places(found.choice, each) == found.used[each.name] <= each.most
    assert found.value <= found.bound + 1e-9
    numbers = np.r_[found.bound, found.shadow_price, list(found.limit_prices.values()), found.option_prices]
    assert np.isfinite(numbers).all() and (numbers >= 0).all()
    assert all((now == then).all() for now, then in zip((value, cost), before, strict=True))
    assert (allocate(value, cost, budget, limits).choice == found.choice).all()


@settings(max_examples=150, deadline=None)
@given(drawn=instances())
def test_the_exact_solution_lies_between_the_value_and_the_bound(drawn):
    value, cost, budget, limits = drawn
    found, best = allocate(value, cost, budget, limits), exact(value, cost, budget, limits)
    assert found.value <= best + 1e-6
    assert best <= found.bound * (1 + 1e-9) + 1e-6
    # a relaxed solution divides at most one user per limit between options
    assert best - found.value <= value.max(initial=0.0) * (1 + len(limits)) + 1e-6
    if not limits:
        assert best - found.value <= value.max(initial=0.0) + 1e-6


@settings(max_examples=100, deadline=None)
@given(drawn=instances(), more=st.floats(0, 10))
def test_a_larger_budget_never_lowers_the_bound_and_hardly_ever_the_value(drawn, more):
    value, cost, budget, limits = drawn
    poor, rich = allocate(value, cost, budget, limits), allocate(value, cost, budget + more, limits)
    assert rich.bound >= poor.bound * (1 - 1e-6) - 1e-6
    assert rich.value >= poor.value - value.max(initial=0.0) * (1 + len(limits))


def test_brute_force_agrees_on_a_handful():
    value = np.array([[3.0, 5.0], [2.0, 6.0], [4.0, -INF]])
    cost = np.array([[1.0, 2.0], [1.0, 4.0], [3.0, 1.0]])
    stock = limit("stock", 1, most=1, of=2)
    for budget in (0.0, 1.0, 2.0, 3.5, 5.0, 7.0, 9.0):
        best = max(
            totals(np.array(plan), value, cost)[0]
            for plan in itertools.product((NOTHING, 0, 1), repeat=3)
            if totals(np.array(plan), value, cost)[1] <= budget and places(np.array(plan), stock) <= 1
        )
        found = allocate(value, cost, budget, [stock])
        assert best - 4.0 <= found.value <= best <= found.bound + 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_the_bound_is_the_linear_relaxation(seed):
    value, cost = realistic(500, 12, np.random.default_rng(seed))
    budget, limits = scarcity(value, cost, money=0.5, places=0.3)
    assert allocate(value, cost, budget, limits).bound == pytest.approx(lp_bound(value, cost, budget, limits), rel=1e-6)
    assert allocate(value, cost, budget / 2).bound == pytest.approx(lp_bound(value, cost, budget / 2, []), rel=1e-6)
    assert allocate(value, cost, INF, limits).bound == pytest.approx(lp_bound(value, cost, 1e9, limits), rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_gap_nearly_vanishes_with_many_users(seed):
    value, cost = realistic(5_000, 12, np.random.default_rng(seed))
    budget, limits = scarcity(value, cost, money=0.5, places=0.3)
    alone, limited = allocate(value, cost, budget), allocate(value, cost, budget, limits)
    assert (0 <= alone.gap < 5e-5, alone.spent > 0.999 * budget) == (True, True)
    assert 0 <= limited.gap < 5e-4
    assert all(limited.used[each.name] >= each.most - 2 for each in limits if limited.limit_prices[each.name] > 0.01)


def test_prices_found_on_a_sample_end_where_all_users_lead(monkeypatch):
    value, cost = realistic(60_000, 12, np.random.default_rng(4))
    budget, limits = scarcity(value, cost, money=0.5, places=0.3)
    passes = []
    smooth = prices._smooth
    monkeypatch.setattr(
        prices, "_smooth", lambda scaled, *at: passes.append(scaled.knapsack.users) or smooth(scaled, *at)
    )
    found = allocate(value, cost, budget, limits)
    assert 0 <= found.gap < 5e-5
    assert min(passes) == 20_000
    assert passes.count(60_000) <= 12  # the sample has done most of the way
    again = choose(value, cost, found.shadow_price, found.option_prices)
    assert (again == found.choice).mean() > 0.999  # who decides at the prices alone decides the same


def test_the_prices_say_what_one_more_would_earn():
    value, cost = realistic(3_000, 12, np.random.default_rng(5))
    budget, limits = scarcity(value, cost, money=0.5, places=0.3)
    found = allocate(value, cost, budget, limits)
    richer = allocate(value, cost, budget * 1.01, limits)
    assert richer.shadow_price <= (richer.bound - found.bound) / (0.01 * budget) + 1e-3
    assert (richer.bound - found.bound) / (0.01 * budget) <= found.shadow_price + 1e-3
    roomier = [Limit(each.name, each.options, each.most + 10) if each is limits[0] else each for each in limits]
    gained = allocate(value, cost, budget, roomier).bound - found.bound
    assert -1e-3 <= gained <= 10 * found.limit_prices[limits[0].name] + 1e-3


def test_a_limit_that_does_not_bind_costs_nothing_and_changes_nothing():
    value, cost = realistic(2_000, 12, np.random.default_rng(6))
    budget, limits = scarcity(value, cost, money=0.3, places=5.0)
    alone, limited = allocate(value, cost, budget), allocate(value, cost, budget, limits)
    assert set(limited.limit_prices.values()) == {0.0}
    assert limited.bound == pytest.approx(alone.bound, rel=1e-7)
    assert (limited.choice == alone.choice).mean() > 0.999


def test_when_everything_fits_nothing_has_a_price_and_the_bound_is_met():
    value, cost = np.array([[5.0, 7.0], [-1.0, 2.0], [0.0, -INF]]), np.array([[1.0, 4.0], [1.0, 1.0], [1.0, 1.0]])
    for limits in ([], [limit("enough", 0, 1, most=2, of=2)]):
        for budget in (5.0, INF):
            found = allocate(value, cost, budget, limits)
            assert found.choice.tolist() == [1, 1, NOTHING]
            assert (found.shadow_price, found.spent, found.value, found.bound) == (0.0, 5.0, 9.0, pytest.approx(9.0))
            assert set(found.limit_prices.values()) <= {0.0}


def test_a_budget_that_is_exactly_the_total_cost_is_enough():
    value, cost = realistic(2_000, 12, np.random.default_rng(7))
    everything = allocate(value, cost, INF)
    assert (allocate(value, cost, everything.spent).choice == everything.choice).all()


def test_without_a_budget_only_free_options_are_given():
    value, cost = np.array([[5.0, 1.0], [5.0, -1.0], [-INF, 3.0]]), np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1e-9]])
    for limits in ([], [limit("enough", 0, 1, most=9, of=2)]):
        found = allocate(value, cost, 0.0, limits)
        assert found.choice.tolist() == [1, NOTHING, NOTHING]
        assert found.spent == 0.0


def test_an_option_that_is_nearly_free_cannot_break_the_budget():
    value, cost = np.full((10, 1), 1e4), np.full((10, 1), 1e-4)
    found = allocate(value, cost, 5e-4)
    assert (found.choice != NOTHING).sum() == 5


def test_nobody_counts_on_the_money_that_a_worthless_option_would_bring_in():
    value, cost = np.array([[-1.0], [9.0]]), np.array([[-5.0], [5.0]])
    for limits in ([], [limit("enough", 0, most=9, of=1)]):
        found = allocate(value, cost, 0.0, limits)
        assert (found.choice.tolist(), found.bound) == ([NOTHING, NOTHING], 0.0)


def test_users_who_are_all_alike_share_out_what_there_is_in_their_order():
    value, cost = np.full((1000, 2), [2.0, 2.5]), np.full((1000, 2), [1.0, 2.0])
    found = allocate(value, cost, 500.0)
    assert found.spent == 500.0
    assert (found.choice == 0).tolist() == [True] * 500 + [False] * 500
    assert found.gap < 1e-9


def test_among_alike_users_the_first_are_served_whatever_the_last_bit_of_their_efficiency():
    rng = np.random.default_rng(11)
    for worth, price in rng.uniform(0.1, 9.0, (100, 2)):
        found = allocate(np.full((9, 1), worth), np.full((9, 1), price), 4.5 * price)
        assert (found.choice == 0).tolist() == [True] * 4 + [False] * 5


@pytest.mark.parametrize("users", [400, 3_000, 100_000])
def test_alike_users_are_spread_over_options_as_the_limits_need(users):
    value, cost = np.full((users, 3), [2.0, 2.5, -INF]), np.full((users, 3), [1.0, 2.0, 0.0])
    first, second = (0, 2), (1, 2)
    limits = [
        limit(f"{kind} {place}", *options, most=users // 4, of=3)
        for kind in ("channel", "stock")  # the same twice: their prices are not unique
        for place, options in enumerate((first, second))
    ]
    found = allocate(value, cost, users / 2, limits)  # best: all places of the first, what is left for the second
    assert found.used["channel 0"] == users // 4
    assert found.gap < 5e-3


def test_equal_users_get_equal_shares_in_any_order():
    rng = np.random.default_rng(8)
    value, cost = rng.integers(-2, 9, (300, 4)).astype(float), rng.integers(0, 6, (300, 4)).astype(float)
    limits = [limit("some", 0, 1, most=40, of=4)]
    order = rng.permutation(300)
    straight, mixed = allocate(value, cost, 150.0, limits), allocate(value[order], cost[order], 150.0, limits)
    assert mixed.bound == pytest.approx(straight.bound, rel=1e-7)
    assert abs(mixed.value - straight.value) <= value.max() * 2


def test_who_spends_nothing_is_told_what_they_would_get_and_takes_nobodys_place():
    value, cost = realistic(2_000, 12, np.random.default_rng(9))
    budget, limits = scarcity(value, cost, money=0.4, places=0.3)
    spends = np.arange(2_000) % 2 == 0
    for chosen in ([], limits):
        found, alone = (
            allocate(value, cost, budget, chosen, spends=spends),
            allocate(value[spends], cost[spends], budget, chosen),
        )
        assert (found.choice[spends] == alone.choice).all()
        # who spends nothing stands between the others, which changes the order of the sums, and with limits the prices
        assert (found.value, found.spent) == pytest.approx((alone.value, alone.spent), rel=1e-12)
        assert found.bound == pytest.approx(alone.bound, rel=prices.PRECISION if chosen else 1e-12)
        told = choose(value, cost, found.shadow_price, found.option_prices)
        assert (found.choice[~spends] == told[~spends]).all()
        assert (told[~spends] != NOTHING).any()
    nobody = allocate(value, cost, budget, limits, spends=np.zeros(2_000, dtype=bool))
    assert (nobody.value, nobody.spent, nobody.gap, sum(nobody.used.values())) == (0.0, 0.0, 0.0, 0)


def test_nothing_to_give_is_no_error():
    for value in (np.zeros((0, 3)), np.zeros((4, 0)), np.full((4, 2), -INF), np.full((4, 2), -1.0)):
        limits = [limit("any", *range(value.shape[1]), most=1, of=value.shape[1])]
        for found in (allocate(value, np.ones(value.shape), 10.0, some) for some in ([], limits)):
            assert found.choice.tolist() == [NOTHING] * len(value)
            assert (found.spent, found.value, found.bound, found.gap) == (0.0, 0.0, 0.0, 0.0)
        assert budget_curve(value, np.ones(value.shape), [1.0])[0].value == 0.0


def test_the_cost_of_an_option_that_cannot_be_chosen_is_of_no_account():
    value, cost = np.array([[-INF, 2.0], [-1.0, 3.0]]), np.array([[np.nan, 1.0], [np.nan, 1.0]])
    for limits in ([], [limit("one", 1, most=1, of=2)]):
        assert allocate(value, cost, 1.0, limits).choice.tolist() == [NOTHING, 1]


def test_a_choice_prefers_the_cheaper_of_equals_and_nothing_to_what_is_worth_nothing():
    value, cost = np.array([[3.0, 3.0], [0.0, -1.0], [2.0, 4.0]]), np.array([[2.0, 1.0], [0.0, 0.0], [1.0, 2.0]])
    assert choose(value, cost, 0.0).tolist() == [1, NOTHING, 1]
    assert choose(value, cost, 2.0).tolist() == [1, NOTHING, NOTHING]
    assert choose(value, cost, 0.0, np.array([0.0, 2.5])).tolist() == [0, NOTHING, 0]


def test_a_choice_at_prices_never_takes_what_is_worth_nothing_even_if_it_brings_money():
    assert choose(np.array([[-1.0]]), np.array([[-5.0]]), 1.0).tolist() == [NOTHING]


@pytest.mark.parametrize("limited", [False, True])
def test_the_budget_curve_rises_ever_more_slowly_and_meets_the_allocations(limited):
    value, cost = realistic(2_000, 12, np.random.default_rng(10))
    whole, limits = scarcity(value, cost, money=1.0, places=0.3)
    budgets = [0.0, whole / 8, whole / 4, whole / 2, 2 * whole]
    curve = budget_curve(value, cost, budgets, limits if limited else [])
    assert [point.budget for point in curve] == budgets
    worth, earned = [point.value for point in curve], [point.shadow_price for point in curve]
    assert worth == sorted(worth) and earned == sorted(earned, reverse=True)
    assert (curve[0].spent, curve[-1].shadow_price) == (0.0, 0.0)
    for point in curve:
        found = allocate(value, cost, point.budget, limits if limited else [])
        assert point.spent <= point.budget
        assert found.value - value.max() <= point.value <= found.value + 1e-9
        assert point.shadow_price == pytest.approx(found.shadow_price)


def test_the_gap_of_nothing_is_nothing():
    nothing = Allocation(1.0, np.zeros(0, dtype=np.intp), 0.0, 0.0, 0.0, 0.0, {}, np.zeros(0), {})
    assert nothing.gap == 0.0
    some = Allocation(1.0, np.zeros(0, dtype=np.intp), 3.0, 1.0, 4.0, 1.0, {}, np.zeros(0), {})
    assert some.gap == 0.25


def offer(offer_id: str, channel: str, stock: int | None = None) -> Offer:
    return Offer(
        offer_id=offer_id, title="T", play="p", channel=channel, message="m", discounts=(0.1, 0.2), valid_days=7,
        contact_cost=0.0, covered_spend=1.0, stock=stock,
    )  # fmt: skip


def test_limits_come_from_the_capacities_and_the_stocks():
    catalogue = Catalogue(offers=(offer("a", "push"), offer("b", "email", stock=5), offer("c", "push", stock=0)))
    limits = limits_of(catalogue, load_settings(scoring={"channel_capacity": {"push": 7}}))
    assert [(each.name, each.most) for each in limits] == [("channel push", 7), ("stock of b", 5), ("stock of c", 0)]
    assert [np.flatnonzero(each.options).tolist() for each in limits] == [[0, 1, 4, 5], [2, 3], [4, 5]]


def test_without_capacities_and_stocks_there_are_no_limits():
    assert limits_of(Catalogue(offers=(offer("a", "push"),)), load_settings()) == ()
    assert len(limits_of(Catalogue(offers=()), load_settings(scoring={"channel_capacity": {"push": 7}}))) == 1


def test_a_capacity_holds_for_a_channel_however_it_is_written_or_is_refused():
    spelt = Catalogue(offers=(offer("a", channel="email"), offer("b", channel="E-Mail")))
    with pytest.raises(InputError, match="'E-Mail', which is the same channel"):
        limits_of(spelt, load_settings(scoring={"channel_capacity": {"email": 7}}))


def test_a_capacity_of_an_unknown_channel_is_refused():
    misspelt = load_settings(scoring={"channel_capacity": {"pusch": 7}})
    with pytest.raises(InputError, match="no offer goes through channel 'pusch'; did you mean 'push'"):
        limits_of(Catalogue(offers=(offer("a", "push"),)), misspelt)


@pytest.mark.parametrize("text", [{"push": -1}, {"push": "many"}])
def test_a_capacity_that_is_no_count_is_refused(text):
    with pytest.raises(InputError, match=r"channel_capacity\.push"):
        load_settings(scoring={"channel_capacity": text})


def test_the_benchmark_runs():
    metrics = run(quick=True)
    assert metrics["allocation.gap_budget"]["value"] < 1e-3
    assert metrics["allocation.dual_against_lp"]["value"] < 1e-6
    assert all(0 <= each["low"] <= each["value"] <= each["high"] for each in metrics.values())


@pytest.mark.parametrize("cuts", [(1,), (4095, 4097), (10, 20, 8000)])
@pytest.mark.parametrize("limited", [False, True])
def test_parts_of_any_size_are_allocated_to_the_last_bit_alike(cuts, limited, tmp_path):
    value, cost = realistic(9_000, 6, np.random.default_rng(12))
    budget, limits = scarcity(value, cost, money=0.4, places=0.3)
    limits, spends = limits if limited else [], np.arange(9_000) % 5 > 0
    whole = allocate(value, cost, budget, limits, spends=spends)
    parts = []
    for number, rows in enumerate(np.split(np.arange(9_000), cuts)):
        path = tmp_path / f"{number}.npy"
        np.save(path, np.stack(offered(value[rows], cost[rows])))
        parts.append(Shard(*np.load(path, mmap_mode="r"), spends[rows]))
    found = allocate_parts(parts, budget, limits)
    assert (found.choice == whole.choice).all()
    assert replace(found, choice=whole.choice, option_prices=whole.option_prices) == whole
    assert (found.option_prices == whole.option_prices).all()


def test_a_market_picks_and_samples_users_across_its_parts():
    value = np.arange(40.0).reshape(20, 2) + 1
    parts = [
        Shard(*offered(value[rows], value[rows]), np.ones(len(rows), bool)) for rows in np.split(np.arange(20), [7, 9])
    ]
    knapsack = Knapsack(parts, np.zeros((0, 2)), np.array([10.0]))
    rows = np.array([0, 6, 7, 8, 9, 19])
    ((found, block),) = knapsack.pick(rows)
    assert found.tolist() == rows.tolist() and block.value.T.tolist() == value[rows].tolist()
    sampled = knapsack.sample(3)
    assert sampled.capacity.tolist() == [10 / 3] and sampled.parts[0].value.T.tolist() == value[::3].tolist()


@pytest.mark.parametrize("softness", [1.0, 0.03, 1e-4])
def test_the_softened_dual_is_that_of_its_definition(softness):
    value, cost = realistic(700, 12, np.random.default_rng(8))
    value[::7, 3] = -INF
    budget, limits = scarcity(value, cost, money=0.5, places=0.3)
    knapsack = allocation._knapsack([Shard(*offered(value, cost), np.arange(700) % 5 > 0)], budget, limits)
    scaled, at = prices._scaled(knapsack), np.linspace(0.3, 0.1, 1 + len(limits))
    bound, height, blur, used, curvature = prices._sums(scaled, at, softness)

    _, gain, money = next(scaled.blocks())
    takes = np.concatenate([money[None], np.repeat(knapsack.incidence[:, :, None], 700, axis=2)])
    kept = np.vstack([gain - np.einsum("r,rou->ou", at, takes), np.zeros((1, 700))])
    best = kept.max(axis=0)
    weight = np.exp((kept - best) / softness)
    share = weight / weight.sum(axis=0)
    assert bound == pytest.approx(best.sum())
    assert height == pytest.approx(np.log(weight.sum(axis=0)).sum(), abs=1e-12)
    lost = np.subtract(best, kept, out=np.zeros_like(kept), where=share > 0)
    assert blur == pytest.approx((share * lost).sum(), rel=1e-9, abs=1e-12)
    demand = np.einsum("ou,rou->ru", share[:-1], takes)
    assert used == pytest.approx(demand.sum(axis=1))
    expected = np.einsum("ou,rou,sou->rs", share[:-1], takes, takes) - demand @ demand.T
    assert curvature == pytest.approx(expected, rel=1e-6, abs=1e-9)
