"""The average effect of one offer, as the report and decisions read it, however it was estimated."""

from __future__ import annotations

from dataclasses import dataclass

from models.metrics.metric import Metric


@dataclass(frozen=True)
class AverageEffect:
    """What giving one offer changes on average, against nothing, over the churn horizon.

    `margin` is gross margin in account currency (None where no money is known), `retention` a probability; both with
    95% intervals. The ``…_shrunk`` values are what decisions use. `overlap` is the share of users that could be
    compared at all, `redemption_rate` that of the treated whose offer is over (0 when none is), and `leaving` that of
    the compared who left.
    """

    offer_id: str
    evidence: str
    treated: int
    control: int
    overlap: float
    redemption_rate: float
    margin: Metric | None
    retention: Metric
    margin_shrunk: float
    retention_shrunk: float
    leaving: float = 0.0
