"""Settings of the taste model, which recommends categories."""

from __future__ import annotations

from pydantic import Field

from configs.section import Section


class Tastes(Section):
    """What is looked at to tell what users like to buy."""

    history_days: int = Field(
        gt=0, le=1000, description="days before a decision whose purchases tell what a user buys again and has had"
    )
    listed: int = Field(gt=0, le=50, description="categories on each of the two lists of a user: again and new")
    everybody_up_to: int = Field(
        ge=0,
        le=10**9,
        description="where there are at most so many users, everybody's hours and tastes are kept with "
        "a day's decisions; else of those who are written to",
    )
