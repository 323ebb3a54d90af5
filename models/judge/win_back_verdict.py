"""The verdict on each win-back play: its effect against users who randomly got nothing, and whether it continues.

Outcomes are weighed by one over the chance of the draw and normalised (Hajek 1971), so that days with other chances can
be put together. The interval may be looked at every day: `confidence_sequence`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from configs.offers import NO_OFFER
from features.arrays.array_types import Floats
from models.judge.confidence_sequence import anytime_width
from models.metrics.metric import Metric

State = Literal["learning", "proven", "stopped"]


@dataclass(frozen=True)
class WinBackVerdict:
    """What one win-back offer was shown to bring a head, account currency, after discounts and contacts.

    `came_back` is the share of its users who were active again, and `came_alone` that of those who drew nothing.
    """

    offer_id: str
    effect: Metric
    came_back: float
    came_alone: float
    state: State

    @property
    def words(self) -> str:
        """What to tell people."""
        effect = f"{self.effect.value:+.2f} [{self.effect.low:+.2f}, {self.effect.high:+.2f}] a head"
        shown = f"{effect} over {self.effect.n:,} draws, {self.came_back:.1%} came back and {self.came_alone:.1%} alone"
        said = {
            "learning": f"its draws go on: {shown}",
            "proven": f"proven to earn more than it costs: {shown}",
            "stopped": f"stopped, as it does not earn what it costs: {shown}",
        }
        return f"win-back offer {self.offer_id} {said[self.state]}"


def win_back_verdicts(rows: pd.DataFrame, *, min_draws: int, most_draws: int) -> list[WinBackVerdict]:
    """Judge every win-back offer that was drawn.

    Parameters
    ----------
    rows
        Closed draws, one per user: ``intended_offer_id``, what could be drawn, ``offer_id`` (that one, or ``none``),
        ``propensity``, ``margin`` (account currency, after discounts and contacts) and ``is_retained`` (0 or 1, came
        back). An offer is compared with those who might have got it alone.
    min_draws, most_draws
        From how many draws of an offer on it can be stopped or proven, and from how many on it must have earned
        something.

    Examples
    --------
    >>> draws = pd.DataFrame({"offer_id": ["none", "back"] * 400, "propensity": 0.5, "is_retained": [0, 1] * 400,
    ...                      "margin": [0.0, 5.0, 1.0, 6.0] * 200, "intended_offer_id": "back"})
    >>> (found,) = win_back_verdicts(draws, min_draws=100, most_draws=900)
    >>> found.offer_id, found.effect.value, found.state
    ('back', 5.0, 'proven')
    """
    both = {str(offer): part for offer, part in rows.groupby("intended_offer_id") if part["offer_id"].nunique() == 2}
    return [_verdict(offer, part, min_draws, most_draws) for offer, part in both.items()]


def _verdict(offer_id: str, rows: pd.DataFrame, min_draws: int, most_draws: int) -> WinBackVerdict:
    is_given = rows["offer_id"] != NO_OFFER
    given, alone = rows[is_given], rows[~is_given]
    (mean, error), (usual, usual_error) = (_weighed(part, part["margin"]) for part in (given, alone))
    draws, effect = len(given), mean - usual
    width = anytime_width(draws + len(alone)) * float(np.hypot(error, usual_error))
    known = Metric(effect, effect - width, effect + width, draws)
    has_enough = min(draws, len(alone)) >= min_draws
    is_futile = draws >= most_draws and effect <= 0
    state: State = "learning"
    if has_enough and (known.high < 0 or is_futile):
        state = "stopped"
    elif has_enough and known.low > 0:
        state = "proven"
    back, alone_back = (_weighed(part, part["is_retained"])[0] for part in (given, alone))
    return WinBackVerdict(offer_id, known, back, alone_back, state)


def _weighed(rows: pd.DataFrame, outcome: pd.Series) -> tuple[float, float]:
    """Mean of an outcome weighed by one over the chance, and its standard error."""
    weight: Floats = 1.0 / rows["propensity"].to_numpy(dtype=np.float64)
    values = outcome.to_numpy(dtype=np.float64)
    mean = float((weight * values).sum() / weight.sum())
    return mean, float(np.sqrt((weight**2 * (values - mean) ** 2).sum()) / weight.sum())
