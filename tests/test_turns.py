"""Turns: a simple policy that the budget pays for some users goes to those drawn at random, not to the cheapest."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from synthetic import AS_OF, offer, small_settings

from configs.offers import NOTHING, Catalogue
from serving.arms.assignment import POLICY, AllocationInput, Assignment, allocation_input, assign, curve_table
from serving.arms.turns import BUDGET as MONEY
from serving.arms.turns import curve_at_random, price_of_more
from serving.knapsack.allocation import Limit
from serving.valuation.options import LEARNT, Options

USERS = 1000
CHEAP = np.arange(USERS) % 2 == 0  # half of the users cost 1, the others 3
BUDGET = 500.0
SETTINGS = small_settings(
    scoring={"budget": BUDGET, "control_share": 0.1, "exploration": {"share": 0.0, "budget_share": 0.0}}
)


def read(number: int = 0, *, takes_turns: bool = True) -> AllocationInput:
    """What the allocation reads on a day of users to whom one option is worth 5, before it costs 1 or 3."""
    shape = (USERS, 1)
    own = {name: np.zeros(shape) for name in ("p_redeem", "incremental_retention", "incremental_margin", "value_error")}
    own |= {name: np.full(shape, np.nan) for name in LEARNT}
    cost, free = np.where(CHEAP, 1.0, 3.0)[:, None], np.zeros(shape, dtype=np.int8)
    options = Options(
        Catalogue(offers=(offer("bundle", discounts=(0.1,)),)), **own, discount_cost=cost, expected_cost=cost,
        value=5.0 - cost, why_not=free, ineligible=free[:, 0],
    )  # fmt: skip
    users, as_of = pd.Series([f"u{place}" for place in range(USERS)]), AS_OF + timedelta(days=number)
    return allocation_input(users, np.zeros(USERS), options, SETTINGS, (), as_of, takes_turns=takes_turns)


def decided(number: int = 0, *, takes_turns: bool = True) -> Assignment:
    return assign([read(number, takes_turns=takes_turns)], SETTINGS, ())


def test_the_cheapest_are_not_preferred_where_a_simple_policy_decides():
    given = decided().given != NOTHING
    assert CHEAP[given].mean() == pytest.approx(0.5, abs=0.1)
    # 500 pay for about 250 users at 1 and at 3; without turns all of it goes to those at 1
    assert given.sum() == pytest.approx(250, abs=25)
    by_value = decided(takes_turns=False)
    assert CHEAP[by_value.given != NOTHING].mean() > 0.9


def test_turns_keep_the_budget_and_use_it_up():
    spending = decided().spending
    assert BUDGET - 3.0 < spending.spent <= BUDGET
    # who waits would bring 4 + 2 for 1 + 3
    assert spending.shadow_price == pytest.approx(1.5, abs=0.05)


def test_control_keeps_beside_it_what_its_turn_would_have_given():
    found = decided()
    meant = found.intended != NOTHING
    spends = found.arm == POLICY
    assert meant[~spends].mean() == pytest.approx(meant[spends].mean(), abs=0.12)
    assert not (found.given != NOTHING)[~spends].any()


def test_the_next_day_draws_anew_and_the_same_day_does_not():
    first, again, other = (decided(number).given for number in (0, 0, 1))
    assert (first == again).all()
    both = ((first != NOTHING) & (other != NOTHING)).mean()
    assert both == pytest.approx(0.25**2, abs=0.03)


def test_batches_do_not_change_whose_turn_it_is():
    whole = read()
    cut = [whole._replace(**_some(whole, rows)) for rows in (slice(0, 300), slice(300, USERS))]
    assert (assign(cut, SETTINGS, ()).given == assign([whole], SETTINGS, ()).given).all()


def _some(whole: AllocationInput, rows: slice) -> dict[str, object]:
    by_user = {name: getattr(whole, name)[rows] for name in ("arm", "draw_value", "p_churn", "by_rule", "turn")}
    wide = {name: np.asarray(getattr(whole, name))[:, rows] for name in ("value", "cost")}
    return by_user | wide | {"draws": type(whole.draws)(*(each[rows] for each in whole.draws))}


def test_where_the_budget_pays_for_all_everybody_has_a_turn():
    rich = SETTINGS.model_copy(update={"scoring": SETTINGS.scoring.model_copy(update={"budget": 1e6})})
    found = assign([read()], rich, ())
    assert ((found.given != NOTHING) == (found.arm == POLICY)).all()
    assert found.spending.shadow_price == 0


def test_the_curve_of_a_budget_shares_out_at_random_as_the_day_does():
    points = curve_table([read()], SETTINGS, ()).to_pandas().set_index("budget")
    assert points.loc[BUDGET, "value"] == pytest.approx(decided().spending.value, rel=0.1)
    assert points.loc[BUDGET, "spent"] == pytest.approx(BUDGET)
    assert np.ptp((points["value"] / points.index).to_numpy()[1:]) < 1e-9  # all in proportion


def test_nothing_waits_where_nothing_costs():
    assert price_of_more(np.zeros(0), np.zeros(0)) == 0
    free = curve_at_random(np.array([[2.0]]), np.array([[0.0]]), [0.0])
    assert [tuple(point) for point in free] == [(0.0, 2.0, 0.0, 0.0)]


@pytest.mark.parametrize("budget", [1e6, np.inf])
def test_places_that_are_too_few_are_drawn_at_random_like_money(budget):
    rich = SETTINGS.model_copy(update={"scoring": SETTINGS.scoring.model_copy(update={"budget": budget})})
    limit = Limit("channel email", np.array([True]), 100)
    found = assign([read()], rich, (limit,))
    given = found.given != NOTHING
    assert given.sum() == found.spending.used[limit.name] == 100
    assert CHEAP[given].mean() == pytest.approx(0.5, abs=0.15)  # by value all of them would cost 1
    assert found.queue_ended_by == limit.name
    assert found.spending.limit_prices == {limit.name: pytest.approx(3.0, abs=0.1)}  # 4 or 2
    assert found.spending.shadow_price == 0
    meant, spends = found.intended != NOTHING, found.arm == POLICY
    assert meant[~spends].mean() == pytest.approx(meant[spends].mean(), abs=0.1)
    curve = curve_table([read()], rich, (limit,)).to_pandas().iloc[-1]
    assert (curve["spent"], curve["value"]) == (pytest.approx(200, abs=10), pytest.approx(300, abs=10))


def test_what_ends_first_says_why_others_wait():
    many = Limit("channel email", np.array([True]), 900)
    found = assign([read()], SETTINGS, (many,))
    assert found.queue_ended_by == MONEY
    assert found.spending.limit_prices == {many.name: 0.0}
    assert decided(takes_turns=False).queue_ended_by is None


def test_a_budget_that_pays_for_all_to_the_last_bit_leaves_nobody_waiting():
    three = read()._replace(cost=np.full((1, USERS), 0.1))
    spends = int((three.arm == POLICY).sum())
    exact = SETTINGS.scoring.model_copy(update={"budget": 0.1 * spends})
    found = assign([three], SETTINGS.model_copy(update={"scoring": exact}), ())
    assert (found.given != NOTHING).sum() == spends
