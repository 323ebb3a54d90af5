"""Who may get what at all: a list of pure rules, asked before anything is allocated and again before it is written.

A new rule is a function of what is known about users and about earlier contacts, and one line in `rules_of`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from configs.offers import NOTHING, Catalogue, Offer
from configs.settings import Settings
from features.arrays.array_types import Flags, Kinds, Places
from serving.wording.reason_codes import Reason

ELIGIBLE, NOT_MEASURED, UNLIKE_COMPARED, NOT_CHOSEN, FIRST_RULE = range(5)  # kinds of why not; rules come after them
CONTACTS = ("user_id", "decided_at", "offer_id", "channel")


@dataclass(frozen=True)
class Rule:
    """Forbids offers to some users.

    `applies` tells whom, shape (users,), by the frame of users, of which it reads `columns`, and by a table of earlier
    contacts (`CONTACTS`). `forbids` tells which offers; None means all of them. `number` is for the words.
    """

    code: str
    applies: Callable[[pd.DataFrame, pd.DataFrame], Flags]
    columns: tuple[str, ...] = ()
    forbids: Callable[[Offer], bool] | None = None
    number: float | None = None

    @property
    def reason(self) -> Reason:
        """What is said of an option that the rule forbids."""
        return Reason(self.code, number=self.number)


class Forbidden(NamedTuple):
    """Kinds of why not, `ELIGIBLE` where no rule speaks against it: of everything, shape (users,), and of each option.

    `option` has shape (users, options). Where several rules apply the first one is said.
    """

    everything: Kinds
    option: Kinds


def rules_of(settings: Settings) -> tuple[Rule, ...]:
    """List the rules in the order in which they are asked."""
    lookback = settings.churn.lookback_days
    return (
        Rule("payment_failed", payment_failed, ("payment_failures_count_28d",)),
        Rule("not_active", partial(not_active, days=lookback), ("days_since_last_activity",), number=lookback),
    )


def payment_failed(frame: pd.DataFrame, contacts: pd.DataFrame) -> Flags:  # noqa: ARG001
    """Whose payment failed: payment recovery comes first, never a discount."""
    return (frame["payment_failures_count_28d"] > 0).to_numpy()


def not_active(frame: pd.DataFrame, contacts: pd.DataFrame, *, days: int) -> Flags:  # noqa: ARG001
    """Who has lapsed: the models do not speak of them."""
    return ~(frame["days_since_last_activity"] <= days).to_numpy()


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
    yield from ((rule.reason,) for rule in rules)
