"""The regression of outcomes on treatment contrasts, from sufficient statistics that are computed once.

The expected outcome of a user is subtracted from the outcome, and the expected contrast under randomisation from the
contrast; the residuals are regressed on each other (Robinson 1988; the R-learner of Nie & Wager 2021). Shrinkage is
learnt from the data: how much users, offers and options differ, in each part of a score
(`models.effects.empirical_bayes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from sklearn.isotonic import isotonic_regression

from features.arrays.array_types import Flags, Floats, Places
from models.effects.effect_design import EffectDesign
from models.effects.empirical_bayes import Posterior, empirical_bayes

BLOCKS = 40  # of users per fold, whose sums tell the noise
LIKELY = 1.0  # standard errors
TWENTIETHS, STEADIEST = 20, 10.0  # groups of users by what is expected of them, and the highest weight of one
TAILS = (0.005, 0.99)  # of outcomes per unit; what lies beyond counts as much as they
OPTIMISM = 0.25  # log evidence that choosing a variance adds on average where it is 0: half of half a chi-squared


@dataclass(frozen=True)
class Target:
    """What is regressed: `response` (rows,) with `weight` (rows,)."""

    response: Floats
    weight: Floats


@dataclass(frozen=True)
class Fit:
    """The posterior of the coefficients, with or without a dependence on discounts.

    `parameters` (parameters,) are those in use, `by_fold` (folds, parameters) those learnt without each fold of users,
    `gain` (rows,) by how much the latter lower the squared error. `falling` are offers for which it is disproved that
    no effect falls as the discount rises, `noise` is the variance of what nothing explains. `log_evidence` is that of
    the data under this fit, less what its groups of coefficients raise it by where nothing is there; `fold_evidence`
    (folds,) is that of the rows without each fold.
    """

    has_slope: bool
    posterior: Posterior
    parameters: Floats
    by_fold: Floats
    gain: Floats
    falling: Sequence[int]
    noise: float
    log_evidence: float = 0.0
    fold_evidence: Floats = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class PooledFit:
    """The posterior averaged over both models, with and without a dependence on discounts, by their probabilities.

    Scores are linear in the parameters of the parts that a fit without discounts leaves at 0, so that mixing parameters
    mixes scores (Bayesian model averaging: Hoeting, Madigan, Raftery & Volinsky 1999). `fold_p_slope` (folds,) is the
    probability by the rows without each fold of users.
    """

    flat: Fit
    sloped: Fit
    p_slope: float
    fold_p_slope: Floats

    @property
    def parameters(self) -> Floats:
        """Expected coefficients, shape (parameters,)."""
        return _mixed(self.flat.parameters, self.sloped.parameters, self.p_slope)

    @property
    def by_fold(self) -> Floats:
        """Those learnt without each fold of users, shape (folds, parameters)."""
        return _mixed(self.flat.by_fold, self.sloped.by_fold, self.fold_p_slope[:, None])

    @property
    def spread(self) -> Floats:
        """Standard deviation of the coefficients of each group, shape (groups,)."""
        return np.sqrt(_mixed(self.flat.posterior.variances, self.sloped.posterior.variances, self.p_slope))


@dataclass(frozen=True)
class EffectRegression:
    """Sufficient statistics by fold of users: `gram` (folds, parameters, parameters), `moment` (folds, parameters)."""

    design: EffectDesign
    gram: Floats
    moment: Floats
    contrasts: Floats
    target: Target

    @classmethod
    def of(cls, design: EffectDesign, target: Target) -> EffectRegression:
        """Compute the statistics once, so that any set of folds is solved without reading the rows again."""
        contrasts, weight = design.contrasts, target.weight * design.weight
        folds, wide = int(design.fold.max()) + 1, contrasts.shape[1]
        gram, moment = np.zeros((folds, wide, wide)), np.zeros((folds, wide))
        for k in range(folds):
            rows = np.flatnonzero(design.fold == k)
            weighted = contrasts[rows] * weight[rows, None]
            gram[k], moment[k] = weighted.T @ contrasts[rows], weighted.T @ target.response[rows]
        return cls(design, gram, moment, contrasts, target)

    def best(self) -> dict[bool, Fit]:
        """Fit without and with a dependence on discounts."""
        gram, moment, design = self.gram.sum(axis=0), self.moment.sum(axis=0), self.design
        noise = self.noise(np.zeros(len(moment)))
        first = empirical_bayes(gram, moment, design.group, noise, len(design.fold), used=design.is_parameter)
        noise = self.noise(first.mean)
        return {has_slope: self._fit(noise, has_slope=has_slope) for has_slope in (False, True)}

    def noise(self, parameters: Floats) -> float:
        """Variance of the response around what some parameters explain, as large as sums over blocks of users say.

        Users who come more than once and unequal weights make it larger than the rows alone would.
        """
        design = self.design
        left = (self.target.response - self.contrasts @ parameters) * self.target.weight * design.weight
        block = np.eye(BLOCKS)[design.users % BLOCKS]
        apart = np.zeros(len(parameters))
        for k in range(len(self.gram)):
            rows = design.fold == k
            sums = block[rows].T @ (self.contrasts[rows] * left[rows, None])
            apart += ((sums - sums.mean(axis=0)) ** 2).sum(axis=0) * BLOCKS / (BLOCKS - 1)
        strength = self.gram.sum(axis=0).diagonal()
        known = strength > 1e-12 * max(float(strength.max()), 1e-300)
        return float(np.median(apart[known] / strength[known])) if known.any() else 0.0

    def held_out(self, fit: PooledFit) -> Floats:
        """Scores of every option by models that did not see the row's user; shape (rows, options)."""
        design = self.design
        scores = np.zeros((len(design.inputs), len(design.action_set.options)))
        for k, parameters in enumerate(fit.by_fold):
            rows = design.fold == k
            scores[rows] = design.scores(parameters, rows)
        return scores

    def coefficients(self, fit: PooledFit, draws: int, rng: np.random.Generator) -> Floats:
        """Return the coefficients in use and draws from their posterior, as `EffectModel` stores them.

        Shape (outputs, 1 + inputs): the parts of every set, then of every set the constants of offers and options.
        """
        sloped = round(draws * fit.p_slope)
        drawn = [
            _rising(each, one.falling, self.design)
            for one, count in ((fit.flat, draws - sloped), (fit.sloped, sloped))
            for each in one.posterior.drawn(count, rng)
        ]
        each = [self.design.split(parameters) for parameters in (fit.parameters, *drawn)]
        shared = np.concatenate([split.shared for split in each])
        own = np.concatenate([np.concatenate([split.own.ravel(), split.options]) for split in each])
        constants = np.zeros((len(own), shared.shape[1]))
        constants[:, 0] = own
        return np.concatenate([shared, constants])

    def _fit(self, noise: float, *, has_slope: bool) -> Fit:
        design, rows = self.design, len(self.contrasts)
        used = design.is_parameter if has_slope else design.is_parameter & ~design.of_discounts
        gram, moment = self.gram.sum(axis=0), self.moment.sum(axis=0)
        whole = empirical_bayes(gram, moment, design.group, noise, rows, used=used)
        folds = [self._without(k, noise, used) for k in range(len(self.gram))]
        by_fold = np.array([_rising(each.mean, _falling(each, design), design) for each in folds])
        scores = np.einsum("rp,rp->r", self.contrasts, by_fold[design.fold])
        gain = (2 * scores * self.target.response - scores**2) * self.target.weight * design.weight
        falling = _falling(whole, design)
        return Fit(
            has_slope, whole, _rising(whole.mean, falling, design), by_fold, gain, falling, noise,
            _evidence(whole, design), np.array([_evidence(each, design) for each in folds]),
        )  # fmt: skip

    def _without(self, k: int, noise: float, used: Flags) -> Posterior:
        """Learn from the other folds of users alone, how far to believe it, too: a fold has no say in its own scores.

        Variances of all rows would be large where the fold agrees with the others by chance, and let it praise itself.
        """
        gram, moment = self.gram.sum(axis=0) - self.gram[k], self.moment.sum(axis=0) - self.moment[k]
        return empirical_bayes(gram, moment, self.design.group, noise, (self.design.fold != k).sum(), used=used)


