"""Who may get what at all: a list of pure rules, asked before anything is allocated and again before it is written.

A new rule is a function of what is known about users and about earlier contacts, and one line in `rules_of`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from configs.offers import NOTHING, Catalogue, Offer
from configs.settings import Settings
from features.arrays.array_types import Flags, Floats, Kinds, Places
from features.ingestion.contract import CONSENT
from serving.wording.reason_codes import DEPENDS, Reason

# kinds of why not; rules come after them
ELIGIBLE, NOT_MEASURED, UNLIKE_COMPARED, NOT_CHOSEN, NOT_VALUED, SIGN_DEPENDS, FIRST_RULE = range(7)
UNKNOWN_WORTH = (NOT_MEASURED, UNLIKE_COMPARED, NOT_VALUED)
SPELT = {"inapp": "in_app", "e_mail": "email"}
CONTACTS = ("user_id", "decided_at", "offer_id", "channel", "is_open")


@dataclass(frozen=True)
class Rule:
    """Forbids offers to some users.

    `applies` tells whom, shape (users,), by the frame of users, of which it reads `columns`, and by a table of earlier
    contacts (`CONTACTS`). `forbids` tells which offers; None means all of them. `number` and `value` are for the words.
    Of those to whom a rule applies that `is_unscored` nothing is predicted.
    """

    code: str
    applies: Callable[[pd.DataFrame, pd.DataFrame], Flags]
    columns: tuple[str, ...] = ()
    forbids: Callable[[Offer], bool] | None = None
    number: float | None = None
    value: str | None = None
    is_unscored: bool = False

    @property
    def reason(self) -> Reason:
        """What is said of an option that the rule forbids."""
        return Reason(self.code, value=self.value, number=self.number)


class Forbidden(NamedTuple):
    """Kinds of why not, `ELIGIBLE` where no rule speaks against it: of everything, shape (users,), and of each option.

    `option` has shape (users, options). Where several rules apply the first one is said. Who may get none of the
    options may get nothing at all, because of the first rules that leave none.
    """

    everything: Kinds
    option: Kinds


def rules_of(settings: Settings, catalogue: Catalogue) -> tuple[Rule, ...]:
    """List the rules in the order in which they are asked: consent comes first."""
    lookback, unknown = settings.churn.lookback_days, settings.contact.unknown_consent == "refused"
    channels = dict.fromkeys(channel for offer in catalogue.offers for channel in channels_of(offer))

    def consent(code: str, what: str, **more: Any) -> Rule:  # noqa: ANN401
        column = f"{CONSENT}{what}"
        return Rule(code, partial(refuses, column=column, unknown=unknown), (column,), **more)

    left, idle = "days_since_last_cancellation", "days_since_last_activity"
    return (
        consent("no_profiling", "profiling", is_unscored=True),
        *(consent("no_consent", each, forbids=partial(goes_through, channel=each), value=each) for each in channels),
        Rule("has_left", has_left, (left, idle), is_unscored=True),
        Rule("payment_failed", payment_failed, ("payment_failures_count_28d",)),
        Rule("not_active", partial(not_active, days=lookback), (idle,), number=lookback, is_unscored=True),
        Rule("open_offer", has_open_offer, ("user_id",)),
    )


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
    parts = [re.sub(r"\W+", "", part) for part in re.split(r"[+&/,;|]| and ", offer.channel.casefold())]
    return [SPELT.get(part, part) for part in parts if part]


def goes_through(offer: Offer, *, channel: str) -> bool:
    """Tell whether an offer goes through a channel."""
    return channel in channels_of(offer)


def refuses(frame: pd.DataFrame, contacts: pd.DataFrame, *, column: str, unknown: bool) -> Flags:  # noqa: ARG001
    """Who does not consent; `unknown` says whether that is also assumed of those of whom nothing is known."""
    consents = _known(frame, column)
    return np.asarray((consents == 0) | (np.isnan(consents) & unknown))


def has_left(frame: pd.DataFrame, contacts: pd.DataFrame) -> Flags:  # noqa: ARG001
    """Who ended the contract and was not active on a later day: there is nobody to keep."""
    ended, seen = (_known(frame, name) for name in ("days_since_last_cancellation", "days_since_last_activity"))
    return np.asarray(ended <= np.where(np.isnan(seen), np.inf, seen))


def payment_failed(frame: pd.DataFrame, contacts: pd.DataFrame) -> Flags:  # noqa: ARG001
    """Whose payment failed: payment recovery comes first, never a discount."""
    return (frame["payment_failures_count_28d"] > 0).to_numpy()


def not_active(frame: pd.DataFrame, contacts: pd.DataFrame, *, days: int) -> Flags:  # noqa: ARG001
    """Who has lapsed: the models do not speak of them."""
    return ~(frame["days_since_last_activity"] <= days).to_numpy()


def has_open_offer(frame: pd.DataFrame, contacts: pd.DataFrame) -> Flags:
    """Who can still use an offer that they were given."""
    is_open = contacts["is_open"].eq(True)
    return frame["user_id"].isin(contacts.loc[is_open, "user_id"]).to_numpy(dtype=bool)


def unscored(rules: Sequence[Rule], frame: pd.DataFrame) -> Flags:
    """Of whom nothing is predicted: they left, lapsed, or refuse it; shape (users,)."""
    applies = [rule.applies(frame, no_contacts()) for rule in rules if rule.is_unscored]
    return np.any(applies, axis=0) if applies else np.zeros(len(frame), dtype=bool)


def _known(frame: pd.DataFrame, column: str) -> Floats:
    """Read a column of numbers; an app whose users table has no such column knows nothing."""
    return frame[column].to_numpy(dtype=np.float64) if column in frame else np.full(len(frame), np.nan)


def no_contacts() -> pd.DataFrame:
    """Earlier contacts where none are known."""
    return pd.DataFrame(columns=list(CONTACTS))


def forbidden(rules: Sequence[Rule], frame: pd.DataFrame, contacts: pd.DataFrame, catalogue: Catalogue) -> Forbidden:
    """Ask every rule about every user and option."""
    offers = catalogue.offer_of_options
    everything = np.full(len(frame), ELIGIBLE, dtype=np.int8)
    option = np.full((len(frame), len(offers)), ELIGIBLE, dtype=np.int8)
    for kind, rule in reversed(list(enumerate(rules, FIRST_RULE))):
        applies = np.asarray(rule.applies(frame, contacts), dtype=bool)
        is_meant = np.array([rule.forbids is None or rule.forbids(offer) for offer in offers], dtype=bool)
        option[applies[:, None] & is_meant] = kind
        if rule.forbids is None:
            everything[applies] = kind
    if offers:
        everything = np.where((option != ELIGIBLE).all(axis=1), option.max(axis=1), ELIGIBLE).astype(np.int8)
    return Forbidden(everything, option)


def broken_by(given: Places, found: Forbidden) -> Kinds:
    """Kind of the rule that each user's own option breaks, `ELIGIBLE` where it breaks none; shape (users,)."""
    rows = np.flatnonzero(given != NOTHING)
    broken = np.full(len(given), ELIGIBLE, dtype=np.int8)
    broken[rows] = found.option[rows, given[rows]]
    return broken


def kinds_of_why_not(rules: Sequence[Rule], not_chosen: Sequence[Reason]) -> Iterator[tuple[Reason, ...]]:
    """List what is said of each kind of why not; `not_chosen` is the rule that past offers speak for."""
    yield from ((), (Reason("no_data"),), (Reason("unlike_compared"),), (Reason("other_rule"), *not_chosen))
    yield from ((Reason("not_valued"),), (Reason(DEPENDS),))
    yield from ((rule.reason,) for rule in rules)
