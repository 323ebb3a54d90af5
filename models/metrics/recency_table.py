"""Who left, by how long ago they were last active: a table that is kept, and needs no library to be read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RecencyTable:
    """Share of users who left, by the days since they were last active: up to each edge, and beyond the last one.

    `rows` counts the users behind each share.
    """

    edges: tuple[float, ...]
    shares: tuple[float, ...]
    rows: tuple[int, ...]
