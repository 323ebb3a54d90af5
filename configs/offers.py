"""The catalogue of offers: what may be given, at which discounts, and what a contact costs."""

from __future__ import annotations

import string
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, ValidationInfo, field_validator, model_validator

from configs.errors import InputError, did_you_mean
from configs.named_files import FOLDER, named_file, read_toml
from configs.section import Money, Section, Word
from configs.settings import Days, Share
from configs.validated_model import validated

NO_OFFER = "none"  # the id of *nothing* where offers are named
STARTING_POINT = "example"  # the catalogue of a profile that names none
NOTHING = -1  # its place where options are numbered
MESSAGE_FIELDS = ("discount", "title", "category", "valid_until")


class Option(NamedTuple):
    """One thing that can be decided: an offer of the catalogue at one of its discounts."""

    offer_id: str
    discount: float


class Offer(Section):
    """One thing that can be given; with each of its discounts it makes one option."""

    offer_id: Word = Field(description="name, equal to `offer_id` of the treatments")
    title: str = Field(description="what people read")
    play: str = Field(description="the kind of message this offer is part of")
    channel: Word = Field(description="how it reaches the user")
    message: str = Field(description="text with $discount, $title, $category and $valid_until (the last day) filled in")
    plain_message: str | None = Field(None, description="text without a discount: `message`, but for $discount")
    discounts: tuple[Share, ...] = Field(min_length=1, description="discount levels, shares of the price")
    valid_days: Days = Field(description="days in which it can be redeemed")
    contact_cost: Money = Field(description="cost of one contact, account currency")
    covered_spend: Money = Field(
        gt=0, description="spend that the discount applies to when no redemption was logged, account currency"
    )
    stock: int | None = Field(
        None, ge=0, le=10**15, description="most users that may get it in one day; unset means no limit"
    )

    @field_validator("discounts")
    @classmethod
    def _discounts_rise(cls, discounts: tuple[float, ...]) -> tuple[float, ...]:
        if list(discounts) != sorted(set(discounts)):
            raise ValueError("discounts must rise without repeats")
        return discounts

    @field_validator("message", "plain_message")
    @classmethod
    def _message_fields_are_known(cls, message: str | None, about: ValidationInfo) -> str | None:
        template = string.Template(message or "")
        allowed = [name for name in MESSAGE_FIELDS if name != "discount" or about.field_name == "message"]
        if not template.is_valid() or set(template.get_identifiers()) - set(allowed):
            raise ValueError(f"a message may use {', '.join('$' + name for name in allowed)} and no other $ field")
        return message

    @model_validator(mode="after")
    def _no_discount_is_no_discount_in_words(self) -> Offer:
        speaks_of_it = "discount" in string.Template(self.message).get_identifiers()
        if 0.0 in self.discounts and speaks_of_it and self.plain_message is None:
            raise ValueError("a discount of 0 needs a plain_message, because the message speaks of $discount")
        return self

    @property
    def texts(self) -> list[str]:
        """Its messages, before they are filled in."""
        return [text for text in (self.message, self.plain_message) if text is not None]

    def text(self, discount: str | None, category: str, valid_until: str) -> str:
        """Fill the message in, the plain one where there is no discount; only the named fields are ever replaced.

        `valid_until` is the last day on which the offer can be used, `discount` a percentage; both in words.

        Examples
        --------
        >>> offer = Offer(
        ...     offer_id="a", title="A", play="p", channel="mail", message="$discount off $category",
        ...     discounts=(0.1,), valid_days=7, contact_cost=0, covered_spend=1,
        ... )
        >>> offer.text("12.5%", "bread", "8 January 2018")
        '12.5% off bread'
        """
        fields = {"discount": discount or "", "title": self.title, "category": category, "valid_until": valid_until}
        message = self.message if discount is not None or self.plain_message is None else self.plain_message
        return string.Template(message).substitute(fields)


class Catalogue(Section):
    """All offers of an app."""

    offers: tuple[Offer, ...]

    def __getitem__(self, offer_id: str) -> Offer:
        """Look an offer up by its id; an unknown one is an `InputError`."""
        offers = {offer.offer_id: offer for offer in self.offers}
        if offer_id not in offers:
            raise InputError(f"offer {offer_id!r} is not in the catalogue; {did_you_mean(offer_id, offers)}")
        return offers[offer_id]

    @property
    def titles(self) -> dict[str, str]:
        """What people call each offer, by its id."""
        return {offer.offer_id: offer.title for offer in self.offers}

    @property
    def options(self) -> list[Option]:
        """Every option that can be decided, in catalogue order."""
        return [Option(offer.offer_id, discount) for offer in self.offers for discount in offer.discounts]

    @property
    def offer_of_options(self) -> list[Offer]:
        """Offer of each of `options`."""
        return [offer for offer in self.offers for _ in offer.discounts]


def load_catalogue(name: str) -> Catalogue:
    """Read ``configs/offers/<name>.toml``, or the TOML file at a path; ``none`` is the empty catalogue.

    Raises
    ------
    InputError
        The file is missing, an offer has an unknown key or a value out of range.
    """
    if name == NO_OFFER:
        return Catalogue(offers=())
    path = named_file(name, FOLDER / "offers", ".toml", "offer catalogue")
    return Catalogue(offers=tuple(_offers(read_toml(path), path)))


def _offers(tables: dict[str, object], path: Path) -> list[Offer]:
    for offer_id, table in tables.items():
        if offer_id == NO_OFFER or not isinstance(table, dict):
            raise InputError(
                f"[{offer_id}] in {path} is not an offer; write one table per offer, named other than {NO_OFFER!r}"
            )
    return [
        validated(Offer, {"offer_id": offer_id, **table}, f"offer {offer_id!r} of {path}")
        for offer_id, table in tables.items()
        if isinstance(table, dict)
    ]
