"""The check of stated propensities against what was drawn, on which every off-policy estimate rests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from features.arrays.array_types import Floats
from models.metrics.evaluation import Z
from models.policy_value.off_policy import Logged

SURELY = 4.0  # standard errors: chances that do not fit what was drawn


@dataclass(frozen=True)
class Misfit:
    """An option whose stated chances do not fit how often it was drawn.

    `ratio` is how many times as often as they say it was, give or take `margin`. An offer that was drawn more seldom
    may have been out of reach of some users, which propensities do not tell; all else `is_refuted`.
    """

    name: str
    ratio: float
    margin: float
    is_refuted: bool

    def __str__(self) -> str:
        unless = "" if self.is_refuted else " unless some users could not draw it"
        return (
            f"{self.name} was drawn {self.ratio:.2f} times as often as its propensities say (give or take "
            f"{self.margin:.2f}): check them{unless}, as every figure here rests on them"
        )


def propensity_misfits(logged: Logged, day: pd.Series, names: Sequence[str]) -> tuple[Misfit, ...]:
    """Find the options whose inverse propensities do not average to 1 over the rows that could draw them.

    Those are the rows between the days on which an option was drawn first and last where it was drawn too often, and
    those of the days with a draw where too seldom: so days on which it could not be drawn refute nothing.

    Parameters
    ----------
    names
        Of the options from *nothing* on.

    Examples
    --------
    >>> log = Logged(np.tile([0, 1], 200), np.tile([0.9, 0.1], 200), np.zeros(400), pd.Series(range(400)))
    >>> misfits = propensity_misfits(log, pd.Series(["monday"] * 400), ["nobody", "mail"])
    >>> [(each.name, round(each.ratio, 2)) for each in misfits]
    [('nobody', 0.56), ('mail', 5.0)]
    """
    days, found = pd.factorize(day, sort=True)[0], []
    for place, name in enumerate(names):
        weight = np.where(logged.action == place, 1.0 / logged.propensity, 0.0)
        drawn = days[logged.action == place]
        if not len(drawn):
            continue
        ratio, error = _ratio(weight[(days >= drawn.min()) & (days <= drawn.max())])
        if ratio < 1.0:
            ratio, error = _ratio(weight[np.isin(days, drawn)])
            is_off = ratio < 1.0 - SURELY * error
        else:
            is_off = ratio > 1.0 + SURELY * error
        if is_off:
            found.append(Misfit(name, ratio, Z * error, place == 0 or ratio > 1.0))
    return tuple(found)


def _ratio(weight: Floats) -> tuple[float, float]:
    """Mean of inverse propensities, and its standard error: that of the rows, or the one that they imply if larger.

    Of what is drawn seldom the rows alone tell too little.
    """
    implied = (weight**2).sum() / weight.sum() - 1.0
    return float(weight.mean()), float(np.sqrt(max(weight.var(), implied) / len(weight)))
