"""Hysteresis: an earlier decision stands until the evidence speaks against it, so that noise does not flip it.

A newcomer must be ahead with its whole 95% interval; what decides already stays while it is ahead by one standard
error. A share on trial falls only once half of the evidence for its step is gone (Schmitt trigger: two thresholds).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.metrics.evaluation import Z
from models.policy_value.evidence import Evidence
from models.policy_value.policy_verdict import P_REDEEM, Deployed, PolicyValue, PolicyVerdict

STAYS_AHEAD = 1.0  # standard errors
HOLDS = 0.5  # of what a step asks for when a policy climbs to it


def is_ahead(gain: PolicyValue, *, decided_before: bool) -> bool:
    """Tell whether a policy is better than another, for one that decided already by a standard error only.

    Examples
    --------
    >>> gain = PolicyValue(1.0, -0.4, 2.4, 900, 900.0)
    >>> is_ahead(gain, decided_before=False), is_ahead(gain, decided_before=True)
    (False, True)
    """
    error = (gain.value - gain.low) / Z
    return gain.is_known and (gain.low > 0 or (decided_before and gain.value > STAYS_AHEAD * error))


def policy_before(before: PolicyVerdict | None, kind: str) -> Deployed | None:
    """Find the policy of a kind that decided, for all or on trial, when it was judged before."""
    if before is None:
        return None
    rungs = before.ladder.rungs if before.ladder is not None else ()
    known = (before.deployed, *(rung.policy for rung in rungs))
    return next((policy for policy in known if policy.name == kind and policy.option is not None), None)


def is_still_possible(policy: Deployed, evidence: Evidence) -> bool:
    """Tell whether a simple policy of before can still be followed: its option and its column are there."""
    offered = [option for option, is_one in zip(evidence.options, evidence.is_simple, strict=True) if is_one]
    return policy.option in offered and policy.column in {None, P_REDEEM, *evidence.columns.columns}


def step_held(score: float, steps: Sequence[float], before: float) -> float:
    """Choose the largest step that a score reaches, or one up to that of before which it half reaches.

    Examples
    --------
    >>> [step_held(score, (0.1, 0.3, 0.6), before=0.3) for score in (0.7, 0.25, 0.12, 0.06, 0.04)]
    [0.6, 0.3, 0.1, 0.1, 0.0]
    """
    reached = [step for step in steps if step <= score]
    held = [step for step in steps if step <= before and HOLDS * step <= score]
    return float(np.max([0.0, *reached, *held]))
