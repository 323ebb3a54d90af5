"""Estimators: what each fit does with its columns, and what calibration changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from synthetic import small_settings

from configs.errors import InputError
from features.definitions.registry import NEVER_DAYS
from models.estimator_families.estimators import calibrated, check_finite, inverse_link
from models.estimator_families.linear_estimators import LinearEstimator, fit_linear, fit_proportional
from models.estimator_families.tree_estimators import fit_lightgbm
from models.forest import boosters


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Two numbers, a recency with gaps and a text; the label follows all of them."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "days_since_last_activity": rng.integers(0, 90, 600).astype(float),
            "spend_sum_90d": rng.gamma(2, 30, 600),
            "trait_plan": pd.Categorical(rng.choice(["free", "plus"], 600)),
        }
    )
    score = 0.04 * frame["days_since_last_activity"] - 2 + (frame["trait_plan"] == "free")
    return frame.assign(label=(rng.random(600) < 1 / (1 + np.exp(-score))).astype(int))


SETTINGS = small_settings()
COLUMNS = ["days_since_last_activity", "spend_sum_90d", "trait_plan"]
FITS = {
    "linear": lambda frame: fit_linear(frame, "label", COLUMNS),
    "least squares": lambda frame: fit_linear(frame, "label", COLUMNS, link="identity"),
    "proportional": lambda frame: fit_proportional(frame, "label", "spend_sum_90d"),
    "lightgbm": lambda frame: fit_lightgbm(frame, "label", COLUMNS, SETTINGS),
    "tweedie": lambda frame: fit_lightgbm(frame, "label", COLUMNS, SETTINGS, link="log"),
}


@pytest.mark.parametrize("name", FITS)
def test_a_model_is_fitted_again_as_it_was(rows, name):
    model = replace(FITS[name](rows), slope=0.7, intercept=0.0 if name == "proportional" else 0.2)
    again = model.refit(rows, SETTINGS)
    assert (again.predict(rows) == model.predict(rows)).all()
    assert (again.family, again.link, again.columns) == (model.family, model.link, model.columns)
    other = model.refit(rows.head(300), SETTINGS)
    assert (other.slope, other.intercept) == (model.slope, model.intercept)
    assert not (other.predict(rows) == model.predict(rows)).all()


def test_a_model_that_must_rise_still_does_when_it_is_fitted_again(rows):
    falling = rows.assign(label=(rows["spend_sum_90d"] < 60).astype(int))
    rising = ("spend_sum_90d",)
    model = fit_lightgbm(falling, "label", COLUMNS, SETTINGS, rising=rising)
    asked = pd.concat([rows.head(1)] * 5).assign(spend_sum_90d=[1.0, 20.0, 50.0, 80.0, 200.0])
    assert (np.diff(model.refit(falling, SETTINGS, rising=rising).predict(asked)) >= 0).all()
    assert (np.diff(model.refit(falling, SETTINGS).predict(asked)) < 0).any()


def test_links_by_hand():
    score = np.array([-1.0, 0.0, 2.0])
    assert inverse_link("logit", score).tolist() == pytest.approx([0.268941, 0.5, 0.880797], abs=1e-6)
    assert inverse_link("log", score).tolist() == pytest.approx(np.exp(score).tolist())
    assert inverse_link("identity", score).tolist() == [0.0, 0.0, 2.0]  # an amount is never negative


@pytest.mark.parametrize("many", [1, 10**9])
@pytest.mark.parametrize("name", FITS)
def test_constants_are_predicted_as_if_every_row_held_them(rows, monkeypatch, name, many):
    monkeypatch.setattr(boosters, "MANY_SCORES", many)
    model = replace(FITS[name](rows), slope=0.7, intercept=0.1)
    plans, spends = ["free", "plus", "new"], [5.0, 60.0, np.nan]
    given = [{"trait_plan": plan, "spend_sum_90d": spend, "unread": 1.0} for plan in plans for spend in spends]
    found = model.predict_given(rows.drop(columns=["trait_plan", "spend_sum_90d"]), given)
    expected = [
        model.predict(rows.assign(trait_plan=pd.Categorical([plan] * len(rows)), spend_sum_90d=spend))
        for plan in plans
        for spend in spends
    ]
    assert (found == np.stack(expected, axis=1)).all()
    assert model.predict_given(rows, []).shape == (len(rows), 0)


@pytest.mark.parametrize("many", [1, 10**9])
def test_constants_that_a_model_does_not_read_change_nothing(rows, monkeypatch, many):
    monkeypatch.setattr(boosters, "MANY_SCORES", many)
    model = FITS["lightgbm"](rows)
    found = model.predict_given(rows, [{"unread": 0.0}, {"unread": 1.0}])
    assert (found == model.predict(rows)[:, None]).all()


def test_a_missing_recency_counts_as_never(rows):
    model = fit_linear(rows, "label", ["days_since_last_activity", "spend_sum_90d"])
    asked = rows.head(2).assign(days_since_last_activity=[np.nan, NEVER_DAYS], spend_sum_90d=10.0)
    assert len(set(model.predict(asked))) == 1


def test_a_missing_number_counts_as_the_median(rows):
    holed = rows.assign(spend_sum_90d=rows["spend_sum_90d"].where(rows.index % 3 > 0))
    model = fit_linear(holed, "label", ["days_since_last_activity", "spend_sum_90d"])
    median = holed["spend_sum_90d"].median()
    asked = rows.head(2).assign(days_since_last_activity=5.0, spend_sum_90d=[np.nan, median])
    assert len(set(model.predict(asked))) == 1


def test_a_column_without_any_value_is_no_obstacle(rows):
    empty = rows.assign(spend_sum_90d=np.nan, days_since_last_activity=np.nan)
    model = fit_linear(empty, "label", ["days_since_last_activity", "spend_sum_90d", "trait_plan"])
    assert np.isfinite(model.predict(rows)).all()  # where the columns have values, too


def test_an_unknown_text_moves_nobody_to_an_error(rows):
    model = fit_linear(rows, "label", ["days_since_last_activity", "trait_plan"])
    asked = rows.head(3).assign(trait_plan=pd.Categorical(["new", None, "free"]))
    assert np.isfinite(model.predict(asked)).all()


def test_a_text_whose_value_spells_another_column_keeps_its_contribution(rows):
    rng = np.random.default_rng(2)
    spelt = rows.assign(
        trait_plan=pd.Categorical(np.where(rows["trait_plan"] == "free", "plus", "other")),
        trait_plan_plus=rng.random(600),
    )
    model = fit_linear(spelt, "label", ["trait_plan", "trait_plan_plus"])
    still = spelt.assign(trait_plan_plus=spelt["trait_plan_plus"].mean())
    parts = model.contributions(still)
    assert len(np.unique(parts[:, 1].round(12))) == 1  # the number stands still, so its part does
    assert len(np.unique(parts[:, 0].round(12))) == 2


def test_a_proportional_rule_is_the_least_squares_ratio():
    frame = pd.DataFrame({"spend_sum_90d": [1.0, 2.0, np.nan], "margin": [1.0, 3.0, 5.0]})
    model = fit_proportional(frame, "margin", "spend_sum_90d")
    assert model.predict(pd.DataFrame({"spend_sum_90d": [10.0, np.nan]})).tolist() == pytest.approx([14.0, 0.0])


def test_a_rising_column_never_lowers_the_prediction():
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"discount": rng.choice([0.05, 0.1, 0.2], 400), "other": rng.random(400)})
    frame["label"] = (rng.random(400) < 0.8 - 2 * frame["discount"]).astype(int)  # the data say the opposite
    free, bound = (
        fit_lightgbm(frame, "label", ["discount", "other"], small_settings(), rising=rising)
        for rising in ((), ("discount",))
    )
    low, high = frame.assign(discount=0.05), frame.assign(discount=0.2)
    assert (free.predict(high) < free.predict(low)).any()
    assert (bound.predict(high) >= bound.predict(low)).all()


def test_calibration_of_a_probability_finds_the_slope_and_the_intercept():
    rng = np.random.default_rng(4)
    raw = rng.normal(0, 2, 20_000)
    label = (rng.random(20_000) < 1 / (1 + np.exp(-(0.5 * raw - 1)))).astype(float)
    fitted = calibrated(LinearEstimator("label", "logit", (), None), raw, label)
    assert fitted.slope == pytest.approx(0.5, abs=0.03)
    assert fitted.intercept == pytest.approx(-1, abs=0.06)
    assert inverse_link("logit", fitted.slope * raw + fitted.intercept).mean() == pytest.approx(label.mean(), abs=1e-4)


def test_calibration_never_turns_a_ranking_round():
    raw = np.array([-1.0, -0.5, 0.5, 1.0] * 10)
    model = LinearEstimator("label", "logit", (), None)
    assert calibrated(model, raw, (raw < 0).astype(float)) == model


@pytest.mark.parametrize("link", ["log", "identity"])
def test_calibration_of_an_amount_makes_the_sums_agree(link):
    raw, label = np.array([0.5, 1.0, 2.0]), np.array([0.0, 3.0, 9.0])
    fitted = calibrated(LinearEstimator("margin", link, (), None), raw, label)
    predicted = inverse_link(link, fitted.slope * raw + fitted.intercept)
    assert predicted.sum() == pytest.approx(12.0)
    assert (predicted / predicted[0]).tolist() == pytest.approx(
        (inverse_link(link, raw) / inverse_link(link, raw)[0]).tolist()
    )


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=6),
    st.lists(st.floats(allow_nan=True, allow_infinity=False), min_size=1, max_size=6),
)
@example([-1.0, 0.0, 1.0], [-1.0, np.nan])
@example([0.0, 1.0], [-5.0])  # negative only where nothing was taught
@example([1.7e308, -1.7e308], [np.nan])
def test_any_finite_number_has_a_finite_score(taught, asked):
    rows = pd.DataFrame({"trait_level": np.resize(taught, 12), "is_churned": np.tile([0, 1, 1], 4)})
    model = fit_linear(rows, "is_churned", ["trait_level"])
    frame = pd.DataFrame({"trait_level": asked}, dtype="float64")
    parts = model.contributions(frame)
    assert np.isfinite(parts).all()
    assert ((model.predict(frame) >= 0) & (model.predict(frame) <= 1)).all()


def test_a_trait_below_minus_one_tells_as_much_as_the_same_above_it():
    level = np.tile([-1.7, -0.7, 0.3], 100)
    rows = pd.DataFrame({"trait_level": level, "is_churned": ((level < -1) ^ (np.arange(300) % 10 == 0)).astype(int)})
    shifted = rows.assign(trait_level=level + 2.0)
    below, above = (fit_linear(each, "is_churned", ["trait_level"]).predict(each) for each in (rows, shifted))
    assert below == pytest.approx(above, abs=0.1)
    assert below[0] > 0.6 > 0.4 > below[1] > below[2]


def test_a_coefficient_that_is_not_finite_names_its_column():
    with pytest.raises(InputError, match=r"the effect has no finite coefficient of the column 'b'; .*train again"):
        check_finite("effect", np.array([[1.0, 2.0], [0.0, np.nan]]), ["a", "b"])
