"""Training of the taste model on days with known outcome, and evaluation on later days against simple rules."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from features.arrays.array_types import Array, Flags, Floats
from features.training_data.purchases import Purchases
from models.metrics.metric import Metric
from models.tastes.taste_counts import bought_within, counts_before
from models.tastes.taste_model import (
    LinearScore,
    TasteModel,
    again_columns,
    best,
    categories_known,
    cells_of,
    new_columns,
)

HORIZON = 28  # days in which something is bought, or not
CUTS = 3  # days that it is learnt from, a horizon apart
TAUGHT = 4_000  # users whose rows the logistics see
LISTED = 5
RIDGE, STEPS = 1.0, 8


class _Examples:
    """Gathers users and categories with whether they were bought, from several days."""

    def __init__(self) -> None:
        self._columns: list[Array] = []
        self._labels: list[Flags] = []

    def add(self, columns: list[Array], bought: Flags) -> None:
        """Take in some users and categories, shape (cells,): their columns, and whether they were bought."""
        self._columns.append(np.stack([column.astype(np.float32) for column in columns], axis=1))
        self._labels.append(bought)

    def fit(self) -> LinearScore:
        """Fit a logistic to all of them."""
        return fit_logistic(np.concatenate(self._columns), np.concatenate(self._labels))


@dataclass(frozen=True)
class TasteVerdict:
    """A model with what was measured of it out of time; a score that did not beat its plain rule is left out of it."""

    model: TasteModel
    metrics: dict[str, Metric]


def learn_tastes(purchases: Purchases, users: int, as_of: int, first: int) -> TasteVerdict | None:
    """Learn tastes by a day; None where the history, whose first day is `first`, is too short to judge them.

    It is judged on the last `HORIZON` days by a model that was learnt before them, and learnt anew from all.

    Parameters
    ----------
    as_of, first
        Days since 1970.
    """
    judged = fit_tastes(purchases, users, as_of - HORIZON, first)
    model = fit_tastes(purchases, users, as_of, first)
    if judged is None or model is None:
        return None
    metrics = judge_tastes(judged, purchases, users, as_of - HORIZON)
    gains = [metrics.get(f"tastes.{name}_gain") for name in ("again", "new")]
    again, new = (gain is not None and gain.low > 0 for gain in gains)
    return TasteVerdict(replace(model, again=model.again if again else None, new=model.new if new else None), metrics)


def fit_tastes(purchases: Purchases, users: int, as_of: int, first: int) -> TasteModel | None:
    """Fit both logistics on the last `CUTS` days whose outcome is known; None without any."""
    cuts = [cut for step in range(1, CUTS + 1) if (cut := as_of - step * HORIZON) >= first + HORIZON]
    if not cuts or len(purchases.categories) < 2:
        return None
    again, new = _Examples(), _Examples()
    for cut in cuts:
        counts = counts_before(purchases, users, cut)
        model, bought = categories_known(purchases.categories, counts), bought_within(purchases, users, cut, HORIZON)
        is_seen = (counts.visits > 0) & (np.arange(users) < TAUGHT)[:, None]
        had, not_had = cells_of(counts.has_had & is_seen), cells_of(~counts.has_had & is_seen)
        again.add(again_columns(model, counts, had), bought[had])
        wide = (np.broadcast_to(column, bought.shape) for column in new_columns(model, counts))
        new.add([column[not_had] for column in wide], bought[not_had])
    known = categories_known(purchases.categories, counts_before(purchases, users, as_of))
    return replace(known, again=again.fit(), new=new.fit())


def judge_tastes(model: TasteModel, purchases: Purchases, users: int, cut: int) -> dict[str, Metric]:
    """Measure both lists of five on those who bought in the `HORIZON` days from a cut on, beside the plain rules.

    Again: the share of the list that was bought. New: whether anything of the list was. `gain` is against how often
    the user bought, and against what most users have had, `gain_alike` against what users alike take up.
    """
    counts, bought = counts_before(purchases, users, cut), bought_within(purchases, users, cut, HORIZON)
    among = (counts.visits[:, 0] > 0) & bought.any(axis=1)
    plain = replace(model, again=None, new=None)
    alike = np.where(counts.has_had, -np.inf, model.taken_up_alike[model.quarter_of(counts)])

    def again(scores: Array) -> Floats:
        return np.asarray(_hits(scores, bought)[among].mean(axis=1), dtype=np.float64)

    def new(scores: Array) -> Floats:
        return np.asarray(_hits(scores, bought)[among].any(axis=1), dtype=np.float64)

    own, usual = again(model.again_scores(counts)), again(plain.again_scores(counts))
    found_new, popular, of_alike = new(model.new_scores(counts)), new(plain.new_scores(counts)), new(alike)
    return {
        "tastes.again_precision": mean_metric(own), "tastes.again_precision_frequency": mean_metric(usual),
        "tastes.again_gain": mean_metric(own - usual),
        "tastes.new_hit_rate": mean_metric(found_new), "tastes.new_hit_rate_popular": mean_metric(popular),
        "tastes.new_hit_rate_alike": mean_metric(of_alike),
        "tastes.new_gain": mean_metric(found_new - popular), "tastes.new_gain_alike": mean_metric(found_new - of_alike),
    }  # fmt: skip


def mean_metric(values: Floats) -> Metric:
    """Mean of users with its 95% interval, by the central limit theorem."""
    users = len(values)
    mean = float(values.mean()) if users else 0.0
    reach = 1.96 * float(values.std()) / max(users, 1) ** 0.5 if users else 0.0
    return Metric(mean, mean - reach, mean + reach, users)


def fit_logistic(columns: Array, label: Flags) -> LinearScore:
    """Fit a logistic regression by Newton's method, with a ridge on standardised columns.

    Examples
    --------
    >>> x = np.repeat([[0.0], [1.0]], 100, axis=0)
    >>> found = fit_logistic(x, np.r_[np.arange(100) < 20, np.arange(100) < 60])
    >>> [round(float(1 / (1 + np.exp(-(found.intercept + found.weights[0] * each)))), 2) for each in (0, 1)]
    [0.2, 0.6]
    """
    mean, scale = columns.mean(axis=0, dtype=np.float64), columns.std(axis=0, dtype=np.float64)
    scale[scale < 1e-9] = 1.0
    rows = np.c_[np.ones(len(columns), np.float32), ((columns - mean) / scale).astype(np.float32)]
    share = np.clip(label.mean(), 1e-6, 1 - 1e-6)
    beta, penalty = np.zeros(rows.shape[1]), np.r_[0.0, np.full(len(mean), RIDGE)]
    beta[0] = np.log(share / (1 - share))
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-(rows @ beta.astype(np.float32))))
        gradient = rows.T @ (label - chance) - penalty * beta
        curvature = (rows * (chance * (1 - chance))[:, None]).T @ rows + np.diag(penalty)
        beta = beta + np.linalg.solve(curvature.astype(np.float64), gradient.astype(np.float64))
    weights = beta[1:] / scale
    return LinearScore(tuple(weights.tolist()), float(beta[0] - weights @ mean))


def _hits(scores: Array, bought: Flags) -> Flags:
    listed = best(scores, LISTED)
    return np.take_along_axis(bought, np.maximum(listed, 0), axis=1) & (listed >= 0)
