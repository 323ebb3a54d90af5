"""Lists of reasons per user or option, as Arrow arrays of codes with parameters.

Numbers stay numbers: exact, cheap for a million users, and fit to be counted. `serving.wording.rendering` makes words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from features.arrays.array_types import Array, Flags, Floats, Kinds, Places
from serving.wording.reason_codes import Reason

NO_TEXT = -1
# plain texts: what Arrow writes of dictionaries in lists, it cannot read back from several row groups
REASON = pa.struct(
    [
        ("code", pa.string()), ("column", pa.string()), ("value", pa.string()),
        ("number", pa.float64()), ("effect", pa.float64()),
    ]
)  # fmt: skip
REASONS = pa.list_(REASON)


class _Slot(NamedTuple):
    """One more reason for some rows; arrays have shape (rows,) or are one number for all."""

    rows: Places
    texts: tuple[Array | int, Array | int, Array | int]
    numbers: tuple[Floats | float, Floats | float]


class ReasonLists:
    """Builds one list of reasons per row out of whole columns: each call adds a reason to the lists of some rows."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._slots: list[_Slot] = []
        self._places: dict[str, int] = {}

    def place(self, text: str | None) -> int:
        """Place of a text among all texts of the lists, or `NO_TEXT`."""
        return NO_TEXT if text is None else self._places.setdefault(text, len(self._places))

    def add(
        self, rows: Places, code: str | Places, column: str | Places | None = None, value: str | Places | None = None,
        number: Floats | float | None = None, effect: Floats | float | None = None,
    ) -> None:  # fmt: skip
        """Add a reason to the lists of some rows; texts are given as they are, or as `place` of each row's."""
        texts = [each if isinstance(each, np.ndarray) else self.place(each) for each in (code, column, value)]
        numbers = [np.nan if each is None else each for each in (number, effect)]
        self._slots.append(_Slot(rows, (texts[0], texts[1], texts[2]), (numbers[0], numbers[1])))

    def extend(self, rows: Places, reasons: Iterable[Reason]) -> None:
        """Add the same reasons to the lists of some rows."""
        for reason in reasons:
            self.add(rows, *reason)

    def extend_each(self, place: Places | Kinds, kinds: Sequence[Iterable[Reason]]) -> None:
        """Add to each row the reasons of its kind: `place` among `kinds`, shape (rows,)."""
        for number, reasons in enumerate(kinds):
            if found := tuple(reasons):
                self.extend(np.flatnonzero(place == number), found)

    def values(self, column: pd.Series) -> tuple[Places, Floats]:
        """Take values apart into texts, as `place`, and numbers, NaN for what is none; shapes (rows,)."""
        if pd.api.types.is_numeric_dtype(column):
            return np.full(len(column), NO_TEXT), column.to_numpy(dtype=np.float64)
        codes, texts = (
            (column.cat.codes.to_numpy(), column.cat.categories)
            if isinstance(column.dtype, pd.CategoricalDtype)
            else pd.factorize(column)
        )
        places = np.array([*(self.place(str(text)) for text in texts), NO_TEXT], dtype=np.intp)
        return places[codes], np.full(len(column), np.nan)

    def build(self, is_known: Flags | None = None) -> pa.ListArray:
        """Write the lists, of type `REASONS`; one that is not known is missing, not empty."""
        counts = np.zeros(self.rows, dtype=np.int32)
        for slot in self._slots:
            counts[slot.rows] += 1
        ends = np.cumsum(counts, dtype=np.int32)
        total, free = int(counts.sum()), ends - counts
        texts, numbers = np.full((3, total), NO_TEXT, dtype=np.int32), np.full((2, total), np.nan)
        for slot in self._slots:
            at = free[slot.rows]
            for child, own in zip((*texts, *numbers), (*slot.texts, *slot.numbers), strict=True):
                child[at] = own
            free[slot.rows] += 1
        words = pa.array(list(self._places), pa.string())
        children = [
            *(words.take(pa.array(each, mask=each == NO_TEXT)) for each in texts),
            *(pa.array(each, from_pandas=True) for each in numbers),
        ]
        offsets = pa.array(np.concatenate([np.zeros(1, dtype=np.int32), ends]))
        missing = None if is_known is None else pa.array(~is_known)
        return pa.ListArray.from_arrays(
            offsets, pa.StructArray.from_arrays(children, fields=list(REASON)), type=REASONS, mask=missing
        )
