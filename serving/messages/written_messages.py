"""Messages in each reader's language; every distinct text is rendered once, however many users receive it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import NamedTuple

import numpy as np
import pandas as pd

from configs.benefits import Benefit
from features.arrays.array_types import Places, Texts
from features.definitions.registry import Unit
from serving.messages.message_texts import MessageTexts, OfferText
from serving.messages.reader_details import LOCALE
from serving.messages.template_sandbox import MessageTemplate
from serving.messages.text_choice import chosen_text
from serving.wording.formatting import repeated
from serving.wording.locales import Locale, amount, counted, locale_of, percentage

STAGE, PERSONA, CATEGORY = "stage", "persona", "category"
CUT, NO_LIMIT = "…", 10**9


class Occasion(NamedTuple):
    """What a message is about: an offer, what it gives, at most (`max_cost`), until when, and who says it how."""

    offer_id: str
    benefit: Benefit
    max_cost: float | None
    last_day: date
    currency: str
    variant: str | None = None


class Messages(NamedTuple):
    """What each of some readers gets, shape (readers,): ``written_for`` names the text, by whom it is for."""

    subject: Texts
    message: Texts
    language: Texts
    written_for: Texts


def written_messages(
    texts: MessageTexts, occasion: Occasion, readers: pd.DataFrame, units: Mapping[str, Unit]
) -> Messages:
    """Write to some readers.

    Parameters
    ----------
    readers
        One row each: ``locale``, ``stage``, ``persona``, ``category`` and a column of every other field that may be
        said; missing where it may not. Numbers are written by their unit.
    units
        Of the columns with numbers, what they count.
    """
    own = texts.said_by(occasion.offer_id, occasion.variant)
    found = Messages(*np.full((4, len(readers)), None, dtype=object))
    for text, locale, rows in _by_text(own, readers, texts.app):
        subject, message = written_text(text, locale, occasion, readers.iloc[rows], units)
        found.subject[rows], found.message[rows] = subject, message
        found.language[rows], found.written_for[rows] = text.tag, str(text.text.readers)
    return found


def _by_text(texts: Sequence[OfferText], readers: pd.DataFrame, app: Locale) -> list[tuple[OfferText, Locale, Places]]:
    """Share readers out to texts and to the locales in which days and numbers are written."""
    of_readers = readers[[LOCALE, STAGE, PERSONA]].astype(object)
    codes, kinds = pd.MultiIndex.from_frame(of_readers.where(of_readers.notna(), "")).factorize()
    written = [text.written for text in texts]
    chosen = []
    for tag, stage, persona in kinds:
        locale = locale_of(tag)
        text = texts[chosen_text(written, locale, stage or None, persona or None, app)]
        is_theirs = locale is not None and locale.territory and locale.language == text.locale.language
        chosen.append((text, locale if locale is not None and is_theirs else text.locale))
    return [(*pair, rows) for pair, rows in zip(chosen, _rows_of(codes, len(kinds)), strict=True)]


def _rows_of(codes: Places, kinds: int) -> list[Places]:
    """List the rows of each code, in order."""
    return np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes, minlength=kinds))[:-1])


def written_text(
    text: OfferText, locale: Locale, occasion: Occasion, readers: pd.DataFrame, units: Mapping[str, Unit], *,
    is_fitted: bool = True,
) -> tuple[Texts, Texts]:  # fmt: skip
    """Write subject and message of one text, once for all readers of whom they say the same, shape (readers,) each.

    `is_fitted` leaves out what is said of a reader alone where that is too long for the channel.
    """
    same, users = fixed_values(text, locale, occasion), len(readers)
    message, channel = text.message(is_given="benefit" in same), text.channel
    used = {*message.fields, *(text.subject.fields if text.subject else ())} - same.keys()
    own = {
        name: _values(readers[name], units.get(name, "own"), locale, occasion.currency)
        for name in readers.columns
        if name in used
    }
    if CATEGORY in own and text.categories:
        own[CATEGORY] = np.array([text.categories.get(name, name) for name in own[CATEGORY]], dtype=object)
    same[CATEGORY] = text.words.values["selected_items"]
    subject_signs, signs = (channel.subject, channel.message) if is_fitted else (NO_LIMIT, NO_LIMIT)
    subjects = _filled(text.subject, same, own, users, subject_signs) if text.subject else repeated(None, users)
    return subjects, _filled(message, same, own, users, signs)


def _filled(template: MessageTemplate, same: dict[str, str], own: dict[str, Texts], users: int, longest: int) -> Texts:
    """Fill a template in, once for all of whom it says the same, shape (users,)."""
    varying = {name: values for name, values in own.items() if name in template.fields}
    codes, kinds = _distinct(list(varying.values()), users)
    said = ({name: value for name, value in zip(varying, kind, strict=True) if value is not None} for kind in kinds)
    return np.array([fitted(template, same, each, longest) for each in said], dtype=object)[codes]


def _distinct(columns: list[Texts], users: int) -> tuple[Places, list[tuple[str | None, ...]]]:
    """Tell distinct rows of columns of texts apart: the number of each row's, and what each of them says."""
    if not columns or not users:
        return np.zeros(users, dtype=np.intp), [()]
    codes = np.zeros(users, dtype=np.int64)
    for column in columns:
        places, values = pd.factorize(column, use_na_sentinel=False)
        codes = pd.factorize(codes * len(values) + places)[0]
    first = np.zeros(codes.max() + 1, dtype=np.intp)
    first[codes[::-1]] = np.arange(users)[::-1]  # the last that is written counts
    return codes, list(zip(*(column[first] for column in columns), strict=True))


def fixed_values(text: OfferText, locale: Locale, occasion: Occasion) -> dict[str, str]:
    """Write what a text says to everybody who gets it."""
    words, benefit = text.words, occasion.benefit
    values = {
        "title": text.title,
        "last_day": words.day(occasion.last_day, locale),
    }
    given = words.benefit(benefit, occasion.currency, locale)
    if given is None:
        return values
    values |= {"benefit": given} | ({"discount": given} if benefit.kind == "percent" else {})
    limit = {} if occasion.max_cost is None else {"max_cost": amount(occasion.max_cost, occasion.currency, locale)}
    return values | limit


def fitted(template: MessageTemplate, same: dict[str, str], own: dict[str, str], longest: int) -> str:
    """Fill a template in; where that is too long, without what is said of one reader alone (`own`)."""
    full = template.filled({**same, **own})
    if len(full) <= longest:
        return full
    short = template.filled(same)
    return short if len(short) <= longest else short[: longest - 1] + CUT


def _values(values: pd.Series, unit: Unit, locale: Locale, currency: str) -> Texts:
    """Write numbers by their unit, each distinct one once; texts stay."""
    if values.dtype != object and not pd.api.types.is_numeric_dtype(values):
        values = values.astype(object)
    codes, distinct = pd.factorize(values)
    written = [value if isinstance(value, str) else _number(float(value), unit, locale, currency) for value in distinct]
    return np.array([*written, None], dtype=object)[codes]


def _number(number: float, unit: Unit, locale: Locale, currency: str) -> str:
    if unit in ("share", "ratio"):
        return percentage(round(number, 2), locale)
    return amount(round(number, 2), currency, locale) if unit == "money" else counted(number, locale)
