"""Checks that involve both the settings and the catalogue of offers."""

from __future__ import annotations

from configs.channel_names import channel_names
from configs.errors import InputError, did_you_mean
from configs.offers import Catalogue
from configs.settings import Settings


def check_channels(settings: Settings, catalogue: Catalogue) -> None:
    """Refuse the capacity of a channel that no offer goes through, or that some offers spell otherwise.

    An empty catalogue has none to compare with.

    Raises
    ------
    InputError
        ``scoring.channel_capacity`` names such a channel.
    """
    channels = {offer.channel for offer in catalogue.offers}
    for name in settings.scoring.channel_capacity if channels else ():
        if name not in channels:
            known = did_you_mean(name, channels)
            raise InputError(f"scoring.channel_capacity: no offer goes through channel {name!r}; {known}")
        if alike := sorted(each for each in channels - {name} if channel_names(each) == channel_names(name)):
            raise InputError(
                f"scoring.channel_capacity of {name!r} would not hold for offers by {alike[0]!r}, which is the same "
                "channel; write it alike in all offers"
            )


def check_floor(settings: Settings, options: int) -> None:
    """Refuse a floor that leaves the options no probability to share out.

    Raises
    ------
    InputError
        So many options at the floor, and *nothing*, have a probability above 1.
    """
    exploration = settings.scoring.exploration
    if exploration.share > 0 and exploration.floor * (options + 1) > 1:
        raise InputError(
            f"scoring.exploration.floor = {exploration.floor} for each of {options} options and for nothing adds up to "
            f"{exploration.floor * (options + 1):.2f}; lower it to {1 / (options + 1):.4f} or less"
        )
