"""What makes an offer a play: what it is for, whom it is meant for, what its message claims, and how it may be sent."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, field_validator

from configs.errors import InputError, shortened
from configs.section import Section, Word

Aim = Literal["onboard", "nudge", "remind", "reward", "retain", "recover", "win_back"]
SendClass = Literal["marketing", "transactional", "mandatory"]
Measure = Literal["margin", "retention", "conversion"]
RECOVER, WIN_BACK, MARKETING = "recover", "win_back", "marketing"


class Play(Section):
    """Fields of an offer that say whom it is meant for; each has a default, so that a plain offer is for everybody."""

    model_config = ConfigDict(populate_by_name=True)

    play_id: str = Field("", description="table of the catalogue that it was read from")
    aim: Aim | None = Field(
        None, description="what it is for: onboard, nudge, remind, reward, retain, recover (a payment) or win_back"
    )
    when: str = Field(
        "", max_length=4000, description="rule in the language of segments that says whom it is meant for"
    )
    fact: str = Field("", max_length=4000, description="rule that holds of everybody of whom its message is true")
    needs: tuple[Word, ...] = Field(
        (), description="columns without which it is left out, since not every app has them"
    )
    send_class: SendClass = Field(
        "marketing",
        alias="class",
        description="marketing, or by law or contract transactional or mandatory: those go to everybody for whom they "
        "are meant, whatever they are worth",
    )
    cool_down_days: int = Field(0, ge=0, le=3660, description="days before the same user may get the play again")
    measured_by: Measure = Field(
        "margin", description="what says whether it works: margin, retention or conversion (a purchase)"
    )
    rule_file: Path | None = Field(None, exclude=True, description="file that the play stands in")
    rule_text: str = Field("", exclude=True, description="content of that file, which tells lines")

    @field_validator("when", "fact")
    @classmethod
    def _says_something(cls, rule: str) -> str:
        if rule and not rule.strip():
            raise ValueError("is blank; write a rule, or leave it out")
        return rule

    @property
    def is_marketing(self) -> bool:
        """Whether it is sent for what it is worth; else whoever it is meant for gets it."""
        return self.send_class == MARKETING

    @property
    def is_win_back(self) -> bool:
        """Whether it is for those who have lapsed or left, who have draws of their own."""
        return self.is_marketing and self.aim == WIN_BACK

    @property
    def is_for_some(self) -> bool:
        """Whether a rule says whom it is meant for."""
        return bool(self.when or self.fact)


def expanded(offer_id: str, table: dict[str, object], where: str) -> list[tuple[str, dict[str, object]]]:
    """Make one table per channel of a play that names several, with ids that end in the channel.

    Raises
    ------
    InputError
        `channels` is no list of different names, or `channel` is named beside it.

    Examples
    --------
    >>> expanded("cart", {"channels": ["push", "email"]}, "my.toml")
    [('cart_push', {'channel': 'push'}), ('cart_email', {'channel': 'email'})]
    >>> expanded("cart", {"channels": ["push"]}, "my.toml"), expanded("cart", {"channel": "push"}, "my.toml")
    ([('cart', {'channel': 'push'})], [('cart', {'channel': 'push'})])
    """
    if "channels" not in table:
        return [(offer_id, table)]
    channels, rest = table["channels"], {name: value for name, value in table.items() if name != "channels"}
    if "channel" in table:
        raise InputError(f"offer {offer_id!r} of {where} names channel and channels; keep one of them")
    if not isinstance(channels, list) or not channels or not all(isinstance(each, str) for each in channels):
        raise InputError(
            f"channels of offer {offer_id!r} of {where} is {shortened(repr(channels))}; list names, such as "
            '["push", "email"]'
        )
    if len(set(channels)) < len(channels):
        raise InputError(f"channels of offer {offer_id!r} of {where} names one twice; name each once")
    names = [offer_id] if len(channels) == 1 else [f"{offer_id}_{channel}" for channel in channels]
    return [(name, {**rest, "channel": channel}) for name, channel in zip(names, channels, strict=True)]
