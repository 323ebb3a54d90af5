"""One contact rule, and the evaluation of a list of rules for users and options."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from configs.offers import NOTHING, Catalogue, Offer
from features.arrays.array_types import Flags, Kinds, Places
from serving.contact_rules.contact_history import UserContacts, no_contacts
from serving.wording.reason_codes import DEPENDS, Reason

# kinds of why not; rules come after them
ELIGIBLE, NOT_MEASURED, UNLIKE_COMPARED, NOT_CHOSEN, NOT_VALUED, SIGN_DEPENDS, FIRST_RULE = range(7)
UNKNOWN_WORTH = (NOT_MEASURED, UNLIKE_COMPARED, NOT_VALUED)
NO_RULES: Flags = np.zeros((0, 0), dtype=bool)
Asked = Callable[[pd.DataFrame, UserContacts], Flags]


@dataclass(frozen=True)
class Rule:
    """Forbids offers to some users.

    `applies` tells whom, shape (users,), or whom which option, shape (users, options), by the frame of users, of which
    it reads `columns`, and by what earlier contacts forbid them. `forbids` tells which offers; None means all of them.
    `number` and `value` are for the words. Of those to whom a rule applies that `is_unscored` nothing is predicted;
    of those to whom one applies that `is_private` nothing personal is computed at all, not even what offers would do.
    `settings` names what it goes by.
    """

    code: str
    applies: Asked
    columns: tuple[str, ...] = ()
    forbids: Callable[[Offer], bool] | None = None
    number: float | None = None
    value: str | None = None
    is_unscored: bool = False
    is_private: bool = False
    settings: tuple[str, ...] = ()

    @property
    def reason(self) -> Reason:
        """What is said of an option that the rule forbids."""
        return Reason(self.code, value=self.value, number=self.number)


class Forbidden(NamedTuple):
    """Kinds of rule that forbid offers, `ELIGIBLE` where none does: all offers to a user, (users,), and each option.

    `option` has shape (users, options). Where several rules apply the first one is said. Who may get none of the
    options may get nothing at all, because of the first rules that leave none. `broken` tells of each rule whom it
    keeps from some option, shape (users, rules).
    """

    everything: Kinds
    option: Kinds
    broken: Flags = NO_RULES


def unscored(rules: Sequence[Rule], frame: pd.DataFrame) -> Flags:
    """Users for whom nothing is predicted: they left, lapsed, or refuse it; shape (users,)."""
    nothing = no_contacts().of(frame["user_id"], np.full(len(frame), None, dtype=object))
    applies = [rule.applies(frame, nothing) for rule in rules if rule.is_unscored]
    return np.any(applies, axis=0) if applies else np.zeros(len(frame), dtype=bool)


def unprofiled(rules: Sequence[Rule], frame: pd.DataFrame) -> Flags:
    """Users of whom nothing personal may be computed, because they refuse it; shape (users,)."""
    return unscored([rule for rule in rules if rule.is_private], frame)


def forbidden(rules: Sequence[Rule], frame: pd.DataFrame, contacts: UserContacts, catalogue: Catalogue) -> Forbidden:
    """Evaluate every rule for every user and option."""
    offers = catalogue.offer_of_options
    everything = np.full(len(frame), ELIGIBLE, dtype=np.int8)
    option = np.full((len(frame), len(offers)), ELIGIBLE, dtype=np.int8)
    broken = np.zeros((len(frame), len(rules)), dtype=bool)
    for kind, rule in reversed(list(enumerate(rules, FIRST_RULE))):
        applies = np.asarray(rule.applies(frame, contacts), dtype=bool)
        is_meant = np.array([rule.forbids is None or rule.forbids(offer) for offer in offers], dtype=bool)
        held = applies if applies.ndim > 1 else applies[:, None]
        option[held & is_meant] = kind
        broken[:, kind - FIRST_RULE] = (held & is_meant).any(axis=1)
        if not offers:
            everything[applies] = kind
    if offers:
        everything = np.where((option != ELIGIBLE).all(axis=1), option.max(axis=1), ELIGIBLE).astype(np.int8)
    return Forbidden(everything, option, broken)


def broken_by(given: Places, eligibility: Forbidden) -> Kinds:
    """Find the rule that each user's own option breaks, `ELIGIBLE` where it breaks none; shape (users,)."""
    rows = np.flatnonzero(given != NOTHING)
    broken = np.full(len(given), ELIGIBLE, dtype=np.int8)
    broken[rows] = eligibility.option[rows, given[rows]]
    return broken


def kinds_of_why_not(rules: Sequence[Rule], not_chosen: Sequence[Reason]) -> Iterator[tuple[Reason, ...]]:
    """List what is said of each kind of why not; `not_chosen` is the rule that past offers speak for."""
    yield from ((), (Reason("no_data"),), (Reason("unlike_compared"),), (Reason("other_rule"), *not_chosen))
    yield from ((Reason("not_valued"),), (Reason(DEPENDS),))
    yield from ((rule.reason,) for rule in rules)
