"""The channels of offers, by the names that consents use."""

from __future__ import annotations

from configs.channel_names import channel_names
from configs.offers import Offer


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


def goes_through(offer: Offer, *, channel: str) -> bool:
    """Tell whether an offer goes through a channel."""
    return channel in channels_of(offer)
