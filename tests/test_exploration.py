"""Exploration: groups that stay, draws with known chances, and limits that hold whatever is drawn."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import small_settings

from configs.consistency import check_floor
from configs.errors import InputError
from configs.offers import NOTHING
from configs.settings import Exploration, Settings
from serving.arms.exploration import (
    DRAWS,
    Draws,
    Explorers,
    decision_chances,
    draw_chances,
    explore,
    posterior_draws,
    randomise,
    stable_groups,
)
from serving.knapsack.allocation import Limit

TODAY = date(2024, 7, 1)
USERS = pd.Series([f"u{number}" for number in range(20_000)])
EVERYBODY = np.ones(len(USERS), dtype=bool)
CHANCES = np.tile([0.5, 0.3, 0.2], (len(USERS), 1))
COST = np.tile([1.0, 2.0], (len(USERS), 1))
METHODS = ("uniform", "softmax", "thompson")


def exploring(method: str = "softmax", **changes: float) -> Exploration:
    return Exploration(
        method=method, **{"share": 0.1, "budget_share": 1.0, "temperature": 1.0, "floor": 0.01, **changes}
    )


def grouped(control: float, as_usual: float, **changes: object) -> Settings:
    scoring = {"control_share": control, "business_as_usual_share": as_usual}
    return small_settings(scoring=scoring).model_copy(update=changes)


def draws_of(day: date = TODAY, *, users: pd.Series = USERS, seed: int = 1) -> Draws:
    settings = small_settings().model_copy(update={"seed": seed})
    rows = slice(len(users))
    return randomise(users, CHANCES[rows], COST[rows], EVERYBODY[rows], settings, day)


def chance_of_given(found: Explorers, intended: np.ndarray | None = None) -> np.ndarray:
    users = len(found.given)
    nothing = np.full(users, NOTHING) if intended is None else intended
    likely = decision_chances(found, CHANCES[:users], EVERYBODY[:users], nothing)
    return likely[np.arange(users), np.where(found.explores, found.given, nothing)]


def test_groups_have_their_share_of_all_users_and_nobody_is_in_both():
    control, as_usual = stable_groups(USERS, grouped(0.3, 0.4))
    assert control.mean() == pytest.approx(0.3, abs=0.01)
    assert as_usual.mean() == pytest.approx(0.4, abs=0.01)
    assert not (control & as_usual).any()
    control, as_usual = stable_groups(USERS, grouped(0.3, 0.7))
    assert (control | as_usual).all()
    assert stable_groups(USERS, grouped(1.0, 0.0))[0].all()


def test_groups_do_not_depend_on_who_else_is_there_and_control_wins():
    settings = grouped(0.2, 0.3)
    control, as_usual = stable_groups(USERS, settings)
    assert stable_groups(USERS.iloc[::-7], settings)[1].tolist() == as_usual[::-7].tolist()
    # who was in control stays in control whatever is left to business as usual
    assert (stable_groups(USERS, grouped(0.2, 0.0))[0] == control).all()
    assert (stable_groups(USERS, grouped(0.2, 0.3, seed=5))[1] != as_usual).any()


def test_groups_of_more_than_everybody_are_refused_in_one_sentence():
    with pytest.raises(
        InputError, match=r"control_share = 0.6 and scoring.business_as_usual_share = 0.5 are more than"
    ):
        grouped(0.6, 0.5)


def test_a_floor_that_cannot_be_kept_is_refused():
    settings = small_settings(scoring={"exploration": {"share": 0.1, "floor": 0.25}})
    check_floor(settings, 3)
    with pytest.raises(InputError, match=r"floor = 0.25 for each of 4 options .* adds up to 1.25; lower it to 0.2000"):
        check_floor(settings, 4)
    check_floor(small_settings(scoring={"exploration": {"floor": 0.25}}), 4)  # nobody explores


def test_uniform_chances_are_those_of_a_fair_die():
    may = np.array([[True, True], [True, False], [False, False]])
    found = draw_chances(np.zeros((3, 2)), np.zeros((3, 2)), may, exploring("uniform"), np.zeros((1, 2)))
    assert found == pytest.approx(np.array([[1 / 3, 1 / 3, 1 / 3], [0.5, 0, 0.5], [0, 0, 1]]))


def test_thompson_chances_by_hand():
    # worth 1.5, 0.5, -0.5 and -1.5 in the four draws: better than nothing in half of them; the second never is
    draws = np.array([[1.0, 0.0], [0.0, 0.0], [-1.0, 0.0], [-2.0, 0.0]])
    settings = exploring("thompson", floor=0.1)
    may, value, error = np.array([[True, True]]), np.array([[0.5, -1.0]]), np.array([[1.0, 0.5]])
    assert draw_chances(value, error, may, settings, draws) == pytest.approx(np.array([[0.45, 0.1, 0.45]]))
    # what is not known at all is as good as nothing: equals share
    unknown = draw_chances(np.zeros((1, 2)), np.zeros((1, 2)), may, settings, draws)
    assert unknown == pytest.approx(np.full((1, 3), 1 / 3))


def test_a_higher_temperature_makes_chances_more_alike():
    value, may = np.array([[3.0, 0.0]]), np.ones((1, 2), dtype=bool)
    found = [
        draw_chances(value, 0 * value, may, exploring(temperature=heat), np.zeros((1, 2)))[0, 0]
        for heat in (0.1, 1, 100)
    ]
    assert found[0] == pytest.approx(0.98)  # all but the floor of the two others
    assert found[0] > found[1] > found[2] > 1 / 3


@given(st.integers(0, 2**32 - 1), st.sampled_from(METHODS), st.integers(0, 6))
def test_chances_add_up_and_respect_the_floor(seed, method, options):
    rng = np.random.default_rng(seed)
    shape = (30, options)
    value, error = 1e4 * rng.normal(size=shape) ** 3, rng.gamma(1.0, 50.0, shape)
    may = rng.random(shape) < 0.6
    settings = exploring(method, floor=1 / (options + 2) if seed % 5 == 0 else 0.02)
    chances = draw_chances(value, error, may, settings, rng.normal(size=(8, options)))
    assert chances.sum(axis=1) == pytest.approx(np.ones(30))
    assert (chances[:, -1] >= settings.floor * (1 - 1e-9)).all()
    assert (chances[:, :-1][may] >= settings.floor * (1 - 1e-9)).all()
    assert (chances[:, :-1][~may] == 0).all()


def test_posterior_draws_are_those_of_the_day():
    settings = small_settings()
    first = posterior_draws(5, settings, TODAY)
    assert first.shape == (DRAWS, 5)
    assert (first == posterior_draws(5, settings, TODAY)).all()
    assert (first != posterior_draws(5, settings, TODAY + timedelta(days=1))).all()


def test_what_is_drawn_has_its_chance():
    found = draws_of()
    assert [np.mean(found.option == option) for option in (0, 1, NOTHING)] == pytest.approx([0.5, 0.3, 0.2], abs=0.015)
    assert found.place.min() >= 0
    assert found.place.mean() == pytest.approx(0.5, abs=0.01)
    assert abs(np.corrcoef(found.place, found.option)[0, 1]) < 0.03
    assert found.expected_cost == pytest.approx(np.full(len(USERS), 0.5 * 1 + 0.3 * 2))


def test_an_option_without_a_chance_is_never_drawn():
    chances = np.tile([0.0, 0.5, 0.0, 0.5, 0.0], (len(USERS), 1))
    found = randomise(USERS, chances, np.ones((len(USERS), 4)), EVERYBODY, small_settings(), TODAY)
    assert set(found.option) == {1, 3}


def test_who_explores_is_drawn_anew_every_day_and_by_no_group():
    settings = small_settings()
    today, tomorrow = draws_of(seed=settings.seed), draws_of(TODAY + timedelta(days=1), seed=settings.seed)
    assert np.mean((today.place < 0.1) & (tomorrow.place < 0.1)) == pytest.approx(0.01, abs=0.003)
    control, _ = stable_groups(USERS, settings)
    assert today.place[control].mean() == pytest.approx(0.5, abs=0.03)


def test_who_may_not_explore_does_not():
    found = randomise(USERS, CHANCES, COST, ~EVERYBODY, small_settings(), TODAY)
    explorers = explore(found, 2, 1.0, 1e9, [])
    assert not explorers.explores.any()
    assert (explorers.given == NOTHING).all()
    assert found.expected_cost.sum() == 0


def test_the_chance_of_a_decision_by_hand():
    found = Explorers(0.2, np.array([0.2, 0.2]), np.zeros(4, bool), np.zeros(4, int), 0.0)
    chances, may = np.tile([0.5, 0.3, 0.2], (4, 1)), np.array([True, True, True, False])
    likely = decision_chances(found, chances, may, np.array([0, 1, NOTHING, 1]))
    assert likely == pytest.approx(
        np.array([[0.8 + 0.1, 0.06, 0.04], [0.1, 0.8 + 0.06, 0.04], [0.1, 0.06, 0.8 + 0.04], [0, 1, 0]])
    )
    # places of the second option ended at 0.05 of the queue: those behind got nothing
    ended = Explorers(0.2, np.array([0.2, 0.05]), np.zeros(1, bool), np.zeros(1, int), 0.0)
    likely = decision_chances(ended, chances[:1], may[:1], np.array([0]))
    assert likely == pytest.approx(np.array([[0.9, 0.05 * 0.3, 0.04 + 0.15 * 0.3]]))


@given(st.integers(0, 2**32 - 1))
def test_the_chances_of_a_decision_add_up_to_one(seed):
    rng = np.random.default_rng(seed)
    share = float(rng.random())
    found = Explorers(share, share * rng.random(4), np.zeros(50, bool), np.zeros(50, int), 0.0)
    chances = rng.dirichlet(np.ones(5), 50)
    likely = decision_chances(found, chances, rng.random(50) < 0.7, rng.integers(NOTHING, 4, 50))
    assert likely.sum(axis=1) == pytest.approx(np.ones(50))
    assert (likely >= 0).all()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_is_given_is_as_frequent_as_its_chance(seed):
    intended = np.arange(len(USERS)) % 3 - 1
    found = explore(draws_of(seed=seed), 2, 0.3, 1e9, [])
    decided = np.where(found.explores, found.given, intended)
    likely = decision_chances(found, CHANCES, EVERYBODY, intended)
    for wanted in (NOTHING, 0, 1):
        rows = intended == wanted
        for option in (NOTHING, 0, 1):
            expected = likely[rows, option].mean()
            error = np.sqrt(expected * (1 - expected) / rows.sum())
            assert np.mean(decided[rows] == option) == pytest.approx(expected, abs=4 * error), (wanted, option)


def test_without_limits_the_share_is_what_was_asked_for():
    found = explore(draws_of(), 2, 0.25, 1e9, [])
    assert found.share == 0.25
    assert found.until.tolist() == [0.25, 0.25]
    assert found.explores.mean() == pytest.approx(0.25, abs=0.01)
    assert chance_of_given(found)[~found.explores] == pytest.approx(0.75 + 0.25 * 0.2)


def test_the_share_is_lowered_to_what_the_budget_is_expected_to_pay():
    found = explore(draws_of(), 2, 0.25, 1100.0, [])
    assert found.share == pytest.approx(1100 / (1.1 * len(USERS)))  # 1.1 a head: half draw 1, three in ten draw 2
    assert 0.9 * 1100 < found.spent <= 1100
    assert explore(draws_of(), 2, 0.25, 0.0, []).explores.sum() == 0


@pytest.mark.parametrize("day", range(20))
@pytest.mark.parametrize(("budget", "most"), [(50.0, 10**6), (1e9, 7), (60.0, 12), (1.5, 1), (1e9, 0)])
def test_no_limit_is_ever_broken(day, budget, most):
    limits = [Limit("both", np.array([True, True]), 3 * most), Limit("second", np.array([False, True]), most)]
    found = explore(draws_of(TODAY + timedelta(days=day)), 2, 0.05, budget, limits)
    rows = np.flatnonzero(found.given != NOTHING)
    assert found.explores[rows].all()
    assert COST[rows, found.given[rows]].sum() == pytest.approx(found.spent)
    assert found.spent <= budget
    assert all(limit.options[found.given[rows]].sum() <= limit.most for limit in limits)
    assert (chance_of_given(found)[found.explores] > 0).all()


@pytest.mark.parametrize(("budget", "most"), [(1e9, 10), (40.0, 10**6), (1e9, 1), (60.0, 8)])
def test_chances_stay_honest_when_places_and_money_run_out(budget, most):
    # weighing each case by one over its chance must count every user once, whichever option is asked about
    users, limits = USERS.head(500), [Limit("second", np.array([False, True]), most)]
    weighed = []
    for day in range(300):
        found = explore(draws_of(TODAY + timedelta(days=day), users=users), 2, 0.2, budget, limits)
        weight = 1 / chance_of_given(found)
        decided = np.where(found.explores, found.given, NOTHING)
        weighed.append([weight[decided == option].sum() / 500 for option in (0, 1, NOTHING)])
    mean, error = np.mean(weighed, axis=0), np.std(weighed, axis=0) / np.sqrt(300)
    assert (np.abs(mean - 1) < 4 * error + 0.03).all(), (mean, error)
