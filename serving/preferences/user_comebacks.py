"""The probability that each lapsed user comes back, and their value then."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from features.arrays.array_types import Floats
from models.learn.comeback import predict_comeback
from models.metrics.comeback_note import ComebackNote
from serving.contact_rules.contact_rule import Rule
from serving.contact_rules.play_limits import is_gone


def comebacks(note: ComebackNote | None, rules: Sequence[Rule], frame: pd.DataFrame) -> tuple[Floats, Floats]:
    """Say the chance to come back within the horizon, and the margin then, account currency; NaN of who is here.

    Both have shape (users,); `rules` tell who has lapsed or left, and who may not be profiled.
    """
    p_return, worth = np.full(len(frame), np.nan), np.full(len(frame), np.nan)
    if note is not None:
        has_gone = is_gone(rules, frame)
        worth[has_gone] = note.margin.value
        if has_gone.any():
            p_return[has_gone] = predict_comeback(note, frame[has_gone])
    return p_return, worth