def _evidence(posterior: Posterior, design: EffectDesign) -> float:
    """Log evidence, less what choosing the variances adds to it."""
    return posterior.log_evidence - OPTIMISM * len(np.unique(design.group[posterior.used]))


def _mixed(flat: Floats, sloped: Floats, p_slope: float | Floats) -> Floats:
    return np.asarray((1 - p_slope) * flat + p_slope * sloped)


def like_expected(expected: Floats) -> Places:
    """Put users into twentieths by how much is expected of them; shape (rows,)."""
    edges = np.unique(np.quantile(expected, np.linspace(0, 1, TWENTIETHS + 1)))[1:-1]
    return np.searchsorted(edges, expected, side="right")


def precision(like: Places, left: Floats) -> Floats:
    """Weights by how closely users keep to what is expected of them: the margin of who buys much varies most.

    Feasible weighted least squares: the inverse of the mean square of what is `left` among `like` users, none above
    `STEADIEST` times the mean; shape (rows,).
    """
    spread = np.bincount(like, left**2) / np.maximum(np.bincount(like), 1)
    usual = float(np.mean(left**2))
    return np.ones(len(left)) if usual == 0 else usual / np.maximum(spread, usual / STEADIEST)[like]


def _falling(posterior: Posterior, design: EffectDesign) -> list[int]:
    """Offers of which some higher discount likely changes less than a lower one beyond what offers share."""
    falling = []
    for offer, levels in enumerate(design.action_set.levels):
        places = design.option_places[levels]
        pairs = [
            (a, b) for at, a in enumerate(places) for b in places[at + 1 :] if posterior.used[a] and posterior.used[b]
        ]
        if any(posterior.mean[a] - posterior.mean[b] > LIKELY * posterior.error_between(a, b) for a, b in pairs):
            falling.append(offer)
    return falling


def _rising(parameters: Floats, falling: Sequence[int], design: EffectDesign) -> Floats:
    """Pool the constants of an offer's options until none falls as the discount rises, unless that was disproved."""
    found = parameters.copy()
    for offer, levels in enumerate(design.action_set.levels):
        if offer not in falling and len(levels) > 1:
            places = design.option_places[levels]
            found[places] = isotonic_regression(found[places])
    return found
