"""The columns of decisions about messages: texts, channel, variant and time of sending."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

from configs.benefits import FEATURED
from configs.offers import NO_OFFER, NOTHING
from configs.play_experiments import Variant
from features.arrays.array_types import Flags, Floats, Places, Texts
from features.training_data.contact_details import own_zones
from serving.arms.variants import shared_out
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
    "experiment", "variant",
)  # fmt: skip


class Way(NamedTuple):
    """How an option is said to some users: by its place, the variant of its experiment, and their rows."""

    place: int
    variant: Variant | None
    rows: Places


def offer_columns(
    policy: Policy, batch: Batch, given: Places, explores: Flags, moment: DecisionMoment,
    orders_channels: Flags | None = None,
) -> dict[str, object]:  # fmt: skip
    """Write what is sent, looping over options, variants and distinct texts, never over users.

    A message names exactly what is given and the last day, by the app's clock, on which the offer can be used.
    `explores` says whose hour is drawn at random, shape (users,), `orders_channels` who takes part in experiments on
    the order of channels; everybody where that is not said.
    """
    settings, users = policy.settings, len(given)
    now = moment.instant.astimezone(ZoneInfo(settings.time_zone))
    texts = {name: np.full(users, None, dtype=object) for name in TEXTS}
    texts["offer_id"] = repeated(NO_OFFER, users)
    written_ways = list(_ways(policy, batch, given, orders_channels))
    wished = _wished_hours(written_ways, users)
    sent = _sent(policy, batch, given, explores, moment, wished)
    valid_until, (discount, level) = np.full(users, np.datetime64("NaT", "us")), np.zeros((2, users))
    tastes, favourites = _featured(policy, batch, given), _favourites(policy, batch)
    written, units = policy.message_texts, policy.units
    for place, variant, rows in written_ways:
        offer, benefit = batch.options.catalogue.offer_of_options[place], batch.options.catalogue.benefits[place]
        featured = favourites if offer.scope == FEATURED else tastes  # what is covered is what was charged
        ends = now + timedelta(days=offer.valid_days)
        last_day, said_by = (ends - timedelta(microseconds=1)).date(), variant.name if variant else None
        occasion = Occasion(offer.offer_id, benefit, offer.max_cost, last_day, settings.currency, said_by)
        named = dict(zip(FEATURED_NAMES, (names[rows] for names in featured), strict=True))
        messages = written_messages(written, occasion, _readers(policy, batch, rows, named), units)
        own = {"offer_id": offer.offer_id, "play": offer.play, "channel": offer.channel, "benefit": benefit.kind}
        own |= {"variant": variant.name, "experiment": offer.experiment.name} if variant and offer.experiment else {}
        for name, values in (named | messages._asdict() | own).items():
            texts[name][rows] = values
        share = batch.options.catalogue.options[place].discount
        valid_until[rows], discount[rows], level[rows] = in_utc(ends), share, benefit.level
    whenever = {"send_at": sent.at, "send_hour_propensity": sent.propensity, "valid_until": valid_until}
    return {**texts, **whenever, "discount": discount, "benefit_level": level}


def _ways(policy: Policy, batch: Batch, given: Places, orders_channels: Flags | None) -> Iterator[Way]:
    """List the places of options that are given, by whom they are said how, and to whom."""
    user_ids, everybody = batch.frame["user_id"], np.ones(len(given), dtype=bool)
    for place, offer in enumerate(batch.options.catalogue.offer_of_options):
        rows = np.flatnonzero(given == place)
        about_channels = offer.running is not None and offer.running.is_about_channels
        exposed = orders_channels if about_channels and orders_channels is not None else everybody
        if len(rows):
            for variant, own in shared_out(offer, user_ids, rows, exposed, policy.settings.seed):
                yield Way(place, variant, own)


def _wished_hours(ways: Sequence[Way], users: int) -> Floats | None:
    """Hour of the clock that experiments try on each user, NaN where none does; None where no experiment has any."""
    hours = [(way.variant.send_hour, way.rows) for way in ways if way.variant is not None]
    wished = np.full(users, np.nan)
    for hour, rows in hours:
        wished[rows] = np.nan if hour is None else hour
    return None if all(hour is None for hour, _ in hours) else wished


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


def _sent(
    policy: Policy, batch: Batch, given: Places, explores: Flags, moment: DecisionMoment, wished: Floats | None
) -> SendTimes:
    """Choose the hours of those who are given something; nobody else has one."""
    settings, rows = policy.settings, np.flatnonzero(given != NOTHING)
    at, propensity = np.full(len(given), np.datetime64("NaT", "us")), np.full(len(given), np.nan)
    if len(rows):
        frame = batch.frame.iloc[rows]
        hours = policy.preferences.hours_of(frame["user_id"])
        zones = own_zones(frame, settings.time_zone)
        at[rows], propensity[rows] = send_times(
            frame["user_id"], zones, hours, explores[rows], moment, settings.time_zone, settings.contact, settings.seed,
            _free_at(policy, frame, given[rows]), None if wished is None else wished[rows],
        )  # fmt: skip
    return SendTimes(at, propensity)


def _free_at(policy: Policy, frame: pd.DataFrame, given: Places) -> npt.NDArray[np.int64]:
    """Say from when on each user may be sent what they are given, in seconds after the decisions; shape (users,)."""
    contacts, offers = policy.contacts_of(frame), policy.catalogue.offer_of_options
    free = np.zeros(len(frame), np.int64)
    for place in np.unique(given):
        free[given == place] = contacts.free_at(offers[place])[given == place]
    return free
