"""Boosters: whoever computes, the numbers are LightGBM's; what is made for a booster is made once and goes with it."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import numpy as np
import pandas as pd
import pytest
from grown import drawn, fitted, misfits

from models.forest import boosters
from models.forest import parsed_forest as forest
from models.forest.boosters import contributions, raw_scores, raw_scores_given, with_constants

GIVEN = [{"plan": plan, "number_1": number} for plan in ("a", "j", "zzz") for number in (-0.3, 0.0, 0.4, np.nan)]


@pytest.mark.parametrize("many", [1, 10**9])
def test_scores_have_lightgbms_bits(monkeypatch, many):
    monkeypatch.setattr(boosters, "MANY_SCORES", many)
    frame = drawn(500, 1)
    booster = fitted(frame)
    assert (raw_scores(booster, frame) == booster.predict(frame, raw_score=True)).all()
    assert raw_scores(booster, frame.head(0)).shape == (0,)


@pytest.mark.parametrize("many", [1, 10**9])
def test_scores_under_constants_are_those_of_rows_that_hold_them(monkeypatch, many):
    monkeypatch.setattr(boosters, "MANY_SCORES", many)
    frame = drawn(500, 2)
    booster = fitted(frame, trees=20)
    found = raw_scores_given(booster, frame, GIVEN)
    expected = [booster.predict(with_constants(frame, given), raw_score=True) for given in GIVEN]
    assert (found == np.stack(expected, axis=1)).all()
    assert len(np.unique(found[0])) > 4
    assert raw_scores_given(booster, frame.head(0), GIVEN).shape == (0, len(GIVEN))


@pytest.mark.parametrize("booster", misfits().values(), ids=list(misfits()))
def test_lightgbm_computes_what_does_not_fit(monkeypatch, booster):
    monkeypatch.setattr(boosters, "MANY_SCORES", 1)
    frame = drawn(300, 7).drop(columns="plan").fillna(0.0)
    assert (raw_scores(booster, frame) == booster.predict(frame, raw_score=True)).all()
    if booster.params.get("linear_tree"):
        return  # LightGBM has no contributions of linear leaves
    assert (contributions(booster, frame) == booster.predict(frame, pred_contrib=True)).all()


def test_a_booster_is_read_once_and_forgotten_with_it(monkeypatch):
    monkeypatch.setattr(boosters, "MANY_SCORES", 1)
    frame = drawn(300, 3)
    booster = fitted(frame)
    raw_scores(booster, frame)
    kept = weakref.ref(boosters._ready(booster))
    raw_scores(booster, frame)
    contributions(booster, frame)
    assert boosters._ready(booster) is kept()
    del booster
    gc.collect()
    assert kept() is None


def test_constants_leave_the_frame_as_it_was():
    frame = drawn(5, 4)
    before = frame.copy(deep=True)
    changed = with_constants(frame, {"plan": "b", "number_0": 0.5})
    assert set(changed["plan"]) == {"b"}
    assert changed["number_0"].tolist() == [0.5] * 5
    pd.testing.assert_frame_equal(frame, before)


def test_kernels_are_compiled_anew_where_nothing_can_be_kept(monkeypatch):
    asked = []

    def njit(**options: object) -> object:
        asked.append(options.get("cache", False))
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(forest.numba, "njit", njit)
    assert forest.compiled(len) is len
    assert asked == [True, False]


def test_numba_waits_until_it_is_needed():
    code = "import sys, models.estimator_families.estimators; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
