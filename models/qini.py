"""How well a score says whom an action changes: uplift and Qini curves, with one action or several that cost money."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.evaluation import Floats, Measure, Metric, bootstrap, score_metric

Curve = tuple[Floats, Floats]
Places = npt.NDArray[np.intp]
Z = 1.959964  # 97.5% quantile of the normal distribution


class UpliftMeasure(Protocol):
    """A number about a ranking of treated and untreated users."""

    def __call__(
        self, outcome: Floats, score: Floats, treated: Floats, propensity: Floats | None, weight: Floats | None
    ) -> float:
        """Measure; all of shape (rows,)."""


@dataclass(frozen=True)
class MultiArmQini:
    """What treating the most worthwhile users first earns at each level of spending, per user in account currency.

    `spend`, `gain` and `standard_error` have the shape (points,); `area` is the mean height of the curve above its
    chord: what the order of the users and options earns over giving the same options to random users.
    """

    spend: Floats
    gain: Floats
    standard_error: Floats
    area: Metric

    def as_frame(self) -> pd.DataFrame:
        """Tabulate the curve with its 95% interval: ``spend, gain, standard_error, low, high``."""
        table = pd.DataFrame({"spend": self.spend, "gain": self.gain, "standard_error": self.standard_error})
        return table.assign(low=self.gain - Z * self.standard_error, high=self.gain + Z * self.standard_error)


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
    curve = uplift_curve(outcome, score, treated, propensity, weight)
    return _height(curve) / float(curve[0][-1]) ** 2


def qini_area(
    outcome: Floats, score: Floats, treated: Floats, propensity: Floats | None = None, weight: Floats | None = None
) -> float:
    """Area under the Qini curve above its chord, per user and in units of the outcome, not normalised.

    Examples
    --------
    >>> qini_area(np.array([1., 0., 1., 0.]), np.array([.9, .9, .1, .1]), np.array([1., 0., 0., 1.]))
    0.125
    """
    curve = qini_curve(outcome, score, treated, propensity, weight)
    return _height(curve) / float(curve[0][-1]) ** 2


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
    perfect = _height(uplift_curve(outcome, best, treated, propensity, weight))
    return _share(_height(uplift_curve(outcome, score, treated, propensity, weight)), perfect)


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
    actual = qini_curve(outcome, score, treated, propensity, weight)
    if negative_effect:
        best = outcome * treated - outcome * (1 - treated)
        return _share(_height(actual), _height(qini_curve(outcome, best, treated, propensity, weight)))
    if not np.isin(outcome, (0, 1)).all():
        raise ValueError("negative_effect=False is defined for outcomes of 0 and 1; leave it out for other outcomes")
    users, total = actual[0][-1], actual[1][-1]
    perfect = (np.array([0.0, total, users]), np.array([0.0, total, total]))
    return _share(_height(actual), _height(perfect)) if total >= 0 else float("nan")


def as_measure(measure: UpliftMeasure, treated: Floats, propensity: Floats | None = None) -> Measure:
    """Turn a measure of uplift into one of outcome, score and weight.

    Then `models.evaluation.score_metric` gives its interval and `gain_metric` that of the difference between two
    scores, on the same resampled users.
    """
    return lambda outcome, score, weight: measure(outcome, score, treated, propensity, weight)


def qini_metric(
    outcome: Floats, score: Floats, treated: Floats, user_ids: pd.Series, propensity: Floats | None = None,
    *, measure: UpliftMeasure = qini_auc, samples: int, rng: np.random.Generator,
) -> Metric:  # fmt: skip
    """Bootstrap a measure of uplift by users.

    Parameters
    ----------
    measure
        `qini_auc`, `uplift_auc`, `qini_area` or `uplift_area`.
    samples
        Number of resamples.
    """
    return score_metric(as_measure(measure, treated, propensity), outcome, score, user_ids, samples=samples, rng=rng)


def uplift_by_decile(
    score: Floats, outcome: Floats, treated: Floats, propensity: Floats | None = None,
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
    ...     np.repeat([0.1, 0.5], 4), np.array([1., 0., 0., 1., 1., 1., 0., 0.]), np.tile([1., 1., 0., 0.], 2), bins=2
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
    table.insert(0, "decile", np.arange(1, len(table) + 1))
    table.insert(4, "low", table["observed"] - Z * table["standard_error"])
    table.insert(5, "high", table["observed"] + Z * table["standard_error"])
    return table


def multi_arm_qini(
    scores: Floats, predicted: Floats, cost: Floats, user_ids: pd.Series,
    *, points: int = 101, samples: int, rng: np.random.Generator,
) -> MultiArmQini:  # fmt: skip
    """Show what a policy that knows `predicted` and `cost` would have earned at every budget.

    The policy walks each user's upper hull of predicted gain over cost, the steepest steps of all users first, which
    is the optimal allocation at every budget; a budget that ends inside a step, or among equals, pays for a part of
    it. What it earns is read off the scores, not off the prediction (Sverdrup, Wu, Athey & Wager 2023, arXiv
    2306.11979). Intervals are by resampling users with the policy as it is.

    Parameters
    ----------
    scores
        Doubly robust or inverse propensity scores of every option, nothing in column 0, from
        `models.off_policy.doubly_robust_scores`; shape (rows, options + 1), account currency.
    predicted
        Predicted gain over nothing, costs left out, from models that did not see these rows; shape (rows, options);
        ``-inf`` for an option that is not eligible.
    cost
        Expected cost of each option, at least 0, same shape and currency.
    user_ids
        User of each row; all rows of a user are drawn together.
    points
        Number of budgets, evenly from 0 to that of the whole path.

    Examples
    --------
    >>> scores = np.array([[0.0, 3.0], [1.0, 0.0]])
    >>> qini = multi_arm_qini(
    ...     scores, np.array([[2.0], [1.0]]), np.array([[1.0], [1.0]]), pd.Series(["a", "b"]),
    ...     points=3, samples=10, rng=np.random.default_rng(0),
    ... )
    >>> qini.spend.tolist(), qini.gain.tolist(), qini.area.value
    ([0.0, 0.5, 1.0], [0.0, 1.5, 1.0], 0.5)
    """
    order, ends, row, gained, paid = _path(scores, predicted, cost)
    spend = np.linspace(0.0, paid.sum() / len(scores), points)
    draws: list[Floats] = []

    def area(weight: Floats) -> float:
        counts = weight[row][order]
        gain, used = (np.r_[0.0, np.cumsum(counts * step[order])[ends]] / weight.sum() for step in (gained, paid))
        draws.append(np.interp(spend, used, gain))
        return _height((spend, draws[-1])) / float(spend[-1]) if spend[-1] > 0 else 0.0

    metric = bootstrap(area, user_ids, samples=samples, rng=rng)
    area(np.ones(len(scores)))
    gain = draws[-1]
    # the curve of all users, drawn too, adds nothing to the sum
    error = np.sqrt(np.square(np.array(draws) - gain).sum(axis=0) / samples)
    return MultiArmQini(spend, gain, error, metric)


def _path(scores: Floats, predicted: Floats, cost: Floats) -> tuple[Places, Places, Places, Floats, Floats]:
    """Collect the steps of all users: their order, the ends of equals in it, and each one's row, gain and cost."""
    slope, place = _hull(predicted, cost)
    price = np.c_[np.zeros(len(cost)), cost]
    row, step = np.nonzero(slope > 0)
    before, after = place[row, step], place[row, step + 1]
    steepness = slope[row, step]
    order = np.argsort(-steepness, kind="stable")
    ends = _ends(steepness[order])
    return order, ends, row, scores[row, after] - scores[row, before], price[row, after] - price[row, before]


