"""Restrictions from earlier contacts and opt-outs, per user, and until when they last."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from configs.offers import Offer
from features.arrays.array_types import Flags, Texts
from serving.contact_rules.channels import channels_of
from serving.plays.play_rules import play_of

Seconds = npt.NDArray[np.int64]  # after the moment of the decisions
LastSlot = Callable[[Texts], Seconds]  # by the names of the users' time zones
OPEN, ALL, IGNORED = "open_offer", "all", "ignored"
NEVER = 2**40  # seconds: 35,000 years
RESTRICTIONS = pa.schema([("user_id", pa.string()), ("what", pa.int16()), ("until", pa.int64())])


def of_channel(channel: str) -> str:
    """Name what the cap of a channel forbids."""
    return f"channel {channel}"


def of_play(offer: Offer) -> str:
    """Name what the cool-down of an offer's play forbids."""
    return f"play {play_of(offer)}"


def of_open(offer: Offer) -> str:
    """Name what an open offer of a play forbids to the play itself, which waits for no other one."""
    return f"open {play_of(offer)}"


def of_opt_out(channel: str) -> str:
    """Name what an opt-out from a channel forbids."""
    return f"opt-out {channel}"


def free_any_time(zones: Texts) -> Seconds:
    """Say that there is always time left."""
    return np.full(len(zones), NEVER, np.int64)


def counts_for(offer: Offer) -> list[str]:
    """Name what an offer must wait for: its caps, where it has some, and its cool-down.

    Examples
    --------
    >>> each = {"title": "A", "play": "p", "message": "m", "valid_days": 7, "contact_cost": 0, "covered_spend": 1}
    >>> counts_for(Offer(offer_id="a", channel="sms", discounts=(0.1,), cool_down_days=3, **each))
    ['all', 'channel sms', 'play a']
    """
    own = [of_play(offer)] if offer.cool_down_days else []
    return [*([ALL, *map(of_channel, channels_of(offer))] if offer.is_marketing else []), *own]


def as_read(frame: pd.DataFrame) -> pd.DataFrame:
    """Leave a frame of users as it was read."""
    return frame


@dataclass(frozen=True)
class UserContacts:
    """Restrictions of some users, in their order.

    `zones` are their time zones, shape (users,); `last_slot` tells the last second of the day's decisions at which
    somebody may be written to.
    """

    rows: npt.NDArray[np.intp]
    what: npt.NDArray[np.int16]
    seconds: Seconds
    names: Sequence[str]
    zones: Texts
    last_slot: LastSlot

    def until(self, name: str) -> Seconds:
        """Say until when something is forbidden, in seconds after the decisions, 0 where it is not; shape (users,)."""
        until = np.zeros(len(self.zones), np.int64)
        if name in self.names:
            own = self.what == self.names.index(name)
            until[self.rows[own]] = self.seconds[own]
        return until

    def lasts_all_day(self, name: str) -> Flags:
        """Tell for whom something is forbidden at every hour at which they may be written to; shape (users,)."""
        until = self.until(name)
        return np.asarray(until > self._last) if until.any() else np.zeros(len(until), dtype=bool)

    def free_at(self, offer: Offer) -> Seconds:
        """Say from when on each user may be sent an offer, in seconds after the decisions; shape (users,)."""
        return np.max([self.until(name) for name in counts_for(offer)] or [np.zeros(len(self.zones), np.int64)], axis=0)

    @cached_property
    def _last(self) -> Seconds:
        return self.last_slot(self.zones)


@dataclass(frozen=True)
class ContactHistory:
    """Restrictions of all users: `RESTRICTIONS`, ordered by user; `what` is a place among `names`.

    Nothing is listed that is over at the moment of the decisions, so that most users have no row. `fresh` reads what
    users themselves say (consents, addresses) anew where that has changed since a frame was read.

    Examples
    --------
    >>> rows = pa.table([["b", "c"], [0, 0], [60, 7200]], schema=RESTRICTIONS)
    >>> known = ContactHistory(rows, (ALL,)).of(pd.Series(["a", "b", "c", "d"]), np.full(4, "UTC", dtype=object))
    >>> known.until(ALL).tolist()
    [0, 60, 7200, 0]
    """

    restrictions: pa.Table = field(default_factory=RESTRICTIONS.empty_table)
    names: tuple[str, ...] = ()
    last_slot: LastSlot = free_any_time
    fresh: Callable[[pd.DataFrame], pd.DataFrame] = as_read

    def of(self, user_ids: pd.Series, zones: Texts) -> UserContacts:
        """Look up what is forbidden to some users."""
        own = self._between(user_ids)
        places = pc.index_in(own["user_id"], value_set=pa.array(user_ids, pa.string()))
        known = pc.is_valid(places)
        rows = places.filter(known).to_numpy().astype(np.intp)
        what, until = (own[name].filter(known).to_numpy() for name in ("what", "until"))
        return UserContacts(rows, what, until, self.names, zones, self.last_slot)

    def _between(self, user_ids: pd.Series) -> pa.Table:
        """Cut out the rows between the first and the last of some users, without a look at the others."""
        everybody = self.restrictions["user_id"]
        if not len(everybody) or not len(user_ids):
            return self.restrictions.slice(0, 0)
        first = bisect_left(everybody, user_ids.min(), key=pa.StringScalar.as_py)
        return self.restrictions.slice(
            first, bisect_right(everybody, user_ids.max(), key=pa.StringScalar.as_py) - first
        )


def no_contacts() -> ContactHistory:
    """Know of no earlier contacts."""
    return ContactHistory()
