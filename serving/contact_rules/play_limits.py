"""Contact rules that follow from the plays themselves: their target users, aim and class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import partial

import numpy as np
import pandas as pd

from configs.offers import Catalogue, Offer
from features.arrays.array_types import Flags
from serving.contact_rules.contact_history import OPEN, UserContacts, of_open
from serving.contact_rules.contact_rule import Rule, unprofiled, unscored
from serving.plays.play_rules import HOLDS, play_of
from serving.wording.reason_codes import NOT_MEANT

GONE = ("has_left", "not_active", "no_contract")  # codes of the rules that tell who has lapsed or left


def meant_rules(catalogue: Catalogue) -> Iterator[Rule]:
    """List the rules that limit a play to the users for whom it is meant and its message is true."""
    for play, offers in catalogue.plays.items():
        if offers[0].is_for_some:
            column = f"{HOLDS}{play}"
            yield Rule(NOT_MEANT, partial(is_not_meant, column=column), (column,), partial(is_of, play=play))


def open_rules(catalogue: Catalogue) -> Iterator[Rule]:
    """List the rules about open offers: who holds one gets no other; mandatory messages wait only for themselves."""
    asked = ("contact.offers_overlap",)
    yield Rule("open_offer", has_open_offer, ("user_id",), is_marketing, settings=asked)
    for play, offers in catalogue.plays.items():
        if not offers[0].is_marketing:
            holds = partial(has_open_offer, name=of_open(offers[0]))
            yield Rule("open_offer", holds, ("user_id",), partial(is_of, play=play), settings=asked)


def all_but(catalogue: Catalogue, aims: AbstractSet[str]) -> Callable[[Offer], bool] | None:
    """Tell which offers have none of some aims; None, which means all, where no offer has one."""
    if not any(offer.aim in aims for offer in catalogue.offers):
        return None
    return partial(_has_other_aim, aims=frozenset(aims))


def _has_other_aim(offer: Offer, *, aims: AbstractSet[str]) -> bool:
    return offer.aim not in aims


def is_gone(rules: Sequence[Rule], frame: pd.DataFrame) -> Flags:
    """Tell who has lapsed or left and may be profiled, shape (users,)."""
    own = [rule for rule in rules if rule.code in GONE]
    return np.asarray(unscored(own, frame) & ~unprofiled(rules, frame))


def is_of(offer: Offer, *, play: str) -> bool:
    """Tell whether an offer is of a play."""
    return play_of(offer) == play


def is_marketing(offer: Offer) -> bool:
    """Tell whether an offer is sent for what it is worth."""
    return offer.is_marketing


def is_win_back(offer: Offer) -> bool:
    """Tell whether an offer is for those who have lapsed or left, and for nobody else."""
    return offer.is_win_back


def is_not_meant(frame: pd.DataFrame, contacts: UserContacts, *, column: str) -> Flags:  # noqa: ARG001
    """Whom a play is not meant for, by what its rules said of the day."""
    return ~frame[column].to_numpy(dtype=bool)


def has_open_offer(frame: pd.DataFrame, contacts: UserContacts, *, name: str = OPEN) -> Flags:  # noqa: ARG001
    """Who can still use an offer that they were given, or one of a play."""
    return np.asarray(contacts.until(name) > 0)
