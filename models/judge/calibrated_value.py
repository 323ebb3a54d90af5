"""What policies are worth by held-out effects that the lots have calibrated, put together with the doubly robust value.

A doubly robust value is right whatever models say, and pays for it: the margin of the few who buy most is in it whole,
so that thousands of users leave it as wide as all there is to gain. Held-out effects are precise and may be wrong in
size. So the lots say how much of them is true (the best linear predictor of effects: Chernozhukov, Demirer, Duflo &
Fernández-Val 2018, arXiv 1712.04802): once for what an option changes on average, once for how users differ from that,
by a regression whose rows count by how steady their users are. What is expected of the best of many guesses is too good
(the optimiser's curse); the slope of truth on guess is what takes that away. Costs are what was paid, doubly robust.

Both values rest on the same users, so they are put together with the weights that leave the least variance, as their
own errors tell (Bates & Granger 1969), unless they contradict each other (Hausman 1978): then the doubly robust one
stands alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import pandas as pd

from features.arrays.array_types import Floats
from models.effects.effect_design import reweighted
from models.effects.effect_regression import TAILS, like_expected, precision
from models.metrics.evaluation import Z
from models.policy_value.evidence import Evidence
from models.policy_value.off_policy import Estimate, Logged, difference, policy_value
from models.policy_value.policy_verdict import PolicyValue


class Comparison(Protocol):
    """How policies are compared on lots: chances of every option have shape (rows, 2 + options), nothing first."""

    @property
    def logged(self) -> Logged:
        """The lots."""

    def estimate(self, new: Floats, old: Floats) -> Estimate:
        """Say how much more a policy is worth a head than another one, and what each row adds to the error of that."""


@dataclass(frozen=True)
class DoublyRobust:
    """Comparison by doubly robust values alone; `predicted` (rows, 2 + options) is what is expected of the lots."""

    logged: Logged
    predicted: Floats

    def estimate(self, new: Floats, old: Floats) -> Estimate:
        """Take the difference of both values; see `models.policy_value.off_policy`."""
        return difference(self.logged, new, old, "doubly_robust", self.predicted)


@dataclass(frozen=True)
class Calibration:
    """How much of held-out effects is true, and how much of an error each row adds to that.

    `parts` (2, rows, 2 + options) are the effects, costs left out, in their mean over users and in what is left of
    them; `slopes` (2,) is how much of each is true, `influence` (rows, 2) averages to the errors of the slopes.
    """

    parts: Floats
    slopes: Floats
    influence: Floats


@dataclass(frozen=True)
class Calibrated:
    """Comparison by calibrated effects and doubly robust values together."""

    evidence: Evidence

    @cached_property
    def logged(self) -> Logged:
        """The lots."""
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
        paid = self.evidence.paid if self.evidence.paid is not None else np.zeros(len(self.logged))
        cost = self.evidence.cost if self.evidence.paid is not None else np.zeros(self.evidence.cost.shape)
        nothing = np.zeros((len(cost), 1))
        return DoublyRobust(replace(self.logged, outcome=paid), np.concatenate([nothing, cost, nothing], axis=1))

    def estimate(self, new: Floats, old: Floats) -> Estimate:
        """Put both estimates together, unless they contradict each other."""
        robust, learnt = self._robust.estimate(new, old), self.by_effects(new, old)
        of_robust, of_learnt, shared = _covariance(robust.influence, learnt.influence, self.logged.user_id)
        apart = of_robust + of_learnt - 2 * shared
        if apart <= 0 or abs(robust.value - learnt.value) > Z * np.sqrt(apart):
            return robust
        weight = min(max((of_learnt - shared) / apart, 0.0), 1.0)
        value = weight * robust.value + (1 - weight) * learnt.value
        influence = weight * robust.influence + (1 - weight) * learnt.influence
        return Estimate(value, influence, robust.weights)

    def by_effects(self, new: Floats, old: Floats) -> Estimate:
        """Take what calibrated effects say of the difference of two policies, less that of what was paid."""
        found, cost = self.calibration, self._costs.estimate(new, old)
        expected = np.einsum("ra,pra->rp", new - old, found.parts)
        mean = expected.mean(axis=0)
        influence = (expected - mean) @ found.slopes + found.influence @ mean
        return Estimate(float(mean @ found.slopes) - cost.value, influence - cost.influence, cost.weights)


def gain_over(comparison: Comparison, new: Floats, old: Floats) -> PolicyValue:
    """Say how much more a policy is worth a head than another one, with its 95% interval; exactly 0 over itself."""
    logged = comparison.logged
    if np.array_equal(new, old):
        return PolicyValue(0.0, 0.0, 0.0, len(logged), float(logged.user_id.nunique()))
    return policy_value(logged, comparison.estimate(new, old))


def calibration(evidence: Evidence) -> Calibration:
    """Regress what lots changed on what held-out effects say of it, each fold of users by models that did not see it.

    Outcomes lose what is expected of the user whatever is drawn, their tails are cut as those that effects are learnt
    from; effects lose their mean over the lots.
    """
    charged = 0.0 if evidence.paid is None else evidence.cost
    paid = 0.0 if evidence.paid is None else evidence.paid
    effect = evidence.effect + charged
    level = np.zeros_like(effect)
    for k in np.unique(evidence.fold):
        inside = evidence.fold == k
        level[inside] = effect[inside].mean(axis=0)
    chances, weight = reweighted(evidence.action, evidence.propensity, evidence.had_chance)
    contrasts = np.stack([_contrast(part, chances, evidence.action) for part in (level, effect - level)], axis=1)
    left = evidence.net + paid - evidence.usual - (chances[:, 1:] * effect).sum(axis=1)
    left, like = _cut(left, like_expected(evidence.usual)), like_expected(evidence.usual)
    weight = weight * precision(like, left)
    gram = (contrasts * weight[:, None]).T @ contrasts
    inverse = np.linalg.pinv(gram, hermitian=True)
    slopes = inverse @ ((contrasts * weight[:, None]).T @ left)
    influence = (contrasts * (weight * (left - contrasts @ slopes))[:, None]) @ inverse * len(left)
    nothing = np.zeros((len(effect), 1))
    parts = np.stack([np.concatenate([nothing, part, nothing], axis=1) for part in (level, effect - level)])
    return Calibration(parts, slopes, influence)


def _contrast(effect: Floats, chances: Floats, action: np.ndarray) -> Floats:
    """Effect of what a row drew, less its mean over the lots; (rows,)."""
    nothing = np.zeros((len(effect), 1))
    drawn = np.concatenate([nothing, effect, nothing], axis=1)[np.arange(len(effect)), action + 1]
    return np.asarray(drawn - (chances[:, 1:] * effect).sum(axis=1))


def _cut(left: Floats, like: np.ndarray) -> Floats:
    """Cut the tails of what is left, measured by how much it varies among like users, and take its mean away."""
    counts = np.maximum(np.bincount(like), 1)
    spread = np.sqrt(np.maximum(np.bincount(like, left**2) / counts, 1e-12))[like]
    cut = np.clip(left / spread, *np.quantile(left / spread, TAILS)) * spread
    return np.asarray(cut - (np.bincount(like, cut) / counts)[like])


def _covariance(first: Floats, second: Floats, user_id: pd.Series) -> tuple[float, float, float]:
    """Variances of two means by what each row adds to them, and their covariance; rows of a user hang together."""
    codes, users = pd.factorize(user_id)
    by_user = np.array([np.bincount(codes, each, len(users)) for each in (first, second)])
    found = by_user @ by_user.T / len(first) ** 2
    return float(found[0, 0]), float(found[1, 1]), float(found[0, 1])
