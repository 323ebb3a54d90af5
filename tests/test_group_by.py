"""Grouped rows: places in order and sums of runs are those of NumPy's own, however large the numbers are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.arrays.group_by import order_of, run_starts, run_sums


@given(st.lists(st.integers(0, 5), max_size=20), st.sampled_from([1, 2**40, 2**60]))
def test_keys_are_sorted_and_equal_ones_stay_as_they_came(keys, scale):
    keys = np.array(keys, np.int64) * scale
    assert order_of(keys).tolist() == np.argsort(keys, kind="stable").tolist()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-(2**31), 2**31 - 1)), max_size=20))
def test_runs_are_added_up(rows):
    groups, values = np.array(sorted(rows), np.int64).reshape(-1, 2).T
    found = run_sums(values.astype(np.int32), run_starts(groups))
    assert found.tolist() == [int(values[groups == group].sum()) for group in np.unique(groups)]


@pytest.mark.parametrize("function", [order_of, lambda empty: run_sums(empty, empty)])
def test_nothing_is_in_order_and_adds_up_to_nothing(function):
    assert function(np.array([], np.int64)).tolist() == []
