"""Settings of messages: which fields they may contain, and their greatest length per channel."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from configs.section import Section, Word

Signs = Annotated[int, Field(ge=10, le=100_000)]
FieldName = Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,39}$")]
NO_SUBJECT = 0
# what every text may use: of the offer, and of the user where it is known
OF_OFFER = {
    "title": "name of the offer",
    "category": "goods that they are due to buy again or may like, else “selected items”",
    "last_day": "last day on which the offer can be used, by the app's clock",
}
OF_BENEFIT = {
    "discount": "what is given, where that is a percentage",
    "benefit": "what is given: a percentage, an amount, days or points",
    "max_cost": "the most that it gives away, where the offer has a `max_cost`",
}
OF_USER = {
    "item": "an item of the category",
    "first_name": "first name, where they consent",
    "next_step": "name of the first step in the app that comes next",
    "streak": "days in a row",
    "progress": "how far they are; of the first steps where your app says nothing else",
    "points": "loyalty points",
}
FIELDS = {**OF_OFFER, **OF_BENEFIT, **OF_USER}


class ChannelText(Section):
    """How long the texts of a channel may be, in signs; where the subject has none, the channel shows no subject."""

    subject: int = Field(
        NO_SUBJECT,
        ge=0,
        le=1000,
        description="signs of the subject of an e-mail or the title of a push; 0: it has none",
    )
    message: Signs = Field(description="signs of the message")
    is_html: bool = Field(False, description="whether messages are HTML, so that what is filled in is escaped")


class Messages(Section):
    """What messages may say of a user, and how long they may be."""

    channels: dict[Word, ChannelText] = Field(description="length of texts by channel; `mail+push` obeys both")
    longest: Signs = Field(
        description="signs of a message on a channel that is not named, with a subject of any length"
    )
    longest_value: Annotated[int, Field(ge=5, le=1000)] = Field(
        description="signs of what is filled in; of what is longer (a name, an item) nothing is said"
    )
    personal_consent: Word = Field(
        description="consent without which a text says nothing of the user's own: `profiling` is `consent_profiling`"
    )
    fields: dict[FieldName, Word] = Field(
        description="column of `users` or of the snapshot behind what a text may say of a user; your own beside those "
        "that winback knows"
    )

    @field_validator("fields")
    @classmethod
    def _names_are_free(cls, fields: dict[str, str]) -> dict[str, str]:
        for name in fields:
            if name in OF_OFFER or name in OF_BENEFIT or name == "item":
                raise ValueError(f"{name} is what winback says itself; choose another name")
        return fields

    def of_channel(self, channel: str) -> ChannelText:
        """Tell what fits every part of a channel such as ``email+push``.

        Examples
        --------
        >>> both = {"push": ChannelText(subject=50, message=150), "sms": ChannelText(message=160)}
        >>> some = Messages(channels=both, longest=2000, longest_value=40, personal_consent="profiling", fields={})
        >>> some.of_channel("push+sms").message, some.of_channel("push+sms").subject, some.of_channel("fax").message
        (150, 50, 2000)
        """
        parts = [self.channels[part] for part in channel.split("+") if part in self.channels]
        shown = [part.subject for part in parts if part.subject != NO_SUBJECT]
        if not parts:
            return ChannelText(subject=1000, message=self.longest, is_html=False)
        return ChannelText(
            subject=min(shown, default=NO_SUBJECT),
            message=min(part.message for part in parts),
            is_html=all(part.is_html for part in parts),
        )
