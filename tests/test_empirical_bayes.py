"""Empirical Bayes: how much coefficients differ is learnt, and what is not there is believed by nobody."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import DRAWN_OPTIONS, FEATURES, randomised_treatments, small_settings

from models.effects.empirical_bayes import empirical_bayes
from models.effects.uplift import learn_effects

EACH = 30


def regression(spreads: list[float], rng: np.random.Generator, rows: int = 3000) -> tuple[np.ndarray, ...]:
    """Sums of a regression whose groups of coefficients have these standard deviations; the truth comes last."""
    truth = np.concatenate([rng.normal(0, spread, EACH) for spread in spreads])
    regressors = rng.normal(size=(rows, len(truth)))
    response = regressors @ truth + rng.normal(0, 2.0, rows)
    return regressors.T @ regressors, regressors.T @ response, np.repeat(np.arange(len(spreads)), EACH), truth


def test_the_spread_of_each_group_is_found_and_pays():
    gram, moment, group, truth = regression([0.0, 0.05, 0.5], np.random.default_rng(8))
    found = empirical_bayes(gram, moment, group, 4.0, 3000, used=np.ones(len(truth), dtype=bool))
    spread = np.sqrt(found.variances)
    assert spread[0] < 0.015
    assert spread[1:] == pytest.approx([0.05, 0.5], rel=0.4)
    unpooled = np.linalg.solve(gram, moment)
    errors = [np.abs(each - truth)[group < 2].mean() for each in (found.mean, unpooled)]
    assert errors[0] < 0.75 * errors[1]


def test_of_one_coefficient_the_mean_is_that_of_the_normal_prior_by_hand():
    # sum of squares 50 and noise 2: a standard error of 0.2; the estimate is 1, and the likeliest variance 1 - 0.04
    found = empirical_bayes(np.array([[50.0]]), np.array([50.0]), np.array([0]), 2.0, 50, used=np.array([True]))
    assert found.variances[0] == pytest.approx(0.96, rel=0.03)
    assert found.mean[0] == pytest.approx(1 / (1 + 0.04 / found.variances[0]))
    drawn = found.drawn(4000, np.random.default_rng(1))[:, 0]
    assert drawn.std() == pytest.approx((25 + 1 / found.variances[0]) ** -0.5, rel=0.05)


def test_draws_spread_as_errors_of_the_truth_do():
    rng, inside = np.random.default_rng(9), []
    for _ in range(10):
        gram, moment, group, truth = regression([0.1, 0.3], rng)
        found = empirical_bayes(gram, moment, group, 4.0, 3000, used=np.ones(len(truth), dtype=bool))
        low, high = np.quantile(found.drawn(400, rng), [0.05, 0.95], axis=0)
        inside.append(((truth > low) & (truth < high)).mean())
    assert np.mean(inside) == pytest.approx(0.9, abs=0.04)
    assert found.error_between(0, 1) == pytest.approx(np.diff(found.drawn(4000, rng)[:, :2], axis=1).std(), rel=0.06)


def test_what_no_row_tells_of_is_nothing():
    gram, moment, group, truth = regression([0.3, 0.3], np.random.default_rng(10))
    gram[EACH:] = gram[:, EACH:] = moment[EACH:] = 0.0
    found = empirical_bayes(gram, moment, group, 4.0, 3000, used=np.ones(len(truth), dtype=bool))
    assert (found.mean[EACH:] == 0).all() and (found.drawn(3, np.random.default_rng(0))[:, EACH:] == 0).all()
    assert np.isfinite(found.mean).all()


def test_an_option_that_treatments_surely_prove_better_is_better_whatever_its_discount():
    frame, _ = randomised_treatments(4000, np.random.default_rng(11), pull=0.1)
    lowest = (frame["offer_id"] == "come_back") & (frame["discount"] == DRAWN_OPTIONS[2][1])
    settings = small_settings(training={"trees": 5})
    better = frame.assign(margin_soon=frame["margin_soon"] + 4.0 * lowest)
    plain, found = (
        learn_effects(rows, DRAWN_OPTIONS, FEATURES, settings)["margin_soon"].effect_model for rows in (frame, better)
    )
    effects = found.effects(frame, DRAWN_OPTIONS).mean(axis=0)
    assert effects[2] > effects[3:].max() + 2.0
    assert (np.diff(plain.effects(frame, DRAWN_OPTIONS)[:, 2:], axis=1) >= -1e-12).all()
    # between known discounts it lies between
    asked = found.option_constants([("come_back", 0.05), ("come_back", 0.125), ("come_back", 0.2)])[0]
    assert asked[1] == pytest.approx(asked[[0, 2]].mean())
