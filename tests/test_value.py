"""Value: what a user is worth who stays, learnt from those who stayed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import AS_OF, FEATURES, outcomes, small_settings

from configs.errors import InputError
from models.learn.training import NotTrainableError, Trained
from models.learn.value import later_share, train_value

SETTINGS = small_settings()


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """The margin of those who stay is a tenth of their pace, give or take."""
    return outcomes(400, np.random.default_rng(31))


@pytest.fixture(scope="module")
def trained(frame) -> Trained:
    """Value model of that frame."""
    return train_value(frame, FEATURES, SETTINGS, AS_OF)


def test_the_pace_goes_on_where_it_truly_does(frame, trained):
    assert trained.verdict.winner == "pace"
    predicted = trained.winner.estimator.predict(frame)
    assert predicted == pytest.approx(0.1 * frame["spend_sum_90d"], rel=0.08)
    assert trained.metrics["value.r_squared"].value == trained.metrics["value.r_squared_pace"].value


def test_predictions_sum_to_the_truth(trained):
    assert 0.9 < trained.metrics["value.bias_ratio"].value < 1.1


def test_those_who_left_teach_nothing(frame, trained):
    assert (
        trained.metrics["value.mean"].n
        == ((frame["is_churned"] == 0) & (frame["day"] >= sorted(frame["day"].unique())[-2])).sum()
    )
    absurd = frame.assign(margin=frame["margin"].where(frame["is_churned"] == 0, 1e6))
    again = train_value(absurd, FEATURES, SETTINGS, AS_OF)
    assert again.metrics == trained.metrics


def test_a_negative_margin_counts_as_nothing(frame, trained):
    refunded = frame.assign(margin=frame["margin"].where(frame.index % 10 > 0, -50.0))
    found = train_value(refunded, FEATURES, SETTINGS, AS_OF)
    assert found.label.min() == 0
    assert found.winner.estimator.predict(frame).min() >= 0


def test_trees_are_promoted_where_the_pace_does_not_tell(frame):
    rng = np.random.default_rng(32)
    worth = np.where(frame["trait_plan"] == "pro", 30.0, 3.0) * rng.gamma(20, 0.05, len(frame))
    settings = small_settings(training={"trees": 60})
    found = train_value(frame.assign(margin=worth), FEATURES, settings, AS_OF)
    assert found.verdict.winner == "lightgbm"
    assert found.verdict.gain.low > 0
    assert found.metrics["value.r_squared"].value > 0.7
    assert "R² gain" in found.verdict.reason


def test_the_same_amount_for_everybody_is_no_obstacle(frame):
    found = train_value(frame.assign(margin=5.0), FEATURES, SETTINGS, AS_OF)
    assert list(found.candidates) == ["mean"]
    assert found.winner.estimator.predict(frame) == pytest.approx(np.full(len(frame), 5.0))
    assert (found.metrics["value.r_squared"].value, found.metrics["value.bias_ratio"].value) == pytest.approx(
        (1.0, 1.0)
    )


def test_before_anybody_spent_anything_the_mean_is_the_simplest_model(frame):
    found = train_value(frame.assign(spend_sum_90d=0.0), FEATURES, SETTINGS, AS_OF)
    assert list(found.candidates) == ["mean", "lightgbm"]


@settings(max_examples=3, deadline=None)
@given(price=st.floats(0.5, 200), seed=st.integers(0, 9), gaps=st.floats(0.02, 0.3))
def test_a_subscription_of_one_price_is_worth_its_mean(frame, price, seed, gaps):
    # renewals that fail now and then are all that tells amounts apart, before and after alike
    rng = np.random.default_rng(seed)
    paid = price * rng.binomial(3, 1 - gaps, (2, len(frame)))
    renewed = frame.assign(margin=paid[0].astype(float), spend_sum_90d=paid[1].astype(float))
    found = train_value(renewed, FEATURES, SETTINGS, AS_OF)
    assert found.verdict.shortfall == ""
    assert found.verdict.winner == "mean"
    assert "pace is not good enough" in found.verdict.reason or "mean stays" in found.verdict.reason
    stayed = renewed[renewed["is_churned"] == 0]
    assert found.winner.estimator.predict(frame) == pytest.approx(
        np.full(len(frame), stayed["margin"].mean()), rel=0.02
    )


@pytest.mark.parametrize("rows", [20, 100_000])
def test_without_money_there_is_no_value_model_and_no_more_history_is_asked_for(frame, rows):
    frame = frame.head(rows)
    with pytest.raises(NotTrainableError, match=r"no money is known: .* of all [\d,]+ rows .* is 0; .*roles.value"):
        train_value(frame.assign(margin=0.0), FEATURES, SETTINGS, AS_OF)


def test_the_later_share_is_that_of_the_money_after_the_measured_margin():
    rows = pd.DataFrame(
        {"is_churned": [0, 0, 1, 0], "margin": [8.0, 2.0, 9.0, -1.0], "margin_later": [3.0, 1.0, 9.0, -2.0]}
    )
    plain = small_settings(value={"yearly_discount_rate": 0.0})
    assert later_share(rows, plain) == 0.4
    assert later_share(rows.assign(margin_later=0.0), plain) == later_share(rows.assign(margin=0.0), plain) == 0.0
    # between day 28 and day 91 money comes on day 59.5 on average
    dear = small_settings(value={"horizon_days": 91, "yearly_discount_rate": 0.5})
    assert later_share(rows, dear) == pytest.approx(0.4 * 1.5 ** (-59.5 / 365))


def test_an_app_that_everybody_left_is_refused(frame):
    with pytest.raises(InputError, match="not enough data for the value model: 0 users"):
        train_value(frame.assign(is_churned=1), FEATURES, SETTINGS, AS_OF)
