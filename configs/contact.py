"""Whom messages may reach, and when."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from configs.section import Section

Hour = Annotated[int, Field(ge=0, le=23)]


class Contact(Section):
    """Whom messages may reach, and when."""

    unknown_consent: Literal["granted", "refused"] = Field(
        description="what counts where the users table does not say whether somebody consents (`consent_push`, …)"
    )
    offers_overlap: bool = Field(description="whether a user whose offer is still open may be given a second one")
    ready_hour: Hour = Field(
        description="hour of the app's day by which the night's decisions are out: nothing is sent before"
    )
    quiet_from: Hour = Field(description="hour of the user's own clock from which on nothing is sent")
    quiet_until: Hour = Field(description="hour of the user's own clock from which on messages are sent again")

    @model_validator(mode="after")
    def _leaves_an_hour(self) -> Contact:
        if self.quiet_from == self.quiet_until:
            raise ValueError(f"quiet_from and quiet_until are both {self.quiet_from}; leave an hour to send in")
        return self

    def is_quiet(self, hour: int) -> bool:
        """Tell whether nothing is sent in an hour of the user's own clock.

        Examples
        --------
        >>> night = Contact(unknown_consent="granted", offers_overlap=False, ready_hour=6, quiet_from=22, quiet_until=8)
        >>> [hour for hour in range(24) if not night.is_quiet(hour)] == list(range(8, 22))
        True
        """
        return (hour - self.quiet_from) % 24 < (self.quiet_until - self.quiet_from) % 24
