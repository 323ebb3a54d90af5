"""Churn: near the best that can be known where there is truth, chance where there is none, and no leak unseen."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from synthetic import AS_OF, FEATURES, outcomes, small_settings

from configs.errors import InputError
from features.definitions.registry import trait
from models.learn.candidate_choice import USERS_ALONE
from models.learn.churn import RFM, split_outcomes, train_churn
from models.learn.training import Trained
from models.metrics.evaluation import auc

SETTINGS = small_settings()


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Snapshots whose log odds of leaving are linear in logged recency and frequency."""
    return outcomes(400, np.random.default_rng(21))


@pytest.fixture(scope="module")
def trained(frame) -> Trained:
    """Churn model of that frame."""
    return train_churn(frame, FEATURES, SETTINGS, AS_OF)


def test_the_model_ranks_nearly_as_well_as_the_truth(frame, trained):
    cut = pd.Timestamp(AS_OF - timedelta(days=56), tz="UTC")
    headline = frame[frame["event_timestamp"] == frame.loc[frame["event_timestamp"] >= cut, "event_timestamp"].min()]
    oracle = auc(headline["is_churned"].to_numpy(float), headline["p_true"].to_numpy(), np.ones(len(headline)))
    found = trained.metrics["churn.auc"]
    assert found.n == len(headline) == 400
    assert found.low <= found.value <= found.high
    assert found.value > oracle - 0.02
    assert found.value > trained.metrics["churn.auc_recency"].value


def test_the_model_is_calibrated_on_unseen_users_of_a_later_time(frame, trained):
    assert trained.metrics["churn.ece"].value < 0.08
    predicted = trained.winner.estimator.predict(frame)
    assert np.corrcoef(predicted, frame["p_true"])[0, 1] > 0.97
    assert np.abs(predicted - frame["p_true"]).mean() < 0.04


def test_the_logistic_stays_where_the_truth_is_logistic(trained):
    assert trained.verdict.winner == "logistic"
    assert trained.winner.estimator.columns == RFM
    assert trained.metrics["churn.log_loss_gain"] == trained.verdict.gain
    assert "logistic stays: log loss gain" in trained.verdict.reason


def test_trees_are_promoted_where_the_truth_is_none_a_logistic_can_see(frame):
    rng = np.random.default_rng(22)
    odd = (frame["trait_plan"] == "free") ^ (frame["spend_trend_28d"] > 0.9)
    label = (rng.random(len(frame)) < np.where(odd, 0.9, 0.1)).astype(int)
    settings = small_settings(training={"trees": 60})
    found = train_churn(frame.assign(is_churned=label), FEATURES, settings, AS_OF)
    assert found.verdict.winner == "lightgbm"
    assert found.metrics["churn.auc"].value == found.metrics["churn.auc_lightgbm"].value
    assert found.metrics["churn.auc"].value > found.metrics["churn.auc_logistic"].high
    assert not {"p_true", "margin", "is_churned", "favourite_hour_90d"} & set(found.winner.estimator.columns)


def test_a_target_of_pure_noise_is_no_better_than_chance(frame):
    noise = (np.random.default_rng(23).random(len(frame)) < 0.4).astype(int)
    found = train_churn(frame.assign(is_churned=noise), FEATURES, SETTINGS, AS_OF)
    assert found.metrics["churn.auc"].low < 0.5 < found.metrics["churn.auc"].high
    assert found.verdict.winner == "logistic"


def test_a_leak_shows_when_the_strongest_column_is_taken_away(frame, trained):
    leaked = frame.assign(spend_trend_28d=frame["is_churned"] + np.random.default_rng(24).random(len(frame)))
    found = train_churn(leaked, FEATURES, SETTINGS, AS_OF)
    assert found.metrics["churn.auc"].value > 0.99
    assert found.metrics["churn.auc_without_top_column"].value < 0.95
    assert [each.column for each in found.leaks] == ["spend_trend_28d"] and trained.leaks == ()
    honest = trained.metrics["churn.auc"].value - trained.metrics["churn.auc_without_top_column"].value
    assert honest < found.metrics["churn.auc"].value - found.metrics["churn.auc_without_top_column"].value


