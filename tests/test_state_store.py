"""The state store: a shard comes back as it went, whatever its numbers need."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from features.engine.category_state import CategoryCounts, CategoryState, RollingMaximum
from features.engine.state_store import FOLDER, StateShard, read_checkpoint, write_notes, write_shard
from features.engine.window_state import NEVER
from features.storage.lake import Lake

WORDS = pa.array(["category:tea", "hour:7"])
DAY = date(2024, 3, 4)


def shard_of(users: list[str], number: int) -> StateShard:
    """Every number of the shard is a multiple of one."""
    count = len(users)
    rows = CategoryCounts.of_any(np.arange(count), np.arange(count) % 2, np.full(count, 1), np.full(count, number))
    states = {"sum": np.arange(count) * number, "last": np.full(count, NEVER, np.int32),
              "calendar": np.full(count, 255, np.uint8)}  # fmt: skip
    maxima = {"most": RollingMaximum(np.arange(count), np.full(count, 19_000), np.full(count, number))}
    return StateShard(pa.array(users), states, CategoryState.of(count, rows, WORDS), maxima)


def write(lake: Lake, *shards: StateShard) -> None:
    with lake.whole_folder(FOLDER) as folder:
        files = [write_shard(folder, number, shard) for number, shard in enumerate(shards)]
        write_notes(folder, DAY, "known", [each for written in files for each in written])


@pytest.mark.parametrize("number", [0, 1, -1, 127, 128, -129, 2**15, 2**31, -(2**31) - 1, 2**40])
def test_numbers_of_any_size_come_back(tmp_path, number):
    lake = Lake(tmp_path)
    shards = [shard_of(["a", "b", "c"], 1), shard_of(["d"], number), shard_of(["e", "f"], 300)]
    write(lake, *shards)
    found = read_checkpoint(lake)
    assert (found.day, found.known, found.edges) == (DAY, "known", ["d", "e"])
    for old, new in zip(shards, map(found.shard, range(3)), strict=True):
        assert new.users.equals(old.users)
        assert all(np.array_equal(new.states[name], values) for name, values in old.states.items())
        for one, other in (
            (old.categories.rows, new.categories.rows),
            (old.categories.favourites, new.categories.favourites),
        ):
            assert all(map(np.array_equal, one, other))
            assert [column.dtype for column in one] == [column.dtype for column in other]
        assert all(map(np.array_equal, vars(old.maxima["most"]).values(), vars(new.maxima["most"]).values()))


def test_short_numbers_take_little_room(tmp_path):
    sizes = []
    for number in (1, 2**40):
        lake = Lake(tmp_path / str(number))
        write(lake, shard_of([f"u{place:05d}" for place in range(10_000)], number))
        sizes.append((lake.path(FOLDER) / read_checkpoint(lake).shards[0].file).stat().st_size)
    assert sizes[0] < sizes[1] - 60_000
