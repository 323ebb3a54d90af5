"""Drift: the index by hand, no alarm where nobody moved, an alarm where something broke, and what scores promise."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import MIXED, behaviour

from models.metrics.drift import (
    Bins,
    Drift,
    Reference,
    bins_of,
    expected_auc,
    population_stability_index,
    read_reference,
)
from models.metrics.evaluation import auc

COLUMNS = [*MIXED, "tenure_days", "favourite_category_90d", "overdue_ratio_365d", "payment_failures_count_28d"]
counts = st.lists(st.integers(0, 10_000), min_size=2, max_size=12)


def test_the_index_is_the_formula_by_hand() -> None:
    # 30 and 70 become 50 and 50 of 100: (.5 - .3) ln(.5 / .3) + (.5 - .7) ln(.5 / .7), each bin with half a row more
    by_hand = (50.5 - 30.5) / 101 * np.log(50.5 / 30.5) + (50.5 - 70.5) / 101 * np.log(50.5 / 70.5)
    assert population_stability_index(np.array([30, 70]), np.array([50, 50])) == pytest.approx(by_hand)


@given(counts, st.randoms(use_true_random=False))
def test_the_index_is_symmetric_never_below_0_and_0_of_the_same_shares(rows, random):
    now = np.array(random.sample(rows, len(rows)))
    before = np.array(rows)
    found = population_stability_index(before, now)
    assert found == pytest.approx(population_stability_index(now, before))
    assert np.isfinite(found)
    assert found >= -1e-12
    assert population_stability_index(before, before) == 0


def test_bins_hold_what_is_missing_what_is_new_and_what_is_less_than_anything_seen() -> None:
    numbers = bins_of(pd.Series([1.0, 1.0, 1.0, 2.0, 5.0, np.nan]))
    assert numbers.counted(pd.Series([-3.0, 1.0, 99.0, np.nan, np.nan])).tolist()[:1] == [1]
    assert numbers.counted(pd.Series([np.nan, np.nan])).tolist()[-1] == 2
    assert sum(numbers.counts) == 6
    texts = bins_of(pd.Series(pd.Categorical(["a", "b", "b", None])))
    assert (texts.levels, texts.counts) == (("a", "b"), (1, 2, 0, 1))
    assert texts.counted(pd.Series(pd.Categorical(["c", "a", None]))).tolist() == [1, 0, 1, 1]
    assert bins_of(pd.Series([np.nan, np.nan])).counts[-1] == 2


@pytest.mark.parametrize("users", [150, 2_000])
def test_nobody_who_did_not_move_raises_an_alarm(users: int) -> None:
    """20 seeds, all columns, the limit at its default: none, of small apps either."""
    pairs = [tuple(behaviour(users, np.random.default_rng(seed + later)) for later in (0, 99)) for seed in range(20)]
    alarms = [
        (seed, column)
        for seed, (before, now) in enumerate(pairs)
        for column in COLUMNS
        if bins_of(before[column]).drift(now[column]).exceeds(0.25)
    ]
    assert alarms == [], f"{len(alarms)} false alarms of {20 * len(COLUMNS)}"


BREAKS = {
    "another unit": ("spend_sum_90d", lambda column: column * 100),
    "a column that is lost": ("overdue_ratio_365d", lambda column: column * np.nan),
    "a sign that turned": ("spend_sum_90d", lambda column: -column),
    "plans that are spelt anew": ("trait_plan", lambda column: column.cat.rename_categories(str.upper)),
    "days since, but in hours": ("days_since_last_activity", lambda column: column * 24),
}  # fmt: skip


@pytest.mark.parametrize("case", BREAKS)
def test_what_is_broken_raises_one(case: str) -> None:
    column, broken = BREAKS[case]
    before, now = (behaviour(2_000, np.random.default_rng(seed)) for seed in (1, 2))
    assert bins_of(before[column], before[column]).drift(broken(now[column])).exceeds(0.25)


def test_what_moves_by_itself_is_allowed_to_move_so_far_again() -> None:
    """Tenure of a young app: everybody is 28 days older at every step, which no limit alone tells from a fault."""
    then = pd.Series(np.random.default_rng(3).uniform(0, 60, 5_000))
    assert bins_of(then + 28).drift(then + 56).exceeds(0.25)
    assert not bins_of(then + 28, then).drift(then + 56).exceeds(0.25)
    then = 10 * then  # of an older one they change little
    assert not bins_of(then + 28, then).drift(then + 56).exceeds(0.25)
    assert bins_of(then + 28, then).drift(24 * (then + 56)).exceeds(0.25)
    assert Drift(0.3, float("nan"), 0.0).exceeds(0.25)


@pytest.mark.parametrize("spread", [0.5, 1.5])
def test_calibrated_scores_keep_what_they_promise(spread: float) -> None:
    rng = np.random.default_rng(5)
    p = 1 / (1 + np.exp(-rng.normal(-1, spread, 40_000)))
    label = (rng.random(len(p)) < p).astype(float)
    assert expected_auc(p) == pytest.approx(auc(label, p, np.ones(len(p))), abs=0.01)
    assert np.isnan(expected_auc(np.array([np.nan])))


def test_a_reference_survives_its_file_and_a_foreign_one_is_none() -> None:
    frame = behaviour(100, np.random.default_rng(1))
    known = Reference({name: bins_of(frame[name], frame[name]) for name in COLUMNS}, Bins((1, 2), (0.5,)), 0.8)
    assert str(read_reference(json.loads(json.dumps(asdict(known))))) == str(known)
    assert read_reference(None) is None
    assert read_reference({"bins": 3}) is None
