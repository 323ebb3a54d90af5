"""Values of policies: held-out effects, calibrated on randomised treatments, combined with doubly robust values.

A doubly robust value is right whatever models say, and pays for it: the margin of the few who buy most is in it whole,
so that thousands of users leave it as wide as all there is to gain. Held-out effects are precise and may be wrong in
size. So randomised treatments say what each option changes on average and how much is true of how users are said to
differ from that (the best linear predictor of effects: Chernozhukov, Demirer, Duflo & Fernández-Val 2018, arXiv
1712.04802), by a regression whose rows count by how steady their users are. What is expected of the best of many
guesses is too good (the optimiser's curse); the slope of truth on guess is what takes that away. Costs are what was
paid, doubly robust.

Both values rest on the same users, so they are put together with the weights that leave the least variance, as their
own errors tell (Bates & Granger 1969), unless they contradict each other (Hausman 1978): then the doubly robust one
stands alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import pandas as pd

from features.arrays.array_types import Flags, Floats, Places
from models.effects.effect_design import reweighted
from models.effects.effect_regression import like_expected, precision
from models.policy_value.evidence import Evidence
from models.policy_value.off_policy import Estimate, Logged, difference, policy_value
from models.policy_value.policy_verdict import PolicyValue

CUT, MOST_CUT = 0.5, 0.01  # rows cut per root of all rows, and the largest share of them
CONTRADICTED = 3.0  # standard errors between both values; tails make the doubly robust one err by two too often


class Comparison(Protocol):
    """How policies are compared on randomised treatments: chances of options, (rows, 2 + options), nothing first."""

    @property
    def logged(self) -> Logged:
        """The logged randomised treatments."""

    def estimate(self, new: Floats, old: Floats) -> Estimate:
        """Estimate how much more a policy is worth per user than another one, and each row's part in the error."""


@dataclass(frozen=True)
class DoublyRobust:
    """Comparison by doubly robust values alone; `predicted` (rows, 2 + options) is what is expected of each option."""

    logged: Logged
    predicted: Floats

    def estimate(self, new: Floats, old: Floats) -> Estimate:
        """Take the difference of both values; see `models.policy_value.off_policy`."""
        return difference(self.logged, new, old, "doubly_robust", self.predicted)


@dataclass(frozen=True)
class Calibration:
    """Average effects of options, and the slope of true on predicted differences between users.

    `means` (folds, options) is what each option changes in a fold of users, costs left out, `lean` (folds, options) how
    much less it is for a slope that is one more. `deviation` (rows, options) are held-out effects less their mean over
    the fold, `slope` how much of them is true. `slope_error` (rows,) averages to the error of the slope, `mean_error`
    (rows, options) to those of the means of the row's fold, were the slope right.
    """

    means: Floats
    lean: Floats
    deviation: Floats
    slope: float
    slope_error: Floats
    mean_error: Floats


@dataclass(frozen=True)
class Calibrated:
    """Comparison by calibrated effects and doubly robust values together."""

    evidence: Evidence

    @cached_property
    def logged(self) -> Logged:
        """The logged randomised treatments."""
        return self.evidence.logged

    @cached_property
    def calibration(self) -> Calibration:
        """How much of the effects is true."""
        return calibration(self.evidence)

    @cached_property
    def _robust(self) -> DoublyRobust:
        return DoublyRobust(self.logged, self.evidence.predicted)

    @cached_property
    def _costs(self) -> DoublyRobust:
        cost, paid = _charged(self.evidence)
        nothing = np.zeros((len(cost), 1))
        return DoublyRobust(replace(self.logged, outcome=paid), np.concatenate([nothing, cost, nothing], axis=1))

    def estimate(self, new: Floats, old: Floats) -> Estimate:
        """Put both estimates together, unless they contradict each other."""
        robust, learnt = self._robust.estimate(new, old), self.by_effects(new, old)
        of_robust, of_learnt, shared = _covariance(robust.influence, learnt.influence, self.logged.user_id)
        apart = of_robust + of_learnt - 2 * shared
        if apart <= 0 or abs(robust.value - learnt.value) > CONTRADICTED * np.sqrt(apart):
            return robust
        weight = min(max((of_learnt - shared) / apart, 0.0), 1.0)
        value = weight * robust.value + (1 - weight) * learnt.value
        influence = weight * robust.influence + (1 - weight) * learnt.influence
        return Estimate(value, influence, robust.weights)

    @cached_property
    def without(self) -> dict[int, Calibrated]:
        """Leave out each fold of users in turn."""
        return {int(k): Calibrated(self.evidence.where(self.evidence.fold != k)) for k in np.unique(self.evidence.fold)}

    @cached_property
    def scores(self) -> Floats:
        """What calibrated effects say of *nothing*, 0, and of every option, costs paid; (rows, 1 + options)."""
        found, own = self.calibration, np.unique(self.evidence.fold, return_inverse=True)[1]
        cost, _ = _charged(self.evidence)
        return np.c_[np.zeros(len(own)), found.means[own] + found.slope * found.deviation - cost]

    def paid(self, new: Floats, old: Floats) -> float:
        """Estimate how much more was paid per user for the options of one policy than for those of another one."""
        return self._costs.estimate(new, old).value

    def by_effects(self, new: Floats, old: Floats) -> Estimate:
        """Take what calibrated effects say of the difference of two policies, less that of what was paid."""
        found, cost, more = self.calibration, self._costs.estimate(new, old), (new - old)[:, 1:-1]
        differs, own = (more * found.deviation).sum(axis=1), np.unique(self.evidence.fold, return_inverse=True)[1]
        gain = (more * found.means[own]).sum(axis=1) + found.slope * differs
        share = np.stack([more[inside].sum(axis=0) / len(more) for inside in _folds(self.evidence)])
        leans = float(differs.mean() - (share * found.lean).sum())
        influence = gain - gain.mean() + leans * found.slope_error + (found.mean_error * share[own]).sum(axis=1)
        return Estimate(float(gain.mean()) - cost.value, influence - cost.influence, cost.weights)


