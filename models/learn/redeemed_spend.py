"""The spend that a discount covers, estimated from past redemptions."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

TARGET = "is_redeemed"
ORDER_VALUE = "order_value_mean_365d"
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
    paid = paid[paid[ORDER_VALUE] > 0]
    if len(paid) < MIN_REDEEMERS:
        return None
    spend, usual = paid["discount_given"] / paid["discount"].clip(lower=0.01), paid[ORDER_VALUE]
    ratio = float(spend.sum() / usual.sum())
    mean = spend.groupby(paid["offer_id"], observed=True).transform("mean")
    return round(ratio, 6) if ((spend - ratio * usual) ** 2).sum() < ((spend - mean) ** 2).sum() else None


def _paid(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[(frame[TARGET] == 1) & (frame["discount_given"] > 0) & (frame["discount"] > 0)]
