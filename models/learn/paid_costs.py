"""Paid costs compared with expected costs, for the users whom a policy picks.

A policy that spends a budget picks whom models take for cheap, and whom they flatter: what is expected of the best of
many guesses is too good (the optimiser's curse: Smith & Winkler 2006, doi:10.1287/mnsc.1050.0451). Of users whose usual
spend is not known, who are charged what others spent, it picks those who spend more. What was paid tells by how much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from configs.counted import counted
from configs.errors import InputError
from features.arrays.array_types import Flags, Floats

PRIOR_ERROR = 0.5  # of the ratio of everything to 1, and of each kind of user to that, before anything was paid
LEAST, MOST = 0.5, 3.0  # that a cost is ever multiplied by


class Payments(NamedTuple):
    """Treatments given to users whom a policy picked, with what was paid, contacts left out; each of shape (rows,).

    What their benefits cost, account currency, what that was expected to be by models that did not see the user, and
    whether the latter rests on the user's own spend.
    """

    paid: Floats
    expected: Floats
    is_own: Flags

    def beside(self, others: Payments) -> Payments:
        """Append other treatments."""
        return Payments(*(np.concatenate(each) for each in zip(self, others, strict=True)))


@dataclass(frozen=True)
class CostRatios:
    """Ratios of paid to expected costs: of users charged at their `own` spend, and at that of `others`."""

    own: float = 1.0
    others: float = 1.0

    def of(self, is_own: Flags) -> Floats:
        """Return the factor of each expected cost; shape as `is_own`."""
        return np.where(is_own, self.own, self.others)

    def __str__(self) -> str:
        return f"{self.own:.0%} of what is expected, and {self.others:.0%} where no own spend is known"


AS_EXPECTED = CostRatios()


def cost_ratios(payments: Payments) -> CostRatios:
    """Estimate the ratios of paid to expected costs, for the users whom a policy picks.

    Payments are counts of the usual size, weighted by it: their mean square over their mean. A ratio is the mean of the
    gamma distribution that they leave of one that is 1 before (Gelman et al. 2013, chapter 2), or, for a kind of user,
    what all payments together say: few payments move it little.

    Examples
    --------
    Four payments where two were expected say less than 400 where 200 were:

    >>> def paid_for(times):
    ...     paid, expected = np.r_[np.ones(4), np.zeros(36)], np.full(40, 0.05)
    ...     return Payments(np.tile(paid, times), np.tile(expected, times), np.ones(40 * times, dtype=bool))
    >>> round(cost_ratios(paid_for(1)).own, 2), round(cost_ratios(paid_for(100)).own, 2)
    (1.6, 2.0)

    Raises
    ------
    InputError
        What was paid for a treatment, or expected to be, is no number.
    """
    unknown = int((~np.isfinite(payments.paid + payments.expected)).sum())
    if unknown:
        raise InputError(
            f"of {counted(unknown, 'treatment')} of {len(payments.paid):,} it is not known what they cost or were "
            "expected to cost; correct their discount and the spend of their users, or leave them out"
        )
    usual = _usual_payment(payments.paid)
    if usual is None:
        return AS_EXPECTED
    everything = np.ones(len(payments.paid), dtype=bool)
    whole = _ratio(payments, everything, usual, 1.0)
    return CostRatios(*(_ratio(payments, kind, usual, whole) for kind in (payments.is_own, ~payments.is_own)))


def _usual_payment(paid: Floats) -> float | None:
    total = float(paid.sum())
    return float(paid @ paid) / total if total > 0 else None


def _ratio(payments: Payments, kind: Flags, usual: float, before: float) -> float:
    """Put what was paid for a kind of user together with a ratio of before."""
    usual = _usual_payment(payments.paid[kind]) or usual
    shape, rate = 1 / PRIOR_ERROR**2, 1 / (before * PRIOR_ERROR**2)
    found = (shape + payments.paid[kind].sum() / usual) / (rate + payments.expected[kind].sum() / usual)
    return float(np.clip(found, LEAST, MOST))
