"""Statistical power: how many people an experiment needs, and the smallest effect that it can detect.

Two-sided z test of two independent groups of equal size (Chow, Shao, Wang & Lokhnygina, *Sample Size Calculations in
Clinical Research*, 2018, section 3.2). Where covariates known before explain a share of the outcome's variance, that
share is left out, as `models.measurement.lift` measures (CUPED, Deng et al. 2013).
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtri

from features.arrays.array_types import Floats

LEVEL = 0.05  # of all comparisons together


def people_per_arm(deviation: float, effect: float, *, power: float, comparisons: int = 1) -> int:
    """People that each of two groups needs for a difference of `effect` to be found with probability `power`.

    Parameters
    ----------
    deviation
        Standard deviation of the outcome between people, in the unit of the effect.
    comparisons
        Number of comparisons that share the `LEVEL` (Bonferroni).

    Examples
    --------
    >>> people_per_arm(1.0, 0.1, power=0.8)
    1570
    >>> people_per_arm(10.0, 2.0, power=0.9, comparisons=2)
    621
    """
    return math.ceil(2.0 * (_reach(power, comparisons) * deviation / effect) ** 2)


def smallest_effect(deviation: float, people: float, *, power: float, comparisons: int = 1) -> float:
    """Difference that two groups of `people` each find with probability `power`; the inverse of `people_per_arm`.

    Examples
    --------
    >>> round(smallest_effect(1.0, 1570, power=0.8), 4)
    0.1
    """
    return _reach(power, comparisons) * deviation * math.sqrt(2.0 / people)


def unexplained_deviation(outcome: Floats, known_before: Floats) -> float:
    """Measure the standard deviation of an outcome, (rows,), beyond what known columns, (rows, columns), say linearly.

    Examples
    --------
    >>> known = np.arange(8.0)[:, None]
    >>> unexplained_deviation(3.0 * known[:, 0], known) < 1e-9
    True
    """
    design = np.column_stack([np.ones(len(outcome)), known_before])
    left = outcome - design @ np.linalg.lstsq(design, outcome, rcond=None)[0]
    return float(np.sqrt((left**2).sum() / max(len(outcome) - np.linalg.matrix_rank(design), 1)))


def _reach(power: float, comparisons: int) -> float:
    """Count the standard errors between no effect and one that is found with probability `power`."""
    return float(ndtri(1.0 - LEVEL / comparisons / 2.0) + ndtri(power))
