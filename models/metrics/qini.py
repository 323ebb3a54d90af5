"""Uplift and Qini curves: how well a score ranks users by what a treatment changes for them.

`models.policy_value.budgets` has the curve of several actions that cost money.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from features.arrays.array_types import Floats, Places
from models.metrics.evaluation import Measure, Z

Curve = tuple[Floats, Floats]


class UpliftMeasure(Protocol):
    """A number about a ranking of treated and untreated users."""

    def __call__(
        self, outcome: Floats, score: Floats, treated: Floats, propensity: Floats | None, weight: Floats | None
    ) -> float:
        """Measure; all of shape (rows,)."""


@dataclass(frozen=True)
class _Tallies:
    """Running totals at the end of every group of equal scores, best first, each from 0; shape (groups + 1,)."""

    users: Floats
    treated: Floats
    control: Floats
    treated_outcome: Floats
    control_outcome: Floats


def uplift_curve(
    outcome: Floats, score: Floats, treated: Floats, propensity: Floats | None = None, weight: Floats | None = None
) -> Curve:
    """Difference of mean outcomes among the best ranked users, times their number (Devriendt et al. 2020).

    As in scikit-uplift's `uplift_curve` (arXiv 2002.05897), which knows neither propensities nor weights.

    Parameters
    ----------
    outcome
        Any number, shape (rows,).
    score
        Predicted uplift, or anything to rank by; equal scores are treated together.
    treated
        1 for treated, 0 for control.
    propensity
        Probability of treatment, inside (0, 1); each arm is then weighted to stand for everybody (Hájek 1971). One
        number for all rows is the same as none.
    weight
        How often a row counts.

    Returns
    -------
    users, gain
        Number of users, from 0, and incremental outcome among them; shape (groups of equal scores + 1,).

    Examples
    --------
    >>> users, gain = uplift_curve(np.array([1., 0., 1., 0.]), np.array([.9, .9, .1, .1]), np.array([1., 0., 0., 1.]))
    >>> users.tolist(), gain.tolist()
    ([0.0, 2.0, 4.0], [0.0, 2.0, 0.0])
    """
    sums = _tallies(outcome, score, treated, propensity, weight)
    difference = _ratio(sums.treated_outcome, sums.treated) - _ratio(sums.control_outcome, sums.control)
    return sums.users, difference * sums.users


def qini_curve(
    outcome: Floats, score: Floats, treated: Floats, propensity: Floats | None = None, weight: Floats | None = None
) -> Curve:
    """Incremental outcome of the treated among the best ranked users (Radcliffe 2007).

    As in scikit-uplift's `qini_curve`. Arguments and result as of `uplift_curve`; one counts per user, this one per
    treated user.

    Examples
    --------
    >>> qini_curve(np.array([1., 0., 1., 0.]), np.array([.9, .9, .1, .1]), np.array([1., 0., 0., 1.]))[1].tolist()
    [0.0, 1.0, 0.0]
    """
    sums = _tallies(outcome, score, treated, propensity, weight)
    return sums.users, sums.treated_outcome - sums.control_outcome * _ratio(sums.treated, sums.control)


def uplift_area(
    outcome: Floats, score: Floats, treated: Floats, propensity: Floats | None = None, weight: Floats | None = None
) -> float:
    """Area under the uplift curve above its chord, per user and in units of the outcome (AUUC, not normalised).

    What the ranking earns per user over treating users at random, averaged over all shares treated; the measure to
    use for money.

    Examples
    --------
    >>> uplift_area(np.array([1., 0., 1., 0.]), np.array([.9, .9, .1, .1]), np.array([1., 0., 0., 1.]))
    0.25
    """
    return _mean_height(uplift_curve(outcome, score, treated, propensity, weight))


def qini_area(
    outcome: Floats, score: Floats, treated: Floats, propensity: Floats | None = None, weight: Floats | None = None
) -> float:
    """Area under the Qini curve above its chord, per user and in units of the outcome, not normalised.

    Examples
    --------
    >>> qini_area(np.array([1., 0., 1., 0.]), np.array([.9, .9, .1, .1]), np.array([1., 0., 0., 1.]))
    0.125
    """
    return _mean_height(qini_curve(outcome, score, treated, propensity, weight))


def uplift_auc(
    outcome: Floats, score: Floats, treated: Floats, propensity: Floats | None = None, weight: Floats | None = None
) -> float:
    """Area of the uplift curve above its chord as a share of the best possible: 0 is random, 1 perfect.

    As in scikit-uplift's `uplift_auc_score`; the best order is known for binary outcomes only. NaN when no order is
    better than another.

    Raises
    ------
    ValueError
        The outcome is not binary.

    Examples
    --------
    >>> uplift_auc(np.array([1., 0., 1., 0.]), np.array([.9, .9, .1, .1]), np.array([1., 0., 0., 1.]))
    0.8888888888888888
    """
    if not np.isin(outcome, (0, 1)).all():
        raise ValueError("uplift_auc is defined for outcomes of 0 and 1; use uplift_area for other outcomes")
    best = _best_uplift(outcome, treated, np.ones(len(outcome)) if weight is None else weight)
    perfect = area_above_chord(uplift_curve(outcome, best, treated, propensity, weight))
    return _share(area_above_chord(uplift_curve(outcome, score, treated, propensity, weight)), perfect)


def qini_auc(
    outcome: Floats, score: Floats, treated: Floats, propensity: Floats | None = None, weight: Floats | None = None,
    *, negative_effect: bool = True,
) -> float:  # fmt: skip
    """Qini coefficient: area of the Qini curve above its chord as a share of the best possible; 0 random, 1 perfect.

    As in scikit-uplift's `qini_auc_score`. The best order puts treated responders first and untreated ones last; for
    outcomes that are not binary it goes by their size, and the coefficient compares scores on the same rows only.
    NaN when no order is better than another.

    Parameters
    ----------
    negative_effect
        False: the best possible order wins no more than the effect on everybody (nobody is put off by the action).

    Raises
    ------
    ValueError
        The outcome is not binary and `negative_effect` is False.

    Examples
    --------
    >>> qini_auc(np.array([1., 0., 1., 0.]), np.array([.9, .9, .1, .1]), np.array([1., 0., 0., 1.]))
    0.6666666666666666
    """
    users, gain = qini_curve(outcome, score, treated, propensity, weight)
    area = area_above_chord((users, gain))
    if negative_effect:
        best = outcome * treated - outcome * (1 - treated)
        return _share(area, area_above_chord(qini_curve(outcome, best, treated, propensity, weight)))
    if not np.isin(outcome, (0, 1)).all():
        raise ValueError("negative_effect=False is defined for outcomes of 0 and 1; leave it out for other outcomes")
    total = gain[-1]
    perfect = (np.array([0.0, total, users[-1]]), np.array([0.0, total, total]))
    return _share(area, area_above_chord(perfect)) if total >= 0 else float("nan")


def as_measure(measure: UpliftMeasure, treated: Floats, propensity: Floats | None = None) -> Measure:
    """Turn a measure of uplift into one of outcome, score and weight.

    Then `evaluation.score_metric` gives its interval and `gain_metric` that of the difference between two
    scores, on the same resampled users.
    """
    return lambda outcome, score, weight: measure(outcome, score, treated, propensity, weight)


def uplift_by_decile(
    outcome: Floats, score: Floats, treated: Floats, propensity: Floats | None = None,
    user_ids: pd.Series | None = None, *, bins: int = 10,
) -> pd.DataFrame:  # fmt: skip
    """Compare predicted with observed uplift in equally filled bins, the most promising users first.

    Parameters
    ----------
    score
        Predicted uplift in units of the outcome, shape (rows,); equal scores share a bin.
    user_ids
        User of each row, whose rows hang together in the standard error; without it each row is a user.

    Returns
    -------
    ``decile`` (from 1), ``predicted``, ``observed`` (difference of the inverse propensity weighted means),
    ``standard_error``, ``low``, ``high`` (95%), ``treated``, ``control`` (rows). Fewer than two rows of an arm in a
    bin: nothing observed, NaN.

    Examples
    --------
    >>> table = uplift_by_decile(
    ...     np.array([1., 0., 0., 1., 1., 1., 0., 0.]), np.repeat([0.1, 0.5], 4), np.tile([1., 1., 0., 0.], 2), bins=2
    ... )
    >>> table[["decile", "predicted", "observed", "treated"]].to_numpy().tolist()
    [[1.0, 0.5, 1.0, 2.0], [2.0, 0.1, 0.0, 2.0]]
    """
    place = np.searchsorted(np.sort(-score), -score, side="left") * min(bins, len(score)) // len(score)
    treatment, control = _arms(treated, propensity, np.ones(len(score)))
    users = np.arange(len(score)) if user_ids is None else pd.factorize(user_ids)[0]
    rows = []
    for number in np.unique(place):
        inside = place == number
        counts = (int((treatment[inside] > 0).sum()), int((control[inside] > 0).sum()))
        known = _difference(outcome[inside], treatment[inside], control[inside], users[inside])
        rows.append((float(score[inside].mean()), *(known if min(counts) > 1 else (np.nan, np.nan)), *counts))
    table = pd.DataFrame(rows, columns=["predicted", "observed", "standard_error", "treated", "control"])
    reach = Z * table["standard_error"]
    table = table.assign(
        decile=np.arange(1, len(table) + 1), low=table["observed"] - reach, high=table["observed"] + reach
    )
    return table[["decile", "predicted", "observed", "standard_error", "low", "high", "treated", "control"]]


def _tallies(
    outcome: Floats, score: Floats, treated: Floats, propensity: Floats | None, weight: Floats | None
) -> _Tallies:
    weight = np.ones(len(outcome)) if weight is None else weight
    treatment, control = _arms(treated, propensity, weight)
    order = np.argsort(-score, kind="stable")
    ends = ends_of_equals(score[order])
    columns = (weight, treatment, control, treatment * outcome, control * outcome)
    return _Tallies(*(np.r_[0.0, np.cumsum(column[order])[ends]] for column in columns))


def _arms(treated: Floats, propensity: Floats | None, weight: Floats) -> tuple[Floats, Floats]:
    """Weights of the rows as treated and as control, so scaled that a constant propensity changes nothing."""
    if not np.isin(treated, (0, 1)).all():
        raise ValueError("treated must hold 0 and 1 only; for several options use multi_arm_qini")
    if propensity is None:
        return weight * treated, weight * (1 - treated)
    if not ((propensity > 0) & (propensity < 1)).all():
        raise ValueError("a propensity is not inside (0, 1); keep the rows that could have been in either arm")
    mean = np.average(propensity, weights=weight)
    return weight * treated * mean / propensity, weight * (1 - treated) * (1 - mean) / (1 - propensity)


def _best_uplift(outcome: Floats, treated: Floats, weight: Floats) -> Floats:
    """Score by which the uplift curve of binary outcomes is best, as scikit-uplift's `perfect_uplift_curve`."""
    control_responders = weight[(outcome == 1) & (treated == 0)].sum()
    treated_others = weight[(outcome == 0) & (treated == 1)].sum()
    return 2.0 * (outcome == treated) + (outcome if control_responders > treated_others else treated)


