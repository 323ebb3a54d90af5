"""Numbers, dates and verdicts in words, for people who read the report."""

from __future__ import annotations

from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd

from configs.currencies import decimals_of
from models.metrics.metric import Metric

UNBROKEN = "\u00a0"


def repeated(text: str | None, rows: int) -> npt.NDArray[np.object_]:
    """Hold a text for many rows, shape (rows,); it is one object, where NumPy's ``full`` makes one of each."""
    return np.repeat(np.array([text], dtype=object), rows)


def stay_words(retention: Metric) -> str:
    """Say what an interval of the share of users who stay allows, where no money is known.

    Examples
    --------
    >>> stay_words(Metric(0.046, 0.02, 0.072, 100))
    'It keeps users: between +2.0 and +7.2 more of 100 stay.'
    """
    between = f"between {100 * retention.low:+.1f} and {100 * retention.high:+.1f} more of 100 stay"
    if retention.low <= 0 <= retention.high:
        return f"Its effect could be anything: {between}."
    return f"{'It keeps users' if retention.low > 0 else 'It drives users away'}: {between}."


def effect_words(margin: Metric, evidence: str, currency: str) -> str:
    """Say what an interval of the margin a head, before discounts and contacts are paid, allows.

    Examples
    --------
    >>> effect_words(Metric(1.0, -2.4, 6.0, 100), "observational", "USD")
    'Its effect could be anything between −2.40 and +6.00 USD a head: treat it as a bet, not as a fact.'
    """
    decimals = decimals_of(currency)
    between = f"between {signed(margin.low, decimals)} and {signed(margin.high, decimals)} {currency} a head"
    if margin.low <= 0 <= margin.high:
        return f"Its effect could be anything {between}: treat it as a bet, not as a fact."
    judged = "It adds margin" if margin.low > 0 else "It loses margin"
    ending = "." if evidence == "randomised" else ", as far as an adjusted comparison can tell."
    return f"{judged}, {between} before costs{ending}"


def thousands(number: float) -> str:
    """Write a whole number with thousands separators.

    Examples
    --------
    >>> thousands(2469)
    '2,469'
    """
    return f"{number:,.0f}"


def money(amount: float, currency: str) -> str:
    """Write an amount with its currency, to the minor unit below 100; no line breaks between the two.

    Examples
    --------
    >>> money(7330.72, "USD").split(), money(0.4, "USD").split(), money(-3, "GBP").split()
    (['7,331', 'USD'], ['0.40', 'USD'], ['−3.00', 'GBP'])
    >>> money(1.2345, "KWD").split(), money(5.6, "JPY").split()
    (['1.234', 'KWD'], ['6', 'JPY'])
    """
    digits = 0 if abs(amount) >= 100 else decimals_of(currency)
    return f"{_minus(f'{round(amount, digits) + 0.0:,.{digits}f}')}{UNBROKEN}{currency}"


def percent(share: float) -> str:
    """Write a share as a percentage, with a digit more where it is small.

    Examples
    --------
    >>> percent(0.274), percent(0.041), percent(0.0)
    ('27%', '4.1%', '0%')
    """
    number = 100 * share
    return f"{number:.1f}%" if 0.05 <= abs(number) < 9.95 else f"{number:.0f}%"


def signed(number: float, decimals: int = 2) -> str:
    """Write a number with its sign.

    Examples
    --------
    >>> signed(1.5), signed(-0.0), signed(-2)
    ('+1.50', '0.00', '−2.00')
    """
    text = f"{number:+,.{decimals}f}"
    return text[1:] if not float(text.replace(",", "")) else _minus(text)


def points(share: float) -> str:
    """Write a difference of two shares in percentage points.

    Examples
    --------
    >>> points(0.0186), points(-0.011)
    ('+1.9', '−1.1')
    """
    return "0.0" if abs(share) < 0.0005 else _minus(f"{100 * share:+.1f}")


def day_words(day: date) -> str:
    """Write a date out.

    Examples
    --------
    >>> day_words(date(2018, 1, 1))
    '1 January 2018'
    """
    return f"{day.day} {day:%B %Y}"


def moment_words(instant: pd.Timestamp, time_zone: str) -> str:
    """Write an instant by the app's own clock."""
    local = instant.tz_convert(time_zone)
    return f"{day_words(local.date())}, {local:%H:%M}"


def _minus(text: str) -> str:
    return text.replace("-", "−")
