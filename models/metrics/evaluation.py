"""Metrics of models with bootstrap intervals: ranking, calibration and regression."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.arrays.array_types import Floats
from models.metrics.metric import Metric

Measure = Callable[[Floats, Floats, Floats], float]
Z = 1.959964  # 97.5% quantile of the normal distribution


def auc(label: Floats, score: Floats, weight: Floats) -> float:
    """Area under the ROC curve: how often a random positive is ranked above a random negative.

    Examples
    --------
    >>> auc(np.array([0., 0., 1., 1.]), np.array([.1, .4, .35, .8]), np.ones(4))
    0.75
    """
    order = np.argsort(score, kind="stable")
    label, score, weight = label[order], score[order], weight[order]
    positive, negative = np.cumsum(label * weight), np.cumsum((1 - label) * weight)
    ends = np.flatnonzero(np.r_[score[1:] != score[:-1], True])
    positive, negative = np.r_[0.0, positive[ends]], np.r_[0.0, negative[ends]]
    if positive[-1] == 0 or negative[-1] == 0:
        return float("nan")
    pairs = np.sum(np.diff(positive) * (negative[:-1] + np.diff(negative) / 2))
    return float(pairs / (positive[-1] * negative[-1]))


def average_precision(label: Floats, score: Floats, weight: Floats) -> float:
    """Mean precision over the positives, best first.

    Examples
    --------
    >>> round(average_precision(np.array([0., 0., 1., 1.]), np.array([.1, .4, .35, .8]), np.ones(4)), 4)
    0.8333
    """
    order = np.argsort(-score, kind="stable")
    label, score, weight = label[order], score[order], weight[order]
    ends = np.flatnonzero(np.r_[score[1:] != score[:-1], True])
    hits, shown = np.cumsum(label * weight)[ends], np.cumsum(weight)[ends]
    if hits[-1] == 0:
        return float("nan")
    precision = np.divide(hits, shown, out=np.zeros_like(hits), where=shown > 0)
    return float(np.sum(np.diff(np.r_[0.0, hits]) * precision) / hits[-1])


def brier(label: Floats, score: Floats, weight: Floats) -> float:
    """Mean squared error of a probability (Brier 1950)."""
    return float(np.average((label - score) ** 2, weights=weight))


def log_loss(label: Floats, score: Floats, weight: Floats) -> float:
    """Mean surprise at the outcome, in nats: judges ranking and calibration together (Good 1952).

    Examples
    --------
    >>> round(log_loss(np.array([0., 1.]), np.array([.5, .5]), np.ones(2)), 4)
    0.6931
    """
    p = np.clip(score, 1e-12, 1 - 1e-12)
    return float(-np.average(label * np.log(p) + (1 - label) * np.log1p(-p), weights=weight))


def expected_calibration_error(label: Floats, score: Floats, weight: Floats, bins: int = 10) -> float:
    """Mean distance of predicted from observed rates over equally filled bins (Naeini et al. 2015).

    Examples
    --------
    >>> round(expected_calibration_error(np.array([0., 1.]), np.array([.2, .8]), np.ones(2), bins=2), 6)
    0.2
    """
    bin_of = _equal_bins(score, bins)
    total = np.bincount(bin_of, weight)
    gap = np.bincount(bin_of, weight * (label - score))
    return float(np.abs(gap).sum() / total.sum())


def mean_label(label: Floats, score: Floats, weight: Floats) -> float:  # noqa: ARG001 - a Measure takes all three
    """Mean of the label: the base rate."""
    return float(np.average(label, weights=weight))


def mean_absolute_error(label: Floats, score: Floats, weight: Floats) -> float:
    """Mean distance of a predicted amount from the true one."""
    return float(np.average(np.abs(label - score), weights=weight))


def r_squared(label: Floats, score: Floats, weight: Floats) -> float:
    """Share of the variance that is explained; 0 for the mean, 1 for the truth, also where nothing varies.

    Examples
    --------
    >>> ten, one = np.full(2, 10.0), np.ones(2)
    >>> r_squared(ten, ten, one), r_squared(ten, np.array([9.0, 10.0]), one)
    (1.0, 0.0)
    """
    mean = np.average(label, weights=weight)
    left, all_of_it = np.sum(weight * (label - score) ** 2), np.sum(weight * (label - mean) ** 2)
    if all_of_it <= 1e-12 * np.sum(weight * label**2):  # a constant: hit or missed, as scikit-learn's r2_score
        return float(np.allclose(score, mean))
    return float(1 - left / all_of_it)


def bias_ratio(label: Floats, score: Floats, weight: Floats) -> float:
    """Total predicted over total true; 1 is unbiased, NaN where nothing is true."""
    total = np.sum(weight * label)
    return float(np.sum(weight * score) / total) if total else float("nan")


def bootstrap(
    measure: Callable[[Floats], float], user_ids: pd.Series, *, samples: int, rng: np.random.Generator
) -> Metric:
    """Estimate a measure and its 95% interval by resampling users (percentile bootstrap, Efron 1979).

    Parameters
    ----------
    measure
        Function of row weights, shape (rows,).
    user_ids
        User of each row; all rows of a user are drawn together.
    samples
        Number of resamples.
    """
    codes, users = pd.factorize(user_ids)
    draws = [measure(_weights(codes, len(users), rng)) for _ in range(samples)]
    low, high = np.nanpercentile(draws, [2.5, 97.5]) if len(users) > 1 else (np.nan, np.nan)
    return Metric(measure(np.ones(len(codes))), float(low), float(high), len(codes))


def score_metric(
    measure: Measure, label: Floats, score: Floats, user_ids: pd.Series, *, samples: int, rng: np.random.Generator
) -> Metric:
    """Bootstrap a measure of labels and scores, both of shape (rows,)."""
    return bootstrap(lambda weight: measure(label, score, weight), user_ids, samples=samples, rng=rng)


def gain_metric(
    measure: Measure, label: Floats, new: Floats, old: Floats, user_ids: pd.Series, *, samples: int,
    rng: np.random.Generator,
) -> Metric:  # fmt: skip
    """Bootstrap the difference of a measure between two scores on the same resampled users (paired)."""
    return bootstrap(
        lambda weight: measure(label, new, weight) - measure(label, old, weight), user_ids, samples=samples, rng=rng
    )


def calibration_table(label: Floats, score: Floats, bins: int = 10) -> pd.DataFrame:
    """Compare predicted with observed rates in equally filled bins: ``predicted, observed, rows``."""
    table = pd.DataFrame({"bin": _equal_bins(score, bins), "predicted": score, "observed": label})
    means = table.groupby("bin").agg(predicted=("predicted", "mean"), observed=("observed", "mean"))
    return means.assign(rows=table.groupby("bin").size()).reset_index(drop=True)


def lift_table(label: Floats, score: Floats, bins: int = 10) -> pd.DataFrame:
    """Show how many positives the top shares of a ranking catch: ``share, caught, lift``.

    A share that ends among equal scores catches its part of them, whatever their order.
    """
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.r_[np.diff(score[order]) != 0, True])
    hits = np.cumsum(label[order])[ends]
    shares = np.arange(1, bins + 1) / bins
    caught = np.interp(shares * len(label), np.r_[0, ends + 1], np.r_[0.0, hits]) / max(hits[-1], 1)
    return pd.DataFrame({"share": shares, "caught": caught, "lift": caught / shares})


def ranking_verdict(auc_metric: Metric) -> str:
    """Judge a ranking: a code for the words of a language; whether it is better than chance, the interval says.

    Examples
    --------
    >>> [ranking_verdict(Metric(value, value - 0.06, value + 0.06, 100)) for value in (.95, .85, .75, .65)]
    ['ranks_excellent', 'ranks_good', 'ranks_fair', 'ranks_poor']
    >>> [ranking_verdict(Metric(.591, low, .648, 100)) for low in (.529, .489)]
    ['ranks_weak', 'ranks_unproven']
    """
    if not auc_metric.low > 0.5:  # an interval that is not known shows nothing, either
        return "ranks_wrongly" if auc_metric.high < 0.5 else "ranks_unproven"
    codes = [(0.9, "ranks_excellent"), (0.8, "ranks_good"), (0.7, "ranks_fair"), (0.6, "ranks_poor")]
    return next((code for bound, code in codes if auc_metric.value >= bound), "ranks_weak")


def fit_verdict(r_squared: Metric) -> str:
    """Judge how well amounts are predicted, by the share of the differences that is explained, as a code.

    Examples
    --------
    >>> [fit_verdict(Metric(value, value - 0.05, value + 0.05, 100)) for value in (.85, .7, .5, .3, .1)]
    ['fits_excellent', 'fits_good', 'fits_fair', 'fits_poor', 'fits_weak']
    >>> [fit_verdict(Metric(value, value - 0.2, value + 0.2, 100)) for value in (.1, -.3)]
    ['fits_unproven', 'fits_wrongly']
    """
    if not r_squared.low > 0:
        return "fits_wrongly" if r_squared.high < 0 else "fits_unproven"
    codes = [(0.8, "fits_excellent"), (0.6, "fits_good"), (0.4, "fits_fair"), (0.2, "fits_poor")]
    return next((code for bound, code in codes if r_squared.value >= bound), "fits_weak")


def _weights(codes: npt.NDArray[np.intp], users: int, rng: np.random.Generator) -> Floats:
    return np.bincount(rng.integers(0, users, users), minlength=users).astype(float)[codes]


def _equal_bins(score: Floats, bins: int) -> npt.NDArray[np.intp]:
    # equal scores share a bin, so that the order of the rows has no effect
    place = np.searchsorted(np.sort(score), score, side="left")
    return place * min(bins, len(score)) // len(score)
