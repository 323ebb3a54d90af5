"""Predicted gains of offers compared with realised ones: their ratio, as far as there is evidence for it.

Decisions that choose the best of many estimates promise too much (the optimiser's curse: Smith & Winkler 2006), and
how much is an empirical question. The ratio starts at 1 and moves as the evidence comes in: the normal prior and
the normal likelihood of each comparison make a normal posterior (Gelman et al. 2013, chapter 2).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from features.arrays.array_types import Floats
from models.effects.observational_effects import MIN_CONTROL, MIN_TREATED
from models.measurement.promise_ratio import ALL, PromiseRatio
from models.metrics.evaluation import Z
from models.metrics.metric import Metric

PRIOR_ERROR, PLAY_ERROR = 0.5, 0.25  # of the ratio of everything, and of a play's from it, before there is evidence
LEAST, MOST = 0.0, 2.0  # that a promise is ever multiplied by


@dataclass(frozen=True)
class Comparison:
    """Users who got what the policy meant for them, compared with users who got nothing; per user, account currency.

    `promised` is what the decisions of the former expected, `shown` by how much they brought more, with its standard
    `error`; `treated` and `control` count users.
    """

    promised: float
    shown: float
    error: float
    treated: int
    control: int


def compare_groups(frame: pd.DataFrame, covariates: Sequence[str]) -> Comparison | None:
    """Compare users with and without what the policy meant for them; None where they are too few.

    Parameters
    ----------
    frame
        ``user_id``, ``is_given``, ``weight`` (1 / chance of the row's group), ``realised`` and ``promised`` (account
        currency), and columns known before.
    covariates
        Names of the latter: what they tell of the outcome in both groups alike is taken out (CUPED: Deng et al. 2013).
    """
    given = frame["is_given"].to_numpy(dtype=bool)
    users = [frame.loc[mask, "user_id"].nunique() for mask in (given, ~given)]
    if users[0] < MIN_TREATED or users[1] < MIN_CONTROL:
        return None
    weight = frame["weight"].to_numpy(dtype=np.float64)
    outcome = _freed(frame["realised"].to_numpy(dtype=np.float64), given, frame[list(covariates)])
    codes, _ = pd.factorize(frame["user_id"])
    (treated, own), (untreated, others) = (_mean(outcome, weight * mask) for mask in (given, ~given))
    by_user = np.bincount(codes, own - others)
    promised = float(np.average(frame["promised"].to_numpy(dtype=np.float64), weights=weight * given))
    return Comparison(promised, treated - untreated, float(np.sqrt((by_user**2).sum())), users[0], users[1])


def promise_ratio(
    subject: str, comparisons: Iterable[Comparison], before: Metric | None = None, spread: float = PRIOR_ERROR
) -> PromiseRatio | None:
    """Combine comparisons with what was known before them into a ratio; None where there are none.

    Parameters
    ----------
    before
        Ratio of which this one is a part; 1 by default.
    spread
        Standard error of this ratio around that before there is evidence.

    Examples
    --------
    >>> certain, vague = (Comparison(2.0, 1.0, error, 5000, 500) for error in (0.01, 10.0))
    >>> str(promise_ratio("all", [certain]).ratio), str(promise_ratio("all", [vague]).ratio)
    ('0.500 [0.490, 0.510]', '0.995 [0.020, 1.970]')
    """
    usable = [each for each in comparisons if each.error > 0 and each.promised > 0]
    if not usable:
        return None
    centre = before.value if before is not None else 1.0
    own = [(each.promised / each.error) ** 2 for each in usable]
    precision = 1 / spread**2 + sum(own)
    shown = sum(weight * each.shown / each.promised for weight, each in zip(own, usable, strict=True))
    ratio = (centre / spread**2 + shown) / precision
    rows = sum(each.treated + each.control for each in usable)
    return PromiseRatio(subject, *_pooled(usable, rows), _interval(ratio, math.sqrt(1 / precision), rows))


def promise_ratios(by_play: Mapping[str, Sequence[Comparison]]) -> list[PromiseRatio]:
    """Estimate the ratio of all offers, which `by_play` has under `ALL`, and the ratio of each play around it."""
    whole = promise_ratio(ALL, by_play.get(ALL, ()))
    if whole is None:
        return []
    parts = (
        promise_ratio(play, found, whole.ratio, PLAY_ERROR) for play, found in sorted(by_play.items()) if play != ALL
    )
    return [whole, *(part for part in parts if part is not None)]


def _freed(outcome: Floats, given: np.ndarray, known: pd.DataFrame) -> Floats:
    """Take out of outcomes what covariates tell in both groups alike, by least squares beside the group."""
    columns = known.to_numpy(dtype=np.float64)
    filled = np.where(np.isnan(columns), 0.0, columns)
    centred = filled - filled.mean(axis=0)
    design = np.c_[np.ones(len(outcome)), given, centred]
    slopes = np.linalg.lstsq(design, outcome, rcond=None)[0][2:]
    return np.asarray(outcome - centred @ slopes)


def _mean(outcome: Floats, weight: Floats) -> tuple[float, Floats]:
    """Weighted mean, and what each row adds to its error."""
    mean = float(np.average(outcome, weights=weight))
    return mean, weight * (outcome - mean) / weight.sum()


def _pooled(comparisons: Sequence[Comparison], rows: int) -> tuple[float, Metric]:
    """Mean promise and mean outcome a head, weighing comparisons by their precision."""
    weights = np.array([1 / each.error**2 for each in comparisons])
    promised = float(np.average([each.promised for each in comparisons], weights=weights))
    shown = float(np.average([each.shown for each in comparisons], weights=weights))
    error = float(np.sqrt(1 / weights.sum()))
    return promised, Metric(shown, shown - Z * error, shown + Z * error, rows)


def _interval(ratio: float, error: float, rows: int) -> Metric:
    value, low, high = (float(np.clip(ratio + Z * by, LEAST, MOST)) for by in (0.0, -error, error))
    return Metric(value, low, high, rows)
