"""Numbers, percentages, amounts and days in any locale. Only this module imports babel."""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache

from babel import Locale as Locale
from babel import UnknownLocaleError, localedata
from babel.dates import format_date
from babel.numbers import format_currency, format_decimal, format_percent

from configs.currencies import decimals_of
from configs.errors import InputError, did_you_mean

UNBROKEN = "\u00a0"
LATIN = "latn"  # digits as the goods' own prices have them


@lru_cache(maxsize=4096)
def locale_of(language: str | None, country: str | None = None) -> Locale | None:
    """Read a language, such as ``de``, ``de-AT`` or ``pt_BR``, and a country; None where there is no such language.

    A country is heard where the language names none itself and is written there.

    Examples
    --------
    >>> [str(locale_of(*each)) for each in (("de", None), ("en", "US"), ("pt_br", "DE"), ("de", "JP"), ("de", "Mars"))]
    ['de', 'en_US', 'pt_BR', 'de', 'de']
    >>> locale_of("Klingon") is None, locale_of(None) is None, locale_of("") is None
    (True, True, True)
    """
    own = _parsed(language or "")
    if own is None or own.territory is not None or not country:
        return own
    return _parsed(f"{own}_{country}") or own


def _parsed(tag: str) -> Locale | None:
    try:
        return Locale.parse(tag.replace("-", "_"))
    except (ValueError, TypeError, UnknownLocaleError):
        return None


def required_locale(language: str, where: str) -> Locale:
    """Read a language that somebody wrote into a file.

    Raises
    ------
    InputError
        There is no such language.

    Examples
    --------
    >>> required_locale("dee", "texts")
    Traceback (most recent call last):
        ...
    configs.errors.InputError: texts: 'dee' is no language; did you mean 'ee'?
    """
    locale = locale_of(language)
    if locale is None:
        raise InputError(f"{where}: {language!r} is no language; {did_you_mean(language, _languages())}")
    return locale


def _languages() -> list[str]:
    return [name for name in localedata.locale_identifiers() if "_" not in name]


@lru_cache(maxsize=4096)
def percentage(share: float, locale: Locale) -> str:
    r"""Write a share as the exact percentage: nothing is rounded away.

    Examples
    --------
    >>> percentage(0.125, locale_of("en")), percentage(0.3, locale_of("de"))
    ('12.5%', '30\xa0%')
    """
    return format_percent(repr(share), locale=locale, decimal_quantization=False)


def amount(number: float, currency: str, locale: Locale) -> str:
    r"""Write an amount of a currency, a whole one without its minor unit.

    Examples
    --------
    >>> amount(5, "USD", locale_of("en-US")), amount(4.5, "EUR", locale_of("de")), amount(1.5, "KWD", locale_of("en"))
    ('$5', '4,50\xa0€', 'KWD\xa01.500')
    """
    decimals = 0 if number == round(number) else decimals_of(currency)
    pattern = locale.currency_formats["standard"].pattern.replace("0.00", "0." + "0" * decimals if decimals else "0")
    text = format_currency(number, currency, pattern, locale=locale, currency_digits=False)
    return re.sub(r"(?<=[A-Za-z])(?=[0-9])", UNBROKEN, text)  # of a currency without a sign


def counted(number: float, locale: Locale) -> str:
    """Write a number with at most two decimals.

    Examples
    --------
    >>> counted(1250.0, locale_of("de")), counted(0.125, locale_of("en"))
    ('1.250', '0.12')
    """
    return format_decimal(number, "#,##0.##", locale=locale)


def written_day(day: date, locale: Locale) -> str:
    """Write a day out.

    Examples
    --------
    >>> [written_day(date(2018, 1, 8), locale_of(tag)) for tag in ("en-GB", "en-US", "de", "de-AT")]
    ['8 January 2018', 'January 8, 2018', '8. Januar 2018', '8. Jänner 2018']
    """
    return format_date(day, "long", locale=locale)


def weekday_name(day: date, locale: Locale) -> str:
    """Name the day of the week.

    Examples
    --------
    >>> [weekday_name(date(2018, 1, 8), locale_of(tag)) for tag in ("en", "de")]
    ['Monday', 'Montag']
    """
    return format_date(day, "EEEE", locale=locale)


def own_name(language: str) -> str:
    """Name a language in its own words; what is none stays as it is.

    Examples
    --------
    >>> own_name("de"), own_name("en-GB"), own_name("mine")
    ('Deutsch', 'English (United Kingdom)', 'Mine')
    """
    locale = locale_of(language)
    name = (locale.display_name or language) if locale is not None else language
    return name[:1].upper() + name[1:]


def decimal_signs(locale: Locale) -> dict[str, str]:
    """Signs of a language for those between digits that Python writes.

    Examples
    --------
    >>> decimal_signs(locale_of("de"))
    {',': '.', '.': ','}
    """
    signs = locale.number_symbols[LATIN]
    return {",": signs["group"], ".": signs["decimal"]}


def percent_template(locale: Locale) -> str:
    r"""Template of a percentage, with ``{number}``.

    Examples
    --------
    >>> percent_template(locale_of("de")), percent_template(locale_of("en"))
    ('{number}\xa0%', '{number}%')
    """
    return format_percent(0, locale=locale).replace("0", "{number}")
