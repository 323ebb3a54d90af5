"""What is sent to whom and when: the offer of each decision as a message in the words of a language."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

from configs.benefits import FEATURED
from configs.offers import NO_OFFER, NOTHING
from features.arrays.array_types import Flags, Places, Texts
from features.training_data.contact_details import own_zones
from serving.decide.scoring import Policy
from serving.decide.spooled_batches import Batch
from serving.messages.reader_details import AGREES, spoken_values, where_allowed
from serving.messages.written_messages import Occasion, written_messages
from serving.preferences.send_times import SendTimes, in_utc, send_times
from serving.preferences.user_tastes import FAVOURITE
from serving.segments.known_columns import PERSONA, STAGE
from serving.stored_days.decision_moment import DecisionMoment
from serving.wording.formatting import repeated

NEXT_STEP = "next_step"
FEATURED_NAMES = ("featured_category", "featured_kind", "featured_item")
TEXTS = (
    "play", "channel", "subject", "message", "language", "written_for", *FEATURED_NAMES, "benefit",
)  # fmt: skip


def offer_columns(
    policy: Policy, batch: Batch, given: Places, explores: Flags, moment: DecisionMoment
) -> dict[str, object]:
    """Write what is sent, looping over options and distinct texts, never over users.

    A message names exactly what is given and the last day, by the app's clock, on which the offer can be used.
    `explores` says whose hour is drawn by lot, shape (users,).
    """
    settings, users = policy.settings, len(given)
    now = moment.instant.astimezone(ZoneInfo(settings.time_zone))
    texts = {name: np.full(users, None, dtype=object) for name in TEXTS}
    texts["offer_id"] = repeated(NO_OFFER, users)
    sent, valid_until = _sent(policy, batch, given, explores, moment), np.full(users, np.datetime64("NaT", "us"))
    discount, level = np.zeros((2, users))
    tastes, favourites = _featured(policy, batch, given), _favourites(policy, batch)
    written, units = policy.message_texts, policy.units
    catalogue = batch.options.catalogue
    each = zip(catalogue.offer_of_options, catalogue.options, catalogue.benefits, strict=True)
    for place, (offer, option, benefit) in enumerate(each):
        rows = np.flatnonzero(given == place)
        if not len(rows):
            continue
        featured = favourites if offer.scope == FEATURED else tastes  # what is covered is what was charged
        ends = now + timedelta(days=offer.valid_days)
        last_day = (ends - timedelta(microseconds=1)).date()
        occasion = Occasion(offer.offer_id, benefit, offer.max_cost, last_day, settings.currency)
        named = dict(zip(FEATURED_NAMES, (names[rows] for names in featured), strict=True))
        messages = written_messages(written, occasion, _readers(policy, batch, rows, named), units)
        own = {"offer_id": offer.offer_id, "play": offer.play, "channel": offer.channel, "benefit": benefit.kind}
        for name, values in (named | messages._asdict() | own).items():
            texts[name][rows] = values
        valid_until[rows], discount[rows], level[rows] = in_utc(ends), option.discount, benefit.level
    whenever = {"send_at": sent.at, "send_hour_propensity": sent.propensity, "valid_until": valid_until}
    return {**texts, **whenever, "discount": discount, "benefit_level": level}


def _readers(policy: Policy, batch: Batch, rows: Places, named: dict[str, Texts]) -> pd.DataFrame:
    """Collect what texts may be chosen by, and what they may say of some users."""
    frame = batch.frame.iloc[rows]
    readers = policy.readers.of(frame["user_id"])
    agrees = readers[AGREES].to_numpy()
    category, item = (where_allowed(agrees, named[f"featured_{name}"]) for name in ("category", "item"))
    own = {name: frame.get(name, pd.Series(index=frame.index, dtype=object)).to_numpy() for name in (STAGE, PERSONA)}
    known = {name: frame[column] for name, column in policy.snapshot_fields.items()}
    if NEXT_STEP in known:
        known[NEXT_STEP] = known[NEXT_STEP].astype(object).map(policy.settings.onboarding.name_of, na_action="ignore")
    longest = policy.settings.messages.longest_value
    spoken = {name: where_allowed(agrees, spoken_values(values, longest)) for name, values in known.items()}
    return readers.assign(**own, **spoken, category=category, item=item)


def _featured(policy: Policy, batch: Batch, given: Places) -> tuple[Texts, Texts, Texts]:
    """Name the category that each message may speak of, its list and an item of it; None where there is none.

    Where no tastes were learnt it is what the user spent most on.
    """
    rows = np.flatnonzero(given != NOTHING)
    names, kinds, items = np.full((3, len(given)), None, dtype=object)
    if policy.preferences.has_tastes:
        found = policy.preferences.tastes.featured(batch.frame["user_id"].iloc[rows])
        names[rows], kinds[rows], items[rows] = found.name, found.kind, found.item
        return names, kinds, items
    return _favourites(policy, batch)


def _favourites(policy: Policy, batch: Batch) -> tuple[Texts, Texts, Texts]:
    """Name what each user spent most on, as far as messages may, the list that it is of, and no item."""
    codes, favourites = pd.factorize(batch.frame["favourite_category_90d"].astype(object))
    names = np.array([*map(policy.settings.categories.featured, favourites), None], dtype=object)[codes]
    kinds, items = np.full((2, len(names)), None, dtype=object)
    kinds[names != None] = FAVOURITE  # noqa: E711 - of each
    return names, kinds, items


def _sent(policy: Policy, batch: Batch, given: Places, explores: Flags, moment: DecisionMoment) -> SendTimes:
    """Choose the hours of those who are given something; nobody else has one."""
    settings, rows = policy.settings, np.flatnonzero(given != NOTHING)
    at, propensity = np.full(len(given), np.datetime64("NaT", "us")), np.full(len(given), np.nan)
    if len(rows):
        frame = batch.frame.iloc[rows]
        hours = policy.preferences.hours_of(frame["user_id"])
        zones = own_zones(frame, settings.time_zone)
        at[rows], propensity[rows] = send_times(
            frame["user_id"], zones, hours, explores[rows], moment, settings.time_zone, settings.contact, settings.seed,
            _free_at(policy, frame, given[rows]),
        )  # fmt: skip
    return SendTimes(at, propensity)


def _free_at(policy: Policy, frame: pd.DataFrame, given: Places) -> npt.NDArray[np.int64]:
    """Say from when on each user may be sent what they are given, in seconds after the decisions; shape (users,)."""
    contacts, offers = policy.contacts_of(frame), policy.catalogue.offer_of_options
    free = np.zeros(len(frame), np.int64)
    for place in np.unique(given):
        free[given == place] = contacts.free_at(offers[place])[given == place]
    return free
