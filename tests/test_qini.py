"""Uplift and Qini: equal to scikit-uplift where it speaks, right by hand and in truth where it does not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklift import metrics as sklift

from models.evaluation import gain_metric
from models.qini import (
    as_measure,
    multi_arm_qini,
    qini_area,
    qini_auc,
    qini_curve,
    qini_metric,
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
@settings(max_examples=25, deadline=None)
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
        metric = qini_metric(outcome, gain, treated, pd.Series(range(300)), measure=uplift_area, samples=100, rng=rng)
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
    table = uplift_by_decile(score, outcome, treated, bins=2)
    assert table["predicted"].tolist() == pytest.approx([0.3, 0.1])
    assert table["observed"].tolist() == [2.0, -1.0]
    # treated 4, 2 and control 1, 1: squares (1/2)^2 + (1/2)^2, times 4/3 for a sample of 4
    assert table["standard_error"].tolist() == pytest.approx([np.sqrt(0.5 * 4 / 3), np.sqrt(1.0 * 4 / 3)])
    assert (table["high"] - table["low"]).tolist() == pytest.approx((2 * 1.959964 * table["standard_error"]).tolist())
    assert table[["treated", "control"]].to_numpy().tolist() == [[2, 2], [2, 2]]
    # twice the chance of treatment, half the say
    propensity = np.array([0.8, 0.4, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5])
    assert uplift_by_decile(score, outcome, treated, propensity, bins=2)["observed"][0] == pytest.approx(8 / 3 - 1)


def test_deciles_of_a_true_score_hold_the_truth():
    rng = np.random.default_rng(11)
    score, propensity = rng.uniform(-1, 1, 20_000), rng.uniform(0.1, 0.9, 20_000)
    treated = (rng.random(20_000) < propensity).astype(float)
    outcome = 2 * propensity + score * treated + rng.normal(size=20_000)
    table = uplift_by_decile(score, outcome, treated, propensity)
    assert len(table) == 10
    assert table["predicted"].is_monotonic_decreasing
    assert ((table["low"] <= table["predicted"]) & (table["predicted"] <= table["high"])).sum() >= 9
    naive = uplift_by_decile(score, outcome, treated)
    assert (naive["low"] > naive["predicted"]).all()


def test_deciles_do_not_depend_on_the_order_of_the_rows_and_know_the_rows_of_a_user():
    outcome, score, treated = experiment(12, 300)
    shuffled = np.random.default_rng(0).permutation(300)
    table = uplift_by_decile(score, outcome, treated)
    pd.testing.assert_frame_equal(table, uplift_by_decile(score[shuffled], outcome[shuffled], treated[shuffled]))
    copies = [np.repeat(column, 4) for column in (score, outcome, treated)]
    by_user = uplift_by_decile(*copies, user_ids=pd.Series(np.repeat(np.arange(300), 4)))
    assert by_user["standard_error"].tolist() == pytest.approx(table["standard_error"].tolist())


def test_a_decile_without_controls_observes_nothing():
    treated = np.r_[np.tile([0.0, 1.0], 2), np.ones(4), 0.0, np.ones(3)]
    table = uplift_by_decile(np.arange(12.0), np.arange(12.0), treated, bins=3)
    assert table["control"].tolist() == [1, 0, 2]
    assert np.isnan(table.loc[:1, ["observed", "standard_error", "low"]].to_numpy(dtype=float)).all()
    assert table.loc[2, "observed"] == 1.0


def market(seed: int, users: int, options: int) -> tuple[np.ndarray, np.ndarray]:
    """Predicted gains, some negative and some not eligible, and costs, some of them equal and some 0."""
    rng = np.random.default_rng(seed)
    predicted = rng.normal(1.0, 2.0, (users, options)).round(1)
    predicted[rng.random((users, options)) < 0.1] = -np.inf
    return predicted, rng.integers(0, 5, (users, options)).astype(float)


def walk(scores: np.ndarray, predicted: np.ndarray, cost: np.ndarray, *, samples: int = 2, points: int = 101):
    rng = np.random.default_rng(0)
    users = pd.Series(range(len(scores)))
    return multi_arm_qini(scores, predicted, cost, users, points=points, samples=samples, rng=rng)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, users=st.integers(2, 12), options=st.integers(1, 5))
def test_the_path_is_the_optimal_allocation_at_every_budget(seed, users, options):
    predicted, cost = market(seed, users, options)
    qini = walk(np.c_[np.zeros(users), np.where(np.isfinite(predicted), predicted, -99.0)], predicted, cost, points=9)
    value, price = np.c_[np.zeros(users), predicted], np.c_[np.zeros(users), cost]
    with np.errstate(invalid="ignore", divide="ignore"):
        swaps = (value[:, :, None] - value[:, None, :]) / (price[:, :, None] - price[:, None, :])
    # linear programming duality: the best value at a budget is the least bound over all prices of money
    prices = np.r_[0.0, swaps[np.isfinite(swaps) & (swaps > 0)]]
    bounds = [[(value - p * price).max(axis=1).sum() + p * spend * users for p in prices] for spend in qini.spend]
    if qini.spend[-1] > 0:
        assert (qini.gain * users).tolist() == pytest.approx(np.min(bounds, axis=1).tolist(), abs=1e-9)


def test_the_path_by_hand():
    # a climbs to its first option (slope 4), then to its second (slope 1); b to its second at once (slope 2)
    predicted, cost = np.array([[4.0, 5.0], [1.0, 4.0]]), np.array([[1.0, 2.0], [1.0, 2.0]])
    scores = np.array([[1.0, 3.0, 7.0], [0.0, 9.0, 5.0]])
    qini = walk(scores, predicted, cost, points=5)
    assert qini.spend.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert qini.gain.tolist() == [0.0, 2 / 2, (2 + 2.5) / 2, (2 + 5) / 2, (2 + 5 + 4) / 2]
    # trapezoids of half a unit, less the triangle below the chord, over a budget of 2
    assert qini.area.value == pytest.approx((0.5 * (0 + 1 + 2.25 + 3.5 + 5.5 / 2) - 5.5) / 2)
    assert qini.as_frame().columns.tolist() == ["spend", "gain", "standard_error", "low", "high"]


def test_what_is_free_is_given_before_anything_is_spent():
    predicted, cost = np.array([[3.0, 1.0], [1.0, 4.0]]), np.array([[0.0, 0.0], [0.0, 2.0]])
    qini = walk(np.array([[0.0, 6.0, 0.0], [2.0, 4.0, 9.0]]), predicted, cost, points=3)
    assert qini.spend.tolist() == [0.0, 0.5, 1.0]
    assert qini.gain.tolist() == [(6 + 2) / 2, (8 + 2.5) / 2, (8 + 5) / 2]
    assert qini.area.value == pytest.approx(0.0)  # one straight step, from what was free


def test_equals_on_the_path_are_treated_together():
    scores = np.c_[np.zeros(40), np.arange(40.0)]
    qini = walk(scores, np.ones((40, 1)), np.ones((40, 1)))
    assert qini.gain == pytest.approx(qini.spend * 19.5)
    assert qini.area.value == pytest.approx(0.0)


def test_the_path_does_not_depend_on_the_order_of_the_users():
    predicted, cost = market(1, 50, 3)
    scores = np.random.default_rng(2).normal(size=(50, 4))
    shuffled = np.random.default_rng(3).permutation(50)
    expected, moved = walk(scores, predicted, cost), walk(scores[shuffled], predicted[shuffled], cost[shuffled])
    assert moved.gain == pytest.approx(expected.gain)
    assert moved.area.value == pytest.approx(expected.area.value)


def test_when_nothing_pays_nothing_is_spent():
    qini = walk(np.ones((5, 3)), np.full((5, 2), -1.0), np.ones((5, 2)))
    assert not qini.spend.any() and not qini.gain.any() and not qini.standard_error.any()
    assert (qini.area.value, qini.area.low, qini.area.high) == (0.0, 0.0, 0.0)


def test_the_error_along_the_path_is_that_of_a_mean_where_all_are_treated():
    rng = np.random.default_rng(4)
    scores = np.c_[np.zeros(500), rng.normal(1.0, 3.0, 500)]
    qini = walk(scores, rng.random((500, 1)) + 0.1, np.ones((500, 1)), samples=400)
    assert qini.standard_error[0] == 0
    assert qini.standard_error[-1] == pytest.approx(scores[:, 1].std() / np.sqrt(500), rel=0.1)


def test_the_interval_of_the_path_covers_the_truth_and_shrinks():
    def draw(seed: int, users: int):
        rng = np.random.default_rng(seed)
        x = rng.random((users, 2))
        action = rng.integers(0, 3, users)
        outcome = np.c_[np.zeros(users), x][np.arange(users), action] * 3 + rng.normal(size=users)
        scores = np.zeros((users, 3))
        scores[np.arange(users), action] = outcome * 3  # inverse propensity
        cost = np.tile([1.0, 1.0], (users, 1))
        # scored with the truth, the many users stand for the world
        truth = np.c_[np.zeros(users), 3 * x]
        return multi_arm_qini(
            truth if users > 10_000 else scores, x, cost, pd.Series(range(users)), samples=80, rng=rng
        )

    world = draw(0, 40_000)
    areas = [draw(seed, 400).area for seed in range(1, 41)]
    assert sum(area.low <= world.area.value <= area.high for area in areas) >= 36
    large = draw(50, 6400).area
    assert large.high - large.low == pytest.approx(np.mean([area.high - area.low for area in areas]) / 4, rel=0.35)


def test_rows_of_one_user_hang_together_along_the_path():
    rng = np.random.default_rng(5)
    predicted, scores = rng.random((100, 1)), np.c_[np.zeros(100), rng.normal(size=100)]
    one = walk(scores, predicted, np.ones((100, 1)), samples=300)
    copies = [np.repeat(table, 9, axis=0) for table in (scores, predicted, np.ones((100, 1)))]
    users = pd.Series(np.repeat(np.arange(100), 9))
    nine = multi_arm_qini(*copies, users, samples=300, rng=np.random.default_rng(0))
    assert nine.gain == pytest.approx(one.gain)
    assert nine.standard_error == pytest.approx(one.standard_error)
