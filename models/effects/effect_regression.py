"""Ridge regression of outcomes on the contrasts of lots, from sums over blocks of users that are made once.

Outcomes lose what is expected of the user whatever is drawn, contrasts their mean over the lots (Robinson 1988; the
R-learner of Nie & Wager 2021), so what is left of both is regressed. Blocks serve folds and resamples alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import linalg

from features.arrays.array_types import Flags, Floats
from models.effects.effect_design import EffectDesign
from models.effects.effect_model import HEARD, LEVEL, OWN_PARTS, PARTS

RIDGES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # of what data say of a part's constant
OWN_RIDGE = 0.1  # of what is an offer's own, times that of what offers share
INTERCEPT_RIDGE = 0.01
LEAST_DETERMINANT = 1e-9  # against the product of the diagonal
BLOCKS = 40  # of users per fold


@dataclass(frozen=True)
class Target:
    """What is regressed: `response` (rows,) with `weight` (rows,); `scale` (rows,) multiplies the contrasts."""

    response: Floats
    weight: Floats
    scale: Floats | None = None


@dataclass(frozen=True)
class Fit:
    """Ridge and whether discounts matter, with `gain`, by how much held-out scores lower the squared error, (rows,)."""

    ridge: float
    has_slope: bool
    gain: Floats


@dataclass(frozen=True)
class EffectRegression:
    """Sums over blocks of users: `gram` (blocks, parameters, parameters) and `moment` (blocks, parameters)."""

    design: EffectDesign
    gram: Floats
    moment: Floats
    contrasts: Floats
    target: Target

    @classmethod
    def of(cls, design: EffectDesign, target: Target) -> EffectRegression:
        """Sum up once, so that any ridge on any folds or resamples is solved without the rows."""
        contrasts = design.contrasts
        if target.scale is not None:
            contrasts = contrasts * target.scale[:, None]
        weight = target.weight * design.weight
        block = design.fold * BLOCKS + design.users % BLOCKS
        blocks = int(design.fold.max() + 1) * BLOCKS
        wide = contrasts.shape[1]
        gram, moment = np.zeros((blocks, wide, wide)), np.zeros((blocks, wide))
        order = np.argsort(block, kind="stable")
        ends = np.searchsorted(block[order], np.arange(blocks + 1))
        for place in range(blocks):
            rows = order[ends[place] : ends[place + 1]]
            weighted = (contrasts[rows] * weight[rows, None]).T
            gram[place], moment[place] = weighted @ contrasts[rows], weighted @ target.response[rows]
        return cls(design, gram, moment, contrasts, target)

    def best(self) -> dict[bool, Fit]:
        """Choose the ridge by held-out error, without and with what discounts change."""
        return {has_slope: self._best_ridge(has_slope=has_slope) for has_slope in (False, True)}

    def t_value(self, part: int) -> float:
        """Estimate the constant of a part beside that of the level, over its standard error, clustered by blocks.

        Source of the standard error: Liang & Zeger 1986. 0 where the part has no strength.
        """
        deep = self.design.inputs.shape[1]
        places = [LEVEL * deep, part * deep]
        gram, moment = self.gram[:, places][:, :, places], self.moment[:, places]
        whole = gram.sum(axis=0)
        if np.linalg.det(whole) <= LEAST_DETERMINANT * whole[0, 0] * whole[1, 1]:
            return 0.0
        inverse = np.linalg.inv(whole)
        found = inverse @ moment.sum(axis=0)
        left = (moment - gram @ found) @ inverse
        error = float(np.sqrt((left[:, 1] ** 2).sum()))
        return float(found[1]) / error if error > 0 else 0.0

    @cached_property
    def by_fold(self) -> tuple[Floats, Floats]:
        """Sums over the blocks of each fold."""
        folds = len(self.gram) // BLOCKS
        gram, moment = (part.reshape(folds, BLOCKS, *part.shape[1:]).sum(axis=1) for part in (self.gram, self.moment))
        return gram, moment

    def solved(self, gram: Floats, moment: Floats, ridge: float, *, has_slope: bool) -> Floats:
        """Solve the regression that some sums over blocks make; returns (parameters,)."""
        used = self._without_discounts | has_slope
        penalty = ridge * self._penalty(gram) + 1e-9 * max(float(gram.diagonal().max()), 1e-9)
        factor = linalg.cho_factor(gram[np.ix_(used, used)] + np.diag(penalty[used]), check_finite=False)
        found = np.zeros(len(moment))
        found[used] = linalg.cho_solve(factor, moment[used], check_finite=False)
        return found

    def held_out(self, fit: Fit) -> Floats:
        """Scores of every option by models that did not see the row's user; shape (rows, options)."""
        design = self.design
        scores = np.zeros((len(design.inputs), len(design.action_set.options)))
        for k in np.unique(design.fold):
            rows = design.fold == k
            scores[rows] = design.scores(self._without(k, fit.ridge, has_slope=fit.has_slope), rows)
        return scores

    def coefficients(self, fit: Fit, draws: int, rng: np.random.Generator) -> Floats:
        """Coefficients in use and those of resamples of blocks of users, as `EffectModel` keeps them.

        Shape (outputs, 1 + inputs): the parts of every set, then the offers' own constants of every set.
        """
        blocks = len(self.gram)
        drawn = [np.bincount(rng.integers(0, blocks, blocks), minlength=blocks) for _ in range(draws)]
        counts = np.array([np.ones(blocks), *drawn], dtype=np.float64)
        each = []
        for own in counts:
            gram, moment = np.asarray(np.tensordot(own, self.gram, 1), dtype=np.float64), own @ self.moment
            each.append(self.design.split(self.solved(gram, moment, fit.ridge, has_slope=fit.has_slope)))
        shared, own = np.concatenate([parts for parts, _ in each]), np.concatenate([own.ravel() for _, own in each])
        constants = np.zeros((len(own), shared.shape[1]))
        constants[:, 0] = own
        return np.concatenate([shared, constants])

    def _without(self, k: int, ridge: float, *, has_slope: bool) -> Floats:
        gram, moment = (part.sum(axis=0) - part[k] for part in self.by_fold)
        return self.solved(gram, moment, ridge, has_slope=has_slope)

    def _best_ridge(self, *, has_slope: bool) -> Fit:
        folds = np.unique(self.design.fold)
        errors = []
        for ridge in RIDGES:
            error = 0.0
            for k in folds:
                found, (gram, moment) = self._without(k, ridge, has_slope=has_slope), self.by_fold
                error += float(found @ gram[k] @ found - 2 * found @ moment[k])
            errors.append(error)
        ridge = RIDGES[int(np.argmin(errors))]
        gain = np.zeros(len(self.contrasts))
        for k in folds:
            rows = self.design.fold == k
            scores = self.contrasts[rows] @ self._without(k, ridge, has_slope=has_slope)
            gain[rows] = 2 * scores * self.target.response[rows] - scores**2
        return Fit(ridge, has_slope, gain * self.target.weight * self.design.weight)

    @property
    def _without_discounts(self) -> Flags:
        """Tell which parameters do not hang on discounts."""
        deep, offers = self.design.inputs.shape[1], len(self.design.action_set.offers)
        used = np.zeros(PARTS * deep + OWN_PARTS * offers, dtype=bool)
        for part in (LEVEL, HEARD):
            used[part * deep : (part + 1) * deep] = True
        used[PARTS * deep : PARTS * deep + offers] = True
        return used

    def _penalty(self, gram: Floats) -> Floats:
        """Penalty of each parameter: against what the data say of the constant of its part."""
        deep, offers = self.design.inputs.shape[1], len(self.design.action_set.offers)
        own = np.ones(deep)
        own[0] = INTERCEPT_RIDGE
        constants = [gram[part * deep, part * deep] for part in range(PARTS)]
        shared = [own * constant for constant in constants]
        return np.concatenate([*shared, *(np.full(offers, OWN_RIDGE * constants[part]) for part in range(OWN_PARTS))])
