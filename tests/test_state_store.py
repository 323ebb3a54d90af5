"""What is carried comes back as it went, whatever its numbers need."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from features.engine import state_store as checkpoint
from features.engine.category_state import CategoryCounts, CategoryState, RollingMaximum
from features.engine.state_store import StateShard, read_checkpoint, write_checkpoint
from features.engine.window_state import NEVER
from features.storage.lake import Lake

WORDS = pa.array(["category:tea", "hour:7"])
DAY = date(2024, 3, 4)


def slice_of(users: list[str], number: int) -> StateShard:
    """Every number of the slice is a multiple of one."""
    count = len(users)
    rows = CategoryCounts.of_any(np.arange(count), np.arange(count) % 2, np.full(count, 1), np.full(count, number))
    states = {"sum": np.arange(count) * number, "last": np.full(count, NEVER, np.int32),
              "calendar": np.full(count, 255, np.uint8)}  # fmt: skip
    peaks = {"most": RollingMaximum(np.arange(count), np.full(count, 19_000), np.full(count, number))}
    return StateShard(pa.array(users), states, CategoryState.of(count, rows, WORDS), peaks)


@pytest.mark.parametrize("number", [0, 1, -1, 127, 128, -129, 2**15, 2**31, -(2**31) - 1, 2**40])
def test_numbers_of_any_size_come_back(tmp_path, number):
    lake = Lake(tmp_path)
    before = [slice_of(["a", "b", "c"], 1), slice_of(["d"], number), slice_of(["e", "f"], 300)]
    with write_checkpoint(lake, DAY, "known") as keep:
        for each in before:
            keep(each)
    found = read_checkpoint(lake)
    assert (found.day, found.known, found.edges) == (DAY, "known", ("d", "e"))
    for old, new in zip(before, found.shards(), strict=True):
        assert new.users.equals(old.users)
        assert all(np.array_equal(new.states[name], values) for name, values in old.states.items())
        for one, other in ((old.tastes.rows, new.tastes.rows), (old.tastes.favourites, new.tastes.favourites)):
            assert all(map(np.array_equal, one, other))
            assert [column.dtype for column in one] == [column.dtype for column in other]
        assert all(map(np.array_equal, vars(old.peaks["most"]).values(), vars(new.peaks["most"]).values()))


def test_short_numbers_take_little_room(tmp_path):
    sizes = []
    for number in (1, 2**40):
        lake = Lake(tmp_path / str(number))
        with write_checkpoint(lake, DAY, "known") as keep:
            keep(slice_of([f"u{place:05d}" for place in range(10_000)], number))
        sizes.append((lake.path(checkpoint.FOLDER) / "most").stat().st_size)
    assert sizes[0] < sizes[1] - 60_000
