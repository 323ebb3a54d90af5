"""Honest splits: out of time *and* out of users, with a gap as long as the label, or out of users alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.arrays.array_types import Flags


@dataclass(frozen=True)
class Split:
    """Which rows may train, which test, and the user fold of each; arrays of shape (rows,).

    `is_out_of_time` says whether every test row lies after the training labels.
    """

    train: Flags
    test: Flags
    fold: npt.NDArray[np.intp]
    is_out_of_time: bool = True

    @property
    def folds(self) -> range:
        """Numbers of the folds."""
        return range(int(self.fold.max()) + 1)


def hash_share(user_ids: pd.Series, salt: str) -> npt.NDArray[np.float64]:
    """Give each user a stable number in [0, 1), uniform and independent between salts (shape: rows).

    Examples
    --------
    >>> hash_share(pd.Series(["a", "b", "a"]), "folds").round(3).tolist()
    [0.744, 0.403, 0.744]
    """
    return (hash_number(user_ids, salt) >> np.uint64(11)).astype(np.float64) / 2.0**53


def hash_number(user_ids: pd.Series, salt: str) -> npt.NDArray[np.uint64]:
    """Hash each user with a salt to 64 bits (shape: rows)."""
    key = hashlib.blake2b(salt.encode(), digest_size=8).hexdigest()
    return np.asarray(pd.util.hash_array(user_ids.to_numpy(dtype=object), hash_key=key, categorize=False))


def out_of_time_and_user(
    user_ids: pd.Series, starts: pd.Series, ends: pd.Series, cut: pd.Timestamp, folds: int
) -> Split:
    """Split at an instant: rows whose label ended by the cut train, rows that start at or after it test.

    Parameters
    ----------
    user_ids, starts, ends
        User of each row, the moment it was decided, the moment its label was complete.
    cut
        Rows that straddle it are used by neither side: that is the gap.
    folds
        A test row is predicted by a model trained on the other folds' users only.
    """
    fold = (hash_share(user_ids, "folds") * folds).astype(np.intp)
    return Split((ends <= cut).to_numpy(), (starts >= cut).to_numpy(), fold)


def out_of_user(user_ids: pd.Series, folds: int) -> Split:
    """Split by users alone: every row trains and tests, and is predicted by a model that never saw its user.

    For histories too short to be cut in time, such as a single cohort: nothing then says how a model ages.
    """
    everything = np.ones(len(user_ids), dtype=bool)
    return Split(everything, everything, (hash_share(user_ids, "folds") * folds).astype(np.intp), is_out_of_time=False)
