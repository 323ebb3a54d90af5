"""Boosters grown for tests: on numbers with gaps and zeros, and a category with gaps."""

from __future__ import annotations

from collections.abc import Iterator

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pandas as pd

QUIET = {"verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5, "min_data_per_group": 5, "cat_smooth": 1.0}
MISSING = [{}, {"zero_as_missing": True}, {"use_missing": False}]


def drawn(rows: int, seed: int, columns: int = 6) -> pd.DataFrame:
    """Numbers with gaps and zeros, and a category with gaps."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(rows, columns))
    numbers[rng.random(numbers.shape) < 0.1] = np.nan
    numbers[rng.random(numbers.shape) < 0.1] = 0.0
    frame = pd.DataFrame(numbers, columns=[f"number_{place}" for place in range(columns)])
    return frame.assign(plan=pd.Categorical(rng.choice([*"abcdefghij", None], rows)))


def strange_plans(frame: pd.DataFrame) -> Iterator[pd.DataFrame | npt.NDArray[np.float64]]:
    """Rows of `drawn` with categories that are new or in another order, and with codes that are none."""
    plans = ["zzz", "j", "a", "b", "c"]
    yield frame.head(50).assign(plan=pd.Categorical(np.resize(plans, 50), categories=plans))
    codes = frame.assign(plan=frame["plan"].cat.codes).to_numpy(dtype=float)
    codes[:6, -1] = [-1.0, -0.5, 3.7, 99.0, 1e9, np.nan]
    yield codes


def fitted(frame: pd.DataFrame, *, leaves: int = 15, trees: int = 5, **parameters: object) -> lgb.Booster:
    """Fit trees to a target in which the columns act together."""
    rng = np.random.default_rng(0)
    known = frame.drop(columns="plan").fillna(0.7).to_numpy()
    label = known[:, 0] * known[:, 1] + np.sin(2 * known).sum(axis=1) + frame["plan"].cat.codes % 3
    label += rng.normal(0, 0.1, len(frame))
    return lgb.train({**QUIET, "num_leaves": leaves, **parameters}, lgb.Dataset(frame, label), trees)


def misfits() -> dict[str, lgb.Booster]:
    """Boosters that only LightGBM itself computes, by why."""
    frame = drawn(300, 7).drop(columns="plan").fillna(0.0)
    label = (frame["number_0"] > 0).astype(int) + (frame["number_1"] > 0)
    parameters = {
        "several outputs": {"objective": "multiclass", "num_class": 3},
        "random forest": {"boosting": "rf", "bagging_fraction": 0.5, "bagging_freq": 1},
        "linear leaves": {"linear_tree": True},
    }
    return {
        why: lgb.train({**QUIET, **special}, lgb.Dataset(frame, label, params=special), 3)
        for why, special in parameters.items()
    }
