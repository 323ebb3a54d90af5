"""The multiple-choice knapsack problem: values, costs and capacities, in shards that need not fit into memory.

Everything that the allocation asks of all users is a sum over blocks of them, so shards may be files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from features.arrays.array_types import Flags, Floats, Places
from models.policy_value.budgets import BLOCK, hull_steps

Sums = tuple[Any, ...]  # numbers and arrays that add up over users
# applies a function to every shard where it lies, given who spends in each
RemoteReduce = Callable[[Callable[["Shard"], Sums], Sequence[Flags]], Sequence[Sums]]


class Shard(NamedTuple):
    """Some users: `value` and `cost` have shape (options, users), as `offered` leaves them, and may be files.

    Whose choice uses up what is scarce, `spends` says (users,).
    """

    value: Floats | Path
    cost: Floats | Path
    spends: Flags

    def opened(self) -> Shard:
        """Map what is in files into memory."""
        return self._replace(value=opened(self.value), cost=opened(self.cost))

    def some(self, rows: slice | Places) -> tuple[Floats, Floats, Flags]:
        """Copy value, cost and who spends, of some users."""
        value, cost = (np.array(opened(each)[:, rows], order="C") for each in (self.value, self.cost))
        return value, cost, self.spends[rows]


class OneShardOpen:
    """Shards of which one at a time is mapped into memory, for whoever goes through them in order."""

    def __init__(self, parts: Sequence[Shard]) -> None:
        self._parts = parts
        self._open: dict[int, Shard] = {}

    def __getitem__(self, number: int) -> Shard:
        if number not in self._open:
            self._open = {number: self._parts[number].opened()}
        return self._open[number]


class Block(NamedTuple):
    """Users that fit a processor's cache: `rows` among all of them, `value` and `cost` of shape (options, users)."""

    rows: slice
    value: Floats
    cost: Floats

    def with_nothing(self) -> Block:
        """Add *nothing*, which is worth nothing and free, as the last option."""
        none = np.zeros((1, self.value.shape[1]))
        return Block(self.rows, np.vstack([self.value, none]), np.vstack([self.cost, none]))


class Knapsack(NamedTuple):
    """What is offered and what is scarce: resource 0 is the budget, then comes one resource per limit.

    `incidence` is 1 where an option takes a place of a limit, shape (limits, options); `capacity` is how much there is
    of each resource, shape (1 + limits,). Where the shards lie on machines, `remote_reduce` takes long sums there.
    """

    parts: Sequence[Shard]
    incidence: Floats
    capacity: Floats
    remote_reduce: RemoteReduce | None = None

    def map_reduce(self, sums_of: Callable[[Knapsack], Sums]) -> Sums:
        """Add up over the users what `sums_of` finds for some of them, where they lie."""
        if self.remote_reduce is None:
            return sums_of(self)
        incidence, capacity = self.incidence, self.capacity
        found = self.remote_reduce(
            lambda part: sums_of(Knapsack([part], incidence, capacity)), [part.spends for part in self.parts]
        )
        return tuple(np.sum(each, axis=0) for each in zip(*found, strict=True))

    @property
    def users(self) -> int:
        """Number of users."""
        return sum(len(part.spends) for part in self.parts)

    def blocks(self) -> Iterator[Block]:
        """Yield all users in order, those who spend nothing without anything to choose from.

        Where a block ends does not depend on the parts: so neither do the last bits of any sum.
        """
        parts = OneShardOpen(self.parts)
        return (_block(rows, *self._users(np.arange(rows.start, rows.stop), parts)) for rows in blocks(self.users))

    def pick(self, rows: Places) -> Iterator[tuple[Places, Block]]:
        """Yield some users, whose rows rise, in blocks; the rows of a block are its own."""
        parts = OneShardOpen(self.parts)
        return ((rows[cut], _block(cut, *self._users(rows[cut], parts))) for cut in blocks(len(rows)))

    def sample(self, every: int) -> Knapsack:
        """Take one user in `every`, and as much less capacity."""
        some = self._users(np.arange(0, self.users, every), OneShardOpen(self.parts))
        return Knapsack([Shard(*some)], self.incidence, self.capacity / every)

    def _users(self, rows: Places, parts: OneShardOpen) -> tuple[Floats, Floats, Flags]:
        """Read some users, whose rows rise, from the parts that they are in."""
        found, start = [], 0
        for number, part in enumerate(self.parts):
            first, last = np.searchsorted(rows, (start, start + len(part.spends)))
            if first < last:
                whole = rows[last - 1] - rows[first] == last - 1 - first
                own = rows[first:last] - start
                found.append(parts[number].some(slice(own[0], own[-1] + 1) if whole else own))
            start += len(part.spends)
        if len(found) == 1:
            return found[0]
        value, cost, spends = (np.concatenate(each, axis=-1) for each in zip(*found, strict=True))
        return value, cost, spends

    def sorted_steps(self) -> tuple[Floats, Floats, Floats]:
        """Sort all hull steps, the most efficient first: gain per cost, value so far and cost so far, (steps,)."""
        none = np.zeros(0)
        steps = [(none, none), *(hull_steps(block.value.T, block.cost.T) for block in self.blocks())]
        gain, step = (np.concatenate(each) for each in zip(*steps, strict=True))
        slope = np.divide(gain, step, out=np.full_like(gain, np.inf), where=step > 0)
        order = np.argsort(-slope, kind="stable")
        return slope[order], np.cumsum(gain[order]), np.cumsum(step[order])


def opened(column: Floats | Path) -> Floats:
    """Take an array as it is, and map a file into memory: what was looked at is held for as long as the array is."""
    return np.load(column, mmap_mode="r") if isinstance(column, Path) else column


def offered(value: Floats, cost: Floats) -> tuple[Floats, Floats]:
    """Turn arrays of shape (users, options) around, and what cannot be chosen or is worth nothing into ``-inf`` and 0.

    Returns
    -------
    Value and cost, shape (options, users).
    """
    pays = value.T > 0
    return np.where(pays, value.T, -np.inf), np.where(pays, cost.T, 0.0)


def blocks(users: int) -> Iterator[slice]:
    """Cut users into pieces that fit a processor's cache."""
    return (slice(start, min(start + BLOCK, users)) for start in range(0, users, BLOCK))


def priced(block: Block, incidence: Floats, prices: Floats) -> Floats:
    """Value of options after paying for what they take; shape (options, users)."""
    kept = block.cost * -prices[0]
    kept += block.value
    kept -= (prices[1:] @ incidence)[:, None]
    return kept


def _block(rows: slice, value: Floats, cost: Floats, spends: Flags) -> Block:
    if not spends.all():
        value[:, ~spends], cost[:, ~spends] = -np.inf, 0.0  # both are copies
    return Block(rows, value, cost)
