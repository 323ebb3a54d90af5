"""Uplift and Qini: equal to scikit-uplift where it speaks, right by hand and in truth where it does not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklift import metrics as sklift

from models.metrics.evaluation import gain_metric, score_metric
from models.metrics.qini import (
    as_measure,
    qini_area,
    qini_auc,
    qini_curve,
    uplift_area,
    uplift_auc,
    uplift_by_decile,
    uplift_curve,
)

MEASURES = [uplift_auc, qini_auc, uplift_area, qini_area]
SEEDS = st.integers(0, 10**6)


def experiment(seed: int, rows: int, *, levels: int = 8, rate: float = 0.5) -> tuple[np.ndarray, ...]:
    """Binary outcomes and treatments, both kinds of each, and scores with many ties."""
    rng = np.random.default_rng(seed)
    outcome = (rng.random(rows) < rate).astype(float)
    treated = (rng.random(rows) < rng.choice([0.2, 0.5, 0.8])).astype(float)
    outcome[:2], treated[-2:] = (0.0, 1.0), (0.0, 1.0)
    return outcome, rng.integers(0, levels, rows) / 7, treated


def theirs(score_function, *arguments, **options) -> float:
    """What scikit-uplift says; NaN where it divides by zero or its optimum runs backwards."""
    try:
        with np.errstate(divide="raise", invalid="raise"):
            return score_function(*arguments, **options)
    except (ZeroDivisionError, FloatingPointError, ValueError):
        return float("nan")


@pytest.mark.filterwarnings("ignore:.*stable_cumsum:FutureWarning")
@settings(max_examples=300, deadline=None)
@given(seed=SEEDS, rows=st.integers(4, 80), levels=st.integers(1, 20), rate=st.sampled_from([0.05, 0.5, 0.9]))
def test_curves_and_coefficients_equal_scikit_uplift_with_ties(seed, rows, levels, rate):
    outcome, score, treated = experiment(seed, rows, levels=levels, rate=rate)
    np.testing.assert_allclose(
        uplift_curve(outcome, score, treated), sklift.uplift_curve(outcome, score, treated), atol=1e-9
    )
    np.testing.assert_allclose(
        qini_curve(outcome, score, treated), sklift.qini_curve(outcome, score, treated), atol=1e-9
    )
    expected = theirs(sklift.uplift_auc_score, outcome, score, treated)
    assert uplift_auc(outcome, score, treated) == pytest.approx(expected, abs=1e-9, nan_ok=True)
    for negative_effect in (True, False):
        expected = theirs(sklift.qini_auc_score, outcome, score, treated, negative_effect=negative_effect)
        ours = qini_auc(outcome, score, treated, negative_effect=negative_effect)
        assert ours == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_curves_by_hand():
    # best first: treated 1; then a tie of control 1 and treated 0; then control 0
    outcome, treated = np.array([1.0, 1.0, 0.0, 0.0]), np.array([1.0, 0.0, 1.0, 0.0])
    score = np.array([3.0, 2.0, 2.0, 1.0])
    users, gain = uplift_curve(outcome, score, treated)
    assert users.tolist() == [0, 1, 3, 4]
    assert gain.tolist() == [0, 1, (1 / 2 - 1) * 3, 0]
    assert qini_curve(outcome, score, treated)[1].tolist() == [0, 1, 1 - 1 * 2 / 1, 0]
    # trapezoids of the Qini curve: 0.5, 0, -0.5, above a flat chord
    assert qini_area(outcome, score, treated) == pytest.approx(0.0)
    assert uplift_area(outcome, score, treated) == pytest.approx((0.5 - 0.5 - 0.75) / 16)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("has_propensity", [False, True])
def test_a_weight_counts_a_row_as_often(measure, has_propensity):
    outcome, score, treated = experiment(1, 60)
    rng = np.random.default_rng(2)
    weight, propensity = rng.integers(0, 4, 60), rng.uniform(0.1, 0.9, 60)
    again = np.repeat(np.arange(60), weight)
    expected = measure(outcome[again], score[again], treated[again], propensity[again] if has_propensity else None)
    weighted = measure(outcome, score, treated, propensity if has_propensity else None, weight.astype(float))
    assert weighted == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
@given(seed=SEEDS)
def test_the_order_of_the_rows_and_the_scale_of_the_score_have_no_effect(measure, seed):
    outcome, score, treated = experiment(seed, 50)
    shuffled = np.random.default_rng(seed).permutation(50)
    expected = measure(outcome, score, treated)
    moved = measure(outcome[shuffled], np.exp(3 * score[shuffled]) - 5, treated[shuffled])
    assert moved == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("measure", MEASURES)
def test_one_propensity_for_all_is_the_same_as_none(measure):
    outcome, score, treated = experiment(3, 80)
    expected = measure(outcome, score, treated)
    assert measure(outcome, score, treated, np.full(80, 0.3)) == pytest.approx(expected, abs=1e-12)


def test_the_best_score_has_coefficient_one_and_a_constant_score_zero():
    outcome, _, treated = experiment(4, 200, rate=0.3)
    best = outcome * treated - outcome * (1 - treated)
    assert qini_auc(outcome, best, treated) == 1.0
    assert uplift_auc(outcome, 2 * (outcome == treated) + treated, treated) == pytest.approx(1.0)
    amounts = np.random.default_rng(5).gamma(2.0, 10.0, 200)
    assert qini_auc(amounts, amounts * (2 * treated - 1), treated) == pytest.approx(1.0)
    for measure in MEASURES:
        assert measure(outcome, np.full(200, 0.5), treated) == pytest.approx(0.0, abs=1e-12)


def test_a_random_score_has_coefficients_about_zero_and_a_reversed_one_loses():
    rng = np.random.default_rng(6)
    outcome, _, treated = experiment(7, 3000)
    assert np.mean([qini_auc(outcome, rng.random(3000), treated) for _ in range(60)]) == pytest.approx(0.0, abs=0.01)
    uplift = rng.random(3000)
    outcome = (rng.random(3000) < 0.2 + 0.6 * uplift * treated).astype(float)
    assert qini_auc(outcome, uplift, treated) > 0.1
    assert qini_auc(outcome, -uplift, treated) < -0.1


def test_propensities_undo_targeting():
    rng = np.random.default_rng(8)
    x = rng.random(40_000)
    outcome = 10 * x + rng.normal(size=40_000)  # the action changes nothing, and good customers got it
    propensity = 0.1 + 0.8 * x
    treated = (rng.random(40_000) < propensity).astype(float)
    score = rng.random(40_000)
    assert uplift_curve(outcome, score, treated)[1][-1] / 40_000 > 2
    assert uplift_curve(outcome, score, treated, propensity)[1][-1] / 40_000 == pytest.approx(0.0, abs=0.1)
    assert abs(uplift_area(outcome, x, treated)) > 3 * abs(uplift_area(outcome, x, treated, propensity))


def test_the_area_is_what_ranking_earns_per_user():
    # half gain 4, half nothing: ranked, the curve is min(4 x, 2) over shares x; its chord 2 x lies 0.5 below
    rng = np.random.default_rng(9)
    gain, treated = np.repeat([4.0, 0.0], 20_000), (rng.random(40_000) < 0.5).astype(float)
    outcome = gain * treated + rng.normal(size=40_000)
    assert uplift_area(outcome, gain, treated) == pytest.approx(0.5, abs=0.02)
    assert qini_area(outcome, gain, treated) == pytest.approx(0.25, abs=0.02)  # per treated, and half are


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ones: uplift_auc(2 * ones, ones, ones), "use uplift_area"),
        (lambda ones: qini_auc(2 * ones, ones, ones, negative_effect=False), "leave it out"),
        (lambda ones: qini_area(ones, ones, 2 * ones), "use multi_arm_qini"),
        (lambda ones: qini_area(ones, ones, ones, ones), "inside \\(0, 1\\)"),
    ],
)
def test_what_has_no_meaning_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.ones(4))


def test_no_order_is_better_when_nobody_responds():
    treated = np.array([0.0, 1.0, 0.0, 1.0])
    assert np.isnan(qini_auc(np.zeros(4), np.arange(4.0), treated))
    assert np.isnan(qini_auc(np.array([1.0, 0, 0, 0]), np.arange(4.0), treated, negative_effect=False))


def test_an_interval_of_the_area_covers_the_truth():
    covered = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        gain, treated = np.repeat([4.0, 0.0], 150), (rng.random(300) < 0.5).astype(float)
        outcome = gain * treated + rng.normal(size=300)
        measure, users = as_measure(uplift_area, treated), pd.Series(range(300))
        metric = score_metric(measure, outcome, gain, users, samples=100, rng=rng)
        covered += metric.low <= 0.5 <= metric.high
    assert covered >= 36


def test_two_scores_are_compared_on_the_same_users():
    rng = np.random.default_rng(10)
    uplift, treated = rng.random(2000), (rng.random(2000) < 0.5).astype(float)
    outcome = (rng.random(2000) < 0.2 + 0.6 * uplift * treated).astype(float)
    users, measure = pd.Series(range(2000)), as_measure(qini_auc, treated)
    better = gain_metric(measure, outcome, uplift, rng.random(2000), users, samples=100, rng=rng)
    same = gain_metric(measure, outcome, uplift, uplift**3, users, samples=100, rng=rng)
    assert better.low > 0
    assert (same.value, same.low, same.high) == pytest.approx((0, 0, 0), abs=1e-12)


def test_deciles_by_hand():
    score = np.array([0.3, 0.3, 0.3, 0.3, 0.1, 0.1, 0.1, 0.1])
    outcome = np.array([4.0, 2.0, 1.0, 1.0, 0.0, 2.0, 1.0, 3.0])
    treated = np.array([1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    table = uplift_by_decile(outcome, score, treated, bins=2)
    assert table["predicted"].tolist() == pytest.approx([0.3, 0.1])
    assert table["observed"].tolist() == [2.0, -1.0]
    # treated 4, 2 and control 1, 1: squares (1/2)^2 + (1/2)^2, times 4/3 for a sample of 4
    assert table["standard_error"].tolist() == pytest.approx([np.sqrt(0.5 * 4 / 3), np.sqrt(1.0 * 4 / 3)])
    assert (table["high"] - table["low"]).tolist() == pytest.approx((2 * 1.959964 * table["standard_error"]).tolist())
    assert table[["treated", "control"]].to_numpy().tolist() == [[2, 2], [2, 2]]
    # twice the chance of treatment, half the say
    propensity = np.array([0.8, 0.4, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5])
    assert uplift_by_decile(outcome, score, treated, propensity, bins=2)["observed"][0] == pytest.approx(8 / 3 - 1)


def test_deciles_of_a_true_score_hold_the_truth():
    rng = np.random.default_rng(11)
    score, propensity = rng.uniform(-1, 1, 20_000), rng.uniform(0.1, 0.9, 20_000)
    treated = (rng.random(20_000) < propensity).astype(float)
    outcome = 2 * propensity + score * treated + rng.normal(size=20_000)
    table = uplift_by_decile(outcome, score, treated, propensity)
    assert len(table) == 10
    assert table["predicted"].is_monotonic_decreasing
    assert ((table["low"] <= table["predicted"]) & (table["predicted"] <= table["high"])).sum() >= 9
    naive = uplift_by_decile(outcome, score, treated)
    assert (naive["low"] > naive["predicted"]).all()


def test_deciles_do_not_depend_on_the_order_of_the_rows_and_know_the_rows_of_a_user():
    outcome, score, treated = experiment(12, 300)
    shuffled = np.random.default_rng(0).permutation(300)
    table = uplift_by_decile(outcome, score, treated)
    pd.testing.assert_frame_equal(table, uplift_by_decile(outcome[shuffled], score[shuffled], treated[shuffled]))
    copies = [np.repeat(column, 4) for column in (outcome, score, treated)]
    by_user = uplift_by_decile(*copies, user_ids=pd.Series(np.repeat(np.arange(300), 4)))
    assert by_user["standard_error"].tolist() == pytest.approx(table["standard_error"].tolist())


def test_a_decile_without_controls_observes_nothing():
    treated = np.r_[np.tile([0.0, 1.0], 2), np.ones(4), 0.0, np.ones(3)]
    table = uplift_by_decile(np.arange(12.0), np.arange(12.0), treated, bins=3)
    assert table["control"].tolist() == [1, 0, 2]
    assert np.isnan(table.loc[:1, ["observed", "standard_error", "low"]].to_numpy(dtype=float)).all()
    assert table.loc[2, "observed"] == 1.0
