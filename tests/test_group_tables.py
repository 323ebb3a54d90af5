"""Group tables: the same Shapley values as LightGBM and shap, and by hand."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from grown import MISSING, QUIET, drawn, fitted, strange_plans
from hypothesis import given, settings
from hypothesis import strategies as st

from models.forest import group_tables, leaf_groups
from models.forest import parsed_forest as forest_module
from models.forest.forest_shap import ForestShap
from models.forest.group_tables import make_tables
from models.forest.leaf_groups import Leaf, LeafGroup
from models.forest.model_text import DoesNotFit
from models.forest.parsed_forest import Forest


def explained(booster: lgb.Booster, inputs: pd.DataFrame | np.ndarray, threads: int = 0) -> np.ndarray:
    forest = Forest.of(booster)
    return ForestShap.of(forest).contributions(forest.atoms(inputs), threads=threads)


def check(booster: lgb.Booster, inputs: pd.DataFrame | np.ndarray) -> None:
    """Compare with LightGBM: every value, and the sum of each row."""
    parts, expected = explained(booster, inputs), booster.predict(inputs, pred_contrib=True)
    span = max(float(np.ptp(expected.sum(axis=1))), 1e-3)
    assert parts.shape == expected.shape
    assert np.abs(parts - expected).max() <= 1e-5 * span
    assert np.abs(parts.sum(axis=1) - booster.predict(inputs, raw_score=True)).max() <= 1e-5 * span


def test_one_split_by_hand():
    inputs = np.r_[np.zeros(25), np.ones(75)][:, None]
    parameters = {**QUIET, "num_leaves": 2, "learning_rate": 1.0, "lambda_l2": 0.0}
    booster = lgb.train(parameters, lgb.Dataset(inputs, 8 * inputs[:, 0]), 1)
    parts = explained(booster, np.array([[0.0], [1.0]]))
    # the mean is 6; of one column, all that a row differs from the mean is due to it
    assert parts == pytest.approx(np.array([[-6.0, 6.0], [2.0, 6.0]]), abs=1e-5)


def test_two_columns_by_hand():
    """Leaves 0 (40 of 100 rows), 0 (30) and 10 (30): the mean is 3; both conditions together are worth 7."""
    leaves = [
        Leaf(10.0, {0: 0b10, 1: 0b10}, {0: 0.6, 1: 0.5}),
        Leaf(0.0, {0: 0b10, 1: 0b01}, {0: 0.6, 1: 0.5}),
    ]
    table = make_tables([LeafGroup.of(leaves, {0: 2, 1: 2})]).tables.vectors.reshape(-1, 2)
    # v() = 3, v(0) = 5, v(1) = 6, v(0, 1) = 10
    assert pytest.approx([((5 - 3) + (10 - 6)) / 2, ((6 - 3) + (10 - 5)) / 2]) in table.tolist()


@pytest.mark.parametrize("leaves", [2, 15, 31, 255])
def test_as_lightgbm_and_shap_say(leaves):
    import shap

    frame = drawn(4000, leaves, columns=9)
    booster = fitted(frame, leaves=leaves)
    asked = frame.head(60)
    check(booster, asked)
    by_shap = shap.TreeExplainer(booster).shap_values(asked)
    assert explained(booster, asked)[:, :-1] == pytest.approx(by_shap, abs=1e-4)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 999),
    leaves=st.integers(2, 40),
    missing=st.sampled_from(MISSING),
    small=st.booleans(),
)
def test_any_model_with_missing_values_and_categories(seed, leaves, missing, small):
    frame = drawn(400, seed)
    rows = frame.dropna() if small else frame  # grown without gaps, asked with them
    check(fitted(rows, leaves=leaves, seed=seed, **missing), frame.head(80))


def test_leaves_too_deep_for_a_table_are_computed(monkeypatch):
    frame = drawn(3000, 3, columns=9)
    booster = fitted(frame, leaves=63)
    monkeypatch.setattr(leaf_groups, "COLUMNS", 4)
    monkeypatch.setattr(group_tables, "DEEPEST", 4)
    check(booster, frame)  # more rows than a block
    assert len(ForestShap.of(Forest.of(booster)).tables.deep.value) > 10


def test_unseen_categories_and_other_orders_of_them():
    frame = drawn(400, 5)
    booster = fitted(frame)
    for asked in strange_plans(frame):
        check(booster, asked)


def test_infinite_values_and_other_types():
    frame = drawn(400, 6)
    asked = frame.head(20).assign(number_0=np.resize([np.inf, -np.inf, 1e-40], 20), number_1=range(20))
    asked["number_2"] = asked["number_2"].astype("float32")
    check(fitted(frame), asked)


def test_a_tree_without_splits_gives_its_value_to_the_base():
    inputs = np.arange(20.0)[:, None]
    booster = lgb.train({**QUIET, "min_data_in_leaf": 50}, lgb.Dataset(inputs, inputs[:, 0] + 3), 2)
    assert explained(booster, inputs) == pytest.approx(booster.predict(inputs, pred_contrib=True))


def test_tables_that_are_too_large_are_refused(monkeypatch):
    monkeypatch.setattr(group_tables, "MOST_VALUES", 10)
    with pytest.raises(DoesNotFit, match="memory"):
        explained(fitted(drawn(300, 8)), drawn(10, 8))


def test_threads_and_blocks_change_nothing(monkeypatch):
    frame = drawn(5000, 9)
    booster = fitted(frame)
    alone = explained(booster, frame, threads=1)
    monkeypatch.setattr(forest_module, "THREAD_ROWS", 100)
    assert (explained(booster, frame, threads=3) == alone).all()
    assert (explained(booster, frame.iloc[4321:4330]) == alone[4321:4330]).all()
    assert explained(booster, frame.head(0)).shape == (0, frame.shape[1] + 1)


def test_the_first_trees_alone_when_training_stopped_early():
    frame = drawn(400, 10)
    booster = fitted(frame, trees=8)
    booster.best_iteration = 3
    check(booster, frame.head(30))
