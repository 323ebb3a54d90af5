"""The SQL queries behind the cubes; sums are exact, so that a rerun writes the same bytes."""

from __future__ import annotations

from collections.abc import Sequence

from serving.segments.day_query import quoted
from serving.wording.reason_codes import LOWERS, RAISES

CHANCE, AMOUNT = "DECIMAL(18, 9)", "DECIMAL(38, 6)"  # sums of these are the same in whichever order they are added
BIN_POINTS = 5  # width of the bins of risk, percentage points
SWARM_POINTS = 2  # width of the bins of what a driver moves, percentage points
FEW_COUNTRIES = 30


# what is added up by segment, and the decimals of each that count
OF_SEGMENTS = {
    "users": ("1", 0),
    "at_risk": ("risk_band IN ('high', 'medium')", 0),
    "with_offer": ("offer_id <> 'none'", 0),
    "leavers": ("p_churn", 9),
    "value_at_risk": ("p_churn * retained_value", 6),
    "expected_cost": ("expected_cost", 6),
    "expected_value": ("expected_value", 6),
}


def added(number: str, kind: str) -> str:
    """Write the SQL of an exact sum; 0 of nothing.

    Examples
    --------
    >>> added("p_churn", "DECIMAL(18, 9)")
    'CAST(coalesce(sum(CAST(p_churn AS DECIMAL(18, 9))), 0) AS DOUBLE)'
    """
    return f"CAST(coalesce(sum(CAST({number} AS {kind})), 0) AS DOUBLE)"


MEASURES = f"""
    count(*) AS users, count(p_churn) AS known, count(retained_value) AS valued,
    {added("p_churn", CHANCE)} AS leavers, {added("retained_value", AMOUNT)} AS worth,
    {added("p_churn * retained_value", AMOUNT)} AS value_at_risk, {added("p_redeem", CHANCE)} AS redemptions,
    {added("expected_cost", AMOUNT)} AS expected_cost, {added("expected_value", AMOUNT)} AS expected_value,
    {added("p_churn * (1 - p_churn)", CHANCE)} AS leavers_variance,
    {added("p_churn * (1 - p_churn) * retained_value * retained_value", AMOUNT)} AS loss_variance
"""
DECISIONS = f"""
    SELECT stage, persona, {{country}} AS country, risk_band, arm, offer_id, discount, play, channel, evidence,
           CASE WHEN offer_id = 'none' THEN why[1].code END AS why_nothing, {MEASURES}
    FROM {{decisions}} AS own {{users}} GROUP BY ALL ORDER BY ALL
"""
COUNTRIES = f"""
    LEFT JOIN (SELECT user_id, CASE WHEN country IN (
                   SELECT country FROM {{users}} WHERE country IS NOT NULL GROUP BY country
                   ORDER BY count(*) DESC, country LIMIT {FEW_COUNTRIES}) THEN country
                   WHEN country IS NOT NULL THEN 'other' END AS country
               FROM {{users}} QUALIFY row_number() OVER (PARTITION BY user_id) = 1) AS places USING (user_id)
"""
RISK_BINS = f"""
    SELECT least(floor(p_churn * {100 // BIN_POINTS}), {100 // BIN_POINTS - 1}) * {BIN_POINTS} AS from_percent,
           count(*) AS users, {added("p_churn", CHANCE)} AS leavers
    FROM {{decisions}} WHERE p_churn IS NOT NULL GROUP BY ALL ORDER BY ALL
"""
# what a reason moves the risk by: from the odds that this user would have without it (effects are in log-odds)
MOVED = "p_churn - 1 / (1 + (1 - p_churn) / greatest(p_churn, 1e-12) * exp(effect))"
DRIVERS = f"""
    WITH listed AS (SELECT p_churn, unnest(reasons) AS reason FROM {{decisions}} WHERE p_churn IS NOT NULL),
         named AS (SELECT reason.column AS driver, reason.code AS code, reason.number AS number, p_churn,
                          reason.effect AS effect
                   FROM listed WHERE reason.code IN ('{RAISES}', '{LOWERS}') AND isfinite(reason.effect)),
         cut AS (SELECT driver, quantile_disc(number, [0.333, 0.667]) AS cuts FROM named
                 WHERE number IS NOT NULL GROUP BY driver)
    SELECT driver, code, 2 * round(100 * ({MOVED}) / {SWARM_POINTS}) AS points,
           CASE WHEN number IS NULL THEN 'text' WHEN number <= cuts[1] THEN 'low'
                WHEN number <= cuts[2] THEN 'middle' ELSE 'high' END AS tier,
           count(*) AS users, {added(MOVED, CHANCE)} AS moved
    FROM named LEFT JOIN cut USING (driver) GROUP BY ALL ORDER BY ALL
"""
RULES = """
    SELECT offer_id, discount, channel, why_not[1].code AS code, why_not[1].value AS value,
           why_not[1].number AS number, eligible, count(*) AS users
    FROM {options} GROUP BY ALL ORDER BY ALL
"""

# of who may get nothing at all, the rule by which the last option went
LOST = """
    SELECT suppressed_because[1].code AS code, suppressed_because[1].value AS value,
           suppressed_because[1].number AS number, count(*) AS users
    FROM {decisions} WHERE suppressed_because IS NOT NULL GROUP BY ALL ORDER BY ALL
"""
GIVEN = """
    SELECT offer_id, discount, channel, count(*) AS users, count(DISTINCT message) AS texts, min(message) AS example
    FROM {decisions} WHERE offer_id <> 'none' GROUP BY ALL ORDER BY ALL
"""


def segments_query(decisions: str, members: str, segments: Sequence[str]) -> str:
    """Write the query of what is added up by segment: ``OF_SEGMENTS`` of every user, and whether each is in it."""
    own = ", ".join(f"coalesce(CAST({what} AS DOUBLE), 0) AS {measure}" for measure, (what, _) in OF_SEGMENTS.items())
    flags = ", ".join(f'coalesce({quoted(name)}, false) AS "in {place}"' for place, name in enumerate(segments))
    return f"SELECT {own}, {flags} FROM {decisions} JOIN {members} USING (user_id)"
