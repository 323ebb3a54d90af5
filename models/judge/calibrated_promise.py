"""The expected gain of the deployed policy, calibrated to what randomised treatments showed.

The best of many guesses are too good (the optimiser's curse: Smith & Winkler 2006), and what an option changed on
average is in money the margin of the few who buy most. The comparison of policies (`models.judge.calibrated_value`)
suffers from neither: no row has a say in what is picked for it, and tails are cut.
"""

from __future__ import annotations

import numpy as np

from features.arrays.array_types import Floats
from models.judge.calibrated_value import Calibrated, gain_over
from models.metrics.evaluation import Z
from models.policy_value.evidence import Evidence
from models.policy_value.policy_verdict import ShownChange

PRIOR_ERROR = 0.25  # of what is shown over what is promised, before there is evidence
LEAST, MOST = 0.0, 2.0


def believed_share(comparison: Calibrated, chances: Floats) -> float:
    """Estimate which share of the predicted change of a policy's picks is real, costs left out.

    A normal prior around all of it and what the comparison found make a normal posterior (Gelman et al. 2013).

    Parameters
    ----------
    chances
        Of every option under the policy, chosen by models that did not see the row's user; (rows, 2 + options).
    """
    evidence, nobody = comparison.evidence, _nothing(comparison.evidence)
    gain = gain_over(comparison, chances, nobody)
    promised = float((chances[:, 1:-1] * evidence.gross).sum(axis=1).mean())
    if not gain.is_known or promised <= 0:
        return 1.0
    error = (gain.value - gain.low) / Z / promised
    shown = (gain.value + comparison.paid(chances, nobody)) / promised
    weight = PRIOR_ERROR**2 / (PRIOR_ERROR**2 + error**2)
    return float(np.clip(1.0 + weight * (shown - 1.0), LEAST, MOST))


def shown_change(comparison: Calibrated, chances: Floats) -> ShownChange | None:
    """Estimate what a simple policy's option changed for the users it picks; None if it picks nobody or nothing tells.

    `chances` (rows, 2 + options) are those of every option under the policy, chosen without the row's user.
    """
    worth, given = comparison.evidence.worth, chances[:, 1:-1].sum(axis=1)
    if worth is None or given.mean() <= 0:
        return None
    nobody = _nothing(comparison.evidence)
    gain = comparison.estimate(chances, nobody).value + comparison.paid(chances, nobody)
    return ShownChange(gain / float(given.mean()), float(np.average(worth, weights=given)))


def _nothing(evidence: Evidence) -> Floats:
    return evidence.chances(np.zeros(len(evidence.action), dtype=np.intp))
