"""Leakage detection: a column that predicts the label by itself was probably recorded after the outcome."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from features.definitions.registry import trait_column
from models.metrics.evaluation import auc
from models.metrics.metric import Leak

TELLS_ALONE = 0.995  # AUC that no honest column was seen to reach; recency does reach 0.98
TRAIT_TELLS_ALONE = 0.97  # columns of events are counted as of their day, a trait is as old as its source says


def find_leaks(train: pd.DataFrame, test: pd.DataFrame, target: str, columns: Sequence[str]) -> tuple[Leak, ...]:
    """Find the columns that tell the label of the test rows by themselves.

    Of a text the share of each category among the training rows is its score. Less is asked of a trait.
    """
    alone = [Leak(name, auc_alone(train, test, target, name)) for name in columns]
    traits = trait_column("")
    return tuple(
        each
        for each in alone
        if each.auc_alone >= (TRAIT_TELLS_ALONE if each.column.startswith(traits) else TELLS_ALONE)
    )


def auc_alone(train: pd.DataFrame, test: pd.DataFrame, target: str, name: str) -> float:
    """Measure the AUC of one column, whichever way it points and wherever what is missing is put."""
    label = test[target].to_numpy(dtype=np.float64)
    if isinstance(test[name].dtype, pd.CategoricalDtype):
        rates = train[target].groupby(train[name].astype(object).fillna("")).mean()
        filled = [test[name].astype(object).fillna("").map(rates).fillna(train[target].mean()).to_numpy(np.float64)]
    else:
        values = test[name].to_numpy(dtype=np.float64)
        filled = [np.where(np.isnan(values), end, values) for end in (-np.inf, np.inf)]
    found = [auc(label, score, np.ones(len(label))) for score in filled]
    return round(max(max(each, 1.0 - each) for each in found), 4)
