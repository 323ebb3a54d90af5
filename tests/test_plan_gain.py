"""What a plan is expected to gain, with its interval and in both shapes, by hand."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from test_summary import decision, offer, write_decisions

from features.storage.lake import Lake
from models.effects.average_effect import AverageEffect
from models.metrics.metric import Metric
from serving.report_page.plan_gain import plan_gain

AS_OF = date(2024, 7, 1)
EFFECT = AverageEffect(
    "type_c", "observational", 900, 900, 1.0, 0.2, Metric(3.0, 3.0 - 1.96, 3.0 + 1.96, 1800),
    Metric(0.05, 0.05 - 0.0196, 0.05 + 0.0196, 1800), 2.0, 0.04, leaving=0.5,
)  # fmt: skip


def given(user: str, p_churn: float, p_redeem: float, kept: float) -> dict[str, object]:
    """A decision for a user whose staying is worth 100 later, for a cost of 1."""
    margin = 2.0 * p_redeem / 0.2
    fields = {"remaining_value": 100.0, "incremental_margin": margin, "incremental_retention": kept}
    expected = {"expected_cost": 1.0, "expected_value": margin + 100.0 * kept - 1.0, "arm": "policy"}
    return decision(user, p_churn, 100.0, **offer(p_redeem=p_redeem, **fields, **expected))


def test_a_gain_by_hand(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    # half and twice as likely to use it as those treated: 0.02 and 0.08 by use, of which a risk of 0.03 leaves 0.03;
    # risks of 0.6 and 0.03 where 0.5 of those compared left: 0.048 and 0.0024 by risk
    write_decisions(lake, [given("a", 0.6, 0.1, 0.02), given("b", 0.03, 0.4, 0.0024), decision("c", 0.5, 9.0)])
    found = plan_gain(lake, AS_OF, (EFFECT,))
    at_once = (1.0 - 1.0) + (4.0 - 1.0)
    assert found is not None
    assert found.by_use == pytest.approx(at_once + 100 * (0.02 + 0.03))
    assert found.by_risk == pytest.approx(at_once + 100 * (0.048 + 0.0024))
    assert found.value == pytest.approx(at_once + 100 * (0.02 + 0.0024))
    assert found.value < min(found.by_use, found.by_risk)
    # margin is known to 1 and staying to 0.01 a head: 0.5 + 2 heads as strong, and (50 + 200) of money
    spread = 1.96 * (2.5**2 * 1.0 + (0.01 * 250) ** 2) ** 0.5
    assert (found.low, found.high) == (pytest.approx(found.value - spread), pytest.approx(found.value + spread))


def test_without_decisions_by_targeted_offers_there_is_no_such_gain(tmp_path: Path) -> None:
    write_decisions(lake := Lake(tmp_path), [decision("c", 0.5, 9.0)])
    assert plan_gain(lake, AS_OF, (EFFECT,)) is None and plan_gain(lake, AS_OF, ()) is None
