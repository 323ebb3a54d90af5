"""What messages may say about their readers, and each reader's locale, from the current users table."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from configs.offers import NOTHING
from configs.settings import Settings
from features.arrays.array_types import Flags, Places, Texts
from features.ingestion.contract import CONSENT
from features.storage.lake import Lake
from features.training_data.user_columns import user_columns
from serving.wording.locales import locale_of

LANGUAGE, COUNTRY, LOCALE, AGREES = "language", "country", "locale", "agrees"
ADDRESS = re.compile(r"://|www\.|@|\.(?:com|net|org|info|io|ru|cn)\b", re.IGNORECASE)
FIRST_NAME = "first_name"
BETWEEN_NAMES = " .'’·-"
JOINERS = "\u200c\u200d"  # which Persian and Indian spelling needs
HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # categories of signs that show nothing, or turn the writing


@dataclass(frozen=True)
class ReaderDetails:
    """What is known of some users: ``locale``, ``agrees`` (to be spoken of), and the fields that texts say of them.

    A field is missing where nothing is known, where it is nothing that a message could say, or without consent.
    """

    frame: pd.DataFrame = field(default_factory=pd.DataFrame)

    def of(self, user_ids: pd.Series) -> pd.DataFrame:
        """Look some users up, in their order; nothing is known of those who are not there."""
        found = self.frame.reindex(pd.Index(user_ids.astype(object))).reset_index(drop=True)
        locale = found.get(LOCALE, pd.Series(index=found.index, dtype=object))
        agrees = found.get(AGREES, pd.Series(index=found.index, dtype=object)).astype("boolean").fillna(value=True)
        return found.assign(**{LOCALE: locale, AGREES: agrees.astype(bool)})


ReadersOf = Callable[[Places], ReaderDetails]  # of what everybody is given, or `NOTHING`, in the snapshot's order


def nobody_read(given: Places) -> ReaderDetails:  # noqa: ARG001 - as every reader
    """Know nothing of anybody."""
    return ReaderDetails()


def read_details(
    settings: Settings, lake: Lake, everybody: pd.Series, fields: set[str], given: Places
) -> ReaderDetails:
    """Read what texts may say of those who are given something.

    Parameters
    ----------
    everybody
        User ids of the snapshot, in order; `given` is what each is given, or `NOTHING`.
    fields
        Names of the fields that texts use.
    """
    user_ids = everybody[np.asarray(given) != NOTHING].astype(object)
    columns = {name: column for name, column in settings.messages.fields.items() if name in fields}
    consent = f"{CONSENT}{settings.messages.personal_consent}"
    found = user_columns(lake, user_ids, {LANGUAGE, COUNTRY, consent, *columns.values()})
    agrees = agreed(found, consent, unknown=settings.contact.unknown_consent == "granted")
    frame = pd.DataFrame({LOCALE: locales_of(found), AGREES: agrees}, index=pd.Index(user_ids))
    for name, column in columns.items():
        if column in found:
            spoken = spoken_values(found[column], settings.messages.longest_value, is_name=name == FIRST_NAME)
            frame[name] = where_allowed(agrees, spoken)
    return ReaderDetails(frame)


def agreed(details: pd.DataFrame, consent: str, *, unknown: bool) -> Flags:
    """Say who consents, shape (users,)."""
    if consent not in details:
        return np.full(len(details), unknown)
    return details[consent].astype("boolean").fillna(unknown).to_numpy(dtype=bool)


def locales_of(details: pd.DataFrame) -> Texts:
    """Name the locale of each user by language and country, shape (users,); None where no language is known.

    Examples
    --------
    >>> locales_of(pd.DataFrame({"language": ["de", "en-US", "?", None], "country": ["AT", "DE", "DE", "DE"]})).tolist()
    ['de_AT', 'en_US', None, None]
    """
    if LANGUAGE not in details:
        return np.full(len(details), None, dtype=object)
    own = pd.DataFrame({name: details.get(name, pd.Series(index=details.index)) for name in (LANGUAGE, COUNTRY)})
    codes, pairs = pd.MultiIndex.from_frame(own.astype(object).where(own.notna(), "")).factorize()
    locales = [locale_of(*map(str, pair)) for pair in pairs]
    return np.array([*(str(each) if each is not None else None for each in locales), None], dtype=object)[codes]


def where_allowed(allowed: Flags, values: Texts) -> Texts:
    """Keep values where they may be said, shape (users,); None elsewhere."""
    kept = np.full(len(values), None, dtype=object)
    kept[allowed] = values[allowed]
    return kept


def spoken_values(values: pd.Series, longest: int, *, is_name: bool = False) -> Texts:
    """Keep what a message can say of each user, shape (users,): numbers as they are, of texts those that are plain."""
    if pd.api.types.is_numeric_dtype(values):  # of a flag, 0 is as if nothing were known
        numbers = values.to_numpy(dtype=float, na_value=np.nan)
        is_said = np.isfinite(numbers) & ((numbers != 0) | (not pd.api.types.is_bool_dtype(values)))
        return where_allowed(is_said, numbers.astype(object))
    codes, distinct = pd.factorize(values.astype(object))
    spoken = [spoken_text(str(value), longest, is_name=is_name) for value in distinct]
    return np.array([*spoken, None], dtype=object)[codes]


def spoken_text(text: str, longest: int, *, is_name: bool = False) -> str | None:
    r"""Write what a user or a till has written so that it cannot be more than a text; None where nothing can be said.

    No line breaks, no marks that turn the direction of writing, no addresses; a name has letters only.

    Examples
    --------
    >>> [spoken_text(name, 40, is_name=True) for name in ("  Zoë  Ann ", "R2D2", "a\nBcc: b", "x" * 41)]
    ['Zoë Ann', None, None, None]
    >>> spoken_text("a red <b>pot</b>", 40), spoken_text("see http://a.b", 40)
    ('a red <b>pot</b>', None)
    """
    plain = " ".join(each for each in unicodedata.normalize("NFC", text).split(" ") if each)
    if not plain or len(plain) > longest or ADDRESS.search(plain):
        return None
    if any(unicodedata.category(sign) in HIDDEN and sign not in JOINERS for sign in plain):
        return None
    return plain if not is_name or _is_name(plain) else None


def _is_name(text: str) -> bool:
    """Tell whether a text is of letters and what stands between the parts of a name."""
    return text[0].isalpha() and all(
        unicodedata.category(sign)[0] in "LM" or sign in BETWEEN_NAMES + JOINERS for sign in text
    )
