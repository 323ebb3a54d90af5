"""What is sent to whom and when: the offer of each decision as a message in the words of a language."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

from configs.contact import Contact
from configs.offers import NO_OFFER
from features.arrays.array_types import Places
from features.training_data.contact_details import TIME_ZONE
from serving.decide.decision_moment import NIGHTLY, DecisionMoment
from serving.decide.scoring import Batch, Policy
from serving.wording.formatting import repeated

HOURS = range(24)
NOON = 12  # where no favourite hour is known


def offer_columns(policy: Policy, batch: Batch, given: Places, moment: DecisionMoment) -> dict[str, object]:
    """Write what is sent, looping over options, never over users.

    A message names the exact percentage and the last day, by the app's clock, on which the offer can be used.
    """
    settings, words = policy.settings, policy.language
    users, now = len(given), moment.instant.astimezone(ZoneInfo(settings.time_zone))
    texts = {name: np.full(users, None, dtype=object) for name in ("play", "channel", "message", "featured_category")}
    texts["offer_id"] = repeated(NO_OFFER, users)
    send_at, valid_until = np.full((2, users), np.datetime64("NaT", "us"))
    discount, sent = np.zeros(users), send_instants(batch.frame, moment, settings.time_zone, settings.contact)
    codes, favourites = pd.factorize(batch.frame["favourite_category_90d"].astype(object))
    featured = np.array([*map(settings.categories.featured, favourites), None], dtype=object)[codes]
    catalogue = batch.options.catalogue
    for place, (offer, option) in enumerate(zip(catalogue.offer_of_options, catalogue.options, strict=True)):
        rows = np.flatnonzero(given == place)
        ends = now + timedelta(days=offer.valid_days)
        last_day = words.day((ends - timedelta(microseconds=1)).date())
        percent = words.percent(option.discount) if option.discount else None
        messages = {
            name: offer.text(percent, name or words.values["selected_items"], last_day)
            for name in {None, *featured[rows]}
        }
        texts["offer_id"][rows], texts["play"][rows], texts["channel"][rows] = offer.offer_id, offer.play, offer.channel
        texts["featured_category"][rows] = featured[rows]
        texts["message"][rows] = [messages[name] for name in featured[rows]]
        send_at[rows], valid_until[rows] = sent[rows], in_utc(ends)
        discount[rows] = option.discount
    return {**texts, "send_at": send_at, "valid_until": valid_until, "discount": discount}


def send_instants(
    frame: pd.DataFrame, moment: DecisionMoment, time_zone: str, contact: Contact
) -> npt.NDArray[np.datetime64]:
    """Say when each user is written to: at their favourite hour, after the run, and not in their own night; UTC.

    An hour that is over by then is made up for at once; one in the night moves to the nearer end of it, within a day
    of the decision, or to the first end after it where all that is left of the day is night. Who has no time zone on
    record lives in the app's.
    """
    hour = frame["favourite_hour_90d"].fillna(NOON).to_numpy(dtype=np.intp)
    own_zone = frame[TIME_ZONE] if TIME_ZONE in frame else pd.Series(None, index=frame.index, dtype=object)
    codes, names = pd.factorize(own_zone.astype(object))
    zones = [_zone(name) or ZoneInfo(time_zone) for name in names] + [ZoneInfo(time_zone)]
    instants = np.array([_of_zone(zone, moment, ZoneInfo(time_zone), contact) for zone in zones])
    return instants[codes, hour]  # -1 is the last: the app's


def _of_zone(user: ZoneInfo, moment: DecisionMoment, app: ZoneInfo, contact: Contact) -> list[np.datetime64]:
    """Say when somebody of a zone is written to, by favourite hour of the app's clock."""
    now = moment.instant.astimezone(app)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    ready = max(now, midnight.replace(hour=contact.ready_hour)) if moment.trigger == NIGHTLY else now
    end = midnight + timedelta(days=1)
    wanted = [max(ready, midnight.replace(hour=hour)) for hour in HOURS]
    return [in_utc(_awake(each.astimezone(user), ready, end, contact)) for each in wanted]


def _awake(local: datetime, ready: datetime, end: datetime, contact: Contact) -> datetime:
    """Move an instant of a user's clock out of their night, if possible to between `ready` and `end`."""
    if not contact.is_quiet(local.hour):
        return local
    hours = [local.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=step)
             for step in (*range(-1, -24, -1), *range(1, 25))]  # fmt: skip
    clear = [hour for hour in hours if not contact.is_quiet(hour.astimezone(local.tzinfo).hour)]
    after = next(hour for hour in clear if hour > local)
    before = next((hour for hour in clear if hour < local), after)
    is_nearer = local - before <= after - local or after >= end
    return before if before >= ready and is_nearer else after


def _zone(name: str) -> ZoneInfo | None:
    """Find a zone by its name; None where there is none of that name."""
    try:
        return ZoneInfo(name)
    except (LookupError, OSError, ValueError):
        return None


def in_utc(instant: datetime) -> np.datetime64:
    """Write an instant as Arrow holds it."""
    return np.datetime64(instant.astimezone(UTC).replace(tzinfo=None), "us")
