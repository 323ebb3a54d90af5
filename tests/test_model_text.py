"""A model text from a file: whatever was changed in it, it is refused or every prediction ends."""

from __future__ import annotations

import re

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.forest import boosters
from models.forest.forest_scores import ForestScores
from models.forest.model_text import ENDS, DoesNotFit, ModelTextError, checked_model_text
from models.forest.parsed_forest import Forest


def rows() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"days": rng.normal(size=300), "spend": rng.normal(size=300), "plan": rng.integers(0, 9, 300)})
    frame.loc[::7, "spend"] = np.nan
    return frame.assign(plan=frame["plan"].astype("category"))


def trained(frame: pd.DataFrame, **parameters: int) -> str:
    label = (frame["days"] + 2 * (frame["plan"].cat.codes % 3) > 2).astype(float)
    fixed = {"objective": "binary", "verbosity": -1, "num_leaves": 7, "min_data_in_leaf": 5}
    fixed |= {"min_data_per_group": 5, "num_threads": 1}
    return lgb.train(fixed | parameters, lgb.Dataset(frame, label), 3).model_to_string()


ROWS = rows()
TEXT = trained(ROWS)


def with_whole_sizes(text: str) -> str:
    """Let `tree_sizes` agree with a changed text, so that nothing but the change is found."""
    head, *blocks = text.split(ENDS)[0].split("\nTree=")
    sizes = " ".join(str(len(f"Tree={block}\n".encode())) for block in blocks)
    head = re.sub("(?m)^tree_sizes=.*$", f"tree_sizes={sizes}", head)
    return "\nTree=".join([head, *blocks]) + ENDS + text.split(ENDS)[1]


def changed(name: str, tree: int, place: int, value: str) -> str:
    """Change one number of one list of one tree."""
    before, block, after = re.split(rf"(Tree={tree}\n.*?\n\n)", TEXT, maxsplit=1, flags=re.DOTALL)
    line = re.search(rf"(?m)^{name}=(.*)$", block)
    assert line is not None
    numbers = line[1].split(" ")
    numbers[place % len(numbers)] = value
    return with_whole_sizes(before + block.replace(line[0], f"{name}={' '.join(numbers)}") + after)


def test_a_whole_text_predicts_what_it_did() -> None:
    checked = lgb.Booster(model_str=checked_model_text(TEXT))
    assert (checked.predict(ROWS) == lgb.Booster(model_str=TEXT).predict(ROWS)).all()
    assert checked.pandas_categorical == [list(range(9))]


def test_trees_without_splits_or_categories_are_whole() -> None:
    checked_model_text(trained(ROWS, min_data_in_leaf=299))
    checked_model_text(trained(ROWS.assign(plan=pd.Categorical(np.zeros(300)))))


@given(
    st.sampled_from(["left_child", "right_child"]), st.integers(0, 2), st.integers(0, 5), st.integers(-9, 9)
)  # fmt: skip
def test_no_other_child_than_the_trained_one_is_believed(name: str, tree: int, place: int, value: int) -> None:
    text = changed(name, tree, place, str(value))
    if text != TEXT:
        with pytest.raises(ModelTextError, match=f"tree {tree} has a (child|split or a leaf)"):
            checked_model_text(text)


CASES = {
    "another tree's length": (TEXT.replace("tree_sizes=", "tree_sizes=1"), "not as long as tree_sizes says"),
    "a column outside": (changed("split_feature", 0, 0, "3"), "tree 0 asks a column that is none of 3"),
    "a kind of split": (changed("decision_type", 0, 0, "16"), "in no way that is known"),
    "no number": (changed("threshold", 0, 0, "nan"), "no finite number"),
    "an infinite leaf": (changed("leaf_value", 2, 0, "1e+999"), "no finite number"),
    "a number twice signed": (changed("internal_value", 1, 1, "--0.1"), "tree 1 holds something that is no number"),
    "a list with a number more": (changed("internal_value", 1, 1, "1 1"), "tree 1 has lists of different lengths"),
    "too many rows": (changed("leaf_count", 1, 1, "9999999999"), "counts more rows than there can be"),
    "a field twice": (with_whole_sizes(TEXT.replace("\nshrinkage", "\nnum_leaves=2\nshrinkage")), "a field twice"),
    "categories outside": (changed("cat_boundaries", 0, 1, "9"), "lists of categories that point outside"),
    "linear leaves": (with_whole_sizes(TEXT.replace("is_linear=0", "is_linear=1")), "linear leaves"),
    "several outputs": (TEXT.replace("num_tree_per_iteration=1", "num_tree_per_iteration=3"), "several outputs"),
    "names lost": (TEXT.replace("feature_names=days ", "feature_names="), "2 names of 3 columns"),
    "no number of columns": (TEXT.replace("max_feature_idx", "max"), "max_feature_idx"),
    "another file": ("PK\x03\x04", "does not begin and end as a model text"),
    "empty": ("", "does not begin and end as a model text"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_lightgbm_would_believe_or_die_of_is_named(case: str) -> None:
    text, words = CASES[case]
    with pytest.raises(ModelTextError, match=words):
        checked_model_text(text)


def test_a_damaged_parameter_of_the_training_is_not_read() -> None:
    text = TEXT.replace("[histogram_pool_size: -1]", "[histogram_pool_size -1]")  # ends the process in LightGBM 4.7
    assert lgb.Booster(model_str=checked_model_text(text)).num_trees() == 3


@given(st.integers(0, TEXT.index(ENDS) - 1))
def test_a_cut_text_is_refused(length: int) -> None:
    with pytest.raises(ModelTextError):
        checked_model_text(TEXT[:length])


@given(st.integers(TEXT.index("\nTree=") + 1, TEXT.index(ENDS) - 1), st.integers(0, 6))
def test_after_a_flipped_bit_a_text_is_refused_or_predicts(place: int, bit: int) -> None:
    text = with_whole_sizes(f"{TEXT[:place]}{chr(ord(TEXT[place]) ^ (1 << bit))}{TEXT[place + 1 :]}")
    try:
        booster = lgb.Booster(model_str=checked_model_text(text))
    except ModelTextError:
        return
    predicted = booster.predict(ROWS, raw_score=True)
    assert boosters.contributions(booster, ROWS).shape == (300, 4)
    try:
        forest = Forest.of(booster)
    except DoesNotFit:
        return
    scores = ForestScores.of(forest).scores(forest.atoms(ROWS))
    assert np.isfinite(scores).all()
    assert (scores == predicted).all()
