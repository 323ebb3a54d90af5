"""Settings of policies on trial: which share of users they may decide for, and the loss allowed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from configs.section import Section

Step = Annotated[float, Field(gt=0, le=0.9)]


class Ladder(Section):
    """How policies that are not proven yet climb: part of the users, and what that may cost."""

    steps: tuple[Step, ...] = Field(
        description="shares of the users for whom policies that are not proven yet may decide, rising with the "
        "evidence; none: nobody decides but what is proven"
    )
    loss_share: Annotated[float, Field(ge=0, le=1)] = Field(
        description="most that policies on trial may lose in a day, and so in a week, as share of the budget, against "
        "the policy that is proven"
    )

    @field_validator("steps")
    @classmethod
    def _rise(cls, steps: tuple[float, ...]) -> tuple[float, ...]:
        if list(steps) != sorted(set(steps)):
            raise ValueError(f"the steps {', '.join(map(str, steps))} do not rise; name each once, the smallest first")
        return steps
