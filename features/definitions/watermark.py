"""The watermark: only what had happened and had arrived by a moment may be used at it."""

from __future__ import annotations

from typing import Any


def known_before(watermark: Any, happened: Any, arrived: Any) -> Any:  # noqa: ANN401
    """Whether something was known before a moment: it had happened, and word of it had arrived.

    `watermark` is what streaming engines call so: what arrives behind it changes no result that was given for it. All
    that asks what was known by a moment asks here. Days or instants, plain, arrays or columns of a query.

    Examples
    --------
    >>> from datetime import date
    >>> monday, tuesday = date(2024, 3, 4), date(2024, 3, 5)
    >>> known_before(tuesday, happened=monday, arrived=monday), known_before(tuesday, happened=monday, arrived=tuesday)
    (True, False)
    """
    return (happened < watermark) & (arrived < watermark)
