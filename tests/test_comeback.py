"""Who comes back of those who have lapsed: a table of recency, or a logistic where it is proven better."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter

from models.learn.comeback import COLUMNS, fit_comeback, predict_comeback
from models.metrics.comeback_note import ComebackNote


def lapsed(count: int, seed: int, *, by_money: float) -> tuple[pd.DataFrame, np.ndarray]:
    """Users whose chance to come back falls with recency, and perhaps rises with what they spent."""
    rng = np.random.default_rng(seed)
    idle, spend = rng.integers(29, 300, count).astype(float), rng.gamma(1.0, 60.0, count)
    chance = 1 / (1 + np.exp(-(2.5 - 0.03 * idle + by_money * (np.log1p(spend) - 3.5))))
    back = (rng.random(count) < chance).astype(int)
    frame = pd.DataFrame(
        {"user_id": np.arange(count).astype(str), COLUMNS[0]: idle, COLUMNS[1]: 5.0, COLUMNS[2]: spend,
         COLUMNS[3]: 400.0, "is_back": back, "margin": 7.0 * back}
    )  # fmt: skip
    return frame, chance


@pytest.mark.parametrize(("by_money", "is_logistic"), [(0.0, False), (1.5, True)])
def test_the_simpler_table_decides_unless_a_logistic_is_proven_better(by_money, is_logistic):
    frame, chance = lapsed(3000, 3, by_money=by_money)
    known = fit_comeback(frame, np.arange(3000) >= 2000, samples=100, seed=1)
    assert bool(known.logistic) == is_logistic
    found = predict_comeback(known, frame)
    assert np.abs(found - chance).mean() < 0.06
    assert ((found > 0) & (found < 1)).all()
    assert known.margin.value == pytest.approx(7.0)
    assert known.metrics["comeback.auc_recency"].low > 0.6
    kept = TypeAdapter(ComebackNote).validate_python(json.loads(json.dumps(asdict(known))))
    assert predict_comeback(kept, frame).tolist() == found.tolist()


def test_of_one_outcome_alone_nothing_is_judged():
    frame, _ = lapsed(50, 3, by_money=0.0)
    known = fit_comeback(frame.assign(is_back=0), np.arange(50) >= 25, samples=100, seed=1)
    assert set(known.metrics) == {"comeback.rate", "comeback.margin"}
    assert (predict_comeback(known, frame) < 0.2).all()
