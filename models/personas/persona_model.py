"""Personas as named centroids: which persona a user belongs to, and what distinguishes each."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from features.arrays.array_types import Floats, Places
from features.training_data.taste_shares import COLUMN as TASTE
from models.personas.habits import Scale, habit_of
from models.personas.persona_note import PersonaNote

if TYPE_CHECKING:
    import pandas as pd  # look-ups read a stored model without it

NOBODY = -1
MARGIN = 0.1  # share by which another centroid must be nearer, before a user moves to it
SAID = 0.4  # standard deviations from which on a habit is said of a group
ADJECTIVES = 3
BETWEEN_NAMES = ", "


@dataclass(frozen=True)
class PersonaModel:
    """Personas of an app, none where no groups are stable, as the `note` says.

    `centroids` have shape (personas, columns) on the `scale`, `medians` are those of each persona's users in the
    columns' own units, `usual` those of everybody, shape (columns,). `share` of the users that taught are in each.
    """

    scale: Scale
    centroids: Floats
    medians: Floats
    usual: Floats
    share: Floats
    note: PersonaNote

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the personas."""
        return self.note.names

    @property
    def tastes(self) -> tuple[str, ...]:
        """Groups of categories whose shares are among the columns."""
        return tuple(name.removeprefix(TASTE) for name in self.scale.columns if name.startswith(TASTE))

    def personas_of(self, frame: pd.DataFrame, before: Places | None = None) -> Places:
        """Tell the persona of each user, shape (users,): the nearest one.

        Who was another one `before` stays it, unless the nearest is nearer by more than `MARGIN`; `NOBODY` was none.
        """
        if not self.names:
            return np.full(len(frame), NOBODY)
        gaps = distances(self.scale.points(frame), self.centroids)
        nearest = np.argmin(gaps, axis=1)
        if before is None:
            return nearest
        each = np.arange(len(frame))
        stays = (before != NOBODY) & (gaps[each, before] * (1 - MARGIN) <= gaps[each, nearest])
        return np.where(stays, before, nearest)

    def set_apart(self, persona: int) -> list[tuple[str, float]]:
        """List the columns that set a persona apart, most of all first, with standard deviations above the mean."""
        own = self.centroids[persona]
        order = np.argsort(-np.abs(own), kind="stable")[:ADJECTIVES]
        return [(self.scale.columns[place], float(own[place])) for place in order]


def distances(points: Floats, centroids: Floats) -> Floats:
    """Euclidean distances of points to centroids, shape (points, centroids)."""
    squares = (points**2).sum(axis=1)[:, None] - 2 * points @ centroids.T + (centroids**2).sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)))


def names_of(scale: Scale, centroids: Floats, kept: dict[int, str]) -> tuple[str, ...]:
    """Name each persona after the two or three habits that set it apart, as no other is named; some are `kept`.

    Examples
    --------
    >>> ones = np.ones(3)
    >>> scale = Scale(("spend_sum_90d", "categories_count_90d", "discount_share_90d"), -ones, ones, 0 * ones, ones)
    >>> names_of(scale, np.array([[1.0, -0.8, 0.1], [-1.0, 0.1, 0.9]]), {})
    ('high-spending, narrow', 'low-spending, deal-seeking')
    """
    names = dict(kept)
    for persona, centroid in enumerate(centroids):
        if persona not in names:
            names[persona] = next(name for name in _candidates(scale, centroid) if name not in names.values())
    return tuple(names[persona] for persona in range(len(centroids)))


def kept_names(scale: Scale, centroids: Floats, last: PersonaModel | None) -> dict[int, str]:
    """Match personas with those of the model before, and keep the names of those that are still the same.

    They are paired so that the distances are least in sum. A pair is the same persona where the former centroid is
    nearer to the new one than half the way from that to its nearest neighbour.
    """
    if last is None or not last.names:
        return {}
    from scipy.optimize import linear_sum_assignment  # look-ups read a stored model without it

    gaps = distances(centroids, last.scale.moved(last.centroids, scale))
    between = distances(centroids, centroids) + np.diag(np.full(len(centroids), np.inf))
    pairs = zip(*linear_sum_assignment(gaps), strict=True)
    return {int(new): last.names[old] for new, old in pairs if gaps[new, old] < between[new].min() / 2}


def _candidates(scale: Scale, centroid: Floats) -> Iterator[str]:
    """Yield names of a centroid, the one that says most first; a number tells apart what words cannot."""
    order = [int(place) for place in np.argsort(-np.abs(centroid), kind="stable") if _word(scale, centroid, place)]
    said = [place for place in order if abs(centroid[place]) >= SAID]
    first = (said if len(said) >= 2 else order[:2])[:ADJECTIVES]
    yield _name(scale, centroid, first)
    for wanted in (2, ADJECTIVES):
        for places in combinations(order, wanted):
            yield _name(scale, centroid, places)
    for number in range(2, 100):
        yield f"{_name(scale, centroid, first[: ADJECTIVES - 1])}{BETWEEN_NAMES}no. {number}"


def _name(scale: Scale, centroid: Floats, places: Collection[int]) -> str:
    return BETWEEN_NAMES.join(filter(None, (_word(scale, centroid, place) for place in places)))


def _word(scale: Scale, centroid: Floats, place: int) -> str | None:
    habit = habit_of(scale.columns[place])
    return habit.high if centroid[place] > 0 else habit.low
