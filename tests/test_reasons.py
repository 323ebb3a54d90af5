"""Reasons: the words a person reads are the numbers the model used, and point the same way."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from synthetic import FEATURES, MIXED, behaviour, outcomes, small_settings

from features.columns import Feature
from models.estimators import Estimator, fit_lightgbm, fit_linear
from serving.reasons import TOP, describe, risk_reasons, value_words, value_words_of_offer

IDLE = Feature("days_since_last_activity", "Days since the last activity (any).", "365 days", "activity", "behaviour")
SPEND = Feature("spend_sum_28d", "Money spent (account currency).", "28 days", "value", "behaviour")
PLAN = Feature("trait_home_owner", "Trait from the users table.", "current", "users", "traits", is_text=True)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return outcomes(150, np.random.default_rng(61), snapshots=2)


@pytest.fixture(scope="module", params=["linear", "trees"])
def model(request, frame) -> Estimator:
    if request.param == "linear":
        return fit_linear(frame, "is_churned", MIXED)
    return fit_lightgbm(frame, "is_churned", MIXED, small_settings())


def test_values_are_written_without_needless_digits():
    assert value_words(pd.Series([3.0, 0.0, 2.345, -1.5, np.nan])).tolist() == ["3", "0", "2.35", "-1.50", "unknown"]
    assert value_words(pd.Series([7, 8])).tolist() == ["7", "8"]


def test_texts_are_written_as_they_are():
    assert value_words(pd.Series(pd.Categorical(["a b", None]))).tolist() == ["a b", "unknown"]
    assert value_words(pd.Series(["<b>", None], dtype=object)).tolist() == ["<b>", "unknown"]


def test_a_feature_is_described_by_its_meaning_window_and_value():
    assert describe(IDLE, pd.Series([12.0])).tolist() == ["days since the last activity: 12"]
    assert describe(SPEND, pd.Series([9.5])).tolist() == ["money spent, last 28 days: 9.50"]
    assert describe(PLAN, pd.Series(["yes", None])).tolist() == ["home owner: yes", "home owner: unknown"]


def test_every_feature_of_the_catalogue_can_be_described():
    for feature in FEATURES:
        (words,) = describe(feature, pd.Series([1.0]))
        assert words.endswith(": 1")
        assert words[0] == words[0].lower()
        assert not {"_", ";"} & set(words)  # reasons are joined by semicolons


def test_the_words_are_the_strongest_shapley_values_and_their_signs(model, frame):
    parts = model.contributions(frame)[:, :-1]
    sentences, drivers = risk_reasons(model, frame, FEATURES)
    by_name = {feature.name: feature for feature in FEATURES}
    for row in range(len(frame)):
        strongest = np.argsort(-np.abs(parts[row]), kind="stable")[:TOP]
        expected = []
        for place in strongest[parts[row, strongest] != 0]:
            name = model.columns[place]
            (words,) = describe(by_name[name], frame[name].iloc[[row]])
            expected.append(f"{words} ({'raises' if parts[row, place] > 0 else 'lowers'} the risk)")
        assert sentences[row] == "; ".join(expected)
        assert drivers[row] == model.columns[strongest[0]]


def test_who_was_away_for_long_is_told_so(model, frame):
    asked = pd.concat([frame.head(1)] * 2, ignore_index=True).assign(days_since_last_activity=[1.0, 55.0])
    here, gone = risk_reasons(model, asked, FEATURES)[0]
    assert ": 55 (raises the risk)" in gone
    assert ": 1 (lowers the risk)" in here


def test_a_column_that_moves_nothing_is_no_reason(frame):
    settings = small_settings(training={"leaves": 2, "trees": 1, "column_share": 1.0})
    stump = fit_lightgbm(frame, "is_churned", MIXED, settings)  # one split on one column
    assert (stump.contributions(frame)[:, :-1] != 0).sum(axis=1).max() == 1
    for sentence in risk_reasons(stump, frame, FEATURES)[0]:
        assert sentence.count("the risk)") == 1
        assert not sentence.endswith("; ")


def test_a_model_of_one_column_gives_one_reason(frame):
    model = fit_linear(frame, "is_churned", ["days_since_last_activity"])
    sentences, drivers = risk_reasons(model, frame, FEATURES)
    assert set(drivers) == {"days_since_last_activity"}
    assert all(";" not in sentence for sentence in sentences)


def test_fifty_thousand_users_take_seconds():
    frame = behaviour(2_000, np.random.default_rng(62)).assign(is_churned=lambda rows: rows.index % 2)
    model = fit_linear(frame, "is_churned", ["days_since_last_activity", "spend_sum_90d", "active_days_count_28d"])
    many = pd.concat([frame] * 25, ignore_index=True)
    started = time.perf_counter()
    sentences, _ = risk_reasons(model, many, FEATURES)
    assert len(sentences) == 50_000
    assert time.perf_counter() - started < 15  # a loop over users would take a minute


def test_the_worth_of_an_offer_is_written_term_by_term():
    one = [np.array([number]) for number in (1.5, 0.04, 50.0, 0.25, 3.0, 0.05)]
    assert value_words_of_offer(*one, "EUR").tolist() == [
        "worth +2.70 EUR = 1.50 more margin + 4.00 points more retention x 50.00 future margin "
        "- 25.0% redeem x 3.00 discount - 0.05 contact"
    ]
    assert value_words_of_offer(*[np.zeros(0)] * 6, "EUR").shape == (0,)
