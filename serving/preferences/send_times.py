"""Sending times in UTC: the best allowed hour of each user, or a random one for learning.

An hour may be if it comes after the night's run, within the day of the decision, and is none of the user's own night.
Where all that is left of the day is night, the first hour after it is the only one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

from configs.contact import Contact
from configs.settings import Settings
from features.arrays.array_types import Flags, Floats, Texts
from models.metrics.splits import hash_share
from serving.stored_days.decision_moment import NIGHTLY, DecisionMoment

HOUR_SALT = "hour of the message"
A_DAY = 24


class SendTimes(NamedTuple):
    """Instants (UTC) at which users are written to, and the probability with which each hour was chosen: (users,)."""

    at: npt.NDArray[np.datetime64]
    propensity: Floats


class Slot(NamedTuple):
    """An instant at which somebody may be written to, and the hour of their clock."""

    at: datetime
    hour: int


def send_times(
    user_ids: pd.Series, zones: Texts, hours: Floats, explores: Flags, moment: DecisionMoment, time_zone: str,
    contact: Contact, seed: int, free_at: npt.NDArray[np.int64] | None = None, wished: Floats | None = None,
) -> SendTimes:  # fmt: skip
    """Choose an hour for each user: the one with the most weight, of two the earlier; for explorers one at random.

    Parameters
    ----------
    zones
        Valid name of each user's time zone, shape (users,).
    hours
        Weights of the hours of each user's clock, shape (users, 24).
    explores
        Whose hour is drawn, each that may be with the same probability, shape (users,).
    time_zone
        The app's, whose day is that of the decision.
    free_at
        Seconds after the moment before which nothing may be sent, because of earlier messages; shape (users,). Where
        it is after the last hour, that hour is taken: the rules of contact forbid the message itself.
    wished
        Hour of the user's clock that an experiment tries, NaN where it tries none; shape (users,). It is taken where it
        may be, else the nearest that may, of two the earlier.
    """
    codes, names = pd.factorize(zones)
    slots = [allowed_slots(ZoneInfo(name), moment, ZoneInfo(time_zone), contact) for name in names]
    ends = np.array([len(each) for each in slots], np.intp)[codes]
    at, clock = np.full((len(slots), A_DAY + 2), np.datetime64("NaT", "us")), np.full((len(slots), A_DAY + 2), -1)
    for place, each in enumerate(slots):
        at[place, : len(each)] = [in_utc(slot.at) for slot in each]
        clock[place, : len(each)] = [slot.hour for slot in each]
    firsts = np.zeros(len(ends), np.intp)
    weight = np.take_along_axis(np.c_[hours, np.full(len(hours), -1.0)], clock[codes], axis=1)
    if free_at is not None and free_at.any():
        too_early = at[codes] < (in_utc(moment.instant) + free_at.astype("timedelta64[s]"))[:, None]
        firsts = np.minimum(too_early.sum(axis=1), ends - 1)
        weight[np.arange(A_DAY + 2) < firsts[:, None]] = -1.0
    drawn = firsts + hash_share(user_ids, f"{HOUR_SALT}:{seed}:{moment.name}") * (ends - firsts)
    chosen = np.where(explores, drawn.astype(np.intp), weight.argmax(axis=1))
    is_drawn = explores
    if wished is not None and (rows := np.flatnonzero(~np.isnan(wished))).size:
        apart = np.abs(clock[codes[rows]] - wished[rows, None])
        may_be = (np.arange(A_DAY + 2) >= firsts[rows, None]) & (np.arange(A_DAY + 2) < ends[rows, None])
        chosen[rows] = np.where(may_be, np.minimum(apart, A_DAY - apart), np.inf).argmin(axis=1)
        is_drawn = explores & np.isnan(wished)
    return SendTimes(at[codes, chosen], np.where(is_drawn, 1.0 / (ends - firsts), 1.0))


def last_slots(moment: DecisionMoment, settings: Settings, zones: Texts) -> npt.NDArray[np.int64]:
    """Find the last second after a moment at which users of some zones may still be written to; shape (users,)."""
    codes, names = pd.factorize(zones)
    app = ZoneInfo(settings.time_zone)
    slots = [allowed_slots(ZoneInfo(name), moment, app, settings.contact) for name in names]
    last = [int((each[-1].at - moment.in_utc).total_seconds()) for each in slots]
    return np.array(last, np.int64)[codes]


def allowed_slots(user: ZoneInfo, moment: DecisionMoment, app: ZoneInfo, contact: Contact) -> list[Slot]:
    """List when somebody of a zone may be written to: at once, and at every full hour of their clock, if awake.

    Hours are steps of real time: of clocks that are put forward none is missed, of those put back none is told twice
    the same.
    """
    now = moment.instant.astimezone(app)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    ready = max(now, midnight.replace(hour=contact.ready_hour)) if moment.trigger == NIGHTLY else now
    end = (midnight + timedelta(days=1)).astimezone(UTC)
    first = _next_full_hour(ready, user)
    steps = [first + timedelta(hours=step) for step in range(2 * A_DAY + 1)]
    awake = [slot for slot in (_slot(each, user) for each in [ready, *steps]) if not contact.is_quiet(slot.hour)]
    today = [slot for slot in dict.fromkeys(awake) if slot.at < end]
    return today or awake[:1]


def in_utc(instant: datetime) -> np.datetime64:
    """Write an instant as Arrow holds it."""
    return np.datetime64(instant.astimezone(UTC).replace(tzinfo=None), "us")


def _slot(instant: datetime, user: ZoneInfo) -> Slot:
    return Slot(instant.astimezone(UTC), instant.astimezone(user).hour)


def _next_full_hour(instant: datetime, user: ZoneInfo) -> datetime:
    """First instant from one on at which a user's clock shows a full hour, in UTC."""
    past = timedelta(minutes=(local := instant.astimezone(user)).minute, seconds=local.second)
    past += timedelta(microseconds=local.microsecond)
    return instant.astimezone(UTC) + (timedelta(hours=1) - past if past else past)
