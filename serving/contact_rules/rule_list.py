"""Who may get what at all: the list of pure rules, asked before anything is allocated and again before it is written.

A new rule is a function of what is known about users and about earlier contacts, and one line in `rules_of`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from configs.offers import Catalogue
from configs.plays import RECOVER, WIN_BACK
from configs.settings import Settings
from features.arrays.array_types import Flags, Floats
from features.ingestion.contract import CONSENT
from serving.contact_rules.channels import channels_of, goes_through
from serving.contact_rules.contact_rule import Rule
from serving.contact_rules.play_limits import all_but, meant_rules, open_rules


def rules_of(settings: Settings, catalogue: Catalogue) -> tuple[Rule, ...]:
    """List the rules in the order in which they are asked: consent comes first."""
    lookback, unknown = settings.churn.lookback_days, settings.contact.unknown_consent == "refused"
    channels = dict.fromkeys(channel for offer in catalogue.offers for channel in channels_of(offer))

    def consent(code: str, what: str, **more: Any) -> Rule:  # noqa: ANN401
        column = f"{CONSENT}{what}"
        return Rule(code, partial(refuses, column=column, unknown=unknown), (column,), **more)

    left, idle = "days_since_last_cancellation", "days_since_last_activity"
    gone = all_but(catalogue, {RECOVER, WIN_BACK})
    return (
        consent("no_profiling", "profiling", is_unscored=True),
        *meant_rules(catalogue),
        *(consent("no_consent", each, forbids=partial(goes_through, channel=each), value=each) for each in channels),
        Rule("has_left", has_left, (left, idle), gone, is_unscored=True),
        Rule("payment_failed", payment_failed, ("payment_failures_count_28d",), all_but(catalogue, {RECOVER})),
        Rule("not_active", partial(not_active, days=lookback), (idle,), gone, number=lookback, is_unscored=True),
        *open_rules(catalogue),
    )


def refuses(frame: pd.DataFrame, contacts: pd.DataFrame, *, column: str, unknown: bool) -> Flags:  # noqa: ARG001
    """Who does not consent; `unknown` says whether that is also assumed of those of whom nothing is known."""
    consents = _known(frame, column)
    return np.asarray((consents == 0) | (np.isnan(consents) & unknown))


def has_left(frame: pd.DataFrame, contacts: pd.DataFrame) -> Flags:  # noqa: ARG001
    """Who ended the contract and was not active on a later day: there is nobody to keep."""
    ended, seen = (_known(frame, name) for name in ("days_since_last_cancellation", "days_since_last_activity"))
    return np.asarray(ended <= np.where(np.isnan(seen), np.inf, seen))


def payment_failed(frame: pd.DataFrame, contacts: pd.DataFrame) -> Flags:  # noqa: ARG001
    """Whose payment failed: payment recovery comes first, never a discount."""
    return (frame["payment_failures_count_28d"] > 0).to_numpy()


def not_active(frame: pd.DataFrame, contacts: pd.DataFrame, *, days: int) -> Flags:  # noqa: ARG001
    """Who has lapsed: the models do not speak of them."""
    return ~(frame["days_since_last_activity"] <= days).to_numpy()


def _known(frame: pd.DataFrame, column: str) -> Floats:
    """Read a column of numbers; an app whose users table has no such column knows nothing."""
    return frame[column].to_numpy(dtype=np.float64) if column in frame else np.full(len(frame), np.nan)