def gain_over(comparison: Comparison, new: Floats, old: Floats) -> PolicyValue:
    """Estimate how much more a policy is worth per user than another, with a 95% interval; exactly 0 over itself."""
    logged = comparison.logged
    if np.array_equal(new, old):
        return PolicyValue(0.0, 0.0, 0.0, len(logged), float(logged.user_id.nunique()))
    return policy_value(logged, comparison.estimate(new, old))


def calibration(evidence: Evidence) -> Calibration:
    """Regress outcomes of randomised treatments on the options drawn and on held-out predicted effects.

    Outcomes lose what is expected of the user whatever is drawn, and their tails (`tail_quantiles`). A fold of users
    has option means of its own, as the other folds chose the policies that it judges; the one slope is found on what
    these means leave (Frisch & Waugh 1933).
    """
    _, paid = _charged(evidence)
    effect, rows = evidence.gross, len(evidence.net)
    deviation = effect.copy()
    for inside in _folds(evidence):
        deviation[inside] -= effect[inside].mean(axis=0)
    chances, weight = reweighted(evidence.action, evidence.propensity, evidence.had_chance)
    drawn = (evidence.action[:, None] == np.arange(effect.shape[1])) - chances[:, 1:]
    like = like_expected(evidence.usual)
    left = _cut(evidence.net + paid - evidence.usual - (chances[:, 1:] * effect).sum(axis=1), like)
    weight = weight * precision(like, left)
    both, hats = np.stack([left, (drawn * deviation).sum(axis=1)], axis=1), np.zeros(effect.shape)
    folds = _folds(evidence)
    own = np.zeros((len(folds), effect.shape[1], 2))
    for k, inside in enumerate(folds):
        weighted = drawn[inside] * weight[inside, None]
        inverse = np.linalg.pinv(weighted.T @ drawn[inside], hermitian=True)
        own[k] = inverse @ (weighted.T @ both[inside])
        both[inside] -= drawn[inside] @ own[k]
        hats[inside] = weighted @ inverse
    strength = float(weight @ both[:, 1] ** 2)
    per_strength = 1 / strength if strength > 1e-12 * rows else 0.0  # no effect differs: no slope
    slope = float(weight @ (both[:, 0] * both[:, 1])) * per_strength
    error = both[:, 0] - slope * both[:, 1]
    by_row = rows * weight * both[:, 1] * error * per_strength
    means = own[..., 0] - slope * own[..., 1]
    return Calibration(means, own[..., 1], deviation, slope, by_row, rows * hats * error[:, None])


def _charged(evidence: Evidence) -> tuple[Floats, Floats]:
    """Costs that effects and outcomes have lost: expected, (rows, options), paid, (rows,); 0 where nothing tells."""
    if evidence.paid is None:
        return np.zeros(evidence.cost.shape), np.zeros(len(evidence.net))
    return evidence.cost, evidence.paid


def _folds(evidence: Evidence) -> list[Flags]:
    """Rows of each fold of users that has any, shape (rows,) each."""
    return [evidence.fold == k for k in np.unique(evidence.fold)]


def _cut(left: Floats, like: Places) -> Floats:
    """Cut the tails of what is left, measured by how much it varies among like users, and take its mean away."""
    counts = np.maximum(np.bincount(like), 1)
    spread = np.sqrt(np.maximum(np.bincount(like, left**2) / counts, 1e-12))[like]
    cut = np.clip(left / spread, *np.quantile(left / spread, tail_quantiles(len(left)))) * spread
    return np.asarray(cut - (np.bincount(like, cut) / counts)[like])


def tail_quantiles(rows: int) -> tuple[float, float]:
    """Quantiles beyond which outcomes are cut; the lower tail of a margin, which ends at 0, half as often.

    What is cut off is missing from every effect. If the same share were cut however many rows there are, errors would
    shrink and this bias would not, until intervals exclude the truth. So the number of rows cut grows only with the
    square root of all rows (Sun, Zhou & Fan 2020, *Adaptive Huber regression*).

    Examples
    --------
    >>> tail_quantiles(2_500), tail_quantiles(250_000)
    ((0.005, 0.99), (0.0005, 0.999))
    """
    share = min(CUT / math.sqrt(max(rows, 1)), MOST_CUT)
    return share / 2, 1 - share


def _covariance(first: Floats, second: Floats, user_id: pd.Series) -> tuple[float, float, float]:
    """Variances of two means by what each row adds to them, and their covariance; rows of a user hang together."""
    codes, users = pd.factorize(user_id)
    by_user = np.array([np.bincount(codes, each, len(users)) for each in (first, second)])
    found = by_user @ by_user.T / len(first) ** 2
    return float(found[0, 0]), float(found[1, 1]), float(found[0, 1])
