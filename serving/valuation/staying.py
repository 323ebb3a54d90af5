"""The effect of an offer on a user's retention, under two assumptions that targeted data cannot tell apart.

Without randomised treatments only the mean effect of an offer is known. It may be proportional to how likely a user
is to use the offer (*by use*, P(redeem)), or to leave (*by risk*, P(churn)). Decisions rely on the smaller effect of
the two, so that no offer is given that pays under one assumption only.
"""

from __future__ import annotations

import numpy as np

from features.arrays.array_types import Flags, Floats
from models.registry.response import KnownEffect

STRONGEST = 1_000.0  # times the average effect: on who surely does what one in a thousand does


def strength_by_use(p_redeem: Floats, effect: KnownEffect) -> Floats:
    """How strongly an average effect applies, shape (users,): as P(redeem), and to all alike where that is unknown.

    An offer that nobody redeemed is assumed to change nothing, and one that hardly anybody did at most `STRONGEST`
    times what it changes on average.
    """
    if effect.redemption_rate <= 0:
        return np.isnan(p_redeem).astype(np.float64)
    return np.where(np.isnan(p_redeem), 1.0, _times(p_redeem, effect.redemption_rate))


def staying_by_use(effect: KnownEffect, p_redeem: Floats, p_churn: Floats | None) -> Floats:
    """Effect on staying in proportion to the chance that the offer is used, within the own risk; shape (users,)."""
    return possible(effect.retention * strength_by_use(p_redeem, effect), p_churn)


def staying_by_risk(effect: KnownEffect, p_redeem: Floats, p_churn: Floats | None) -> Floats:
    """Effect on staying in proportion to the own risk, against that of those compared, and within it; shape (users,).

    Where no risk or no leaver is known there is no such shape, and it is that by use.
    """
    if p_churn is None or not effect.leaving > 0:
        return staying_by_use(effect, p_redeem, p_churn)
    return possible(effect.retention * _times(np.nan_to_num(p_churn), effect.leaving), p_churn)


def _times(chance: Floats, usual: float) -> Floats:
    """How many times the usual chance users have, above 0; at most `STRONGEST`."""
    with np.errstate(over="ignore"):  # next to nobody usually does: what overflows is cut
        return np.minimum(chance / usual, STRONGEST)


def possible(retention: Floats, p_churn: Floats | None) -> Floats:
    """Cut effects on staying to what can be: nobody is kept who would not have left, or driven away who would.

    Parameters
    ----------
    retention
        Shape (users,) or (users, options).
    p_churn
        Shape (users,); where it is NaN nobody can be kept.
    """
    if p_churn is None:
        return np.clip(retention, -1.0, 1.0)
    risk = np.nan_to_num(p_churn).reshape(-1, *[1] * (retention.ndim - 1))
    return np.clip(retention, risk - 1.0, risk)


def sign_depends(least: Floats, most: Floats) -> Flags:
    """Whether an option pays in one shape and not in the other, by its value in both."""
    return np.asarray((least <= 0) & (most > 0))
