"""The list of contact rules, evaluated before the allocation and again before decisions are written.

A new rule is a function of what is known about users and about earlier contacts, and one line in `rules_of`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pandas as pd

from configs.benefits import FEATURED
from configs.offers import Catalogue, Offer
from configs.plays import RECOVER, WIN_BACK
from configs.settings import Settings
from features.arrays.array_types import Flags, Floats
from features.ingestion.contract import CONSENT
from features.training_data.contact_details import ADDRESS, AGE, SUPPRESSED
from serving.contact_rules.channels import channels_of, goes_through
from serving.contact_rules.contact_history import ALL, IGNORED, UserContacts, of_channel, of_opt_out, of_play
from serving.contact_rules.contact_rule import Rule
from serving.contact_rules.play_limits import all_but, is_marketing, is_win_back, meant_rules, open_rules

FAVOURITE = "favourite_category_90d"
LEFT, IDLE, RENEWED = "days_since_last_cancellation", "days_since_last_activity", "days_since_last_renewal"


def rules_of(settings: Settings, catalogue: Catalogue) -> tuple[Rule, ...]:
    """List the rules in the order in which they are asked: consent comes first."""
    channels = list(dict.fromkeys(channel for offer in catalogue.offers for channel in channels_of(offer)))
    return (
        *_of_wishes(settings, catalogue, channels),
        *_of_state(settings, catalogue, channels),
        *_of_contacts(settings, catalogue, channels),
    )


def _of_wishes(settings: Settings, catalogue: Catalogue, channels: list[str]) -> Iterator[Rule]:
    """List what users themselves say, consents and opt-outs, and whom plays are meant for."""
    yield Rule("suppressed_user", partial(has, column=SUPPRESSED), (SUPPRESSED,), is_unscored=True, is_private=True)
    refused = partial(refuses, unknown=settings.contact.unknown_consent == "refused")
    profiling = f"{CONSENT}profiling"
    yield Rule(
        "no_profiling",
        partial(refused, column=profiling),
        (profiling,),
        forbids=is_marketing,
        is_unscored=True,
        is_private=True,
        settings=("contact.unknown_consent",),
    )
    yield from meant_rules(catalogue)
    for each in channels:
        column, through = f"{CONSENT}{each}", partial(goes_through, channel=each)
        yield Rule(
            "no_consent",
            partial(refused, column=column),
            (column,),
            forbids=through,
            value=each,
            settings=("contact.unknown_consent",),
        )
    for each in channels:
        through = partial(goes_through, channel=each)
        yield Rule(
            "opted_out",
            partial(is_forbidden, name=of_opt_out(each)),
            forbids=through,
            value=each,
            settings=("roles.opt_out", "roles.opt_in"),
        )


def _of_state(settings: Settings, catalogue: Catalogue, channels: list[str]) -> Iterator[Rule]:
    """List what users are: left, lapsed, in trouble with a payment, out of reach, too young."""
    contact = settings.contact
    seen = RENEWED if settings.churn.kind == "cancellation" else IDLE
    gone = all_but(catalogue, {RECOVER, WIN_BACK})
    ended = partial(has_left, seen=seen)
    yield Rule("has_left", ended, (LEFT, seen), gone, is_unscored=True, settings=("roles.cancellation",))
    yield Rule(
        "payment_failed",
        payment_failed,
        ("payment_failures_count_28d",),
        all_but(catalogue, {RECOVER}),
        settings=("roles.payment_failure",),
    )
    lapsed = _lapsed(settings, gone)
    yield lapsed
    if any(is_win_back(offer) for offer in catalogue.offers):
        here = partial(is_still_here, ended=ended, lapsed=lapsed.applies)
        yield Rule("still_here", here, (LEFT, seen, *lapsed.columns), is_win_back)
    for each in channels:
        if each in contact.addresses:
            column, through = f"{ADDRESS}{each}", partial(goes_through, channel=each)
            yield Rule(
                "no_address",
                partial(lacks, column=column),
                (column,),
                forbids=through,
                value=each,
                settings=("contact.addresses",),
            )
    for category, age in contact.min_ages.items():
        young = partial(is_too_young, category=category, age=age)
        yield Rule(
            "too_young",
            young,
            (AGE, FAVOURITE),
            forbids=is_of_category,
            value=category,
            number=age,
            settings=("contact.min_ages",),
        )


def _lapsed(settings: Settings, forbids: Callable[[Offer], bool] | None) -> Rule:
    """Make the rule of those of whom models do not speak: not active for long, or, with contracts, under none."""
    lookback, held = settings.churn.lookback_days, settings.churn.contract_days
    if settings.churn.kind == "cancellation":
        none = partial(lapsed_for, column=RENEWED, days=held)
        return Rule("no_contract", none, (RENEWED,), forbids, is_unscored=True, settings=("churn.period_days",))
    idle, settings_of = partial(lapsed_for, column=IDLE, days=lookback), ("churn.lookback_days",)
    return Rule("not_active", idle, (IDLE,), forbids, number=lookback, is_unscored=True, settings=settings_of)


def _of_contacts(settings: Settings, catalogue: Catalogue, channels: list[str]) -> Iterator[Rule]:
    """List what earlier messages forbid: an open offer, caps, silence, cool-downs."""
    contact = settings.contact
    yield from open_rules(catalogue)
    if contact.caps.by_days:
        yield Rule("capped", partial(all_day, name=ALL), forbids=is_marketing, settings=("contact.caps",))
    for each in channels:
        if each in contact.channel_caps:
            through = partial(is_capped_by, channel=each)
            yield Rule(
                "channel_capped",
                partial(all_day, name=of_channel(each)),
                forbids=through,
                value=each,
                settings=(f"contact.channel_caps.{each}",),
            )
    if contact.stop_after_ignored:
        many = contact.stop_after_ignored
        yield Rule(
            "ignored",
            partial(is_forbidden, name=IGNORED),
            forbids=is_marketing,
            number=many,
            settings=("contact.stop_after_ignored",),
        )
    plays = {of_play(offer): offer.cool_down_days for offer in catalogue.offers if offer.cool_down_days}
    if plays:
        offers = tuple(catalogue.offer_of_options)
        yield Rule(
            "cool_down",
            partial(cools_down, offers=offers),
            forbids=has_cool_down,
            settings=("catalogue.cool_down_days",),
        )


def is_still_here(
    frame: pd.DataFrame, contacts: UserContacts, *, ended: Callable[..., Flags], lapsed: Callable[..., Flags]
) -> Flags:
    """Who has neither left nor lapsed, by the rules that tell so."""
    return ~(ended(frame, contacts) | lapsed(frame, contacts))


def is_capped_by(offer: Offer, *, channel: str) -> bool:
    """Tell whether the cap of a channel holds for an offer."""
    return offer.is_marketing and goes_through(offer, channel=channel)


def is_of_category(offer: Offer) -> bool:
    """Tell whether an offer covers a category of the user's own."""
    return offer.scope == FEATURED


