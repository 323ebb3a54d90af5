"""The rule of recency: shares that anybody can count, exact reasons, the same rule from its kept table."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter

from models.learn.recency_rule import RECENCY, RecencyRule, recency_table
from models.metrics.recency_table import RecencyTable


def test_the_share_of_each_bin_is_counted_with_one_user_more_half_of_whom_left() -> None:
    frame = pd.DataFrame({RECENCY: [1.0] * 6 + [30.0] * 6, "is_churned": [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0]})
    table = recency_table(frame, "is_churned")
    assert (table.edges, table.rows) == ((1.0, 30.0), (6, 6, 0))
    assert table.shares == pytest.approx((1.5 / 7, 5.5 / 7, 0.5))
    rule = RecencyRule.of(table, "is_churned")
    asked = pd.DataFrame({RECENCY: [1.0, 20.0, 400.0, np.nan]})
    assert rule.predict(asked) == pytest.approx([1.5 / 7, 5.5 / 7, 0.5, 0.5])
    assert rule.contributions(asked).sum(axis=1) == pytest.approx(rule.raw_score(asked))


def test_a_rule_survives_its_file() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({RECENCY: rng.integers(1, 90, 500).astype(float)})
    frame["is_churned"] = (rng.random(500) < frame[RECENCY] / 90).astype(int)
    table = recency_table(frame, "is_churned")
    again = TypeAdapter(RecencyTable).validate_json(json.dumps(asdict(table)))
    assert again == table
    score = RecencyRule.of(again, "is_churned").predict(frame)
    assert np.corrcoef(score, frame[RECENCY])[0, 1] > 0.9
    assert abs(score.mean() - frame["is_churned"].mean()) < 0.02
