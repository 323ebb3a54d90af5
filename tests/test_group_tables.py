"""Group tables: the same Shapley values as LightGBM and shap, and by hand."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import InputError
from models import group_tables
from models.group_tables import GroupTables

QUIET = {"verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5, "min_data_per_group": 5, "cat_smooth": 1.0}


def drawn(rows: int, seed: int, columns: int = 6) -> pd.DataFrame:
    """Numbers with gaps and zeros, and a category with gaps."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(rows, columns))
    numbers[rng.random(numbers.shape) < 0.1] = np.nan
    numbers[rng.random(numbers.shape) < 0.1] = 0.0
    frame = pd.DataFrame(numbers, columns=[f"number_{place}" for place in range(columns)])
    return frame.assign(plan=pd.Categorical(rng.choice([*"abcdefghij", None], rows)))


def fitted(frame: pd.DataFrame, *, leaves: int = 15, trees: int = 5, **parameters: object) -> lgb.Booster:
    """Fit trees to a target in which the columns act together."""
    rng = np.random.default_rng(0)
    known = frame.drop(columns="plan").fillna(0.7).to_numpy()
    label = known[:, 0] * known[:, 1] + np.sin(2 * known).sum(axis=1) + frame["plan"].cat.codes % 3
    label += rng.normal(0, 0.1, len(frame))
    return lgb.train({**QUIET, "num_leaves": leaves, **parameters}, lgb.Dataset(frame, label), trees)


def check(booster: lgb.Booster, inputs: pd.DataFrame | np.ndarray) -> GroupTables:
    """Compare with LightGBM: every value, and the sum of each row."""
    tables = GroupTables.of(booster)
    parts, expected = tables.contributions(inputs), booster.predict(inputs, pred_contrib=True)
    span = max(float(np.ptp(expected.sum(axis=1))), 1e-3)
    assert parts.shape == expected.shape
    assert np.abs(parts - expected).max() <= 1e-5 * span
    assert np.abs(parts.sum(axis=1) - booster.predict(inputs, raw_score=True)).max() <= 1e-5 * span
    return tables


def test_one_split_by_hand():
    inputs = np.r_[np.zeros(25), np.ones(75)][:, None]
    parameters = {**QUIET, "num_leaves": 2, "learning_rate": 1.0, "lambda_l2": 0.0}
    booster = lgb.train(parameters, lgb.Dataset(inputs, 8 * inputs[:, 0]), 1)
    parts = GroupTables.of(booster).contributions(np.array([[0.0], [1.0]]))
    # the mean is 6; of one column, all that a row differs from the mean is due to it
    assert parts == pytest.approx(np.array([[-6.0, 6.0], [2.0, 6.0]]), abs=1e-5)


def test_two_columns_by_hand():
    """Leaves 0 (40 of 100 rows), 0 (30) and 10 (30): the mean is 3; both conditions together are worth 7."""
    leaves = {
        0: group_tables.Leaf(10.0, {0: 0b10, 1: 0b10}, {0: 0.6, 1: 0.5}),
        1: group_tables.Leaf(0.0, {0: 0b10, 1: 0b01}, {0: 0.6, 1: 0.5}),
    }
    columns = {place: group_tables.Column(np.array([0.0]), categorical=True) for place in (0, 1)}
    plan = group_tables._plan([list(leaves.values())], columns)
    table = plan.tables.vectors.reshape(-1, 2)
    # v() = 3, v(0) = 5, v(1) = 6, v(0, 1) = 10
    assert pytest.approx([((5 - 3) + (10 - 6)) / 2, ((6 - 3) + (10 - 5)) / 2]) in table.tolist()


@pytest.mark.parametrize("leaves", [2, 15, 31, 255])
def test_as_lightgbm_and_shap_say(leaves):
    import shap

    frame = drawn(4000, leaves, columns=9)
    booster = fitted(frame, leaves=leaves)
    asked = frame.head(60)
    tables = check(booster, asked)
    assert tables.plan is not None
    by_shap = shap.TreeExplainer(booster).shap_values(asked)
    assert tables.contributions(asked)[:, :-1] == pytest.approx(by_shap, abs=1e-4)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 999),
    leaves=st.integers(2, 40),
    missing=st.sampled_from([{}, {"zero_as_missing": True}, {"use_missing": False}]),
    small=st.booleans(),
)
def test_any_model_with_missing_values_and_categories(seed, leaves, missing, small):
    frame = drawn(400, seed)
    rows = frame.dropna() if small else frame  # grown without gaps, asked with them
    check(fitted(rows, leaves=leaves, seed=seed, **missing), frame.head(80))


