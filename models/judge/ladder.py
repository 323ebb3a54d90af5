"""The ladder of policies that look better but are not proven: each decides for a share of users at a bounded loss.

A candidate climbs step by step as the evidence grows. How many users it may have is read off all randomised treatments
so far, those of earlier trials among them, which are logged with their exact chances; of the training before only the
steps are remembered, so that a share does not flutter (`models.judge.hysteresis`). Three rules, in order:

1. *retired*: its gain over the proven policy lies below 0 with its whole confidence sequence;
2. *on trial*: the largest step that is at most 2p - 1, where p is the probability that the gain is above 0 (the share
   that Kelly (1956) bets at even odds); several candidates share it by their chances to be the best (Thompson 1933);
3. the loss of the trial is bounded: a candidate loses at most what lies below 0 of its confidence sequence (as in
   conservative bandits, Wu, Shariff, Lattimore & Szepesvári 2016, arXiv 1602.04282) or all that it may cost by what was
   really paid so far (`models.judge.realised_cost`), whichever is less; the trial is as small as it takes that the
   settings allow it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd

from configs.ladder_settings import Ladder as Allowance
from features.arrays.array_types import Flags, Floats
from models.judge.calibrated_value import Comparison, gain_over
from models.judge.confidence_sequence import anytime
from models.judge.hysteresis import step_held
from models.policy_value.policy_verdict import (
    NO_TRIAL,
    NOBODY,
    ON_TRIAL,
    RETIRED,
    WAITING,
    Arm,
    Deployed,
    Ladder,
    PolicyValue,
    Rung,
    Trial,
)

DRAWS, SEED = 4096, 20  # of the posterior of the gains
LEAST_PART = 0.1  # of a trial: less teaches nothing
LEFT_AS_IS = 1 / 3  # of a trial's users stay with the proven policy, to compare with


@dataclass(frozen=True)
class Candidate:
    """A policy that may be tried: its chances of every option, (rows, 2 + options), and its cost a head.

    The budget pays it for a `part` of those whom it chooses. In truth it may cost up to `dearest` times as much.
    """

    policy: Deployed
    chances: Floats
    cost: float
    part: float = 1.0
    dearest: float = 1.0


@dataclass(frozen=True)
class _Standing:
    """What is known of some candidates against the proven policy; arrays have shape (candidates,).

    `gains` have intervals that hold at every look; `worst` is the most a head that each may lose.
    """

    candidates: tuple[Candidate, ...]
    gains: tuple[PolicyValue, ...]
    mean: Floats
    covariance: Floats
    worst: Floats

    @property
    def p_better(self) -> Floats:
        """Probability that a gain is above 0, by a normal posterior under a flat prior."""
        errors = np.sqrt(np.diagonal(self.covariance))
        ratio = np.divide(self.mean, errors, out=np.zeros_like(errors), where=errors > 0)
        return np.array([NormalDist().cdf(float(each)) for each in ratio])

    def may_climb(self, allowance: Allowance, before: Mapping[str, float]) -> Floats:
        """Largest step that the evidence speaks for; 0 where a candidate is retired, unknown or not likely enough.

        `before` are the steps at which kinds of policies stood so far: they hold there longer than they took to climb.
        """
        return np.array(
            [
                step_held(2 * p_better - 1, allowance.steps, before.get(each.policy.name, 0.0))
                if gain.is_known and gain.high >= 0
                else 0.0
                for each, gain, p_better in zip(self.candidates, self.gains, self.p_better, strict=True)
            ]
        )


def climb(
    comparison: Comparison, candidates: Mapping[str, Candidate], leader: str, budget: float, allowance: Allowance,
    price: float = 0.0, *, before: Sequence[Rung] = (),
) -> Ladder:  # fmt: skip
    """Choose which candidates are on trial, for which share of users each, and the loss that is allowed.

    Parameters
    ----------
    comparison
        How policies are compared on the randomised treatments.
    candidates
        By their kinds; *nobody* and the `leader`, which is proven, are among them.
    budget
        Money per decision, in account currency.
    price
        Of money for the personal policy.
    before
        Where candidates stood when they were judged before.
    """
    standing = _standing(comparison, candidates, leader)
    climbs = standing.may_climb(allowance, {rung.policy.name: rung.step for rung in before})
    parts = _parts(standing, climbs > 0)
    per_user, allowed = float(parts @ standing.worst), allowance.loss_share * budget
    step = float(climbs[parts > 0].max(initial=0.0))
    share = min(step, allowed / per_user) if per_user > 0 else step
    rungs = tuple(
        Rung(
            each.policy,
            _state(gain, share * part),
            gain,
            float(p_better),
            float(share * part),
            float(step) * (part > 0),
        )
        for each, gain, p_better, part, step in zip(
            standing.candidates, standing.gains, standing.p_better, parts, climbs, strict=True
        )
    )
    trial = _trial(standing.candidates, share * parts, candidates[leader], budget, price)
    return Ladder(rungs, trial, share * per_user, allowed)


def _standing(comparison: Comparison, candidates: Mapping[str, Candidate], leader: str) -> _Standing:
    logged = comparison.logged
    proven, users = candidates[leader], int(logged.user_id.nunique())
    others = tuple(each for name, each in candidates.items() if name not in (leader, NOBODY))

    def gain(new: Candidate, old: Candidate) -> PolicyValue:
        return anytime(gain_over(comparison, new.chances, old.chances), users)

    gains = tuple(gain(each, proven) for each in others)
    given_up = max(gain(proven, candidates[NOBODY]).high, 0.0)  # what the proven policy may bring
    dearest = [other.dearest * other.cost + given_up for other in others]
    worst = [min(max(-each.low, 0.0), most) for each, most in zip(gains, dearest, strict=True)]
    found = [comparison.estimate(each.chances, proven.chances) for each in others]
    mean, by_row = np.array([each.value for each in found]), np.array([each.influence for each in found])
    covariance = _covariance(by_row.reshape(len(others), len(logged)), logged.user_id)
    return _Standing(others, gains, mean, covariance, np.array(worst))


def _covariance(by_row: Floats, user_id: pd.Series) -> Floats:
    """Covariance of means whose rows add so much to their errors, (figures, rows); rows of a user hang together."""
    codes, users = pd.factorize(user_id)
    by_user = np.array([np.bincount(codes, each, len(users)) for each in by_row]).reshape(len(by_row), len(users))
    return np.asarray(by_user @ by_user.T * len(users) / max(len(users) - 1, 1) / by_row.shape[1] ** 2)


def _parts(standing: _Standing, is_open: Flags) -> Floats:
    """Share a trial out among candidates by how often each is the best in draws of their gains; sums to 1, or to 0."""
    names = np.flatnonzero(is_open)
    parts = np.zeros(len(is_open))
    if not len(names):
        return parts
    own = standing.covariance[np.ix_(names, names)]
    rng = np.random.default_rng(SEED)
    drawn = rng.multivariate_normal(standing.mean[names], own, DRAWS, method="eigh")
    wins = np.bincount(drawn.argmax(axis=1), minlength=len(names)) / DRAWS
    wins = np.where(wins >= LEAST_PART, wins, 0.0)
    parts[names] = wins / wins.sum()
    return parts


def _state(gain: PolicyValue, share: float) -> str:
    if gain.is_known and gain.high < 0:
        return RETIRED
    return ON_TRIAL if share > 0 else WAITING


def _trial(candidates: tuple[Candidate, ...], shares: Floats, proven: Candidate, budget: float, price: float) -> Trial:
    """Draw up the arms of a trial in which each candidate decides for a share of all users."""
    tried = float(shares.sum())
    if tried == 0:
        return NO_TRIAL
    share = min(1.0, tried / (1 - LEFT_AS_IS))
    each = [(proven, share - tried), *((one, own) for one, own in zip(candidates, shares, strict=True) if own > 0)]
    arms = tuple(Arm(one.policy, float(own) / share, one.part) for one, own in each)
    cost = sum(float(own) * one.cost for one, own in each)
    return Trial(arms, share, min(1.0, cost / budget) if budget > 0 else 0.0, price)
