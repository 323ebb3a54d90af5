"""What an average effect on staying is for each user, in both shapes, by hand; no money hangs on the choice."""

from __future__ import annotations

import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_options import options, response

from models.registry.response import KnownEffect
from serving.contact_rules.contact_rule import ELIGIBLE, SIGN_DEPENDS
from serving.valuation.staying import possible, staying_by_risk, staying_by_use, strength_by_use

EFFECT = KnownEffect(2.0, 0.05, 0.4, "observational", SimpleNamespace(), leaving=0.25)
SHARE = st.floats(0, 1)


def test_both_shapes_by_hand():
    p_redeem, p_churn = np.array([0.2, 0.8, 0.4, np.nan]), np.array([0.5, 0.02, 0.25, 0.25])
    # half as likely to use it as those treated: half the effect; never more than the own risk
    assert staying_by_use(EFFECT, p_redeem, p_churn) == pytest.approx([0.025, 0.02, 0.05, 0.05])
    # twice as likely to leave as those compared: twice the effect
    assert staying_by_risk(EFFECT, p_redeem, p_churn) == pytest.approx([0.1, 0.004, 0.05, 0.05])
    # where no risk is known there is one shape
    assert staying_by_risk(EFFECT, p_redeem, None) == pytest.approx(staying_by_use(EFFECT, p_redeem, None))


@given(st.lists(st.tuples(SHARE, SHARE), min_size=1, max_size=9), st.floats(-2, 2), SHARE, SHARE)
def test_nobody_is_kept_more_than_they_could_leave(users, retention, rate, leaving):
    p_redeem, p_churn = np.array(users).T
    effect = replace(EFFECT, retention=retention, redemption_rate=rate, leaving=leaving)
    for shape in (staying_by_use, staying_by_risk):
        found = shape(effect, p_redeem, p_churn)
        assert (found <= p_churn + 1e-12).all() and (found >= p_churn - 1 - 1e-12).all()
    assert possible(np.array([[2.0], [-2.0]]), np.array([np.nan, 0.3])).tolist() == [[0.0], [-0.7]]


@pytest.mark.parametrize("rate", [5e-324, 1e-310, 1e-9, 1.0])
@pytest.mark.parametrize("retention", [0.0, 0.05, -0.05])
def test_an_offer_that_next_to_nobody_uses_has_finite_effects(rate, retention):
    effect = replace(EFFECT, redemption_rate=rate, retention=retention, leaving=rate)
    p_redeem = np.array([0.0, 0.2, 1.0, np.nan])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        strength, found = strength_by_use(p_redeem, effect), staying_by_use(effect, p_redeem, np.full(4, 0.5))
        by_risk = staying_by_risk(effect, p_redeem, np.array([0.0, 0.5, 1.0, np.nan]))
    assert np.isfinite(by_risk).all()
    assert np.isfinite(found).all() and np.isfinite(effect.margin * strength).all()
    assert strength[[0, 3]].tolist() == [0.0, 1.0]
    assert (found == 0).all() == (retention == 0)


def test_decisions_count_on_the_lesser_shape_and_give_nothing_whose_sign_hangs_on_it():
    # risks of 0.9 and 0.3, of those compared 0.6: by risk 0.075 and 0.025; by use as in the value formula by hand
    known = options(response(leaving=0.6))
    assert known.incremental_retention == pytest.approx(np.array([[0.025, 0.0625], [0.025, 0.025]]))
    # user b at 20%: 4 + 0.1 x 10 - 4.85 by use, 4 + 0.025 x 10 - 4.85 by risk
    assert known.why_not.tolist() == [[ELIGIBLE] * 2, [ELIGIBLE, SIGN_DEPENDS]]
    poor = options(response(margin=0.0, leaving=0.9, retention=0.02))
    by_use, by_risk = np.array([[0.01, 0.025], [0.02, 0.04]]), np.array([[0.02] * 2, [0.02 / 3] * 2])
    worth, cost = np.array([[100.0], [10.0]]), poor.expected_cost
    least, most = (each(by_use, by_risk) * worth - cost for each in (np.minimum, np.maximum))
    assert poor.value == pytest.approx(least)
    expected = np.where((least <= 0) & (most > 0), SIGN_DEPENDS, ELIGIBLE)
    assert poor.why_not.tolist() == expected.tolist()
    assert not poor.eligible[expected == SIGN_DEPENDS].any()
