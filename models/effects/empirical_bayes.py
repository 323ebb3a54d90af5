"""Bayesian linear regression with grouped coefficients; the variance of each group is estimated from the data.

Coefficients of a group are drawn around 0 with one variance (a hierarchical prior); the variances are those under which
the data are likeliest, so that a group without a signal shrinks to nothing and one with a strong signal hardly at all.
Source: MacKay 1992, *Bayesian interpolation*; of the steps while it is far from there: Dempster, Laird & Rubin 1977.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from features.arrays.array_types import Flags, Floats, Places

FIRST_SHARE = 0.003  # of the noise that a coefficient of the first guess explains
LEAST_SHARE = 1e-7  # below which a group explains nothing
CAREFUL_STEPS, MOST_STEPS, SETTLED = 5, 60, 0.02


@dataclass(frozen=True)
class Posterior:
    """Posterior of the coefficients, given the variances of their groups, shape (groups,).

    `mean` has shape (parameters,). `root` is the lower Cholesky factor of the precision of those that are `used`.
    `log_evidence` is the logarithm of how likely the data are under the variances, but for a constant of the data.
    """

    mean: Floats
    variances: Floats
    used: Flags
    root: Floats
    log_evidence: float = 0.0

    def drawn(self, draws: int, rng: np.random.Generator) -> Floats:
        """Draw coefficients from the posterior; shape (draws, parameters)."""
        normal = rng.normal(size=(int(self.used.sum()), draws))
        found = np.tile(self.mean, (draws, 1))
        found[:, self.used] += linalg.solve_triangular(self.root, normal, lower=True, trans="T", check_finite=False).T
        return found

    def error_between(self, first: int, second: int) -> float:
        """Compute the standard error of the difference of two coefficients."""
        apart = np.zeros(len(self.mean))
        apart[first], apart[second] = 1.0, -1.0
        return float(np.linalg.norm(linalg.solve_triangular(self.root, apart[self.used], lower=True)))


def empirical_bayes(
    gram: Floats, moment: Floats, group: Places, noise: float, rows: float, *, used: Flags,
    variances: Floats | None = None,
) -> Posterior:  # fmt: skip
    """Find the coefficients, and the variances of their groups under which the data are likeliest.

    Parameters
    ----------
    gram, moment
        Of the weighted regressors, (parameters, parameters), and of them with the response, (parameters,).
    group
        Place of each coefficient's group, shape (parameters,).
    noise
        Variance of what is left of the response.
    rows
        How many rows the sums are over.
    used
        Which coefficients there are; the others, and those that no row tells of, are 0.
    variances
        Where to begin from, such as those of nearly the same rows.

    Examples
    --------
    Of two groups of regressors one has an effect; the other one is shrunk to nothing:

    >>> rng = np.random.default_rng(4)
    >>> regressors = rng.normal(size=(2000, 8))
    >>> response = regressors[:, :4] @ [0.5, -0.4, 0.3, -0.6] + rng.normal(size=2000)
    >>> group = np.repeat([0, 1], 4)
    >>> gram, moment = regressors.T @ regressors, regressors.T @ response
    >>> found = empirical_bayes(gram, moment, group, 1.0, 2000, used=np.ones(8, dtype=bool))
    >>> found.mean.round(1).tolist()[:4], bool(np.abs(found.mean[4:]).max() < 0.03)
    ([0.5, -0.4, 0.3, -0.6], True)
    """
    strength = gram.diagonal()
    used = used & (strength > 1e-12 * max(float(strength.max()), 1e-300))
    gram, moment, own, noise = gram[np.ix_(used, used)], moment[used], group[used], max(noise, 1e-12)
    groups = int(group.max()) + 1
    count = np.bincount(own, minlength=groups)
    usual = np.bincount(own, strength[used], minlength=groups) / np.maximum(count, 1) / max(rows, 1.0)
    scale = np.divide(noise, usual, out=np.zeros(groups), where=usual > 0)
    found = FIRST_SHARE * scale if variances is None else np.maximum(variances, LEAST_SHARE * scale)
    mean, root, spread = _solved(gram, moment, noise, found[own])
    for step in range(MOST_STEPS if variances is None else CAREFUL_STEPS):
        squares = np.bincount(own, mean**2, minlength=groups)
        uncertain = np.bincount(own, spread, minlength=groups)
        expected = (squares + uncertain) / np.maximum(count, 1)
        learnt = count - np.divide(uncertain, found, out=np.zeros(groups), where=found > 0)
        direct = squares / np.maximum(learnt, 1e-6)
        next_ones = expected if step < CAREFUL_STEPS else np.clip(direct, 0.2 * expected, 2.0 * expected)
        next_ones = np.maximum(next_ones, LEAST_SHARE * scale)
        moved = np.abs(next_ones - found) > SETTLED * found
        found = next_ones
        mean, root, spread = _solved(gram, moment, noise, found[own])
        if not moved.any():
            break
    whole = np.zeros(len(used))
    whole[used] = mean
    widened = 2 * np.log(root.diagonal()).sum() + np.log(found[own]).sum()
    return Posterior(whole, found, used, root, float(moment @ mean / noise - widened) / 2)


def _solved(gram: Floats, moment: Floats, noise: float, variance: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean, Cholesky factor of the precision, and variance of each coefficient."""
    precision = gram / noise + np.diag(1.0 / variance)
    root = linalg.cholesky(precision, lower=True, check_finite=False)
    mean = linalg.cho_solve((root, True), moment / noise, check_finite=False)
    inverse, _ = linalg.lapack.dtrtri(root, lower=1)
    return np.asarray(mean), np.asarray(root), np.asarray((np.tril(inverse) ** 2).sum(axis=0))