def _difference(outcome: Floats, treatment: Floats, control: Floats, users: Places) -> tuple[float, float]:
    """Difference of weighted means and its standard error, clustered by user."""
    with_it, without = (np.average(outcome, weights=arm) if arm.any() else np.nan for arm in (treatment, control))
    influence = _ratio(treatment * (outcome - with_it), treatment.sum())
    influence = influence - _ratio(control * (outcome - without), control.sum())
    codes, groups = pd.factorize(users)
    by_user = np.bincount(codes, influence)
    return with_it - without, float(np.sqrt((by_user**2).sum() * len(groups) / max(len(groups) - 1, 1)))


def ends_of_equals(ranked: Floats) -> Places:
    """Find the last place of every group of equals in a sorted array, shape (groups,)."""
    return np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True][: len(ranked)])


def area_above_chord(curve: Curve) -> float:
    """Measure the area of a curve above the straight line between its ends; below the line it counts as negative."""
    x, y = curve
    return float(np.trapezoid(y, x) - x[-1] * (y[0] + y[-1]) / 2)


def _mean_height(curve: Curve) -> float:
    """Average over all shares treated how far a curve is above its chord, per user."""
    users = float(curve[0][-1])
    return area_above_chord(curve) / users**2


def _share(actual: float, perfect: float) -> float:
    return actual / perfect if perfect != 0 else float("nan")


def _ratio(above: Floats, below: Floats | float) -> Floats:
    """Divide, with 0 for what is divided by 0."""
    return np.divide(above, below, out=np.zeros_like(above), where=np.asarray(below) != 0)
