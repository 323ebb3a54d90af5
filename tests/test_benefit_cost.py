"""What a redemption costs, by hand: each benefit, each scope, each user's own spend."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from synthetic import offer, small_settings

from configs.categories import Categories
from configs.errors import InputError
from configs.offers import Catalogue, Offer
from models.learn.benefit_cost import redemption_costs
from models.learn.redeemed_spend import RedeemedSpend

CATEGORIES = Categories(sensitive=("wine",), also_sensitive=(), names={"BEEF": "beef"})
USERS = pd.DataFrame(
    {
        "order_value_mean_365d": [10.0, 40.0, 0.0, np.nan],
        "spend_sum_90d": [90.0, 180.0, 0.0, 9.0],
        "favourite_category_90d": pd.Categorical(["BEEF", "wine", None, "BEEF"]),
        "favourite_category_spend_90d": [45.0, 180.0, np.nan, 0.0],
        "tenure_days": [400.0, 45.0, 10.0, np.nan],
    }
)


def costs(gives: Offer, spend: RedeemedSpend | None = None, users: pd.DataFrame = USERS) -> list[list[float]]:
    catalogue = Catalogue(offers=(gives,))
    found = redemption_costs(users, catalogue.options, catalogue, spend or RedeemedSpend(), CATEGORIES)
    return found.T.round(6).tolist()


def test_a_discount_on_an_order_costs_the_users_usual_one_or_what_redeemers_taught():
    gives = offer("a", discounts=(0.0, 0.2), plain_message="Hi", covered_spend=7.0)
    # nobody redeemed yet: the own order, the catalogue's spend where there is none
    assert costs(gives) == [[0.0] * 4, [2.0, 8.0, 1.4, 1.4]]
    # in the proportion of the redeemers, and their mean where there is no own order
    assert costs(gives, RedeemedSpend({"a": 30.0}, 1.5)) == [[0.0] * 4, [3.0, 12.0, 6.0, 6.0]]
    # where the redeemers' mean predicted better the user does not matter
    assert costs(gives, RedeemedSpend({"a": 30.0}), USERS[["tenure_days"]]) == [[0.0] * 4, [6.0] * 4]


def test_a_discount_on_the_favourite_category_costs_what_the_user_spends_there_while_it_is_valid():
    gives = offer("a", discounts=(0.2,), scope="featured_category", valid_days=30, covered_spend=7.0)
    # 45 in 90 days are 15 in 30; no message may speak of wine, so it covers "selected items"; 0 is not known to be less
    assert costs(gives) == [[3.0, 1.4, 1.4, 1.4]]
    assert costs(gives, RedeemedSpend({"a": 20.0}, 3.0)) == [[3.0, 4.0, 4.0, 4.0]]  # others' mean, where there is none


def test_a_discount_on_all_spend_goes_by_the_pace_since_the_user_came():
    gives = offer("a", discounts=(0.1,), scope="spend_sum_90d", valid_days=10, covered_spend=7.0)
    # 90 in 90 days; 180 in the 45 days since they came; nothing; 9 in 90 days
    assert costs(gives) == [[1.0, 4.0, 0.7, 0.1]]
    newcomer = USERS.assign(tenure_days=1.0)
    assert costs(gives, users=newcomer)[0][0] == pytest.approx(0.1 * 90 / 28 * 10)  # four weeks at least


def test_no_redemption_costs_more_than_its_limit():
    message = "{{ discount }} off, up to {{ max_cost }}"
    limited = offer("a", discounts=(0.2,), message=message, max_cost=5.0, covered_spend=7.0)
    assert costs(limited) == [[2.0, 5.0, 1.4, 1.4]]


def test_every_kind_of_benefit_has_its_own_cost():
    kinds = {"discounts": (), "message": "{{ benefit }}"}
    amount = Offer(**given("amount", levels=(5.0, 15.0), covered_spend=20.0, **kinds))
    assert costs(amount) == [[5.0, 5.0, 5.0, 5.0], [10.0, 15.0, 15.0, 15.0]]  # no more than the order
    days = given("free_days", levels=(7.0,), unit_cost=0.5, covered_spend=10.0, **kinds)
    assert costs(Offer(**days)) == [[3.5] * 4]
    # by the user's own price of a day: 90 in 90 days, 180 in 45; who pays nothing is charged the catalogue's spend
    assert costs(Offer(**{**days, "scope": "spend_sum_90d"})) == [[7.0, 28.0, 10.0, 0.7]]
    points = Offer(**given("points", levels=(300.0,), unit_cost=0.01, covered_spend=15.0, **kinds))
    assert costs(points) == [[3.0] * 4]
    nothing = Offer(**given("none", discounts=(), message="Hi"))
    assert costs(nothing) == [[0.0] * 4]


def given(benefit: str, **changes: object) -> dict[str, object]:
    """Fields of an offer of some benefit."""
    return {**offer("a").model_dump(exclude={"discounts"}, exclude_unset=True), "benefit": benefit} | {
        name: value for name, value in changes.items() if value != ()
    }


def test_levels_of_every_kind_are_told_apart_by_the_share_they_amount_to():
    amount = Offer(**given("amount", levels=(5.0, 15.0), covered_spend=20.0, message="{{ benefit }}"))
    assert Catalogue(offers=(amount,)).options == [("a", 0.25), ("a", 0.75)]
    assert [tuple(each) for each in amount.benefits] == [("amount", 5.0), ("amount", 15.0)]
    assert Catalogue(offers=(Offer(**given("none", message="Hi")),)).options == [("a", 0.0)]


def test_a_scope_that_no_snapshot_has_is_named():
    gives = offer("a", scope="bakery_spend_90d")
    with pytest.raises(InputError, match=r"'a' covers .*'bakery_spend_90d', and no snapshot has the column 'bakery_sp"):
        costs(gives)


def test_the_settings_of_every_app_name_categories():
    assert small_settings().categories.featured("bread") == "bread"
