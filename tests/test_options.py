"""Options: the value formula, number by number, and the reasons why an option may not be chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from synthetic import offer, small_settings

from configs.offers import Catalogue, Offer
from models.effects.effect_model import Chances
from models.effects.uplift import DRAWS
from models.learn.benefit_cost import is_own_spend
from models.learn.paid_costs import CostRatios
from models.learn.redeemed_spend import RedeemedSpend
from models.policy_value.policy_verdict import CONSTANT, P_REDEEM, PERSONAL, RANKING, RULE, Deployed
from models.registry.response import KnownEffect, PersonalEffects, ResponseModels
from serving.contact_rules.contact_rule import (
    ELIGIBLE,
    FIRST_RULE,
    NOT_CHOSEN,
    NOT_MEASURED,
    NOT_VALUED,
    UNLIKE_COMPARED,
    Forbidden,
    Rule,
    kinds_of_why_not,
)
from serving.contact_rules.rule_list import payment_failed
from serving.valuation.options import Options, build_options
from serving.wording.reason_codes import DOES_NOT_PAY

SETTINGS = small_settings()
FRAME = pd.DataFrame({"user_id": ["a", "b"], "order_value_mean_365d": np.nan})
CATALOGUE = Catalogue(offers=(offer("bundle"),))
KINDS = tuple(kinds_of_why_not([Rule("payment_failed", payment_failed)], ()))


def forbidden_to(*users: bool, catalogue: Catalogue = CATALOGUE) -> Forbidden:
    """What a rule says that forbids some of the two users everything."""
    everything = np.where(users, FIRST_RULE, ELIGIBLE).astype(np.int8)
    return Forbidden(everything, np.repeat(everything[:, None], len(catalogue.options), axis=1))


NOBODY = forbidden_to(False, False)


@dataclass(frozen=True)
class Fixed:
    """Model that answers from a table: by offer and discount, or the same for every row."""

    answers: dict[tuple[str, float], list[float]] | list[float]

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        if isinstance(self.answers, list):
            return np.array(self.answers)
        return np.array(self.answers[str(frame["offer_id"].iloc[0]), float(frame["discount"].iloc[0])])

    def predict_given(self, frame: pd.DataFrame, constants: list[dict]) -> np.ndarray:
        each = [self.predict(frame.assign(**given)) for given in constants]
        return np.stack(each, axis=1) if each else np.empty((len(frame), 0))


def response(**changes: object) -> ResponseModels:
    redeem = Fixed({("bundle", 0.1): [0.2, 0.4], ("bundle", 0.2): [0.5, 0.8], ("plain", 0.1): [0.3, 0.3]})
    effect = KnownEffect(2.0, 0.05, 0.4, "observational", Fixed([0.5, 0.5]))
    return ResponseModels(redeem, "redemption", RedeemedSpend({"bundle": 30.0}), {"bundle": replace(effect, **changes)})


def options(
    known: ResponseModels | None,
    *offers: Offer,
    p_churn: tuple[float, float] = (0.9, 0.3),
    barred: tuple[bool, bool] = (False, False),
) -> Options:
    catalogue = Catalogue(offers=offers or (offer("bundle"),))
    found = forbidden_to(*barred, catalogue=catalogue)
    return build_options(FRAME, np.array(p_churn), np.array([100.0, 10.0]), found, known, catalogue, SETTINGS)


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
    unlogged = replace(known, spend=RedeemedSpend())
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
    assert found.why_not.tolist() == [[NOT_MEASURED, ELIGIBLE, ELIGIBLE]] * 2
    assert not found.eligible[:, 0].any()
    assert found.p_redeem[:, 0].tolist() == [0.3, 0.3]  # known all the same
    assert (found.allocatable[:, 0] == -np.inf).all()


def test_an_effect_is_not_carried_over_to_users_unlike_those_compared():
    found = options(response(propensity=Fixed([0.5, 0.999])))
    assert found.why_not.tolist() == [[ELIGIBLE] * 2, [UNLIKE_COMPARED] * 2]


DRAWN = [("bundle", 0.1), ("bundle", 0.2)]


@dataclass(frozen=True)
class Told:
    """Surface that answers from a table: effects of the options on the two users, and of two draws."""

    answers: dict[tuple[str, float], list[float]]

    def effects(self, frame: pd.DataFrame, asked: list[tuple[str, float]], chances: Chances) -> np.ndarray:
        return np.array([self.answers[option] for option in asked]).T

    def draws(self, frame: pd.DataFrame, asked: list[tuple[str, float]], chances: Chances) -> np.ndarray:
        # half of them lie 0.5 above, half below
        return self.effects(frame, asked, chances) + np.resize([0.5, -0.5], DRAWS)[:, None, None]


def randomised(deployed: Deployed) -> ResponseModels:
    """Response that randomised treatments taught, for both users and on average."""
    personal = PersonalEffects(
        Told({DRAWN[0]: [3.0, -1.0], DRAWN[1]: [4.0, -2.0]}), Told({DRAWN[0]: [0.1, 0.02], DRAWN[1]: [0.2, 1.7]}),
        tuple(DRAWN), deployed, np.array([[1.0, 0.05], [1.5, 0.07]]), "effect on margin-x, effect on retention-x",
    )  # fmt: skip
    return replace(response(), effects={}, personal=personal)


def test_personal_effects_reach_the_options():
    found = options(randomised(Deployed(PERSONAL)))
    assert found.incremental_margin.tolist() == [[3.0, 4.0], [-1.0, -2.0]]
    assert found.incremental_retention.tolist() == [
        [0.1, 0.2],
        [0.02, 0.3],
    ]  # nobody is kept more than they could leave
    assert found.eligible.all()
    # staying is worth 100 and 10; 30 spent of which 10% or 20% are given away, and the contact
    assert found.value.tolist()[0] == pytest.approx([3.0 + 10.0 - 0.65, 4.0 + 20.0 - 3.05])
    assert found.value.tolist()[1] == pytest.approx([-1.0 + 0.2 - 1.25, -2.0 + 3.0 - 4.85])


def test_a_personal_policy_charges_what_its_picks_cost_and_promises_what_treatments_showed():
    deployed = randomised(Deployed(PERSONAL))
    asked = replace(deployed, personal=replace(deployed.personal, costs=CostRatios(2.0, 3.0), believed=0.5))
    plain, found = options(deployed), options(asked)
    assert found.incremental_margin.tolist() == [[1.5, 2.0], [-0.5, -1.0]]
    assert found.incremental_retention.tolist() == [[0.05, 0.1], [0.01, 0.3]]  # half of 1.7, and no more than the risk
    own = is_own_spend(FRAME, [*DRAWN], Catalogue(offers=(offer("bundle"),)), response().spend, SETTINGS.categories)
    assert found.discount_cost == pytest.approx(np.where(own, 2.0, 3.0) * plain.discount_cost)
    staying = found.incremental_retention * np.array([[100.0], [10.0]])
    assert found.value == pytest.approx(found.incremental_margin + staying - found.expected_cost)
    simple = replace(asked, personal=replace(asked.personal, deployed=Deployed(CONSTANT, ("bundle", 0.1))))
    assert options(simple).expected_cost == pytest.approx(
        plain.expected_cost
    )  # it does not pick whom it takes for cheap


def test_an_option_that_no_treatment_knew_is_not_eligible():
    found = options(randomised(Deployed(PERSONAL)), offer("plain", discounts=(0.1,)), offer("bundle"))
    assert found.why_not.tolist() == [[NOT_MEASURED, ELIGIBLE, ELIGIBLE]] * 2
    assert found.explorable.all()
    assert found.incremental_margin[:, 1:].tolist() == [[3.0, 4.0], [-1.0, -2.0]]
    assert not found.incremental_margin[:, 0].any()


def test_a_simple_policy_allows_its_option_only_and_only_whom_it_is_for():
    frame = FRAME.assign(spend_sum_90d=[5.0, 15.0])
    policy = Deployed(RULE, ("bundle", 0.2), "spend_sum_90d", 10.0)
    catalogue, worth = Catalogue(offers=(offer("bundle"),)), np.array([100.0, 10.0])
    found = build_options(frame, np.array([0.9, 0.3]), worth, NOBODY, randomised(policy), catalogue, SETTINGS)
    assert found.why_not.tolist() == [[NOT_CHOSEN, NOT_CHOSEN], [NOT_CHOSEN, ELIGIBLE]]
    # everybody is thought of alike: by the average effects
    assert found.incremental_margin.tolist() == [[1.0, 1.5]] * 2
    assert found.incremental_retention.tolist() == [[0.05, 0.07]] * 2
    assert found.explorable.all()


@pytest.mark.parametrize(
    ("policy", "eligible"),
    [
        (Deployed("nobody"), [[False, False], [False, False]]),
        (Deployed(CONSTANT, ("bundle", 0.1)), [[True, False], [True, False]]),
        (Deployed(RANKING, ("bundle", 0.2), P_REDEEM, 0.6), [[False, False], [False, True]]),
    ],
    ids=str,
)
def test_what_the_gate_deployed_decides_who_may_get_what(policy, eligible):
    found = options(randomised(policy))
    assert found.eligible.tolist() == eligible
    assert set(found.why_not[~found.eligible]) == {NOT_CHOSEN}


@pytest.mark.parametrize(
    "deployed", [Deployed("nobody"), Deployed(CONSTANT, ("bundle", 0.1)), Deployed(PERSONAL)], ids=str
)
def test_what_was_learnt_about_a_user_stands_beside_what_is_used(deployed):
    known = randomised(deployed)
    table = options(known, offer("bundle"), offer("plain", discounts=(0.1,))).table(FRAME, KINDS)
    assert table["learnt_margin"].to_pylist() == [3.0, 4.0, None, -1.0, -2.0, None]
    used = table["incremental_margin"].to_pylist()
    assert (used[:2] == [3.0, 4.0]) == (deployed.name == PERSONAL)
    assert options(response()).table(FRAME, KINDS)["learnt_retention"].null_count == 4


def test_the_error_of_a_value_is_the_spread_of_its_draws():
    exploring = small_settings(scoring={"exploration": {"method": "thompson"}})
    catalogue, worth = Catalogue(offers=(offer("bundle"), offer("plain", discounts=(0.1,)))), np.array([100.0, 10.0])
    nobody = forbidden_to(False, False, catalogue=catalogue)
    known = randomised(Deployed(PERSONAL))
    found = build_options(FRAME, np.zeros(2), worth, nobody, known, catalogue, exploring)
    # margin and retention move together by 0.5: 0.5 + 0.5 x what staying is worth; none where nothing is known
    assert found.value_error.tolist() == [pytest.approx([50.5, 50.5, 0.0]), pytest.approx([5.5, 5.5, 0.0])]
    quiet = build_options(FRAME, np.zeros(2), worth, nobody, known, catalogue, small_settings())
    assert (SETTINGS.scoring.exploration.method == "thompson") or not quiet.value_error.any()
    simple = build_options(FRAME, np.zeros(2), worth, nobody, randomised(Deployed("nobody")), catalogue, exploring)
    assert not simple.value_error.any()


def test_who_is_barred_gets_no_option_and_is_told_why():
    found = options(response(propensity=Fixed([0.5, 0.999])), barred=(False, True))
    assert found.why_not.tolist() == [[ELIGIBLE] * 2, [FIRST_RULE] * 2]
    assert (found.allocatable[1] == -np.inf).all()


def test_who_the_models_do_not_speak_of_has_numbers_all_the_same():
    catalogue = Catalogue(offers=(offer("bundle"),))
    unknown = np.full(2, np.nan)
    found = build_options(FRAME, unknown, unknown, forbidden_to(True, True), response(), catalogue, SETTINGS)
    assert np.isfinite(found.value).all()
    assert not found.incremental_retention.any()


@pytest.mark.parametrize(
    "known", [None, response(), randomised(Deployed(PERSONAL))], ids=["nothing", "something", "randomised"]
)
def test_without_offers_there_are_no_options(known):
    empty = Catalogue(offers=())
    nobody = forbidden_to(False, False, catalogue=empty)
    found = build_options(FRAME, np.zeros(2), np.zeros(2), nobody, known, empty, SETTINGS)
    assert found.value.shape == (2, 0)
    assert found.table(FRAME, KINDS).num_rows == 0


def test_while_nothing_is_known_every_option_may_be_tried_and_none_chosen():
    found = options(None, offer("bundle"), offer("plain", discounts=(0.3,)), barred=(False, True))
    assert found.why_not.tolist() == [[NOT_MEASURED] * 3, [FIRST_RULE] * 3]
    assert not found.eligible.any()
    assert found.explorable.tolist() == [[True] * 3, [False] * 3]
    # charged as if everybody redeemed: 20 of the catalogue, the discount off, and the contact
    assert np.isnan(found.p_redeem).all()
    assert found.discount_cost.tolist() == pytest.approx(np.array([[2.0, 4.0, 6.0]] * 2))
    assert found.expected_cost == pytest.approx(found.discount_cost + 0.05)
    assert (found.value == -found.expected_cost).all()
    assert not found.value_error.any()


def test_without_a_model_of_redemption_the_assumed_rate_is_charged_and_effects_are_the_same_for_all():
    unknown = replace(response(), redemption=None, spend=RedeemedSpend())
    half = small_settings(response={"assumed_redemption_rate": 0.5})
    catalogue = Catalogue(offers=(offer("bundle"),))
    nobody = forbidden_to(False, False)
    for known, effect in ((unknown, 2.0), (replace(unknown, effects=response(redemption_rate=0.0).effects), 2.0)):
        found = build_options(FRAME, np.array([0.9, 0.3]), np.array([100.0, 10.0]), nobody, known, catalogue, half)
        assert np.isnan(found.p_redeem).all()
        assert found.expected_cost == pytest.approx(np.array([[0.5 * 2.0 + 0.05, 0.5 * 4.0 + 0.05]] * 2))
        assert (found.incremental_margin == effect).all()
        assert found.table(FRAME, KINDS)["p_redeem"].null_count == 4


def test_without_a_model_of_churn_an_effect_on_staying_is_not_cut_off():
    catalogue, nobody = Catalogue(offers=(offer("bundle"),)), forbidden_to(False, False)
    found = build_options(FRAME, None, np.array([100.0, 10.0]), nobody, response(retention=0.5), catalogue, SETTINGS)
    assert found.incremental_retention == pytest.approx(np.array([[0.25, 0.625], [0.5, 1.0]]))


def test_without_a_model_of_value_an_option_counts_by_what_it_brings_at_once():
    catalogue, nobody = Catalogue(offers=(offer("bundle"),)), forbidden_to(False, False)
    found = build_options(FRAME, None, np.full(2, np.nan), nobody, response(), catalogue, SETTINGS)
    assert (found.value == found.incremental_margin - found.expected_cost).all()
    assert found.eligible.all()
    poor = build_options(FRAME, None, np.full(2, np.nan), nobody, response(has_money=False), catalogue, SETTINGS)
    assert (poor.why_not == NOT_VALUED).all()
    assert poor.explorable.all()


def codes_of(found: Options) -> pd.DataFrame:
    """Table of options with the codes alone of why not."""
    table = found.table(FRAME, KINDS)
    codes = [reasons and [each["code"] for each in reasons] for reasons in table["why_not"].to_pylist()]
    return table.to_pandas().assign(why_not=pd.Series(codes, dtype=object))


def test_the_table_lists_every_option_of_every_user():
    found = options(response(margin=0.0), barred=(False, True))
    table = codes_of(found)
    assert table.columns.tolist() == [
        "user_id", "offer_id", "discount", "channel", "p_redeem", "incremental_retention", "incremental_margin",
        "expected_cost", "value", "learnt_margin", "learnt_retention", "eligible", "why_not",
    ]  # fmt: skip
    assert table["user_id"].tolist() == ["a", "a", "b", "b"]
    assert table["discount"].tolist() == [0.1, 0.2, 0.1, 0.2]
    assert set(table["channel"]) == {"email"}
    assert table["value"].tolist() == pytest.approx(found.value.ravel().tolist())
    assert table["eligible"].tolist() == [True, True, False, False]
    assert table["why_not"].tolist()[2:] == [["payment_failed"]] * 2
    # what does not pay is eligible, and says so
    pays = codes_of(options(response(margin=0.0, retention=0.0)))
    assert pays["eligible"].all()
    assert pays["why_not"].tolist() == [[DOES_NOT_PAY]] * 4
    assert codes_of(options(response()))["why_not"].isna().all()
