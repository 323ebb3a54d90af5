"""The personalisation index: how users with an offer are spread over the pairs of offer and level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

COMMON = 0.05  # of those who get something: a pair given to fewer is no habit of the policy


def personalisation_index(counts: Sequence[int]) -> float:
    """Chance that two users who got something got different pairs of offer and level: 0 where all got the same.

    The Gini-Simpson index of the shares (Simpson 1949); `counts` are users by pair.

    Examples
    --------
    >>> personalisation_index([30, 0]), personalisation_index([5, 5]), personalisation_index([])
    (0.0, 0.5, 0.0)
    """
    given = np.array(counts, dtype=np.float64)
    return float(1.0 - ((given / given.sum()) ** 2).sum()) if given.sum() else 0.0


def common_pairs(counts: Sequence[int]) -> int:
    """Count the pairs of offer and level that are each given to at least `COMMON` of those who get something.

    Examples
    --------
    >>> common_pairs([90, 6, 4]), common_pairs([])
    (2, 0)
    """
    given = np.array(counts, dtype=np.float64)
    return int((given >= COMMON * given.sum()).sum()) if given.sum() else 0
