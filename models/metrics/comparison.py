"""Comparison of two groups with rows clustered by user: raw difference of means, and adjusted by CUPED.

The outcome, who is treated and `codes`, the number of each row's user from 0, are of shape (rows,).
Every standard error is clustered by user (Liang & Zeger 1986).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd

from features.arrays.array_types import Flags, Floats, Places
from models.metrics.metric import Metric

USERS_PER_COVARIATE = 10
LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """How far two group means are apart: `absolute` in the unit of the outcome, `relative` to the control mean.

    `relative` is missing where the control mean cannot be told from zero or is negative: a ratio to it says nothing.
    """

    treated: float
    control: float
    absolute: Metric
    relative: Metric | None
    standard_error: float
    p_value: float

    def as_dict(self) -> dict[str, object]:
        """Return the fields, rounded to six digits, for JSON."""
        relative = self.relative.as_dict() if self.relative else None
        metrics = {"absolute": self.absolute.as_dict(), "relative": relative}
        return {name: metrics[name] if name in metrics else round(number, 6) for name, number in asdict(self).items()}


@dataclass(frozen=True)
class GroupMean:
    """Mean of a group with its error, which is clustered by user.

    `errors` (users,) has what each user adds to the error of the mean: their squares sum to its variance.
    """

    mean: float
    errors: Floats
    users: int
    rows: int
    degrees: int

    @property
    def variance(self) -> float:
        """Square of the standard error of the mean."""
        return float(np.sum(self.errors**2))


def raw_difference(outcome: Floats, treated: Flags, codes: Places) -> Difference:
    """Compare the means of two groups of at least two users each.

    The standard error is Welch's (1947) or, if larger, Student's, which lets both groups say how much users differ:
    a small control group that happens to lack the few big spenders looks poor and certain at once. With 33 to 300
    controls beside nine times as many treated and skewed amounts, simulated offers that change nothing "help" by Welch
    alone in 7 to 26 of 100 experiments, by the larger of the two in at most 2; groups of equal size lose nothing by
    it. The relative difference has Fieller's (1954) interval, which stays right where the control mean is small and
    excludes zero exactly where the absolute one does.

    Examples
    --------
    >>> outcome, treated = np.array([2.0, 4.0, 6.0, 1.0, 2.0, 3.0]), np.array([True, True, True, False, False, False])
    >>> found = raw_difference(outcome, treated, np.arange(6))
    >>> found.absolute.value, round(found.standard_error**2, 6)
    (2.0, 1.666667)
    """
    return _compare(outcome, np.zeros(len(outcome)), treated, codes, spent=0)


def cuped_difference(outcome: Floats, covariates: pd.DataFrame, treated: Flags, codes: Places) -> Difference:
    """Compare as `raw_difference` does, after `cuped`.

    The first covariates are used, one per `USERS_PER_COVARIATE` users of the smaller group; each costs a degree of
    freedom in both.
    """
    most = min(count_users(treated, codes), count_users(~treated, codes)) // USERS_PER_COVARIATE
    known = _prepared(covariates)[:, :most]
    freed = _freed(outcome, known, treated)
    return _compare(freed, outcome - freed, treated, codes, spent=known.shape[1])


def cuped(outcome: Floats, covariates: pd.DataFrame, treated: Flags) -> Floats:
    """Remove from an outcome what covariates from before the treatment predict (CUPED; Deng, Xu, Kohavi & Walker 2013).

    The difference of the group means of the result is Lin's (2013) regression estimate with all interactions.
    That one fits a slope in each group; it is the same as subtracting *one* slope from everybody,
    ``(1 - p) * slope of the treated + p * slope of the controls`` with p the share of the treated. This
    slope minimises the variance of the difference whatever the group sizes, where a slope pooled over both groups can
    raise it (Freedman 2008), and, being one, it lets the plain variance of the result tell the whole
    uncertainty. Randomisation makes the covariates alike in both groups, so taking them out changes no expectation
    but for a term of order 1/rows, whether or not the regression is right.

    Parameters
    ----------
    outcome
        Shape (rows,).
    covariates
        Shape (rows, covariates). Missing and infinite values become the mean of the column; constant columns say
        nothing and are ignored.
    treated
        Shape (rows,).

    Returns
    -------
    Shape (rows,), in the unit and with the mean of `outcome`.

    Examples
    --------
    The treated were better customers already; all but 2 of their lead of 6 is gone:

    >>> before = pd.DataFrame({"pre_margin": [1., 2., 3., 5., 6., 7.]})
    >>> treated = np.array([False, False, False, True, True, True])
    >>> cuped(np.array([1., 2., 3., 7., 8., 9.]), before, treated)
    array([4., 4., 4., 6., 6., 6.])
    """
    return _freed(outcome, _prepared(covariates), treated)


def group_mean(values: Floats, group: Flags, codes: Places, *, spent: int = 0) -> GroupMean:
    """Average the rows of a group of at least two users.

    Parameters
    ----------
    values, group
        Outcome and who counts, shape (rows,).
    codes
        Number of each row's user, from 0, shape (rows,).
    spent
        Degrees of freedom that an adjustment of the values has used up.
    """
    mean, users, rows = float(values[group].mean()), count_users(group, codes), int(group.sum())
    degrees = users - 1 - spent
    deviations = np.bincount(codes[group], values[group] - mean, minlength=codes.max() + 1).astype(np.float64)
    return GroupMean(mean, deviations * (math.sqrt(users / degrees) / rows), users, rows, degrees)


def count_users(among: Flags, codes: Places) -> int:
    """Count the users who have a row among some, both of shape (rows,)."""
    return int(np.count_nonzero(np.bincount(codes[among])))


def student_reach(degrees: float) -> float:
    """Give the 97.5% point of Student's t by Wallace's (1959) way to the normal; 2.045 for 29 degrees, as in tables."""
    z = NormalDist().inv_cdf(1 - LEVEL / 2) * (8 * degrees + 3) / (8 * degrees + 1)
    return math.sqrt(degrees * math.expm1(z**2 / degrees))


def _prepared(covariates: pd.DataFrame) -> Floats:
    """Standardise the columns that vary, shape (rows, kept); what is missing becomes the mean, which is 0."""
    known = covariates.to_numpy(dtype=np.float64, na_value=np.nan)
    is_known = np.isfinite(known)
    count = np.maximum(is_known.sum(axis=0), 1)
    centred = np.where(is_known, known - np.where(is_known, known, 0.0).sum(axis=0) / count, 0.0)
    scale = np.sqrt((centred**2).sum(axis=0) / count)
    varied = scale > 1e-12 * np.max(np.abs(known), axis=0, initial=0.0, where=is_known)
    return np.asarray(centred[:, varied] / scale[varied])


def _freed(outcome: Floats, known: Floats, treated: Flags) -> Floats:
    if known.shape[1] == 0 or treated.all() or not treated.any():
        return outcome.copy()
    share = treated.mean()
    slope = (1 - share) * _slope(outcome[treated], known[treated]) + share * _slope(outcome[~treated], known[~treated])
    return np.asarray(outcome - np.einsum("ij,j->i", known, slope))


def _slope(outcome: Floats, known: Floats) -> Floats:
    """Least squares slope of the smallest norm; einsum because threads would change the last bits."""
    centred = known - known.mean(axis=0)
    gram, product = np.einsum("ij,ik->jk", centred, centred), np.einsum("ij,i->j", centred, outcome - outcome.mean())
    return np.asarray(np.linalg.pinv(gram, rcond=1e-10, hermitian=True) @ product)


def _compare(values: Floats, shift: Floats, treated: Flags, codes: Places, *, spent: int) -> Difference:
    """Compare two groups; `shift` is what an adjustment took away, shape (rows,).

    The mean of the shift is an error that both groups share: it cancels in the difference, but not in the ratio.
    """
    first, second = group_mean(values, treated, codes, spent=spent), group_mean(values, ~treated, codes, spent=spent)
    degrees = _welch_degrees(first, second)
    variances, together = _variances(first, second), float(np.sum(first.errors * second.errors))
    noise = 1e-12 * float(np.abs(values).max())  # rounding is no evidence
    error = max(math.sqrt(max(sum(variances) - 2 * together, 0.0)), noise)
    value, reach = first.mean - second.mean, student_reach(degrees)
    shared = np.bincount(codes, shift / len(shift))
    common = [float(np.sum(errors * shared)) for errors in (first.errors, second.errors, shared)]
    # variances and covariance of the means with the shift's own error put back
    wide = variances[0] + 2 * common[0] + common[2], variances[1] + 2 * common[1] + common[2], together + sum(common)
    return Difference(
        treated=first.mean,
        control=second.mean,
        absolute=Metric(value, value - reach * error, value + reach * error, len(values)),
        relative=_fieller(first.mean, second.mean, *wide, reach, len(values)),
        standard_error=error,
        p_value=_student_p_value(value / error, degrees) if error else 1.0,
    )


def _variances(first: GroupMean, second: GroupMean) -> tuple[float, float]:
    """Variances of two means: their own or those of users who differ alike in both groups, whichever doubt more."""
    spread = sum(arm.variance * arm.rows**2 * arm.degrees / arm.users for arm in (first, second))
    spread /= first.degrees + second.degrees
    own = first.variance, second.variance
    alike = spread * first.users / first.rows**2, spread * second.users / second.rows**2
    return alike if sum(alike) > sum(own) * (1 + 1e-9) else own  # groups of equal size: own, whatever the rounding


def _fieller(
    treated: float, control: float, treated_variance: float, control_variance: float, covariance: float,
    reach: float, n: int,
) -> Metric | None:  # fmt: skip
    """Find the ratios that the data do not refute: ``|treated - ratio * control| <= reach * its error``."""
    square = control**2 - reach**2 * control_variance
    if control <= 0 or square <= 0:
        return None
    middle = treated * control - reach**2 * covariance
    half = math.sqrt(max(middle**2 - square * (treated**2 - reach**2 * treated_variance), 0.0))
    return Metric(treated / control - 1, (middle - half) / square - 1, (middle + half) / square - 1, n)


def _welch_degrees(first: GroupMean, second: GroupMean) -> float:
    """Degrees of freedom of the difference of two means with variances of their own (Satterthwaite 1946)."""
    if first.variance + second.variance == 0:
        return float(first.degrees + second.degrees)
    parts = first.variance**2 / first.degrees + second.variance**2 / second.degrees
    return (first.variance + second.variance) ** 2 / parts


def _student_p_value(t: float, degrees: float) -> float:
    """Two-sided p-value; it is 0.05 exactly where the interval ends at zero."""
    z = math.sqrt(degrees * math.log1p(t**2 / degrees)) * (8 * degrees + 1) / (8 * degrees + 3)
    return math.erfc(z / math.sqrt(2))
