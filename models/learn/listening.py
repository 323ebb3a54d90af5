"""Open rates per user and channel, shrunk towards the usual rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from configs.custom_features import Condition
from configs.settings import Settings
from features.arrays.array_types import Floats

ALL_OPENED, ALL_SENT = "messages_opened_count_90d", "messages_sent_count_90d"
CHANNEL_SHARE = "channel_open_share"  # the column that redemption reads: of each offer's own channel
PRIOR_MESSAGES = 2.0  # that pull the share opened to that of everybody


@dataclass(frozen=True)
class Listening:
    """How to compute a channel's open rate: the columns that count messages `opened` and `sent`, and the `usual` rate.

    Without columns everybody listens as usual.
    """

    opened: str | None
    sent: str | None
    usual: float

    def share(self, frame: pd.DataFrame) -> Floats:
        """Open rate of each user, shrunk towards the usual one where few messages were sent."""
        if self.opened is None or self.sent is None:
            return np.full(len(frame), self.usual)
        opened, sent = (np.nan_to_num(frame[name].to_numpy(dtype=np.float64)) for name in (self.opened, self.sent))
        return np.clip((opened + PRIOR_MESSAGES * self.usual) / (np.maximum(sent, 0.0) + PRIOR_MESSAGES), 0.0, 1.0)


def listening_to(channel: str, settings: Settings, frame: pd.DataFrame) -> Listening:
    """Find the columns that tell how users listen to a channel: the app's own counts of it, else those of all messages.

    The app's own are tables of ``[features.custom]`` of role ``message_sent`` and of ``message_opened``, with
    ``measure = "count"`` and the one condition ``channel = "..."``; the longest window of each counts. Where they
    do not vary, everybody listens alike.
    """
    found = {"message_opened": ALL_OPENED, "message_sent": ALL_SENT}
    for name, table in settings.features.custom.items():
        is_own = table.role in found and table.measure == "count"
        if is_own and table.conditions == (Condition("channel", "=", channel),):
            found[str(table.role)] = f"{name}_count_{max(table.windows)}d"
    opened, sent = found.values()
    wanted = tuple(name for name in (opened, sent) if name in frame.columns)
    if len(wanted) < len(found) or any(frame[name].nunique() < 2 for name in wanted):
        return Listening(None, None, 1.0)
    usual = float(np.nansum(frame[opened]) / max(np.nansum(frame[sent]), 1.0))
    return Listening(opened, sent, min(usual, 1.0))


def own_channels(channels: Mapping[str, str], settings: Settings, frame: pd.DataFrame) -> dict[str, Listening]:
    """Find how users listen to each offer's channel, where the app counts some channel's messages by itself.

    Where it does not there is nothing that the share of all messages, a column of every snapshot, does not tell: empty.
    """
    found = {offer_id: listening_to(channel, settings, frame) for offer_id, channel in channels.items()}
    return found if any(each.opened not in (None, ALL_OPENED) for each in found.values()) else {}


def with_channel_share(frame: pd.DataFrame, listening: Mapping[str, Listening]) -> pd.DataFrame:
    """Add to treatments the share of the given offer's channel that the user opens; missing of offers not known.

    Examples
    --------
    >>> rows = pd.DataFrame({"offer_id": ["mail", "gone"], "opened": [3.0, 3.0], "sent": [6.0, 6.0]})
    >>> with_channel_share(rows, {"mail": Listening("opened", "sent", 0.5)})[CHANNEL_SHARE].tolist()
    [0.5, nan]
    """
    if not listening:
        return frame
    given, share = frame["offer_id"].astype(str).to_numpy(), np.full(len(frame), np.nan)
    for offer_id, each in listening.items():
        rows = given == offer_id
        share[rows] = each.share(frame[rows])
    return frame.assign(**{CHANNEL_SHARE: share})
