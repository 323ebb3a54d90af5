"""Persona discovery by k-means; personas count only if refits agree and shuffled data do not.

A refit draws users with replacement; how far two refits agree about everybody is the adjusted Rand index (Hubert and
Arabie 1985, *Comparing partitions*). Stability alone proves nothing: columns that were shuffled one by one, so that
nothing goes with anything, are cut into the same pieces by every refit too. So the real ones must agree by more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from features.arrays.array_types import Floats, Places
from models.metrics.metric import Metric
from models.personas.habits import SETS, Scale, scale_of
from models.personas.persona_model import PersonaModel, kept_names, names_of
from models.personas.persona_note import ABOVE_CHANCE, SMALLEST, STABLE, PersonaNote

MOST, FEWEST = 8, 3  # personas
GIVEN_UP = 0.1  # of the best stability, for more groups
PAIRS = 8  # of refits
JUDGED = 5_000  # users that refits draw from
STARTS = 3
LEAST_COLUMNS = 2


@dataclass(frozen=True)
class _Cut:
    """One number of groups, as found: how far refits agree on real and on shuffled columns."""

    found: KMeans | None
    stability: Metric
    by_chance: Metric

    @property
    def groups(self) -> int:
        """The number of groups."""
        return 0 if self.found is None else int(self.found.n_clusters)

    @property
    def is_stable(self) -> bool:
        return self.stability.value >= max(STABLE, self.by_chance.value + ABOVE_CHANCE)


def find_personas(frame: pd.DataFrame, seed: int, last: PersonaModel | None = None) -> PersonaModel:
    """Find the personas, up to `MOST`, that are most stable; none where no number of them is stable.

    They are sought in each of `SETS` of columns; the set counts in which most are stable, of equals the richest.

    Parameters
    ----------
    frame
        Columns of a snapshot, and shares of tastes, in an order that says nothing, one row per user.
    last
        The model before, whose names are kept where its personas are found again.
    """
    scales = {scale.columns: scale for scale in (scale_of(frame, kinds) for kinds in SETS)}
    return max((_find_on(scale, frame, seed, last) for scale in scales.values()), key=lambda found: len(found.names))


def _find_on(scale: Scale, frame: pd.DataFrame, seed: int, last: PersonaModel | None) -> PersonaModel:
    points, seeds = scale.points(frame), np.random.default_rng(seed)
    cuts = [_Cut(None, _agreement(np.zeros(0)), _agreement(np.zeros(0)))]
    for groups in range(MOST, 1, -1) if len(scale.columns) >= LEAST_COLUMNS else ():
        found = _fit(points, groups, seeds)
        if np.bincount(found.labels_, minlength=groups).min() >= SMALLEST * len(points):
            cuts.append(_judge(found, points[:JUDGED], seeds))
    chosen = _chosen([cut for cut in cuts if cut.is_stable])
    if chosen is not None:
        return _model(frame, scale, chosen, last)
    return _no_personas(frame, scale, max(cuts, key=lambda each: each.stability.value))


def refits(points: Floats, groups: int, draws: np.random.Generator, pairs: int = PAIRS) -> Floats:
    """Tell how far pairs of refits agree, each of users drawn with replacement: adjusted Rand index, shape (pairs,)."""

    def refit() -> Places:
        drawn = points[draws.integers(0, len(points), len(points))]
        return np.asarray(_fit(drawn, groups, draws).predict(points))

    return np.array([adjusted_rand_score(refit(), refit()) for _ in range(pairs)])


def _judge(clustering: KMeans, points: Floats, draws: np.random.Generator) -> _Cut:
    own = _agreement(refits(points, clustering.n_clusters, draws))
    if own.value < STABLE:
        return _Cut(clustering, own, _agreement(np.zeros(0)))
    shuffled = np.column_stack([draws.permutation(column) for column in points.T])
    return _Cut(clustering, own, _agreement(refits(shuffled, clustering.n_clusters, draws)))


def _chosen(stable: list[_Cut]) -> _Cut | None:
    """Take the most groups that are less stable than the most stable cut by no more than `GIVEN_UP`.

    A group that is one in truth is cut anew by every refit, so that stability falls behind the true number. Two groups
    are mostly those who do more of everything and those who do less, and count only where no more are stable.
    """
    several = [cut for cut in stable if cut.groups >= FEWEST] or stable
    if not several:
        return None
    best = max(cut.stability.value for cut in several)
    return max((cut for cut in several if cut.stability.value >= best - GIVEN_UP), key=lambda cut: cut.groups)


def _agreement(found: Floats) -> Metric:
    mean = float(found.mean()) if len(found) else 0.0
    reach = 1.96 * float(found.std(ddof=1)) / len(found) ** 0.5 if len(found) > 1 else 0.0
    return Metric(mean, mean - reach, mean + reach, len(found)).rounded()


def _fit(points: Floats, groups: int, draws: np.random.Generator) -> KMeans:
    return KMeans(groups, n_init=STARTS, random_state=int(draws.integers(2**31))).fit(points)


def _model(frame: pd.DataFrame, scale: Scale, cut: _Cut, last: PersonaModel | None) -> PersonaModel:
    found: KMeans = cut.found
    share = np.bincount(found.labels_, minlength=found.n_clusters) / len(frame)
    order = np.argsort(-share, kind="stable")
    centroids = np.round(found.cluster_centers_[order], 6)
    values = frame[list(scale.columns)].to_numpy(dtype=np.float64, na_value=np.nan)
    medians = np.stack([_medians(values[found.labels_ == persona]) for persona in order])
    names = names_of(scale, centroids, kept_names(scale, centroids, last))
    note = PersonaNote(names, cut.stability, cut.by_chance)
    return PersonaModel(scale, centroids, medians, _medians(values), share[order], note)


def _no_personas(frame: pd.DataFrame, scale: Scale, best: _Cut) -> PersonaModel:
    none = np.zeros((0, len(scale.columns)))
    values = frame[list(scale.columns)].to_numpy(dtype=np.float64, na_value=np.nan)
    note = PersonaNote((), best.stability, best.by_chance)
    return PersonaModel(scale, none, none, _medians(values), np.zeros(0), note)


def _medians(values: Floats) -> Floats:
    """Median of each column, NaN where it says nothing."""
    return pd.DataFrame(values).median().to_numpy(dtype=np.float64)