def has_cool_down(offer: Offer) -> bool:
    """Tell whether the same user gets an offer only so often."""
    return offer.cool_down_days > 0


def refuses(frame: pd.DataFrame, contacts: UserContacts, *, column: str, unknown: bool) -> Flags:  # noqa: ARG001
    """Who does not consent; `unknown` says whether that is also assumed of those of whom nothing is known."""
    consents = _known(frame, column)
    return np.asarray((consents == 0) | (np.isnan(consents) & unknown))


def has_left(frame: pd.DataFrame, contacts: UserContacts, *, seen: str = IDLE) -> Flags:  # noqa: ARG001
    """Who ended the contract and was not active, or renewed it, on a later day: there is nobody to keep."""
    ended, last = (_known(frame, name) for name in (LEFT, seen))
    return np.asarray(ended <= np.where(np.isnan(last), np.inf, last))


def payment_failed(frame: pd.DataFrame, contacts: UserContacts) -> Flags:  # noqa: ARG001
    """Whose payment failed: payment recovery comes first, never a discount."""
    return (frame["payment_failures_count_28d"] > 0).to_numpy()


def lapsed_for(frame: pd.DataFrame, contacts: UserContacts, *, column: str, days: int) -> Flags:  # noqa: ARG001
    """Who was not active, or did not renew a contract, for longer than some days: the models do not speak of them."""
    return ~(frame[column] <= days).to_numpy()


def has(frame: pd.DataFrame, contacts: UserContacts, *, column: str) -> Flags:  # noqa: ARG001
    """Of whom something is known to hold."""
    return np.asarray(_known(frame, column) > 0)


def lacks(frame: pd.DataFrame, contacts: UserContacts, *, column: str) -> Flags:  # noqa: ARG001
    """Who has no address for a channel."""
    return ~(_known(frame, column) > 0)


def is_too_young(frame: pd.DataFrame, contacts: UserContacts, *, category: str, age: int) -> Flags:  # noqa: ARG001
    """Whose own category is one for older people than they may be."""
    favourite = frame[FAVOURITE].astype(object) if FAVOURITE in frame else pd.Series(None, frame.index, dtype=object)
    return np.asarray((favourite == category).to_numpy(dtype=bool) & ~(_known(frame, AGE) >= age))


def is_forbidden(frame: pd.DataFrame, contacts: UserContacts, *, name: str) -> Flags:  # noqa: ARG001
    """To whom something is forbidden at the moment of the decision, such as an offer while another one is open."""
    return np.asarray(contacts.until(name) > 0)


def all_day(frame: pd.DataFrame, contacts: UserContacts, *, name: str) -> Flags:  # noqa: ARG001
    """Who has had as many messages as a cap allows at every hour at which they may be written to."""
    return contacts.lasts_all_day(name)


def cools_down(frame: pd.DataFrame, contacts: UserContacts, *, offers: tuple[Offer, ...]) -> Flags:
    """Who had which play too short a time ago, shape (users, options)."""
    plays = {of_play(offer): np.zeros(0, dtype=bool) for offer in offers if offer.cool_down_days}
    plays = {name: contacts.lasts_all_day(name) for name in plays}
    nobody = np.zeros(len(frame), dtype=bool)
    return np.stack([plays.get(of_play(offer), nobody) for offer in offers], axis=1)


def _known(frame: pd.DataFrame, column: str) -> Floats:
    """Read a column of numbers; an app whose users table has no such column knows nothing."""
    return frame[column].to_numpy(dtype=np.float64) if column in frame else np.full(len(frame), np.nan)
