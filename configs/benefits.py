"""The kinds of benefit that an offer can give: percentage or amount off, free days, points, free shipping, or none."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

BenefitKind = Literal["percent", "amount", "free_days", "points", "shipping", "none"]
COUNTED: tuple[BenefitKind, ...] = ("free_days", "points")  # whose levels are numbers of something that costs
ORDER, FEATURED = "order", "featured_category"  # scopes that are no columns
MOST_LEVEL = 1e6
WINDOW = re.compile(r".+_(\d+)d")


class Benefit(NamedTuple):
    """What one option gives: a share of the price, account currency, days or points; of shipping what it costs.

    A `level` of 0 is nothing.
    """

    kind: BenefitKind
    level: float


def window_of(scope: str) -> int | None:
    """Days over which the column that is a scope adds up; None where the scope is no such column.

    Examples
    --------
    >>> window_of("spend_sum_90d"), window_of("order"), window_of("spend")
    (90, None, None)
    """
    found = WINDOW.fullmatch(scope)
    return int(found[1]) if found else None


def share_of_price(kind: BenefitKind, level: float, covered_spend: float, unit_cost: float) -> float:
    """Write a level as the share of the spend it covers, by which options of every kind are told apart and compared.

    Examples
    --------
    >>> share_of_price("amount", 5.0, 20.0, 0.0), share_of_price("points", 300, 15.0, 0.01)
    (0.25, 0.2)
    """
    worth = level * unit_cost if kind in COUNTED else level
    return round(worth / covered_spend, 6)
