"""Options: the value formula, number by number, and the reasons why an option may not be chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from synthetic import offer, small_settings

from configs.offers import Catalogue, Offer
from models.response import KnownEffect, Response
from serving.options import DOES_NOT_PAY, NO_DATA, UNLIKE, Options, build_options

SETTINGS = small_settings()
FRAME = pd.DataFrame({"user_id": ["a", "b"]})
NOBODY = np.full(2, "", dtype=object)


@dataclass(frozen=True)
class Fixed:
    """Model that answers from a table: by offer and discount, or the same for every row."""

    answers: dict[tuple[str, float], list[float]] | list[float]

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        if isinstance(self.answers, list):
            return np.array(self.answers)
        return np.array(self.answers[str(frame["offer_id"].iloc[0]), float(frame["discount"].iloc[0])])


def response(**changes: object) -> Response:
    redeem = Fixed({("bundle", 0.1): [0.2, 0.4], ("bundle", 0.2): [0.5, 0.8], ("plain", 0.1): [0.3, 0.3]})
    effect = KnownEffect(2.0, 0.05, 0.4, "observational", Fixed([0.5, 0.5]))
    return Response(redeem, "redemption", {"bundle": replace(effect, **changes)}, {"bundle": 30.0})


def options(
    known: Response | None, *offers: Offer, p_churn: tuple[float, float] = (0.9, 0.3), barred: np.ndarray = NOBODY
) -> Options:
    catalogue = Catalogue(offers=offers or (offer("bundle"),))
    return build_options(FRAME, np.array(p_churn), np.array([100.0, 10.0]), barred, known, catalogue, SETTINGS)


def test_the_value_formula_by_hand():
    found = options(response())
    # redeeming half as often as those treated did (0.4): half their effect
    assert found.incremental_margin == pytest.approx(np.array([[1.0, 2.5], [2.0, 4.0]]))
    assert found.incremental_retention == pytest.approx(np.array([[0.025, 0.0625], [0.05, 0.1]]))
    assert found.discount_cost == pytest.approx(np.array([[3.0, 6.0], [3.0, 6.0]]))  # 30 spent, 10% and 20% off
    assert found.expected_cost == pytest.approx(np.array([[0.65, 3.05], [1.25, 4.85]]))
    assert found.value == pytest.approx(
        np.array([[1.0 + 2.5 - 0.65, 2.5 + 6.25 - 3.05], [2.0 + 0.5 - 1.25, 4.0 + 1.0 - 4.85]])
    )
    assert found.eligible.all()


def test_the_discount_is_charged_to_everyone_expected_to_redeem():
    sure = options(response(retention=0.0, margin=0.0))
    assert sure.value == pytest.approx(-sure.expected_cost)  # they would have come anyway: all cost
    assert sure.expected_cost == pytest.approx(sure.p_redeem * sure.discount_cost + 0.05)


def test_spend_that_was_never_logged_comes_from_the_catalogue():
    known = response()
    unlogged = Response(known.redemption, known.name, known.effects, {})
    assert options(unlogged).discount_cost.tolist() == [[2.0, 4.0]] * 2  # 20 in the catalogue


def test_retention_never_exceeds_the_chance_of_leaving():
    found = options(response(retention=0.5), p_churn=(0.9, 0.3))
    assert found.incremental_retention == pytest.approx(np.array([[0.25, 0.625], [0.3, 0.3]]))


def test_nobody_is_driven_away_who_would_leave_anyway():
    found = options(response(retention=-0.9), p_churn=(0.9, 0.3))
    assert found.incremental_retention == pytest.approx(np.array([[-0.1, -0.1], [-0.7, -0.7]]))


def test_an_offer_that_nobody_redeemed_changes_nothing():
    found = options(response(redemption_rate=0.0))
    assert not found.incremental_margin.any()
    assert not found.incremental_retention.any()
    assert (found.value == -found.expected_cost).all()


def test_an_offer_without_a_known_effect_is_not_eligible():
    found = options(response(), offer("plain", discounts=(0.1,)), offer("bundle"))
    assert found.why_not.tolist() == [[NO_DATA, "", ""]] * 2
    assert not found.eligible[:, 0].any()
    assert found.p_redeem[:, 0].tolist() == [0.3, 0.3]  # known all the same
    assert (found.allocatable[:, 0] == -np.inf).all()


def test_an_effect_is_not_carried_over_to_users_unlike_those_compared():
    found = options(response(propensity=Fixed([0.5, 0.999])))
    assert found.why_not.tolist() == [["", ""], [UNLIKE, UNLIKE]]


def test_who_is_barred_gets_no_option_and_is_told_why():
    found = options(response(propensity=Fixed([0.5, 0.999])), barred=np.array(["", "a payment failed"], dtype=object))
    assert found.why_not.tolist() == [["", ""], ["a payment failed"] * 2]
    assert (found.allocatable[1] == -np.inf).all()


def test_who_the_models_do_not_speak_of_has_numbers_all_the_same():
    catalogue = Catalogue(offers=(offer("bundle"),))
    unknown = np.full(2, np.nan)
    found = build_options(FRAME, unknown, unknown, np.full(2, "lapsed", object), response(), catalogue, SETTINGS)
    assert np.isfinite(found.value).all()
    assert not found.incremental_retention.any()


@pytest.mark.parametrize("known", [None, response()], ids=["nothing known", "empty catalogue"])
def test_without_offers_or_knowledge_there_are_no_options(known):
    catalogue = Catalogue(offers=() if known else (offer("bundle"),))
    found = build_options(FRAME, np.zeros(2), np.zeros(2), NOBODY, known, catalogue, SETTINGS)
    assert found.value.shape == (2, 0)
    assert found.table(FRAME["user_id"]).num_rows == 0


def test_the_table_lists_every_option_of_every_user():
    barred = np.array(["", "a payment failed"], dtype=object)
    found = options(response(margin=0.0), barred=barred)
    table = found.table(FRAME["user_id"]).to_pandas()
    assert table.columns.tolist() == [
        "user_id", "offer_id", "discount", "channel", "p_redeem", "incremental_retention", "incremental_margin",
        "expected_cost", "value", "eligible", "why_not",
    ]  # fmt: skip
    assert table["user_id"].tolist() == ["a", "a", "b", "b"]
    assert table["discount"].tolist() == [0.1, 0.2, 0.1, 0.2]
    assert set(table["channel"]) == {"email"}
    assert table["value"].tolist() == pytest.approx(found.value.ravel().tolist())
    assert table["eligible"].tolist() == [True, True, False, False]
    assert table["why_not"].tolist()[2:] == ["a payment failed"] * 2
    # what does not pay is eligible, and says so
    pays = options(response(margin=0.0, retention=0.0)).table(FRAME["user_id"]).to_pandas()
    assert pays["eligible"].all()
    assert set(pays["why_not"]) == {DOES_NOT_PAY}
    assert options(response()).table(FRAME["user_id"]).to_pandas()["why_not"].isna().all()