def test_a_trait_that_alone_makes_trees_better_is_named(frame):
    rng = np.random.default_rng(25)
    told = np.where(rng.random(len(frame)) < 0.8, frame["is_churned"], rng.integers(0, 2, len(frame)))
    told = frame.assign(trait_status=pd.Categorical(np.where(told == 1, "closed", "open")))
    found = train_churn(told, [*FEATURES, trait("status", is_text=True)], SETTINGS, AS_OF)
    (leak,) = found.leaks
    assert (found.verdict.winner, leak.column) == ("lightgbm", "trait_status")
    assert leak.auc_alone < 0.97 and leak.gain_without.low <= 0 < found.verdict.gain.low


def test_the_gap_is_as_long_as_the_horizon(frame):
    cut = pd.Timestamp(AS_OF - timedelta(days=56), tz="UTC")
    split = split_outcomes(frame, 28, cut, SETTINGS)
    assert (frame.loc[split.train, "event_timestamp"] + pd.Timedelta(days=28) <= cut).all()
    assert (frame.loc[split.test, "event_timestamp"] >= cut).all()
    longer = split_outcomes(frame, 91, cut, SETTINGS)
    assert longer.train.sum() < split.train.sum()
    assert (longer.test == split.test).all()


def test_training_again_gives_the_same_model_and_metrics(frame, trained):
    again = train_churn(frame, FEATURES, SETTINGS, AS_OF)
    assert again.metrics == trained.metrics
    assert again.verdict == trained.verdict
    for name, candidate in again.candidates.items():
        same = trained.candidates[name].estimator
        assert (candidate.estimator.predict(frame) == same.predict(frame)).all()


def test_explanations_are_drawn_on_the_newest_rows(frame, trained):
    assert trained.subject == "churn"
    assert set(trained.latest["day"]) == {frame["day"].max()}
    assert trained.label.shape == trained.score.shape == (400,)
    assert trained.score.min() >= 0
    assert trained.score.max() <= 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda frame: frame.assign(is_churned=0), "one class only: is_churned = 0 for all"),
        (lambda frame: frame[frame["user_id"] < "u00040"], "40 users have a closed label"),
    ],
    ids=["one class", "few users"],
)
def test_a_frame_that_cannot_teach_is_refused(frame, change, sentence):
    with pytest.raises(InputError, match=sentence):
        train_churn(change(frame).reset_index(drop=True), FEATURES, SETTINGS, AS_OF)


def test_a_single_cohort_is_judged_out_of_users_alone_and_says_so(frame):
    cohort = frame[frame["day"] == frame["day"].min()].reset_index(drop=True)
    found = train_churn(cohort, FEATURES, SETTINGS, AS_OF)
    assert found.verdict.reason.endswith(USERS_ALONE)
    assert found.metrics["churn.auc"].n == len(cohort) == len(found.score)
    assert 0.6 < found.metrics["churn.auc"].value < 0.95


def test_without_a_simple_column_that_varies_the_base_rate_is_the_simplest_model(frame):
    alike = frame.assign(**dict.fromkeys(RFM, 7.0))
    found = train_churn(alike, FEATURES, SETTINGS, AS_OF)
    assert list(found.candidates) == ["base_rate", "lightgbm"]
    alone = train_churn(alike[["user_id", "day", "event_timestamp", "is_churned", *RFM]], FEATURES, SETTINGS, AS_OF)
    assert list(alone.candidates) == ["base_rate"]
    assert alone.metrics["churn.auc"].value == pytest.approx(0.5, abs=0.05)
    predicted = alone.winner.estimator.predict(frame)  # whatever is said of users later
    assert predicted == pytest.approx(np.full(len(frame), predicted[0]))
    assert predicted[0] == pytest.approx(frame["is_churned"].mean(), abs=0.05)
