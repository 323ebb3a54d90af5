"""Spellings of channel names, reduced to the ones by which users' consents name them."""

from __future__ import annotations

import re
import unicodedata

SPELT = {"inapp": "in_app", "e_mail": "email"}


def channel_names(text: str) -> list[str]:
    """Name the channels that a text speaks of, as the consents name them; none where it has no letter.

    Examples
    --------
    >>> channel_names("In-App and E-Mail"), channel_names("ＰＵＳＨ"), channel_names("?!")
    (['in_app', 'email'], ['push'], [])
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    parts = [re.sub(r"\W+", "", part) for part in re.split(r"[+&/,;|]| and ", plain)]
    return [SPELT.get(part, part) for part in parts if part]
