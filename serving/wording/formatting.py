"""Formats of numbers and moments: plain English ones, and `Figures` of any language."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from configs.currencies import decimals_of
from serving.wording.language_file import Language

UNBROKEN = "\u00a0"


def repeated(text: str | None, rows: int) -> npt.NDArray[np.object_]:
    """Hold a text for many rows, shape (rows,); it is one object, where NumPy's ``full`` makes one of each."""
    return np.repeat(np.array([text], dtype=object), rows)


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
    """Write a share as a percentage, with a digit more where it is small, and of next to nothing that it is less.

    Examples
    --------
    >>> percent(0.274), percent(0.041), percent(0.0), percent(1 / 24_690)
    ('27%', '4.1%', '0%', '<0.1%')
    """
    number = 100 * share
    if 0 < number < 0.05:
        return "<0.1%"
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


@dataclass(frozen=True)
class Figures:
    """Writes numbers and moments as a language does; each method does what the function of its name does.

    Examples
    --------
    >>> from serving.wording.language_file import load_language
    >>> german = Figures(load_language("de"), "EUR", "Europe/Berlin")
    >>> [text.replace(UNBROKEN, " ") for text in (german.money(1234.5), german.percent(0.041), german.signed(-0.5))]
    ['1.234 EUR', '4,1 %', '−0,50']
    >>> german.percent(0.0001).replace(UNBROKEN, " ")
    '<0,1 %'
    >>> german.day(date(2018, 1, 1))
    '1. Januar 2018'
    """

    language: Language
    currency: str = ""
    time_zone: str = "UTC"

    def thousands(self, number: float) -> str:
        """Write a whole number."""
        return self.language.local(thousands(number))

    def plain(self, number: float) -> str:
        """Write a number, decimals only where there are some.

        Examples
        --------
        >>> from serving.wording.language_file import load_language
        >>> Figures(load_language("de")).plain(1234.0), Figures(load_language("en")).plain(-0.25)
        ('1.234', '−0.25')
        """
        return self.decimal(number, ",.0f" if number == round(number) else ",.2f")

    def short(self, number: float) -> str:
        """Write a number of a table with four digits that say something.

        Examples
        --------
        >>> from serving.wording.language_file import load_language
        >>> [Figures(load_language("en")).short(each) for each in (12345.6, 12.3456, 0.123456, 3.0)]
        ['12,346', '12.35', '0.1235', '3']
        """
        if number == round(number) or not math.isfinite(number):
            return self.plain(number)
        whole = math.floor(math.log10(abs(number)))
        return self.decimal(number, f",.{min(max(3 - whole, 0), 6)}f")

    def mebibytes(self, number: float) -> str:
        """Write a size in MiB: whole ones, below ten one decimal more, and of next to nothing that it is less.

        Examples
        --------
        >>> from serving.wording.language_file import load_language
        >>> [Figures(load_language("en")).mebibytes(each) for each in (1234.5, 12.3, 1.23, 0.01)]
        ['1,234', '12', '1.2', '<0.1']
        """
        return (
            self.decimal(number, ",.0f" if number >= 9.95 else ".1f")
            if number >= 0.05
            else f"<{self.decimal(0.1, '.1f')}"
        )

    def a_day(self, day: date | str) -> str:
        """Write a date out, one that is a text, too."""
        return self.day(date.fromisoformat(str(day)[:10]))

    def money(self, amount: float) -> str:
        """Write an amount of the account currency."""
        return self.language.local(money(amount, self.currency))

    def percent(self, share: float) -> str:
        """Write a share as a percentage."""
        return self.language.local(percent(share))

    def signed(self, number: float, decimals: int = 2) -> str:
        """Write a number with its sign."""
        return self.language.local(signed(number, decimals))

    def a_head(self, amount: float) -> str:
        """Write what a change brings a head, with its sign and the minor unit of the account currency."""
        return self.signed(amount, decimals_of(self.currency))

    def points(self, share: float) -> str:
        """Write a difference of two shares in percentage points."""
        return self.language.local(points(share))

    def decimal(self, number: float, shape: str) -> str:
        """Write a number in a shape of Python's."""
        return self.language.local(_minus(format(float(number), shape)))

    def day(self, day: date) -> str:
        """Write a date out."""
        return self.language.day(day)

    def contact(self, instant: datetime) -> str:
        """Write when somebody was contacted: of midnight, as sources have it that know days alone, the day.

        Examples
        --------
        >>> from datetime import UTC
        >>> from serving.wording.language_file import load_language
        >>> english = Figures(load_language("en"), "EUR", "Europe/Berlin")
        >>> [english.contact(datetime(2018, 1, 2, hour, tzinfo=UTC)) for hour in (0, 9, 23)]
        ['2 January 2018', '2 January 2018, 10:00', '3 January 2018']
        """
        for clock in ("UTC", self.time_zone):
            local = instant.astimezone(ZoneInfo(clock))
            if local.time() == time():
                return self.day(local.date())
        return self.moment(instant)

    def moment(self, instant: datetime) -> str:
        """Write an instant by the app's own clock."""
        local = instant.astimezone(ZoneInfo(self.time_zone))
        return f"{self.day(local.date())}, {local:%H:%M}"


def _minus(text: str) -> str:
    return text.replace("-", "−")
