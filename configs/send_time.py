"""Settings for learning at which hour to write to a user."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from configs.section import Section

Weight = Annotated[float, Field(ge=0, le=1000)]


class SendTime(Section):
    """How the hour is learnt at which somebody is written to."""

    history_days: int = Field(gt=0, le=365, description="days before the decision whose activity counts")
    half_life_days: float = Field(
        ge=0.1, le=3650, description="what is this much older says half as much about when somebody is there"
    )
    open_weight: Weight = Field(description="how much an hour counts in which a message of the channel was opened")
    session_weight: Weight = Field(description="how much an hour of activity counts, or of an opening elsewhere")
    purchase_weight: Weight = Field(description="how much an hour counts in which something was bought")
    prior_weight: float = Field(
        gt=0, le=1000, description="how much the hours of all users count beside those of one (a Dirichlet prior)"
    )
