"""Forest scores: LightGBM's own bits, whatever the model and the rows, and however many come together."""

from __future__ import annotations

from itertools import pairwise

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from grown import MISSING, QUIET, drawn, fitted, misfits, strange_plans
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import InputError
from models.forest import parsed_forest as forest_module
from models.forest.forest_scores import ForestScores
from models.forest.model_text import DoesNotFit
from models.forest.parsed_forest import Forest


def scored(booster: lgb.Booster, inputs: pd.DataFrame | np.ndarray) -> np.ndarray:
    forest = Forest.of(booster)
    return ForestScores.of(forest).scores(forest.atoms(inputs))


def check(booster: lgb.Booster, inputs: pd.DataFrame | np.ndarray) -> None:
    assert (scored(booster, inputs) == booster.predict(inputs, raw_score=True)).all()


def test_one_split_by_hand():
    inputs = np.r_[np.zeros(25), np.ones(75)][:, None]
    parameters = {**QUIET, "num_leaves": 2, "learning_rate": 1.0, "lambda_l2": 0.0}
    booster = lgb.train(parameters, lgb.Dataset(inputs, 8 * inputs[:, 0]), 1)
    assert scored(booster, np.array([[0.0], [1.0], [7.0]])) == pytest.approx([0.0, 8.0, 8.0], abs=1e-5)


@pytest.mark.parametrize("leaves", [2, 15, 31, 255, 400])
def test_as_lightgbm_says(leaves):
    frame = drawn(6000, leaves, columns=9)
    check(fitted(frame, leaves=leaves, trees=30, min_data_in_leaf=1), frame)


@given(
    seed=st.integers(0, 999),
    leaves=st.integers(2, 40),
    missing=st.sampled_from(MISSING),
    known=st.booleans(),
    bins=st.sampled_from([4, 255, 1000]),
)
def test_any_model_with_missing_values_and_categories(seed, leaves, missing, known, bins):
    frame = drawn(400, seed)
    rows = frame.dropna() if known else frame  # grown without gaps, asked with them
    check(fitted(rows, leaves=leaves, seed=seed, max_bin=bins, min_data_in_bin=1, **missing), frame)


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 9000), max_size=4), seed=st.integers(0, 99))
def test_batches_of_any_size_have_the_same_bits(cuts, seed):
    frame = drawn(9000, seed)
    booster = fitted(frame.head(500), trees=10)
    edges = [0, *sorted(cuts), 9000]
    parts = [scored(booster, frame.iloc[first:last]) for first, last in pairwise(edges)]
    assert (np.concatenate(parts) == scored(booster, frame)).all()


def test_threads_change_nothing(monkeypatch):
    frame = drawn(5000, 9)
    forest = Forest.of(fitted(frame))
    scores = ForestScores.of(forest)
    alone = scores.scores(forest.atoms(frame, threads=1), threads=1)
    monkeypatch.setattr(forest_module, "THREAD_ROWS", 100)
    assert (scores.scores(forest.atoms(frame, threads=3), threads=3) == alone).all()


def test_more_thresholds_than_a_byte_holds():
    inputs = np.arange(20_000.0)[:, None]
    label = np.random.default_rng(1).normal(size=20_000)
    booster = lgb.train({**QUIET, "max_bin": 2000, "num_leaves": 300}, lgb.Dataset(inputs, label), 10)
    assert Forest.of(booster).atoms(inputs).dtype == np.uint16
    check(booster, inputs)


def test_unseen_categories_and_other_orders_of_them():
    frame = drawn(400, 5)
    booster = fitted(frame)
    for asked in strange_plans(frame):
        check(booster, asked)


@pytest.mark.parametrize("missing", MISSING, ids=str)
def test_infinite_values_the_thresholds_themselves_and_other_types(missing):
    frame = drawn(400, 6)
    booster = fitted(frame, trees=20, **missing)
    cuts = Forest.of(booster).columns[1].cuts
    ends = np.resize([np.inf, -np.inf, 1e-40, -1e-36, 1e-35, 2e-35, -0.0], 200)
    near = np.resize(np.r_[cuts, np.nextafter(cuts, -9), np.nextafter(cuts, 9)], 200)
    asked = frame.head(200).assign(number_0=ends, number_1=near, number_2=np.arange(200) % 5, number_3=True)
    asked["number_4"] = asked["number_4"].astype("float32")
    check(booster, asked)


def test_columns_that_no_tree_asks_constants_and_empty_frames():
    frame = drawn(400, 12).assign(number_2=3.0)
    booster = fitted(frame, trees=1, leaves=3)
    assert len(Forest.of(booster).columns) <= 2
    check(booster, frame)
    check(booster, frame.assign(number_2=np.nan, number_3=1e9))
    assert scored(booster, frame.head(0)).shape == (0,)


def test_trees_without_splits():
    inputs = np.arange(20.0)[:, None]
    check(lgb.train({**QUIET, "min_data_in_leaf": 50}, lgb.Dataset(inputs, inputs[:, 0] + 3), 2), inputs)


def test_the_first_trees_alone_when_training_stopped_early():
    frame = drawn(400, 10)
    booster = fitted(frame, trees=8)
    booster.best_iteration = 3
    check(booster, frame)


def test_a_booster_read_from_its_file(tmp_path):
    frame = drawn(400, 10)
    fitted(frame).save_model(tmp_path / "booster.txt")
    check(lgb.Booster(model_file=tmp_path / "booster.txt"), frame)


@pytest.mark.parametrize(("why", "booster"), misfits().items())
def test_what_does_not_fit_is_refused(why, booster):
    with pytest.raises(DoesNotFit, match=why):
        Forest.of(booster)


def test_a_column_of_two_kinds_is_refused():
    inputs = np.random.default_rng(2).integers(0, 9, (400, 2)).astype(float)
    label = np.sin(inputs[:, 0] * 4) + inputs[:, 1]
    number, category = (lgb.train(QUIET, lgb.Dataset(inputs, label, categorical_feature=kind), 3) for kind in ([], [0]))
    lines = [line for line in number.model_to_string().split("\n") if not line.startswith("tree_sizes")]
    other = category.model_to_string().split("\nTree=")[1].split("\nend of trees")[0]
    mixed = lgb.Booster(model_str="\n".join(lines).replace("\nend of trees", "\nTree=" + other + "\nend of trees"))
    with pytest.raises(DoesNotFit, match="a number here and a category there"):
        Forest.of(mixed)


def test_errors_say_what_the_rows_lack():
    frame = drawn(300, 11)
    forest = Forest.of(fitted(frame))
    with pytest.raises(InputError, match="reads 7 columns, the rows have 6"):
        forest.atoms(frame.drop(columns="number_0"))
    with pytest.raises(InputError, match="reads 1 categories, the rows have 0"):
        forest.atoms(frame.assign(plan=1.0))
