"""Confidence sequences: intervals that stay valid however often one looks at them.

A usual 95% interval that is computed anew after every week of evidence misses sooner or later. This is the asymptotic
confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (2021, arXiv 2103.06476, theorem 2.2), a normal
mixture boundary (Robbins 1970; Howard, Ramdas, McAuliffe & Sekhon 2021, arXiv 1810.08240): three to three and a half
standard errors wide on each side where the usual interval has two. It is for means of many users, like that.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from features.arrays.array_types import Floats
from models.metrics.evaluation import Z
from models.policy_value.policy_verdict import PolicyValue

ERROR = 0.05  # chance that the truth lies outside at any look
TIGHTEST_AT = 10_000  # users; the widths at a fifth and at twenty times as many are a tenth more


def anytime_width(users: float, *, error: float = ERROR, tightest_at: float = TIGHTEST_AT) -> float:
    """Say how many standard errors the sequence reaches to each side after some users.

    Parameters
    ----------
    users
        Independent units that the estimate rests on.
    tightest_at
        Units at which it is as tight as it gets; to be fixed before the first look.

    Examples
    --------
    >>> [round(anytime_width(users), 2) for users in (500, 2_000, 10_000, 200_000)]
    [4.72, 3.36, 3.04, 3.34]
    """
    return float(anytime_widths(np.array(float(users)), error=error, tightest_at=tightest_at))


def anytime_widths(users: Floats, *, error: float = ERROR, tightest_at: float = TIGHTEST_AT) -> Floats:
    """Say the same after several numbers of users, of any shape."""
    twice = -2 * np.log(error)
    spread = users * (twice + np.log(twice + 1)) / tightest_at
    return np.asarray(np.sqrt(2 * (spread + 1) / spread * np.log(np.sqrt(spread + 1) / error)))


def anytime(value: PolicyValue, users: float) -> PolicyValue:
    """Widen the 95% interval of a value to one that holds at every look; what is unknown stays so.

    Examples
    --------
    >>> wide = anytime(PolicyValue(1.0, 0.0, 2.0, 900, 900.0), 10_000)
    >>> round(wide.low, 2), round(wide.high, 2)
    (-0.55, 2.55)
    """
    factor = anytime_width(users) / Z
    down, up = factor * (value.value - value.low), factor * (value.high - value.value)
    return replace(value, low=value.value - down, high=value.value + up) if value.is_known else value
