"""The comparison of variants in an A/B test: always-valid intervals, and a check of the split.

Everything rests on a few sums per variant, so that one call judges many experiments on many days. Every user counts
once. Arrays have shape (..., variants): whatever comes first is broadcast.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, ndtri

from features.arrays.array_types import Flags, Floats, Places
from models.judge.confidence_sequence import ERROR, anytime_widths

MIN_USERS = 100  # of each variant, before a mean of theirs is nearly normal
MIN_ANSWERS = 15  # users of each variant whose outcome is not 0; of a yes or no the rarer answer, if all were alike
MISMATCH_LEVEL = 0.001  # as of the control group's split
POWER = 0.8
CONCENTRATION = 100.0  # how near to the meant shares others are looked for, in users
MOST_USERS = 10**12
NOBODY = -1


class Moments(NamedTuple):
    """What is known of the users of each variant, shape (..., variants) each.

    `users` counts them, `answers` those whose outcome is not 0. Means and mean squares are of the `outcome` and of what
    was `known` before: the spread of the outcome, that of the known, and both together.
    """

    users: Floats
    answers: Floats
    outcome: Floats
    known: Floats
    spread: Floats
    known_spread: Floats
    together: Floats

    @classmethod
    def of(cls, outcome: Floats, known: Floats, variant: Places, variants: int) -> Moments:
        """Add up the users of each variant; `outcome`, `known` and `variant` have shape (users,).

        Examples
        --------
        >>> found = Moments.of(np.array([1.0, 3.0, 0.0]), np.array([0.0, 1.0, 5.0]), np.array([0, 0, 1]), 2)
        >>> found.outcome.tolist(), found.spread.tolist(), found.together.round(9).tolist(), found.answers.tolist()
        ([2.0, 0.0], [1.0, 0.0], [0.5, 0.0], [2.0, 0.0])
        """
        middle = outcome.mean() if len(outcome) else 0.0  # sums of squares of large amounts would lose their digits
        known_middle = known.mean() if len(known) else 0.0

        def added(values: Floats) -> Floats:
            return np.bincount(variant, values, minlength=variants).astype(np.float64)

        y, x = outcome - middle, known - known_middle
        answers = (outcome != 0).astype(np.float64)
        sums = (added(each) for each in (np.ones(len(y)), answers, y, x, y * y, x * x, x * y))
        found = cls.of_sums(*sums)
        return found._replace(outcome=found.outcome + middle, known=found.known + known_middle)

    @classmethod
    def of_sums(
        cls, users: Floats, answers: Floats, y: Floats, x: Floats, yy: Floats, xx: Floats, xy: Floats
    ) -> Moments:
        """Turn sums of outcomes, of what was known and of their products into moments; 0 where there are no users."""
        count = np.maximum(users, 1.0)
        y, x = y / count, x / count
        spreads = yy / count - y * y, xx / count - x * x, xy / count - x * y
        return cls(users, answers, y, x, np.maximum(spreads[0], 0.0), np.maximum(spreads[1], 0.0), spreads[2])


class Difference(NamedTuple):
    """What one variant brings more than another, with an interval that holds at every look; shapes (...,).

    `error` is the standard error, `plain_error` that without what was known before.
    """

    value: Floats
    low: Floats
    high: Floats
    error: Floats
    plain_error: Floats


def difference(of: Moments, first: int, second: int, *, error: float = ERROR) -> Difference:
    """Compare the means of two variants, freed of what was known before (CUPED).

    The slope of what was known is Lin's (2013): ``(1 - p) * slope of the first + p * slope of the second`` with p the
    share of the first, as in `models.metrics.comparison.cuped`. The interval is the confidence sequence of
    `models.judge.confidence_sequence`, whose chance to miss the truth at any of all looks is `error`.

    Examples
    --------
    >>> outcome, variant = np.array([2.0, 4.0, 6.0, 1.0, 2.0, 3.0]), np.array([0, 0, 0, 1, 1, 1])
    >>> found = difference(Moments.of(outcome, np.zeros(6), variant, 2), 0, 1)
    >>> float(found.value), round(float(found.error) ** 2, 6)
    (2.0, 1.666667)
    """
    one, two = (Moments(*(np.asarray(each)[..., place] for each in of)) for place in (first, second))
    users = one.users + two.users
    share = one.users / np.maximum(users, 1.0)
    slope = (1 - share) * _slope(one) + share * _slope(two)
    value = one.outcome - two.outcome - slope * (one.known - two.known)
    own, plain = _error(one, two, slope), _error(one, two, np.zeros_like(slope))
    width = anytime_widths(np.maximum(users, 1.0), error=error) * own
    return Difference(value, value - width, value + width, own, plain)


def _slope(of: Moments) -> Floats:
    return np.divide(of.together, of.known_spread, out=np.zeros_like(of.together), where=of.known_spread > 0)


def _error(one: Moments, two: Moments, slope: Floats) -> Floats:
    """Find the standard error of a difference: Welch's, or Student's if larger, as in `raw_difference`."""
    spreads = [
        np.maximum(each.spread + slope * (slope * each.known_spread - 2 * each.together), 0) for each in (one, two)
    ]
    free = [np.maximum(each.users - 1, 1) for each in (one, two)]
    welch = sum(spread / degrees for spread, degrees in zip(spreads, free, strict=True))
    pooled = (spreads[0] * one.users + spreads[1] * two.users) / (free[0] + free[1])
    student = pooled * (1 / np.maximum(one.users, 1) + 1 / np.maximum(two.users, 1))
    is_uneven = one.users != two.users
    return np.asarray(np.sqrt(np.where(is_uneven, np.maximum(welch, student), welch)))


def pair_error(variants: int) -> float:
    """Share the chance of an error out to all pairs of variants (Bonferroni), as any of them may be called better.

    Examples
    --------
    >>> pair_error(2), round(pair_error(4), 5)
    (0.05, 0.00833)
    """
    return ERROR / (variants * (variants - 1) / 2)


def has_enough(of: Moments, *, is_yes_no: bool) -> Flags:
    """Tell whether every variant has users enough for an interval; shape (...,).

    Of a yes or no it is asked how many of the rarer answer each would have if all variants were alike: one to which
    nobody at all says yes is worse, and must not wait for somebody who does.

    Examples
    --------
    >>> nobody = Moments.of(np.repeat([1.0, 0.0], [100, 700]), np.zeros(800), np.repeat([0, 1], 400), 2)
    >>> bool(has_enough(nobody, is_yes_no=True)), int(winners(nobody, is_yes_no=True))
    (True, 0)
    """
    answers = of.answers
    if is_yes_no:
        share = of.answers.sum(axis=-1, keepdims=True) / np.maximum(of.users.sum(axis=-1, keepdims=True), 1.0)
        answers = of.users * np.minimum(share, 1.0 - share)
    return np.asarray(((of.users >= MIN_USERS) & (answers >= MIN_ANSWERS)).all(axis=-1))


def winners(of: Moments, *, is_yes_no: bool) -> Places:
    """Find the variant that is better than each other one beyond doubt, by its place; `NOBODY` else; shape (...,).

    Where nothing makes a difference, and somebody looks every day and stops at the first winner, one is named in 5 of
    100 experiments at most.
    """
    count = of.users.shape[-1]
    beats = np.ones((*of.users.shape[:-1], count), dtype=bool)
    for first, second in combinations(range(count), 2):
        found = difference(of, first, second, error=pair_error(count))
        beats[..., first] &= found.low > 0
        beats[..., second] &= found.high < 0
    named = beats & has_enough(of, is_yes_no=is_yes_no)[..., None]
    return np.where(named.any(axis=-1), named.argmax(axis=-1), NOBODY)


def users_needed(deviation: float, effect: float, shares: Sequence[float]) -> int:
    """Say about how many users all variants together need until a difference is found with a chance of 80%.

    That is where the confidence sequence of the two smallest of the variants, and 0.84 standard errors of luck, reach
    no further than the effect.

    Parameters
    ----------
    deviation
        Standard deviation of the outcome between users, beyond what was known before.
    effect
        Smallest difference worth finding, in the unit of the outcome.
    shares
        Of the variants.

    Examples
    --------
    >>> users_needed(1.0, 0.1, (0.5, 0.5)), users_needed(1.0, 0.1, (0.8, 0.2)), users_needed(1.0, 0.0, (0.5, 0.5))
    (6090, 9403, 1000000000000)
    """
    first, second = sorted(shares)[:2]
    users = np.geomspace(10.0, MOST_USERS, 20_001)
    widths = anytime_widths(users * (first + second), error=pair_error(len(shares)))
    reach = (widths + ndtri(POWER)) * deviation * np.sqrt((1 / first + 1 / second) / users)
    enough = np.flatnonzero(reach <= effect)
    return int(users[enough[0]]) if len(enough) else MOST_USERS


def split_doubt(users: Floats, shares: Sequence[float]) -> Floats:
    """Say how likely so uneven a split of users is by chance, whenever one looks: a p-value at every look, (...,).

    One over the Bayes factor of any other shares, a Dirichlet prior around the meant ones, against the meant ones
    (Lindon & Malek 2022, arXiv 2011.03567): the chance that it ever falls below a level is that level.

    Parameters
    ----------
    users
        Of each variant, by what they drew at their first contact; shape (..., variants).

    Examples
    --------
    >>> split_doubt(np.array([[500.0, 500.0], [5_300.0, 4_700.0], [300.0, 200.0]]), (0.5, 0.5)).round(4).tolist()
    [1.0, 0.0, 0.0006]
    """
    prior = CONCENTRATION * np.asarray(shares)
    counts = np.asarray(users, dtype=np.float64)
    seen = gammaln(prior + counts).sum(axis=-1) - gammaln((prior + counts).sum(axis=-1))
    factor = seen - gammaln(prior).sum() + gammaln(CONCENTRATION) - (counts * np.log(shares)).sum(axis=-1)
    return np.asarray(np.exp(-np.maximum(factor, 0.0)))


def is_mismatch(doubt: Floats) -> Flags:
    """Tell whether chance hardly explains a split."""
    return np.asarray(doubt < MISMATCH_LEVEL)
