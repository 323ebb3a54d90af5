"""The definition of churn: inactivity or, for contracts, a cancellation or a missed renewal."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from configs.section import Days, Section

ChurnKind = Literal["inactivity", "cancellation"]


class Churn(Section):
    """What leaving means."""

    kind: ChurnKind = Field(
        "inactivity",
        description="inactivity: no activity within the horizon; cancellation: users under contract, who cancel or do "
        "not renew within it (roles.renewal, roles.cancellation, roles.payment_failure)",
    )
    lookback_days: Days = Field(
        description="only users active within this window can churn; with contracts, only those under contract"
    )
    horizon_days: Days = Field(description="no activity, or the end of the contract, in this window is churn")
    period_days: Days = Field(31, description="of contracts: longest time between two renewals")
    grace_days: int = Field(
        7, ge=0, le=365, description="of contracts: a renewal may come so many days late, as payments are tried again; "
        "who cancels within so many days after a failed payment leaves for that"
    )  # fmt: skip

    @property
    def contract_days(self) -> int:
        """Days for which a renewal holds, the grace included."""
        return self.period_days + self.grace_days

    @model_validator(mode="after")
    def _one_renewal_is_due(self) -> Churn:
        if self.kind == "cancellation" and self.horizon_days > self.period_days:
            raise ValueError(
                f"horizon_days = {self.horizon_days} is longer than period_days = {self.period_days}, so that more "
                "than one renewal would be due within it; shorten the horizon"
            )
        return self
