"""The expected gain of a day's plan with its interval, under both assumptions about effects on retention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from features.storage.lake import Lake
from features.tables.duckdb_sessions import sql_text
from models.effects.average_effect import AverageEffect
from models.metrics.metric import Metric
from serving.stored_days.day_tables import connect, decisions_source

Z = 1.96


@dataclass(frozen=True)
class PlanGain:
    """Expected gain after cost of what targeted offers taught, account currency.

    `low` and `high` bound 95%, by the uncertainty of the effects on margin and on staying alone. `by_use` and `by_risk`
    is the same plan if offers keep whoever uses them, or whoever would have left; `value` counts the lesser for each
    user.
    """

    value: float
    low: float
    high: float
    by_use: float
    by_risk: float


def plan_gain(lake: Lake, as_of: date, effects: Sequence[AverageEffect]) -> PlanGain | None:
    """Add up what decisions that rest on targeted offers are expected to gain; None where there are none."""
    parts = [part for effect in effects if effect.evidence == "observational" if (part := _part(lake, as_of, effect))]
    if not parts:
        return None
    value, by_use, by_risk = (sum(part[place] for part in parts) for place in range(3))
    spread = Z * math.sqrt(sum(part[3] for part in parts))
    return PlanGain(value, value - spread, value + spread, by_use, by_risk)


def _part(lake: Lake, as_of: date, effect: AverageEffect) -> tuple[float, float, float, float] | None:
    """Sum over the users of one offer: value, value by use, value by risk, and the variance of the sum."""
    used = f"coalesce(p_redeem / {effect.redemption_rate}, 1.0)" if effect.redemption_rate > 0 else "0.0"
    risk = f"p_churn / {effect.leaving}" if effect.leaving > 0 else used
    query = f"""
        WITH rows AS (
            SELECT expected_value, coalesce(incremental_margin, 0) - expected_cost AS at_once,
                   coalesce(p_churn, 0) AS p_churn,
                   coalesce(remaining_value, 0) AS remaining, {used} AS used, {risk} AS risk
            FROM {decisions_source(lake, as_of)}
            WHERE offer_id = {sql_text(effect.offer_id)} AND evidence = 'observational' AND arm = 'policy'
        )
        SELECT count(*), sum(expected_value), sum(at_once + {_kept("used", effect)} * remaining),
               sum(at_once + {_kept("risk", effect)} * remaining), sum(used), sum(used * remaining) FROM rows
    """
    with connect(lake) as connection:
        count, value, by_use, by_risk, uses, worth = connection.execute(query).fetchall()[0]
    if not count:
        return None
    margin_error = _error(effect.margin) if effect.margin is not None else 0.0
    return value, by_use, by_risk, (uses * margin_error) ** 2 + (worth * _error(effect.retention)) ** 2


def _kept(strength: str, effect: AverageEffect) -> str:
    """Write the SQL of the effect on staying at a strength, within the own risk."""
    return f"greatest(p_churn - 1, least(p_churn, {effect.retention_shrunk} * {strength}))"


def _error(metric: Metric) -> float:
    return (metric.high - metric.low) / (2 * Z)
