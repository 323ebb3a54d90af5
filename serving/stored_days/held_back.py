"""Tables of the users whom contact rules held back; `stored_rules` reads them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from features.arrays.array_types import Flags
from serving.contact_rules.contact_rule import Rule
from serving.stored_days.stored_rules import RuleCount

RULE = pa.schema([("place", pa.int16()), ("code", pa.string()), ("value", pa.string()), ("number", pa.float64()),
                  ("settings", pa.string())])  # fmt: skip
HELD = pa.schema([("user_id", pa.string()), ("rules", pa.list_(pa.int16()))])


def rules_table(rules: Sequence[Rule]) -> pa.Table:
    """List the rules of a day."""
    rows = [RuleCount.of(place, each)[: len(RULE)] for place, each in enumerate(rules)]
    return pa.table([list(column) for column in zip(*rows, strict=True)] or [[]] * len(RULE), schema=RULE)


def held_back_table(user_ids: pd.Series, broken: Flags) -> pa.Table:
    """List the rules that applied to each user, by their places; users whom none held back have no row.

    Examples
    --------
    >>> held_back_table(pd.Series(["a", "b"]), np.array([[False, False], [True, True]])).to_pylist()
    [{'user_id': 'b', 'rules': [0, 1]}]
    """
    users, places = np.nonzero(broken)
    rows = np.flatnonzero(broken.any(axis=1))
    offsets = np.searchsorted(users, np.append(rows, len(broken)))
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(places, pa.int16()))
    return pa.table([pa.array(user_ids.iloc[rows], pa.string()), lists.cast(HELD.field("rules").type)], schema=HELD)
