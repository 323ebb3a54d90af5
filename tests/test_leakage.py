"""The leak alarm: a column that tells the label by itself is named, whatever its type, and chance never is."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from models.metrics.leakage import TELLS_ALONE, auc_alone, find_leaks


def drawn(seed: int, rows: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, rows)
    return pd.DataFrame(
        {
            "label": label,
            "noise": rng.normal(size=rows),
            "status": pd.Categorical(np.where(label == 1, "closed", "open")),
            "plan": pd.Categorical(rng.choice(["free", "pro"], rows)),
            "left_on": np.where(label == 1, rng.integers(1, 30, rows), np.nan),
            "falls": -label + rng.random(rows) / 2,
        }
    )


@given(st.integers(0, 10**6))
def test_a_column_that_tells_the_label_is_named_and_chance_is_not(seed):
    frame = drawn(seed)
    train, test = frame.head(200), frame.tail(200)
    found = find_leaks(train, test, "label", ["noise", "status", "plan", "left_on", "falls"])
    assert [each.column for each in found] == ["status", "left_on", "falls"]
    assert all(each.auc_alone >= TELLS_ALONE and each.gain_without is None for each in found)


def test_less_is_asked_of_a_trait_as_it_is_as_old_as_its_source_says():
    label = np.repeat([0, 1], 100)
    told = np.arange(200.0)
    told[[50, 150]] = told[[150, 50]]
    frame = pd.DataFrame({"label": label, "days_since_last_activity": told, "trait_status": told})
    assert 0.97 < auc_alone(frame, frame, "label", "trait_status") < TELLS_ALONE
    found = find_leaks(frame, frame, "label", ["days_since_last_activity", "trait_status"])
    assert [each.column for each in found] == ["trait_status"]


def test_a_category_that_training_never_saw_tells_nothing():
    frame = drawn(1).assign(code=lambda rows: pd.Categorical([f"c{number}" for number in range(len(rows))]))
    assert auc_alone(frame.head(200), frame.tail(200), "label", "code") == 0.5
