"""Doubly robust effects of offers from treatments that were targeted, not randomised.

The model is deliberately simple: one mean effect per offer, shrunk towards zero by its own uncertainty, and distributed
over users and discounts in proportion to P(redeem). An offer that nobody redeems is assumed to change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from configs.settings import Settings
from features.arrays.array_types import Floats, Places
from models.effects.average_effect import AverageEffect
from models.effects.uplift import LearntEffects
from models.estimator_families.estimators import Estimator
from models.estimator_families.linear_estimators import fit_linear
from models.estimator_families.tree_estimators import fit_lightgbm
from models.learn.churn import RFM
from models.learn.redemption import SIMPLE
from models.learn.training import user_fold, varied
from models.metrics.metric import Metric

ADJUSTED_FOR = tuple(dict.fromkeys((*RFM, *SIMPLE, "overdue_ratio_365d", "spend_trend_28d", "treatments_count_90d")))
OUTCOMES = ("margin_soon", "is_retained")
MIN_TREATED, MIN_CONTROL = 50, 30  # the practice of Optimove, see the README
WASH_DAYS = 14


@dataclass(frozen=True)
class OfferEffect:
    """An offer's effect and its propensity model, which says for which users the effect is known."""

    effect: AverageEffect
    propensity: Estimator


def label_exposure(frame: pd.DataFrame, treatments: pd.DataFrame, horizon_days: int) -> pd.DataFrame:
    """Say for every user and decision day which offer was given, and drop those whose outcome another one touches.

    Parameters
    ----------
    frame
        From `features.training_data.frames.outcome_frame` on the days of treatments.
    treatments
        ``user_id``, ``day``, ``offer_id`` and ``is_redeemed`` of every treatment, open ones too, ``none`` left out.
    horizon_days
        A treatment on another day within `WASH_DAYS` before to `horizon_days` after drops the row, and so does
        a second offer on the same day.

    Returns
    -------
    The rows kept, with ``offer_given`` (``none`` for controls) and ``is_redeemed`` (missing while the offer is open).
    """
    used = treatments.groupby(["user_id", "day", "offer_id"])["is_redeemed"].transform("max")  # whichever it counts for
    given = treatments.assign(is_redeemed=used).drop_duplicates(["user_id", "day"])
    given = given.rename(columns={"offer_id": "offer_given"})
    rows = frame.drop(columns="offer_given", errors="ignore").merge(
        given[["user_id", "day", "offer_given", "is_redeemed"]], on=["user_id", "day"], how="left"
    )
    others = rows[["user_id", "day", "offer_given"]].merge(
        treatments[["user_id", "day", "offer_id"]], on="user_id", suffixes=("", "_other")
    )
    distance = (pd.to_datetime(others["day_other"]) - pd.to_datetime(others["day"])).dt.days
    is_other = (distance != 0) | (others["offer_id"] != others["offer_given"])
    touched = others[is_other & (distance >= -WASH_DAYS) & (distance < horizon_days)]
    is_touched = pd.MultiIndex.from_frame(rows[["user_id", "day"]]).isin(
        pd.MultiIndex.from_frame(touched[["user_id", "day"]])
    )
    kept = rows[~is_touched].reset_index(drop=True)
    offer_given = kept["offer_given"].astype(object).fillna("none")
    return kept.assign(
        offer_given=offer_given,
        is_redeemed=kept["is_redeemed"].where(offer_given != "none", 0.0),
    )


def average_of_experiment(experiment: pd.DataFrame, learnt: dict[str, LearntEffects]) -> list[AverageEffect]:
    """Average effect of each offer over its discounts, from randomised treatments."""
    margin, retention = learnt["margin_soon"], learnt["is_retained"]
    nothing, effects = int((experiment["offer_id"] == "none").sum()), []
    for place, offer_id in enumerate(margin.effect_model.offers):
        rows = experiment[experiment["offer_id"] == offer_id]
        gain, stay = (
            _interval(float(each.offer_mean[place]), float(each.offer_error[place]), len(experiment))
            for each in (margin, retention)
        )
        redeemed = float(np.nan_to_num(rows["is_redeemed"].mean()))
        shrunk = (gain.value, stay.value)  # randomised and well counted: used as they are
        money = gain if has_money(experiment) else None
        effects.append(AverageEffect(offer_id, "randomised", len(rows), nothing, 1.0, redeemed, money, stay, *shrunk))
    return effects


def has_money(rows: pd.DataFrame) -> bool:
    """Whether anybody brought anything, so that an effect on margin can be known; `rows` have ``margin_soon``."""
    return bool(rows["margin_soon"].any())


