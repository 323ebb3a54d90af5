"""Regression of outcomes on the contrasts of lots, from sums over rows that are made once.

Outcomes lose what is expected of the user whatever is drawn, contrasts their mean over the lots (Robinson 1988; the
R-learner of Nie & Wager 2021), so what is left of both is regressed. How much of it is believed is learnt, too: by
how much users differ, offers and options, in each part of a score (`models.effects.empirical_bayes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.isotonic import isotonic_regression

from features.arrays.array_types import Floats
from models.effects.effect_design import EffectDesign
from models.effects.empirical_bayes import Posterior, empirical_bayes

BLOCKS = 40  # of users per fold, whose sums tell the noise
LIKELY = 1.0  # standard errors
OPTIMISM = 0.25  # log evidence that choosing a variance adds on average where it is 0: half of half a chi-squared


@dataclass(frozen=True)
class Target:
    """What is regressed: `response` (rows,) with `weight` (rows,)."""

    response: Floats
    weight: Floats


@dataclass(frozen=True)
class Fit:
    """What the data say of the coefficients, with or without what discounts change.

    `parameters` (parameters,) are those in use, `by_fold` (folds, parameters) those learnt without each fold of users,
    `gain` (rows,) by how much the latter lower the squared error. `falling` are offers of which lots speak against that
    no effect falls as the discount rises, `noise` is the variance of what nothing explains. `log_evidence` is that of
    the data under this fit, less what its groups of coefficients raise it by where nothing is there.
    """

    has_slope: bool
    posterior: Posterior
    parameters: Floats
    by_fold: Floats
    gain: Floats
    falling: Sequence[int]
    noise: float
    log_evidence: float = 0.0


@dataclass(frozen=True)
class PooledFit:
    """What the data say whether or not discounts change anything, each weighed by its probability.

    Scores are linear in the parameters of the parts that a fit without discounts leaves at 0, so that mixing parameters
    mixes scores (Bayesian model averaging: Hoeting, Madigan, Raftery & Volinsky 1999).
    """

    flat: Fit
    sloped: Fit
    p_slope: float

    @property
    def parameters(self) -> Floats:
        """Expected coefficients, shape (parameters,)."""
        return self._mixed(self.flat.parameters, self.sloped.parameters)

    @property
    def by_fold(self) -> Floats:
        """Those learnt without each fold of users, shape (folds, parameters)."""
        return self._mixed(self.flat.by_fold, self.sloped.by_fold)

    @property
    def spread(self) -> Floats:
        """Standard deviation of the coefficients of each group, shape (groups,)."""
        return np.sqrt(self._mixed(self.flat.posterior.variances, self.sloped.posterior.variances))

    def _mixed(self, flat: Floats, sloped: Floats) -> Floats:
        return np.asarray((1 - self.p_slope) * flat + self.p_slope * sloped)


@dataclass(frozen=True)
class EffectRegression:
    """Sums over folds of users: `gram` (folds, parameters, parameters) and `moment` (folds, parameters)."""

    design: EffectDesign
    gram: Floats
    moment: Floats
    contrasts: Floats
    target: Target

    @classmethod
    def of(cls, design: EffectDesign, target: Target) -> EffectRegression:
        """Sum up once, so that any folds are solved without the rows."""
        contrasts, weight = design.contrasts, target.weight * design.weight
        folds, wide = int(design.fold.max()) + 1, contrasts.shape[1]
        gram, moment = np.zeros((folds, wide, wide)), np.zeros((folds, wide))
        for k in range(folds):
            rows = np.flatnonzero(design.fold == k)
            weighted = contrasts[rows] * weight[rows, None]
            gram[k], moment[k] = weighted.T @ contrasts[rows], weighted.T @ target.response[rows]
        return cls(design, gram, moment, contrasts, target)

    def best(self) -> dict[bool, Fit]:
        """Fit without and with what discounts change."""
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
        """Coefficients in use and those drawn from what the data leave possible, as `EffectModel` keeps them.

        Shape (outputs, 1 + inputs): the parts of every set, then of every set the constants of offers and options.
        """
        sloped = round(draws * fit.p_slope)
        drawn = [
            _rising(each, one, self.design)
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
        falling = _falling(whole, design)
        fit = Fit(has_slope, whole, whole.mean, np.empty(0), np.zeros(rows), falling, noise)
        by_fold = np.zeros((len(self.gram), len(moment)))
        for k in range(len(self.gram)):
            others = empirical_bayes(
                gram - self.gram[k], moment - self.moment[k], design.group, noise,
                (design.fold != k).sum(), used=used, variances=whole.variances,
            )  # fmt: skip
            by_fold[k] = _rising(others.mean, fit, design)
        scores = np.einsum("rp,rp->r", self.contrasts, by_fold[design.fold])
        gain = (2 * scores * self.target.response - scores**2) * self.target.weight * design.weight
        evidence = whole.log_evidence - OPTIMISM * len(np.unique(design.group[whole.used]))
        return Fit(has_slope, whole, _rising(whole.mean, fit, design), by_fold, gain, falling, noise, evidence)


def _falling(found: Posterior, design: EffectDesign) -> list[int]:
    """Offers of which some higher discount likely changes less than a lower one beyond what offers share."""
    falling = []
    for offer, levels in enumerate(design.action_set.levels):
        places = design.option_places[levels]
        pairs = [(a, b) for at, a in enumerate(places) for b in places[at + 1 :] if found.used[a] and found.used[b]]
        if any(found.mean[a] - found.mean[b] > LIKELY * found.error_between(a, b) for a, b in pairs):
            falling.append(offer)
    return falling


def _rising(parameters: Floats, fit: Fit, design: EffectDesign) -> Floats:
    """Pool the constants of an offer's options until none falls as the discount rises, unless lots disproved that."""
    found = parameters.copy()
    for offer, levels in enumerate(design.action_set.levels):
        if offer not in fit.falling and len(levels) > 1:
            places = design.option_places[levels]
            found[places] = isotonic_regression(found[places])
    return found
