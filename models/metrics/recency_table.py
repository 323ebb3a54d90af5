"""A table of churn rates by days since the last activity; plain numbers that need no library."""

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
