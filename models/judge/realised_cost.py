"""Realised costs of policies compared with expected ones, from closed randomised treatments.

Costs are expected by models that saw few redemptions, and a policy picks whom they flatter. So a bound on what a trial
may lose rests on the dearest ratio of paid to expected that randomised treatments leave possible.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import gammaincinv

from features.arrays.array_types import Floats

SURE = 0.975  # that the true ratio is no higher


def dearest_ratio(paid: Floats, expected: Floats, weight: Floats, user_id: pd.Series) -> float:
    """Bound the ratio of a policy's realised to its expected cost from above; never below 1.

    Payments are rare and unequal: their weighted sum is as uncertain as that of Poisson counts, with one payment of the
    usual size more than were seen (gamma interval of Fay & Feuer 1997, in the form of Tiwari, Clegg & Zou 2006).

    Parameters
    ----------
    paid, expected
        What was paid for the row's own option, contact included, and what that was expected to be, account currency,
        shape (rows,).
    weight
        For how many rows of the policy each one stands: 0 where it got something else.

    Returns
    -------
    The ratio of all rows alike where none of the policy's own was paid for, and 1 where none was at all.

    Examples
    --------
    Four payments where four were expected may be ten in truth, 400 where 400 were only a tenth more:

    >>> def ratio(paid_for):
    ...     paid = np.r_[np.ones(paid_for), np.zeros(9 * paid_for)]
    ...     return dearest_ratio(paid, np.full(len(paid), 0.1), np.ones(len(paid)), pd.Series(range(len(paid))))
    >>> round(ratio(4), 2), round(ratio(400), 2)
    (2.56, 1.1)
    """
    found = [_upper_ratio(paid, expected, each, user_id) for each in (weight, np.ones(len(paid)))]
    return max(1.0, next((ratio for ratio in found if ratio is not None), 1.0))


def _upper_ratio(paid: Floats, expected: Floats, weight: Floats, user_id: pd.Series) -> float | None:
    codes, _ = pd.factorize(user_id)
    by_user, foreseen = np.bincount(codes, weight * paid), float(weight @ expected)
    total, squares = float(by_user.sum()), float(by_user @ by_user)
    if foreseen <= 0 or total <= 0:
        return None
    usual = squares / total
    total, squares = total + usual, squares + usual**2
    shape = total**2 / squares
    return float(gammaincinv(shape, SURE)) * squares / total / foreseen
