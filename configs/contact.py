"""Contact settings: who may receive messages, how often, and at which hours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationInfo, field_validator, model_validator

from configs.channel_names import channel_names
from configs.section import Section, Word

T = TypeVar("T")
Hour = Annotated[int, Field(ge=0, le=23)]
Most = Annotated[int, Field(ge=1, le=1000)]
WINDOW_DAYS = 28  # longest window in which contacts are counted
WINDOWS = {1: "in_24_hours", 7: "in_7_days", WINDOW_DAYS: "in_28_days"}


class Caps(Section):
    """Most messages to one person in rolling windows that end with any of them; one that is not set has no limit."""

    in_24_hours: Most | None = Field(default=None, description="most within 24 hours")
    in_7_days: Most | None = Field(default=None, description="most within 7 times 24 hours")
    in_28_days: Most | None = Field(default=None, description="most within 28 times 24 hours")

    @property
    def by_days(self) -> dict[int, int]:
        """Most messages by the length of their window in days, of those windows that have a limit.

        Examples
        --------
        >>> Caps(in_24_hours=1, in_28_days=8).by_days
        {1: 1, 28: 8}
        """
        most = {1: self.in_24_hours, 7: self.in_7_days, WINDOW_DAYS: self.in_28_days}
        return {days: limit for days, limit in most.items() if limit is not None}


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
    caps: Caps = Field(
        Caps(),
        description="most messages to one person by all channels together: winback's own and others that come back as "
        "events of the role message_sent; transactional and mandatory plays neither count nor are held back",
    )
    channel_caps: dict[Word, Caps] = Field(
        {}, max_length=60, description="the same by channel, such as { sms = { in_28_days = 2 } }"
    )
    stop_after_ignored: int = Field(
        0,
        ge=0,
        le=1000,
        description="so many messages in a row of the last 28 days without an opening or a redemption stop further "
        "ones until the first is 28 days old; 0 never stops, and neither does an app whose events tell no response",
    )
    addresses: dict[Word, Word] = Field(
        {},
        description='trait of `users` without which a channel cannot reach somebody, such as { email = "email", '
        'push = "push_token" }; a channel that is not named reaches everybody',
    )
    min_ages: dict[Word, Annotated[int, Field(ge=1, le=120)]] = Field(
        {},
        description="least age, by `birth_year` of users, for offers of the featured category where that is this one, "
        "such as { wine = 18 }; who may be younger, or is of unknown age, is left out",
    )

    @field_validator("channel_caps", "addresses")
    @classmethod
    def _channels_are_named_as_consents_do(cls, by_channel: dict[str, T], about: ValidationInfo) -> dict[str, T]:
        found: dict[str, T] = {}
        for written, value in by_channel.items():
            names = channel_names(written)
            if len(names) != 1 or names[0] in found:
                wrong = "is named twice" if len(names) == 1 else "is not one channel"
                raise ValueError(f"{written!r} of {about.field_name} {wrong}; write each once, such as email or in_app")
            found[names[0]] = value
        return found

    @model_validator(mode="after")
    def _leaves_an_hour(self) -> Contact:
        if self.quiet_from == self.quiet_until:
            raise ValueError(f"quiet_from and quiet_until are both {self.quiet_from}; leave an hour to send in")
        return self

    def idle_caps(self) -> Iterator[str]:
        """Say which caps can hold nobody back, as another one is always reached first; a sentence each.

        Examples
        --------
        >>> some = {"unknown_consent": "granted", "offers_overlap": False, "ready_hour": 6}
        >>> night = {"quiet_from": 22, "quiet_until": 8}
        >>> [each[:68] for each in Contact(caps={"in_24_hours": 3, "in_7_days": 2}, **some, **night).idle_caps()]
        ['contact.caps.in_24_hours = 3 is never reached, as in_7_days = 2 is r']
        """
        of_channels = {f"contact.channel_caps.{name}": each for name, each in self.channel_caps.items()}
        for where, own in {"contact.caps": self.caps, **of_channels}.items():
            for days, most in own.by_days.items():
                for other, limit in own.by_days.items():
                    if (other > days and limit < most) or (other < days and limit * (days // other) < most):
                        yield _idle(f"{where}.{WINDOWS[days]}", most, f"{WINDOWS[other]} = {limit}")
                in_all = self.caps.by_days.get(days, most)
                if in_all < most:
                    yield _idle(f"{where}.{WINDOWS[days]}", most, f"contact.caps.{WINDOWS[days]} = {in_all}")

    def is_quiet(self, hour: int) -> bool:
        """Tell whether nothing is sent in an hour of the user's own clock.

        Examples
        --------
        >>> night = Contact(unknown_consent="granted", offers_overlap=False, ready_hour=6, quiet_from=22, quiet_until=8)
        >>> [hour for hour in range(24) if not night.is_quiet(hour)] == list(range(8, 22))
        True
        """
        return (hour - self.quiet_from) % 24 < (self.quiet_until - self.quiet_from) % 24


def _idle(name: str, most: int, tighter: str) -> str:
    return f"{name} = {most} is never reached, as {tighter} is reached before; lower the one or raise the other"
