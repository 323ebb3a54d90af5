"""What channels are called, however somebody writes them: as the consents of users name them."""

from __future__ import annotations

import re

SPELT = {"inapp": "in_app", "e_mail": "email"}


def channel_names(text: str) -> list[str]:
    """Name the channels that a text speaks of, as the consents name them.

    Examples
    --------
    >>> channel_names("In-App and E-Mail")
    ['in_app', 'email']
    """
    parts = [re.sub(r"\W+", "", part) for part in re.split(r"[+&/,;|]| and ", text.casefold())]
    return [SPELT.get(part, part) for part in parts if part]
