"""Settings for winning back lapsed users with offers that are assigned at random."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from configs.section import Count, Section


class WinBack(Section):
    """How users who have lapsed are won back, where the catalogue has plays of the aim win_back."""

    share: Annotated[float, Field(ge=0, le=1)] = Field(
        description="share of the lapsed users who take part in today's draw: of a win-back play, or nothing"
    )
    budget_share: Annotated[float, Field(ge=0, le=1)] = Field(
        description="most of the day's budget that win-back plays may cost; it is taken off before the others share it"
    )
    nothing_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="chance that a draw gives nothing while effects are being learnt"
    )
    proven_nothing_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="the same once a play is proven to earn more than it costs; it never ends, so that this stays known"
    )
    min_draws: Count = Field(description="fewer closed draws of a play than this say nothing")
    most_draws: Count = Field(
        description="a play that after so many closed draws earned no more than it cost is stopped, proven or not"
    )