def _hull(predicted: Floats, cost: Floats) -> tuple[Floats, Places]:
    """Walk each row's upper hull from nothing upwards.

    Returns
    -------
    slope, place
        Gain per cost of each step, falling, 0 where the walk has ended, shape (rows, options), and the options
        stood on, from 0 for nothing, shape (rows, options + 1).
    """
    rows, options = predicted.shape
    value, price = np.c_[np.zeros(rows), predicted], np.c_[np.zeros(rows), cost]
    slope, place, each = np.zeros((rows, options)), np.zeros((rows, options + 1), dtype=np.intp), np.arange(rows)
    for step in range(options):
        at = place[:, step]
        more, dearer = value - value[each, at][:, None], price - price[each, at][:, None]
        rises = (more > 0) & (dearer >= 0)
        ratio = np.where(rises, np.divide(more, dearer, out=np.full_like(more, np.inf), where=dearer > 0), 0.0)
        steepest = ratio.argmax(axis=1)
        slope[:, step] = ratio[each, steepest]
        place[:, step + 1] = np.where(slope[:, step] > 0, steepest, at)
    return slope, place


def _tallies(
    outcome: Floats, score: Floats, treated: Floats, propensity: Floats | None, weight: Floats | None
) -> _Tallies:
    weight = np.ones(len(outcome)) if weight is None else weight
    treatment, control = _arms(treated, propensity, weight)
    order = np.argsort(-score, kind="stable")
    ends = _ends(score[order])
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


def _ends(ranked: Floats) -> Places:
    """Last place of every group of equals in a sorted array."""
    return np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True][: len(ranked)])


def _height(curve: Curve) -> float:
    """Area of a curve above the straight line between its ends."""
    x, y = curve
    return float(np.trapezoid(y, x) - x[-1] * (y[0] + y[-1]) / 2)


def _share(actual: float, perfect: float) -> float:
    return actual / perfect if perfect != 0 else float("nan")


def _ratio(above: Floats, below: Floats | float) -> Floats:
    """Divide, with 0 for what is divided by 0."""
    return np.divide(above, below, out=np.zeros_like(above), where=np.asarray(below) != 0)
