"""Evaluation: every measure equals its textbook value, and every interval can be trusted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from models.metrics.evaluation import (
    auc,
    average_precision,
    bias_ratio,
    bootstrap,
    brier,
    calibration_table,
    expected_calibration_error,
    gain_metric,
    lift_table,
    log_loss,
    mean_absolute_error,
    mean_label,
    r_squared,
    ranking_verdict,
    score_metric,
)
from models.metrics.metric import Metric

SKLEARN = {
    auc: metrics.roc_auc_score,
    average_precision: metrics.average_precision_score,
    brier: metrics.brier_score_loss,
    log_loss: metrics.log_loss,
    r_squared: metrics.r2_score,
    mean_absolute_error: metrics.mean_absolute_error,
}


def ones(rows: int) -> np.ndarray:
    return np.ones(rows)


@pytest.mark.parametrize("measure", SKLEARN, ids=lambda measure: measure.__name__)
@given(seed=st.integers(0, 10**6), rows=st.integers(4, 60), levels=st.integers(2, 12), is_weighted=st.booleans())
def test_a_measure_equals_scikit_learn_with_ties_and_weights(measure, seed, rows, levels, is_weighted):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, rows).astype(float)
    label[:2] = 0.0, 1.0
    score = rng.integers(1, levels + 1, rows) / (levels + 1)  # few levels: many ties
    weight = rng.integers(1, 5, rows).astype(float) if is_weighted else ones(rows)
    expected = SKLEARN[measure](label, score, sample_weight=weight)
    assert measure(label, score, weight) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("measure", [auc, average_precision, brier, log_loss, r_squared, bias_ratio])
def test_a_weight_counts_a_row_as_often(measure):
    rng = np.random.default_rng(1)
    label, score = rng.integers(0, 2, 40).astype(float), rng.integers(1, 9, 40) / 10
    weight = rng.integers(0, 4, 40)
    repeated = np.repeat(np.arange(40), weight)
    expected = measure(label[repeated], score[repeated], ones(len(repeated)))
    assert measure(label, score, weight.astype(float)) == pytest.approx(expected, abs=1e-12)


def test_a_ranking_of_one_class_has_no_quality():
    assert np.isnan(auc(ones(3), np.array([0.1, 0.2, 0.3]), ones(3)))
    assert np.isnan(auc(np.zeros(3), np.array([0.1, 0.2, 0.3]), ones(3)))
    assert np.isnan(average_precision(np.zeros(3), np.array([0.1, 0.2, 0.3]), ones(3)))


def test_a_score_that_ties_everybody_is_no_better_than_chance():
    label = np.array([1.0, 0.0, 0.0, 1.0])
    assert auc(label, np.full(4, 0.3), ones(4)) == 0.5
    assert average_precision(label, np.full(4, 0.3), ones(4)) == 0.5


def test_log_loss_of_a_certain_mistake_is_finite():
    assert np.isfinite(log_loss(np.array([1.0, 0.0]), np.array([0.0, 1.0]), ones(2)))


def test_calibration_error_by_hand():
    # bins of two: predicted .15 and .75, observed .5 and 1
    label, score = np.array([0.0, 1.0, 1.0, 1.0]), np.array([0.1, 0.2, 0.7, 0.8])
    assert expected_calibration_error(label, score, ones(4), bins=2) == pytest.approx((0.35 * 2 + 0.25 * 2) / 4)
    # the first row counts three times: its bin now predicts .125 and observes .25
    weight = np.array([3.0, 1.0, 1.0, 1.0])
    assert expected_calibration_error(label, score, weight, bins=2) == pytest.approx((0.125 * 4 + 0.25 * 2) / 6)


def test_calibration_and_lift_do_not_depend_on_the_order_of_the_rows():
    rng = np.random.default_rng(2)
    label, score = rng.integers(0, 2, 97).astype(float), rng.integers(1, 6, 97) / 6
    shuffled = rng.permutation(97)
    by_label = np.argsort(label, kind="stable")
    expected = expected_calibration_error(label, score, ones(97))
    for order in (shuffled, by_label, by_label[::-1]):
        assert expected_calibration_error(label[order], score[order], ones(97)) == pytest.approx(expected)
        pd.testing.assert_frame_equal(calibration_table(label, score), calibration_table(label[order], score[order]))
        pd.testing.assert_frame_equal(lift_table(label, score), lift_table(label[order], score[order]))


def test_the_base_rate_given_to_everybody_is_perfectly_calibrated_and_lifts_nothing():
    label = np.r_[np.zeros(50), np.ones(50)]
    assert expected_calibration_error(label, np.full(100, 0.5), ones(100)) == 0
    assert lift_table(label, np.full(100, 0.5))["lift"].tolist() == pytest.approx([1.0] * 10)


def test_calibration_table_by_hand():
    table = calibration_table(np.array([1.0, 0.0, 1.0, 1.0]), np.array([0.8, 0.1, 0.2, 0.6]), bins=2)
    assert table["predicted"].tolist() == pytest.approx([0.15, 0.7])
    assert table["observed"].tolist() == [0.5, 1.0]
    assert table["rows"].tolist() == [2, 2]


def test_calibration_table_of_fewer_rows_than_bins_has_a_bin_per_row():
    assert calibration_table(np.array([1.0, 0.0, 1.0]), np.array([0.3, 0.1, 0.2]))["rows"].tolist() == [1, 1, 1]


def test_lift_table_by_hand():
    # best first: 1 1 0 1 0 0 0 0 0 0
    label = np.array([0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0])
    score = np.array([0.1, 0.2, 0.7, 0.3, 0.05, 0.8, 0.9, 0.35, 0.4, 0.95])
    table = lift_table(label, score, bins=5)
    assert table["share"].tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert table["caught"].tolist() == pytest.approx([2 / 3, 1.0, 1.0, 1.0, 1.0])
    assert table["lift"].tolist() == pytest.approx([10 / 3, 2.5, 5 / 3, 1.25, 1.0])


def test_lift_without_any_positive_catches_nothing():
    assert lift_table(np.zeros(20), np.linspace(0, 1, 20))["caught"].tolist() == [0.0] * 10


def test_bias_and_base_rate_by_hand():
    label, score, weight = np.array([1.0, 3.0]), np.array([2.0, 3.0]), np.array([3.0, 1.0])
    assert bias_ratio(label, score, ones(2)) == 5 / 4
    assert bias_ratio(label, score, weight) == 9 / 6
    assert mean_label(label, score, weight) == 6 / 4


def test_an_interval_covers_the_truth_about_nineteen_times_in_twenty():
    rng, covered = np.random.default_rng(3), 0
    for _ in range(60):
        label = (rng.random(150) < 0.3).astype(float)
        users = pd.Series(np.arange(150))
        metric = score_metric(mean_label, label, label, users, samples=200, rng=rng)
        covered += metric.low <= 0.3 <= metric.high
    assert 51 <= covered <= 60


def test_rows_of_one_user_hang_together():
    rng = np.random.default_rng(4)
    label = np.repeat((rng.random(40) < 0.5).astype(float), 25)  # each user says the same 25 times
    users = pd.Series(np.repeat(np.arange(40), 25))

    def width(user_ids: pd.Series) -> float:
        rng = np.random.default_rng(0)
        metric = score_metric(mean_label, label, label, user_ids, samples=300, rng=rng)
        return metric.high - metric.low

    by_row = width(pd.Series(np.arange(len(label))))
    assert width(users) == pytest.approx(5 * by_row, rel=0.25)  # sqrt(25) times as wide


def test_the_same_seed_gives_the_same_interval():
    label, users = np.arange(50.0), pd.Series(np.arange(50) % 20)
    first, again, other = (
        score_metric(mean_label, label, label, users, samples=100, rng=np.random.default_rng(seed))
        for seed in (1, 1, 2)
    )
    assert first == again
    assert (first.low, first.high) != (other.low, other.high)


def test_an_interval_of_one_user_is_unknown():
    metric = bootstrap(
        lambda weight: float(weight.sum()), pd.Series(["a", "a"]), samples=10, rng=np.random.default_rng()
    )
    assert (metric.value, metric.n) == (2.0, 2)
    assert np.isnan(metric.low)
    assert np.isnan(metric.high)


def test_a_gain_is_measured_on_the_same_users_for_both_scores():
    rng = np.random.default_rng(5)
    label = rng.normal(0, 10, 200)
    users = pd.Series(np.arange(200))
    old = label + 1.0 + rng.exponential(10, 200)
    gain = gain_metric(mean_absolute_error, label, old - 0.5, old, users, samples=100, rng=rng)
    # unpaired, the spread would show; paired, each resample says exactly -0.5
    assert (gain.value, gain.low, gain.high) == pytest.approx((-0.5, -0.5, -0.5))


@pytest.mark.parametrize(
    ("value", "low", "high", "word"),
    [
        (0.9, 0.8, 0.95, "ranks_excellent"), (0.8999, 0.8, 0.95, "ranks_good"), (0.8, 0.7, 0.9, "ranks_good"),
        (0.7, 0.6, 0.8, "ranks_fair"),
        (0.6, 0.55, 0.65, "ranks_poor"), (0.591, 0.529, 0.648, "ranks_weak"),
        (0.501, 0.5001, 0.502, "ranks_weak"),
        (0.591, 0.5, 0.648, "ranks_unproven"),
        (0.9, 0.45, 1.0, "ranks_unproven"), (0.2, 0.1, 0.3, "ranks_wrongly"),
        (float("nan"), float("nan"), float("nan"), "ranks_unproven"),
    ],
)  # fmt: skip
def test_quality_has_a_verdict(value, low, high, word):
    assert ranking_verdict(Metric(value, low, high, 100)) == word


def test_a_metric_is_written_with_its_interval_and_a_count_without():
    assert str(Metric(0.87654, 0.85, 0.9, 100)) == "0.877 [0.850, 0.900]"
    assert str(Metric.exact(1234567, 10)) == "1,234,567"
    assert str(Metric.exact(0.25, 10)) == "0.25"
    assert Metric.exact(2, 10).as_dict() == {"value": 2.0, "low": 2.0, "high": 2.0, "n": 10}
    assert Metric(1 / 3, 0.0, 1.0, 3).as_dict()["value"] == 0.333333