def test_leaves_too_deep_for_a_table_are_computed(monkeypatch):
    frame = drawn(3000, 3, columns=9)
    booster = fitted(frame, leaves=63)
    monkeypatch.setattr(group_tables, "COLUMNS", 4)
    monkeypatch.setattr(group_tables, "DEEPEST", 4)
    tables = check(booster, frame)  # more rows than a block
    assert len(tables.plan.depths.value) > 10


def test_unseen_categories_and_other_orders_of_them():
    frame = drawn(400, 5)
    booster = fitted(frame)
    plans = ["zzz", "j", "a", "b", "c"]
    check(booster, frame.head(50).assign(plan=pd.Categorical(np.resize(plans, 50), categories=plans)))
    codes = frame.assign(plan=frame["plan"].cat.codes).to_numpy(dtype=float)
    codes[:6, -1] = [-1.0, -0.5, 3.7, 99.0, 1e9, np.nan]
    check(booster, codes)


def test_infinite_values_and_other_types():
    frame = drawn(400, 6)
    asked = frame.head(20).assign(number_0=np.resize([np.inf, -np.inf, 1e-40], 20), number_1=range(20))
    asked["number_2"] = asked["number_2"].astype("float32")
    check(fitted(frame), asked)


def test_a_tree_without_splits_gives_its_value_to_the_base():
    inputs = np.arange(20.0)[:, None]
    booster = lgb.train({**QUIET, "min_data_in_leaf": 50}, lgb.Dataset(inputs, inputs[:, 0] + 3), 2)
    assert GroupTables.of(booster).contributions(inputs) == pytest.approx(booster.predict(inputs, pred_contrib=True))


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"objective": "multiclass", "num_class": 3}, "several outputs"),
        ({"boosting": "rf", "bagging_fraction": 0.5, "bagging_freq": 1}, "random forest"),
    ],
)
def test_lightgbm_computes_what_does_not_fit(parameters, reason):
    frame = drawn(300, 7).drop(columns="plan").fillna(0.0)
    label = (frame["number_0"] > 0).astype(int) + (frame["number_1"] > 0)
    booster = lgb.train({**QUIET, **parameters}, lgb.Dataset(frame, label), 3)
    tables = GroupTables.of(booster)
    assert tables.plan is None
    assert reason in tables.reason
    assert (tables.contributions(frame) == booster.predict(frame, pred_contrib=True)).all()


def test_lightgbm_computes_when_the_tables_are_too_large(monkeypatch):
    frame = drawn(300, 8)
    monkeypatch.setattr(group_tables, "MOST_VALUES", 10)
    tables = check(fitted(frame), frame.head(10))
    assert "memory" in tables.reason


def test_threads_and_blocks_change_nothing(monkeypatch):
    frame = drawn(5000, 9)
    tables = GroupTables.of(fitted(frame))
    alone = tables.contributions(frame, threads=1)
    monkeypatch.setattr(group_tables, "THREAD_ROWS", 100)
    assert (tables.contributions(frame, threads=3) == alone).all()
    assert (tables.contributions(frame.iloc[4321:4330]) == alone[4321:4330]).all()
    assert tables.contributions(frame.head(0)).shape == (0, frame.shape[1] + 1)


def test_the_first_trees_alone_when_training_stopped_early():
    frame = drawn(400, 10)
    booster = fitted(frame, trees=8)
    booster.best_iteration = 3
    check(booster, frame.head(30))


def test_errors_say_what_the_rows_lack():
    frame = drawn(300, 11)
    tables = GroupTables.of(fitted(frame))
    with pytest.raises(InputError, match="reads 7 columns, the rows have 6"):
        tables.contributions(frame.drop(columns="number_0"))
    with pytest.raises(InputError, match="reads 1 categories, the rows have 0"):
        tables.contributions(frame.assign(plan=1.0))
