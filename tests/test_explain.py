"""Explain: SHAP pictures that repeat, and the importance of columns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from synthetic import MIXED, outcomes, small_settings

from models.estimator_families.linear_estimators import fit_linear
from models.estimator_families.tree_estimators import fit_lightgbm
from models.model_cards.explain import SAMPLE_ROWS, importance, numbers, shap_pictures

FITS = {
    "trees": lambda rows: fit_lightgbm(rows, "is_churned", MIXED, small_settings()),
    "linear": lambda rows: fit_linear(rows, "is_churned", MIXED),
}


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return outcomes(150, np.random.default_rng(1), snapshots=2)


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_pictures_are_the_same_every_time_and_leave_the_global_draws_alone(frame, fit):
    model = fit(frame)
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    first = shap_pictures(model, frame)
    assert np.random.random() == expected
    assert set(first) == {"shap_beeswarm", "shap_bar"}
    assert all(picture.startswith(b"\x89PNG") for picture in first.values())
    assert shap_pictures(model, frame) == first


def test_words_for_people_are_drawn_where_given(frame):
    model = FITS["linear"](frame)
    plain, worded = shap_pictures(model, frame), shap_pictures(model, frame, {MIXED[0]: "idle days"})
    assert plain["shap_bar"] != worded["shap_bar"]


@pytest.mark.filterwarnings("error:Tight layout")
def test_long_words_leave_room_for_the_values(frame):
    long = "how much the pauses between visits differ, against the usual pause, last 365 days"
    assert set(shap_pictures(FITS["linear"](frame), frame, dict.fromkeys(MIXED, long))) == {"shap_beeswarm", "shap_bar"}


def test_only_the_strongest_columns_are_drawn(frame):
    model = FITS["linear"](frame)
    assert shap_pictures(model, frame, top=1)["shap_bar"] != shap_pictures(model, frame)["shap_bar"]


def test_a_sample_of_a_large_frame_is_drawn(frame, monkeypatch):
    asked = []
    model = FITS["linear"](frame)
    contributions = type(model).contributions
    monkeypatch.setattr(
        type(model), "contributions", lambda self, rows: asked.append(len(rows)) or contributions(self, rows)
    )
    shap_pictures(model, pd.concat([frame] * 15, ignore_index=True))
    assert asked == [2000] == [SAMPLE_ROWS]


def test_what_moves_most_comes_first(frame):
    ranked = importance(FITS["trees"](frame), frame)
    assert ranked.index[0] == "days_since_last_activity"  # the synthetic truth
    assert ranked.is_monotonic_decreasing


def test_texts_become_codes_and_what_is_missing_stays_apart():
    assert numbers(pd.Series(pd.Categorical(["b", None, "a"]))).tolist() == [1.0, -1.0, 0.0]
    column = numbers(pd.Series([1, None]))
    assert column[0] == 1.0
    assert np.isnan(column[1])
