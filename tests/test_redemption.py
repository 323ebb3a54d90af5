"""Redemption: who uses an offer, and never less of them at a higher discount."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from synthetic import AS_OF, FEATURES, redemptions, small_settings

from configs.errors import InputError
from configs.offers import Option
from models.learn.redeemed_spend import (
    MIN_REDEEMERS,
    RedeemedSpend,
    covered_spend,
    spend_per_order,
)
from models.learn.redemption import p_redeem_each, train_redemption
from models.learn.training import Trained
from models.metrics.evaluation import auc

SETTINGS = small_settings()


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Treatments redeemed the more, the higher the discount and the likelier the user."""
    return redemptions(300, np.random.default_rng(41))


@pytest.fixture(scope="module")
def trained(frame) -> Trained:
    """Redemption model of that frame."""
    return train_redemption(frame, FEATURES, SETTINGS, AS_OF)


def test_the_model_ranks_nearly_as_well_as_the_truth(frame, trained):
    test = frame[frame["decided_at"] >= pd.Timestamp(AS_OF, tz="UTC") - pd.Timedelta(days=56)]
    oracle = auc(test["is_redeemed"].to_numpy(float), test["p_true"].to_numpy(), np.ones(len(test)))
    assert trained.metrics["redemption.auc"].n == len(test)
    assert trained.metrics["redemption.auc"].value > oracle - 0.03
    assert trained.metrics["redemption.ece"].value < 0.08
    assert trained.metrics["redemption.rate"].value == pytest.approx(test["is_redeemed"].mean())


@pytest.mark.parametrize("slope", [8.0, -8.0], ids=["the data agree", "the data say the opposite"])
def test_p_redeem_never_falls_as_the_discount_rises(slope):
    frame = redemptions(200, np.random.default_rng(42), slope=slope)
    found = train_redemption(frame, FEATURES, SETTINGS, AS_OF)
    for name, candidate in found.candidates.items():
        bundles = [Option("bundle", share) for share in (0.05, 0.1, 0.15, 0.2, 0.3)]
        steps = p_redeem_each(candidate.estimator, frame, bundles)
        assert (np.diff(steps, axis=1) >= 0).all(), name
        if slope > 0:
            assert (steps[:, -1] > steps[:, 0]).mean() > 0.9, name
    assert ("discount" in found.candidates["logistic"].estimator.columns) == (slope > 0)


def test_a_treatment_that_straddles_the_cut_is_used_by_neither_side(frame):
    cut = pd.Timestamp(AS_OF, tz="UTC") - pd.Timedelta(days=56)
    straddling = (frame["decided_at"] < cut) & (frame["closed_at"] > cut)
    late = frame.assign(closed_at=frame["closed_at"].where(~straddling, cut + pd.Timedelta(days=1)))
    open_longer = late.assign(closed_at=late["decided_at"] + pd.Timedelta(days=40))
    used = train_redemption(open_longer, FEATURES, SETTINGS, AS_OF)
    assert used.metrics["redemption.auc"].n == (frame["decided_at"] >= cut).sum()


def test_an_offer_that_is_the_only_one_is_no_column(frame):
    alone = frame.assign(offer_id=pd.Categorical(["bundle"] * len(frame)), discount=0.1)
    found = train_redemption(alone, FEATURES, SETTINGS, AS_OF)
    for candidate in found.candidates.values():
        assert not {"offer_id", "discount"} & set(candidate.estimator.columns)


def test_an_option_is_set_on_every_row_and_the_frame_stays(frame, trained):
    before = frame["discount"].tolist()
    for candidate in trained.candidates.values():
        offered = pd.Categorical(["come_back"] * len(frame), frame["offer_id"].cat.categories)
        asked = candidate.estimator.predict(frame.assign(offer_id=offered, discount=0.25))
        found = p_redeem_each(candidate.estimator, frame, [Option("come_back", 0.25)])
        assert found[:, 0] == pytest.approx(asked, abs=1e-12)
    assert frame["discount"].tolist() == before


def test_an_offer_nobody_has_ever_been_given_gets_a_probability(frame, trained):
    for candidate in trained.candidates.values():
        predicted = p_redeem_each(candidate.estimator, frame, [Option("brand new", 0.1)])
        assert ((predicted >= 0) & (predicted <= 1)).all()


def test_covered_spend_by_hand():
    frame = pd.DataFrame(
        {
            "offer_id": pd.Categorical(["a", "a", "a", "a", "b", "c"]),
            "is_redeemed": [1, 1, 0, 1, 1, 0],
            "discount": [0.1, 0.2, 0.1, 0.1, 0.25, 0.5],
            "discount_given": [2.0, 8.0, 9.0, 0.0, 5.0, 0.0],  # the fourth has no receipt, the third did not redeem
        }
    )
    assert covered_spend(frame) == {"a": 30.0, "b": 20.0}
    reminded = pd.DataFrame({"offer_id": ["a"], "is_redeemed": 1, "discount": 0.0, "discount_given": 3.0})
    assert covered_spend(pd.concat([frame, reminded])) == {"a": 30.0, "b": 20.0}  # a sale of the shop's, no offer's


def test_what_a_redeemer_spends_travels_with_the_model(trained):
    # everybody spends 40: a usual order says nothing more
    assert trained.spend == RedeemedSpend({"bundle": 40.0, "come_back": 40.0}, None)


def redeemers(usual: np.ndarray, spend: np.ndarray, *, discount: float = 0.1) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "offer_id": pd.Categorical(["a"] * len(usual)),
            "is_redeemed": 1,
            "discount": discount,
            "discount_given": discount * spend,
            "order_value_mean_365d": usual,
        }
    )


def test_spend_per_order_by_hand():
    usual = np.tile([10.0, 30.0], MIN_REDEEMERS // 2)
    assert spend_per_order(redeemers(usual, 1.5 * usual)) == 1.5
    # in proportion 1 the spends of 20 and 20 are missed by 10 each, the mean misses nothing
    assert spend_per_order(redeemers(usual, np.full(len(usual), 20.0))) is None
    # who did not redeem, has no receipt or no usual order says nothing
    rows = redeemers(usual, 1.5 * usual)
    silent = rows.assign(is_redeemed=0, discount_given=99.0)
    lost, first = rows.assign(discount_given=0.0), rows.assign(order_value_mean_365d=np.nan, discount_given=99.0)
    assert spend_per_order(pd.concat([rows, silent, lost, first], ignore_index=True)) == 1.5


def test_few_redeemers_do_not_say_what_an_order_costs():
    usual = np.tile([10.0, 30.0], MIN_REDEEMERS // 2)[1:]
    assert spend_per_order(redeemers(usual, 1.5 * usual)) is None


def test_treatments_that_nobody_redeemed_are_refused(frame):
    with pytest.raises(InputError, match="the redemption model has one class only: is_redeemed = 0"):
        train_redemption(frame.assign(is_redeemed=0), FEATURES, SETTINGS, AS_OF)