def estimate_effects(rows: pd.DataFrame, settings: Settings) -> list[OfferEffect]:
    """Estimate each offer's effect by augmented inverse propensity weighting with cross-fitting.

    Source of the estimator: Robins, Rotnitzky & Zhao 1994; of the cross-fitting: Chernozhukov et al. 2018. Only days
    on which the offer was given are compared; standard errors are clustered by user. `ADJUSTED_FOR` names the
    confounders.

    Parameters
    ----------
    rows
        From `label_exposure`.

    Returns
    -------
    One entry per offer with enough treated and control rows in the overlap; others are absent: not enough data.
    """
    columns = varied(rows, ADJUSTED_FOR) or list(ADJUSTED_FOR[:1])  # where all are alike there is nothing to adjust for
    fold = user_fold(rows["user_id"], settings)
    untreated = (rows["offer_given"] == "none").to_numpy()
    if not all(untreated[fold != k].any() for k in range(settings.training.folds)):
        return []
    baselines = {name: _cross_predict(rows, fold, untreated, name, columns, settings) for name in OUTCOMES}
    effects = []
    for offer_id in sorted(set(rows["offer_given"]) - {"none"}):
        on_days = rows["day"].isin(rows.loc[rows["offer_given"] == offer_id, "day"])
        compared = (on_days & rows["offer_given"].isin([offer_id, "none"])).to_numpy()
        part = rows[compared].assign(is_treated=(rows["offer_given"] == offer_id).astype(float))
        parts = {name: baseline[compared] for name, baseline in baselines.items()}
        effect = _effect_of(offer_id, part.reset_index(drop=True), parts, fold[compared], columns, settings)
        effects += [effect] if effect is not None else []
    return effects


def shrink(value: float, standard_error: float) -> float:
    """Pull an estimate to zero by its own uncertainty (positive-part James-Stein, 1961).

    Examples
    --------
    >>> shrink(2.0, 1.0), shrink(0.5, 1.0)
    (1.5, 0.0)
    """
    return value * max(0.0, 1.0 - (standard_error / value) ** 2) if value else 0.0


def _effect_of(
    offer_id: str, rows: pd.DataFrame, baselines: dict[str, Floats], fold: Places, columns: list[str],
    settings: Settings,
) -> OfferEffect | None:  # fmt: skip
    treated = rows["is_treated"].to_numpy() == 1
    if not all(rows.loc[fold != k, "is_treated"].nunique() == 2 for k in range(settings.training.folds)):
        return None
    propensity = np.zeros(len(rows))
    for k in np.unique(fold):
        propensity[fold == k] = fit_linear(rows[fold != k], "is_treated", columns).predict(rows[fold == k])
    inside = is_comparable(propensity, settings)
    if (treated & inside).sum() < MIN_TREATED or (~treated & inside).sum() < MIN_CONTROL:
        return None
    estimates = {}
    for outcome, baseline in baselines.items():
        with_offer = _cross_predict(rows, fold, treated, outcome, columns, settings)
        scores = _doubly_robust(rows[outcome].to_numpy(dtype=np.float64), treated, propensity, with_offer, baseline)
        estimates[outcome] = _clustered_mean(scores[inside], rows.loc[inside, "user_id"])
    (margin, margin_error), (retention, retention_error) = estimates["margin_soon"], estimates["is_retained"]
    effect = AverageEffect(
        offer_id=offer_id,
        evidence="observational",
        treated=int((treated & inside).sum()),
        control=int((~treated & inside).sum()),
        overlap=float(inside.mean()),
        redemption_rate=float(np.nan_to_num(rows.loc[treated & inside, "is_redeemed"].mean())),
        margin=_interval(margin, margin_error, int(inside.sum())) if has_money(rows) else None,
        retention=_interval(retention, retention_error, int(inside.sum())),
        margin_shrunk=shrink(margin, margin_error),
        retention_shrunk=shrink(retention, retention_error),
        leaving=float(1.0 - rows.loc[inside, "is_retained"].mean()),
    )
    return OfferEffect(effect, fit_linear(rows, "is_treated", columns))


def is_comparable(propensity: Floats, settings: Settings) -> npt.NDArray[np.bool_]:
    """Say which users resemble both treated and untreated ones, so that an effect can be known (overlap)."""
    return (propensity > settings.response.overlap) & (propensity < 1 - settings.response.overlap)


def _doubly_robust(
    outcome: Floats, treated: npt.NDArray[np.bool_], propensity: Floats, with_offer: Floats, without: Floats
) -> Floats:
    """Score each row so that the mean is the effect when either the propensity or the outcomes are right."""
    safe = np.clip(propensity, 1e-3, 1 - 1e-3)
    residual = np.where(treated, (outcome - with_offer) / safe, -(outcome - without) / (1 - safe))
    return np.asarray(with_offer - without + residual)


def _clustered_mean(scores: Floats, user_ids: pd.Series) -> tuple[float, float]:
    """Mean and standard error of scores when the rows of one user hang together."""
    mean = float(scores.mean())
    by_user = pd.Series(scores - mean).groupby(user_ids.to_numpy()).sum()
    return mean, float(np.sqrt((by_user**2).sum()) / len(scores))


def _cross_predict(
    rows: pd.DataFrame, fold: Places, among: npt.NDArray[np.bool_], outcome: str, columns: list[str], settings: Settings
) -> Floats:
    """Predict an outcome for each fold of users by trees fitted on some rows of the others."""
    predicted = np.zeros(len(rows))
    for k in np.unique(fold):
        model = fit_lightgbm(rows[(fold != k) & among], outcome, columns, settings, link="identity")
        predicted[fold == k] = model.raw_score(rows[fold == k])
    return predicted


def _interval(value: float, standard_error: float, n: int) -> Metric:
    return Metric(value, value - 1.96 * standard_error, value + 1.96 * standard_error, n)
