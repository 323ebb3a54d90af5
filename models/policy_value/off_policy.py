"""Off-policy estimators (IPS, SNIPS, doubly robust): what a policy would have been worth on logged data.

Three estimators: inverse propensity scoring needs nothing but the logged propensities (Horvitz & Thompson 1952), its
self-normalised form forgives a common mistake in them (Swaminathan & Joachims 2015), and the doubly robust one also
uses predicted outcomes to be more precise (Dudík, Langford & Li 2011, arXiv 1103.4601). All of them need every option
that the policy takes to have had a chance in the log, and are blind to one that had none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.arrays.array_types import Floats, Places
from models.metrics.evaluation import Z
from models.policy_value.policy_verdict import MIN_EFFECTIVE, PolicyValue

Target = Places | Floats
ValueEstimator = Literal["ips", "snips", "doubly_robust"]


@dataclass(frozen=True, eq=False)
class Logged:
    """What was done, with which chance, and what came of it; one row per decision, all of shape (rows,).

    Parameters
    ----------
    action
        Option given: 0 is nothing, 1 to K the options.
    propensity
        Probability with which that option was chosen, in (0, 1].
    outcome
        What the decision brought, in account currency, contacts and discounts paid.
    user_id
        Whom it was about; the rows of one user hang together in every interval.
    batch
        Number of the lottery, such as a day's, that a row was drawn in. Lotteries at other chances tell more or less
        about a policy: each counts by how precisely it can (`row_weights`). None: all rows count alike.
    """

    action: Places
    propensity: Floats
    outcome: Floats
    user_id: pd.Series
    batch: Places | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.action), len(self.propensity), len(self.outcome), len(self.user_id)}
        if len(lengths) > 1:
            raise ValueError(f"logged columns differ in length: {sorted(lengths)}; give one row per decision")
        unknown = int((~((self.propensity > 0) & (self.propensity <= 1))).sum())
        if unknown:
            raise ValueError(
                f"propensity of {unknown:,} rows is not in (0, 1]; keep the rows whose propensity is known"
            )
        if not np.isfinite(self.outcome).all() or np.any(self.action < 0):
            raise ValueError("an outcome is not finite or an action is negative; keep the rows whose outcome is closed")

    def __len__(self) -> int:
        return len(self.action)


@dataclass(frozen=True, eq=False)
class Estimate:
    """A value, what each row adds to its error, and with which weights rows speak for it, one array per policy.

    The mean of `influence` is the error, so that of a product of two is a covariance.
    """

    value: float
    influence: Floats
    weights: tuple[Floats, ...]


def ips_value(logged: Logged, target: Target, *, minimum: float = MIN_EFFECTIVE) -> PolicyValue:
    """Value a policy by inverse propensity scoring: unbiased whatever the outcomes look like, and the least precise.

    Parameters
    ----------
    target
        Probability of each option, shape (rows, K + 1) with nothing in column 0, or the one option that is chosen,
        whole numbers of shape (rows,). It must not depend on these outcomes.
    minimum
        Effective sample size below which there is no number.

    Examples
    --------
    >>> action, outcome = np.tile([0, 1], 30), np.tile([1.0, 3.0, 2.0, 5.0], 15)
    >>> logged = Logged(action, np.full(60, 0.5), outcome, pd.Series(range(60)))
    >>> ips_value(logged, np.ones(60, dtype=int)).value  # the treated had 3 or 5
    4.0
    >>> str(ips_value(logged, np.full(60, 2)))
    'not enough data: 0 effective users'
    """
    return policy_value(logged, _ips(logged, target), minimum)


def snips_value(logged: Logged, target: Target, *, minimum: float = MIN_EFFECTIVE) -> PolicyValue:
    """Value a policy by self-normalised inverse propensity scoring: the weighted mean of the matched outcomes.

    Biased by order 1 / rows, but never outside the range of the outcomes, and adding a constant to them adds it to
    the value. The interval is by the delta method. Parameters as for `ips_value`.

    Examples
    --------
    >>> logged = Logged(np.tile([0, 1], 30), np.full(60, 0.4), np.tile([1.0, 3.0, 2.0, 5.0], 15), pd.Series(range(60)))
    >>> snips_value(logged, np.ones(60, dtype=int)).value  # a common mistake in the propensities has no effect
    4.0
    """
    return policy_value(logged, _snips(logged, target), minimum)


def doubly_robust_value(
    logged: Logged, target: Target, predicted: Floats, *, minimum: float = MIN_EFFECTIVE
) -> PolicyValue:
    """Value a policy by predicted outcomes, corrected by what the matched rows say about the prediction.

    Right when either the propensities or the predictions are; with propensities known, the predictions can only
    change the precision. Other parameters as for `ips_value`.

    Parameters
    ----------
    predicted
        Expected outcome of every option, shape (rows, K + 1), from a model that did not see the row's user
        (cross-fitted); all 0 gives `ips_value`.

    Examples
    --------
    >>> logged = Logged(np.tile([0, 1], 30), np.full(60, 0.5), np.tile([1.0, 3.0, 2.0, 5.0], 15), pd.Series(range(60)))
    >>> doubly_robust_value(logged, np.ones(60, dtype=int), np.tile([1.5, 4.0], (60, 1))).value
    4.0
    """
    return policy_value(logged, _doubly_robust(logged, target, predicted), minimum)


def value_difference(
    logged: Logged, new: Target, old: Target, *, estimator: ValueEstimator = "doubly_robust",
    predicted: Floats | None = None, minimum: float = MIN_EFFECTIVE,
) -> PolicyValue:  # fmt: skip
    """Say how much more a new policy is worth than an old one, both valued on the same rows (paired).

    What the two have in common cancels, so the interval is narrower than those of the two values suggest. The
    effective sample size is that of the rows on which they differ, and the smaller one of those that speak for the
    new and those that speak for the old. A policy against itself is worth exactly 0 more.

    Parameters
    ----------
    new, old
        As `target` of `ips_value`.
    estimator
        Which of the three values is compared; ``doubly_robust`` needs `predicted`.

    Examples
    --------
    >>> logged = Logged(np.tile([0, 1], 60), np.full(120, 0.5), np.tile([1., 3., 2., 5.], 30), pd.Series(range(120)))
    >>> difference = value_difference(logged, np.ones(120, dtype=int), np.zeros(120, dtype=int), estimator="snips")
    >>> difference.value, difference.low > 0, difference.effective_sample_size
    (2.5, True, 60.0)
    """
    if np.array_equal(new, old):
        return PolicyValue(0.0, 0.0, 0.0, len(logged), float(logged.user_id.nunique()))
    return policy_value(logged, difference(logged, new, old, estimator, predicted), minimum)


def difference(
    logged: Logged, new: Target, old: Target, estimator: ValueEstimator, predicted: Floats | None
) -> Estimate:
    """Estimate what `value_difference` says, with what each row adds to its error."""
    more = matching_weight(logged, new) - matching_weight(logged, old)
    sides = (np.maximum(more, 0.0), np.maximum(-more, 0.0))
    if estimator == "snips":
        first, second = (_snips(logged, target) for target in (new, old))
        return Estimate(first.value - second.value, first.influence - second.influence, sides)
    if estimator == "ips":
        return _averaged(logged, more * logged.outcome, more, sides)
    if predicted is None:
        raise ValueError("the doubly robust difference needs predicted outcomes; pass predicted= or estimator='ips'")
    first_parts, second_parts = (doubly_robust_parts(logged, target, predicted) for target in (new, old))
    return _averaged(logged, first_parts - second_parts, more, sides)


def doubly_robust_scores(logged: Logged, predicted: Floats) -> Floats:
    """Score every option of every row so that its mean over any rows is what the option is worth there.

    What `models.policy_value.budgets.multi_arm_qini` reads. A prediction of 0 everywhere, shape (rows, K + 1), gives
    the plain inverse propensity scores (Robins, Rotnitzky & Zhao 1994).

    Returns
    -------
    Shape (rows, K + 1), in account currency.

    Examples
    --------
    >>> logged = Logged(np.array([0, 1]), np.array([0.5, 0.25]), np.array([3.0, 2.0]), pd.Series(["a", "b"]))
    >>> doubly_robust_scores(logged, np.array([[2.0, 1.0], [1.0, 1.0]])).tolist()
    [[4.0, 1.0], [1.0, 5.0]]
    """
    scores = np.array(predicted, dtype=np.float64)
    rows = np.arange(len(logged))
    scores[rows, logged.action] += (logged.outcome - scores[rows, logged.action]) / logged.propensity
    return scores


def doubly_robust_parts(logged: Logged, target: Target, predicted: Floats) -> Floats:
    """Say what each row adds to the value of a policy, which is their mean; (rows,), parameters as above.

    Examples
    --------
    >>> logged = Logged(np.array([0, 1]), np.array([0.5, 0.25]), np.array([3.0, 2.0]), pd.Series(["a", "b"]))
    >>> doubly_robust_parts(logged, np.array([1, 1]), np.array([[2.0, 1.0], [1.0, 1.0]])).tolist()
    [1.0, 5.0]
    """
    weight, rows = matching_weight(logged, target), np.arange(len(logged))
    expected = predicted[rows, target] if target.ndim == 1 else (target * predicted).sum(axis=1)
    return np.asarray(expected + weight * (logged.outcome - predicted[rows, logged.action]))


def _averaged(logged: Logged, part: Floats, weight: Floats, sides: tuple[Floats, ...]) -> Estimate:
    """Average what rows say of a policy, or of the difference of two, each lottery by its precision."""
    rows = row_weights(logged, weight)
    value = float((rows * part).mean())
    return Estimate(value, rows * (part - value), tuple(rows * side for side in sides))


def row_weights(logged: Logged, weight: Floats) -> Floats:
    """Weigh rows by how precisely their lottery can value a policy, as far as its chances tell; (rows,), mean 1.

    The variance of a row grows with the mean square of the weights of its lottery, so that draws which hardly ever give
    what the policy gives would blur those that do (Agarwal, Basu, Schnabel & Joachims 2017, arXiv 1703.06180).
    Outcomes have no say in it.

    Examples
    --------
    >>> chances, days = np.array([0.5, 0.5, 0.1, 0.1]), np.array([0, 0, 1, 1])
    >>> log = Logged(np.ones(4, dtype=int), chances, np.ones(4), pd.Series(range(4)), days)
    >>> row_weights(log, np.array([2.0, 0.0, 10.0, 0.0])).round(3).tolist()
    [1.889, 1.889, 0.111, 0.111]
    """
    if logged.batch is None:
        return np.ones(len(logged))
    counts = np.maximum(np.bincount(logged.batch), 1)
    precision = 1.0 / (1.0 + np.bincount(logged.batch, weight**2) / counts)
    rows = precision[logged.batch]
    return np.asarray(rows / rows.mean())


def _ips(logged: Logged, target: Target) -> Estimate:
    weight = matching_weight(logged, target)
    return _averaged(logged, weight * logged.outcome, weight, (weight,))


def _snips(logged: Logged, target: Target) -> Estimate:
    weight = matching_weight(logged, target)
    if not weight.any():
        return Estimate(float("nan"), np.zeros(len(logged)), (weight,))
    value = float(np.average(logged.outcome, weights=weight))
    return Estimate(value, weight * (logged.outcome - value) / weight.mean(), (weight,))


def _doubly_robust(logged: Logged, target: Target, predicted: Floats) -> Estimate:
    weight = matching_weight(logged, target)
    return _averaged(logged, doubly_robust_parts(logged, target, predicted), weight, (weight,))


def matching_weight(logged: Logged, target: Target) -> Floats:
    """How much more often the policy takes the logged action than the log did; shape (rows,)."""
    if len(target) != len(logged):
        raise ValueError(f"the policy has {len(target):,} rows and the log {len(logged):,}; give one row per decision")
    if target.ndim == 1:
        if not np.issubdtype(target.dtype, np.integer) or np.any(target < 0):
            raise ValueError("a policy of shape (rows,) holds whole numbers from 0 (nothing) to the number of options")
        return (target == logged.action) / logged.propensity
    if not np.allclose(target.sum(axis=1), 1.0, atol=1e-6) or np.any(target < 0):
        raise ValueError("the probabilities of a policy must be at least 0 and add up to 1 in every row")
    return np.asarray(target[np.arange(len(logged)), logged.action] / logged.propensity)


def policy_value(logged: Logged, estimate: Estimate, minimum: float = MIN_EFFECTIVE) -> PolicyValue:
    """Put an interval around an estimate, clustered by user, or say that the data are too few."""
    codes, users = pd.factorize(logged.user_id)
    size = min(_effective_size(np.bincount(codes, weight)) for weight in estimate.weights)
    matched = logged.outcome[np.sum(estimate.weights, axis=0) > 0]
    if size < minimum or not len(matched) or np.ptp(matched) == 0:
        return PolicyValue(float("nan"), float("-inf"), float("inf"), len(logged), size)
    by_user = np.bincount(codes, estimate.influence)
    error = np.sqrt((by_user**2).sum() * len(users) / max(len(users) - 1, 1)) / len(logged)
    half = float(error * _student(size - 1))
    return PolicyValue(estimate.value, estimate.value - half, estimate.value + half, len(logged), size)


def _student(degrees: float) -> float:
    """97.5% quantile of Student's t to first order (Fisher 1926): few effective users widen an interval."""
    return Z + (Z**3 + Z) / (4 * max(degrees, 1.0))


def _effective_size(weight: npt.NDArray[np.number]) -> float:
    """How many equal weights say as much as these (Kish 1965); 0 when all are 0."""
    return float(weight.sum() ** 2 / (weight**2).sum()) if weight.any() else 0.0
