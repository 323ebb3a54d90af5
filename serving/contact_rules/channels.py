"""Through which channels offers go, as the consents name them."""

from __future__ import annotations

import re

from configs.offers import Offer

SPELT = {"inapp": "in_app", "e_mail": "email"}


def channels_of(offer: Offer) -> list[str]:
    """Channels that an offer goes through at once, as the consents name them.

    Examples
    --------
    >>> each = {"title": "A", "play": "p", "message": "m", "valid_days": 7, "contact_cost": 0, "covered_spend": 1}
    >>> channels_of(Offer(offer_id="a", channel="E-Mail + Push", discounts=(0.1,), **each))
    ['email', 'push']
    >>> channels_of(Offer(offer_id="a", channel="sms/push", discounts=(0.1,), **each))
    ['sms', 'push']
    """
    return channel_names(offer.channel)


def channel_names(text: str) -> list[str]:
    """Name the channels that a text speaks of, as the consents name them.

    Examples
    --------
    >>> channel_names("In-App and E-Mail")
    ['in_app', 'email']
    """
    parts = [re.sub(r"\W+", "", part) for part in re.split(r"[+&/,;|]| and ", text.casefold())]
    return [SPELT.get(part, part) for part in parts if part]


def goes_through(offer: Offer, *, channel: str) -> bool:
    """Tell whether an offer goes through a channel."""
    return channel in channels_of(offer)
