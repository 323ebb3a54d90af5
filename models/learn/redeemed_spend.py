"""What one redemption costs: the discount times the spend that it covers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from features.arrays.array_types import Floats

TARGET = "is_redeemed"
ORDER = "order_value_mean_365d"
MIN_REDEEMERS = 100


@dataclass(frozen=True)
class RedeemedSpend:
    """Spend that a redeemer's discount applies to: mean per offer, account currency, and per money of a usual order.

    `per_order` is None where the offer's mean predicts as well.
    """

    by_offer: dict[str, float] = field(default_factory=dict)
    per_order: float | None = None


def redeemed_spend(frame: pd.DataFrame) -> RedeemedSpend:
    """Measure what a redemption costs, from closed treatments (`features.training_data.frames.redemption_frame`)."""
    return RedeemedSpend(covered_spend(frame), spend_per_order(frame))


def covered_spend(frame: pd.DataFrame) -> dict[str, float]:
    """Measure the spend that a redeemer's discount applies to, per offer, account currency.

    Redemptions whose receipt could not be found carry no money and are left out of the mean, and so are those of an
    offer without a discount: what was given away is not this offer's.
    """
    paid = _paid(frame)
    spend = (paid["discount_given"] / paid["discount"].clip(lower=0.01)).groupby(paid["offer_id"], observed=True).mean()
    return {str(offer_id): round(float(mean), 4) for offer_id, mean in spend.items()}


def spend_per_order(frame: pd.DataFrame) -> float | None:
    """Measure the covered spend per money of a redeemer's usual order; None where the offer's mean predicts as well."""
    paid = _paid(frame)
    paid = paid[paid[ORDER] > 0]
    if len(paid) < MIN_REDEEMERS:
        return None
    spend, usual = paid["discount_given"] / paid["discount"].clip(lower=0.01), paid[ORDER]
    ratio = float(spend.sum() / usual.sum())
    mean = spend.groupby(paid["offer_id"], observed=True).transform("mean")
    return round(ratio, 6) if ((spend - ratio * usual) ** 2).sum() < ((spend - mean) ** 2).sum() else None


def _paid(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[(frame[TARGET] == 1) & (frame["discount_given"] > 0) & (frame["discount"] > 0)]


def discount_cost(
    frame: pd.DataFrame, offer_id: str, discount: float, spend: RedeemedSpend, assumed_spend: float
) -> Floats:
    """Cost of one redemption for each user, account currency, shape (rows,).

    The discount times the spend that it will cover: in proportion to the user's usual order where that predicts
    better, else the offer's mean, else (nothing was ever redeemed) `assumed_spend`.
    """
    mean, ratio = spend.by_offer.get(offer_id, assumed_spend), spend.per_order
    if ratio is None:
        return np.full(len(frame), discount * mean)
    usual = frame[ORDER].to_numpy(dtype=np.float64)
    return discount * np.where(np.nan_to_num(usual) > 0, ratio * usual, mean)
