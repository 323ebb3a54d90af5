"""KPIs of retention marketing, for treated users and the control group: what each user brings per period.

A frame is one of `models.measurement.lift`: a row covers one period, the window of its outcomes.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pandas as pd

from features.arrays.array_types import Floats, Places
from models.measurement.lift import check_rows, outcome_of
from models.metrics.comparison import LEVEL, GroupMean, group_mean, student_reach
from models.metrics.metric import Metric

RATES = {"is_converted": "conversion_rate", "is_retained": "retention_rate"}
AMOUNTS = {"revenue": "revenue_per_user", "margin": "margin_per_user"}
LIFETIME_PERIODS = 12
LIFETIME_ASSUMES = (
    "The average lifetime value assumes that a user brings the same margin in every period, stays with the same "
    "probability from each period to the next and never comes back, that money later is worth as much as money now, "
    "and that nothing counts after {periods} periods."
)


def kpis(frame: pd.DataFrame, *, periods: int = LIFETIME_PERIODS) -> dict[str, Metric]:
    """Sum up each group in the terms of retention marketing, per user and period (the window of a row).

    Rates carry Wilson's (1927) interval with the rows that clustering leaves (Korn & Graubard 1998), amounts Student's
    clustered by user. `LIFETIME_ASSUMES` says what stands behind the lifetime value.

    Returns
    -------
    ``treated.conversion_rate``, ``.retention_rate``, ``.revenue_per_user``, ``.margin_per_user`` and
    ``.lifetime_value``, and the same for ``control``; a group of fewer than two users is absent.

    Raises
    ------
    InputError
        As `models.measurement.lift.check_rows` and `models.measurement.lift.outcome_of`.
    """
    check_rows(frame, (*RATES, *AMOUNTS))
    found: dict[str, Metric] = {}
    for group in ("treated", "control"):
        rows = frame[frame["group"] == group]
        codes, users = pd.factorize(rows["user_id"])
        if len(users) < 2:
            continue
        values = {name: outcome_of(rows, name) for name in (*RATES, *AMOUNTS)}
        found |= {f"{group}.{kpi}": _rate(values[name], codes) for name, kpi in RATES.items()}
        found |= {f"{group}.{kpi}": _mean(values[name], codes) for name, kpi in AMOUNTS.items()}
        found[f"{group}.lifetime_value"] = _lifetime_value(values["margin"], values["is_retained"], codes, periods)
    return found


def expected_periods(retention: float, periods: int) -> float:
    """Say how many periods a user stays on average when every period keeps a share of the users.

    The sum 1 + r + r² + …, which is 1 / (1 - r) without end, over a limited number of periods.

    Examples
    --------
    >>> expected_periods(0.5, 3), expected_periods(1.0, 12)
    (1.75, 12.0)
    """
    return float(np.sum(float(retention) ** np.arange(periods)))


def _overall(values: Floats, codes: Places) -> GroupMean:
    return group_mean(values, np.ones(len(values), dtype=bool), codes)


def _mean(values: Floats, codes: Places) -> Metric:
    found = _overall(values, codes)
    half = student_reach(found.degrees) * math.sqrt(found.variance)
    return Metric(found.mean, found.mean - half, found.mean + half, found.rows)


def _rate(values: Floats, codes: Places) -> Metric:
    """Wilson's interval of a share, in which `rows` independent ones would be as uncertain as these."""
    found = _overall(values, codes)
    share, variance = found.mean, found.variance * found.degrees / found.users
    rows = share * (1 - share) / variance if variance else float(found.users)
    z = NormalDist().inv_cdf(1 - LEVEL / 2)
    middle = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z * math.sqrt(share * (1 - share) / rows + (z / (2 * rows)) ** 2) / (1 + z**2 / rows)
    return Metric(share, max(middle - half, 0.0), min(middle + half, 1.0), found.rows)


def _lifetime_value(margin: Floats, is_retained: Floats, codes: Places, periods: int) -> Metric:
    """Margin per period times `expected_periods` (Gupta & Lehmann 2003, undiscounted), errors by the delta method."""
    retention = float(is_retained.mean())
    stays, power = expected_periods(retention, periods), np.arange(1, periods)
    more_per_retention = float(np.sum(power * retention ** (power - 1)))
    linear = stays * margin + float(margin.mean()) * more_per_retention * (is_retained - retention)
    return _mean(linear, codes)
