"""The effect of every option on every user, estimated from randomised treatments.

The part of an effect that all offers share is learnt from all of them. What is specific to an offer or option is shrunk
towards zero, the more the more alike offers are in the data, so that a rare offer borrows strength from the others
(partial pooling by empirical Bayes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline

from configs.offers import Option
from configs.settings import Settings
from features.arrays.array_types import Flags, Floats, Places
from features.definitions.registry import Feature
from models.effects.effect_design import GROUPS, EffectDesign, effect_design
from models.effects.effect_design import MODERATORS as MODERATORS
from models.effects.effect_model import ORDER, EffectModel, EffectUnit, shifted
from models.effects.effect_regression import (
    TAILS,
    EffectRegression,
    Fit,
    PooledFit,
    Target,
    like_expected,
    precision,
)
from models.estimator_families.estimators import check_finite
from models.estimator_families.linear_estimators import MultiOutputEstimator
from models.estimator_families.tree_estimators import fit_lightgbm
from models.learn.training import varied

OUTCOMES = ("margin_soon", "is_retained")
MIN_OPTION_ROWS, MIN_NOTHING_ROWS = 50, 30
DRAWS = 16
NUISANCE_TREES = 60
LEAST_CHANCE = 0.01  # of staying or leaving that is expected of anybody
LEAST_LIKELY, LIKELY_ENOUGH = 0.02, 0.9  # that discounts matter: 0 below the one, levels told apart above the other


@dataclass(frozen=True)
class LearntEffects:
    """Everything that randomised treatments taught about one outcome.

    `held_out` (rows, options) is the effect on every row as predicted without its user, `without` (rows,) the
    outcome expected under *nothing*. `spread` tells of each group of coefficients the standard deviation that the data
    gave them, in units of the score (`effect_design.GROUPS`): near 0 all are alike in it. `mean` (options,) are the
    average effects, `offer_mean` (offers,) those over an offer's discounts, with their standard errors, clustered by
    user. `fold` (rows,) says what was held out together, `had_chance` (rows, options) which options a row could draw.
    """

    effect_model: EffectModel
    options: tuple[Option, ...]
    held_out: Floats
    without: Floats
    spread: dict[str, float]
    has_slope: bool
    mean: Floats
    offer_mean: Floats
    offer_error: Floats
    fold: Places
    had_chance: Flags

    def mean_where(self, picked: Places) -> float:
        """Mean held-out effect of the options that rows picked (places plus 1, shape (rows,)), over those with one."""
        rows = np.flatnonzero(picked)
        return float(self.held_out[rows, picked[rows] - 1].mean()) if len(rows) else 0.0


@dataclass(frozen=True)
class _Regressed:
    """The regression of an outcome on its contrasts, in a unit, and the fits without and with discounts."""

    regression: EffectRegression
    fits: dict[bool, Fit]
    unit: EffectUnit
    usual: Floats

    @property
    def odds_of_slope(self) -> Floats:
        """Logarithm of how much likelier the outcome is where discounts may change it than where they do not.

        First by all rows, then by those without each fold of users; shape (1 + folds,).
        """
        flat, sloped = (np.r_[self.fits[one].log_evidence, self.fits[one].fold_evidence] for one in (False, True))
        return np.asarray(sloped - flat)

    def pooled(self, p_slope: Floats) -> PooledFit:
        """Mix both fits by the probabilities that discounts matter, (1 + folds,) as `odds_of_slope`."""
        return PooledFit(self.fits[False], self.fits[True], float(p_slope[0]), p_slope[1:])

    @property
    def gain(self) -> float:
        """By how much the better fit lowers the held-out squared error, in units of the noise."""
        return max(float(fit.gain.sum()) / max(fit.noise, 1e-12) for fit in self.fits.values())


def usable_options(experiment: pd.DataFrame, options: Sequence[Option]) -> tuple[Option, ...]:
    """Options whose offer was drawn often enough, if *nothing* was too; empty: not enough data."""
    if experiment.empty or (experiment["offer_id"] == "none").sum() < MIN_NOTHING_ROWS:
        return ()
    rows = experiment["offer_id"].value_counts()
    return tuple(option for option in options if rows.get(option[0], 0) >= MIN_OPTION_ROWS)


def learn_effects(
    experiment: pd.DataFrame, options: tuple[Option, ...], features: Sequence[Feature], settings: Settings, *,
    p_redeem: Floats | None = None, channels: Mapping[str, str] | None = None,
) -> dict[str, LearntEffects]:  # fmt: skip
    """Estimate the effect of every option on margin and retention from randomised treatments, cross-fitted.

    Margin is measured in units of the user's own orders where that predicts better, its tails cut; staying in log-odds
    of the user's own risk. What a user does anyway, as far as any column of the snapshot tells it, is taken away first
    (`models.effects.effect_regression`). Average effects are doubly robust (Robins, Rotnitzky & Zhao 1994).

    Parameters
    ----------
    experiment
        From `frames.experiment_frame`. Rows of other options stay: without them the propensities would be wrong.
    options
        From `usable_options`.
    features
        The data catalogue; effects may differ by its traits.
    p_redeem
        Chance of each option to be used, by models that did not see the row's user; (rows, options).
    channels
        Channel of each offer: effects may differ by how a user listens to it (`effect_design.listening_to`).

    Raises
    ------
    InputError
        A coefficient is not finite; the column is named.
    """
    design = effect_design(experiment, options, features, settings, p_redeem, channels or {})
    known = {feature.name for feature in features}.union(design.columns)
    columns = varied(experiment, tuple(name for name in experiment.columns if name in known)) or list(design.columns)
    usual = {outcome: _usual_outcome(experiment, outcome, columns, design, settings) for outcome in OUTCOMES}
    margin = _margin(design, experiment, usual["margin_soon"], columns, settings)
    found = {"margin_soon": margin, "is_retained": _retention(design, experiment, usual["is_retained"])}
    odds = np.stack([each.odds_of_slope for each in found.values()], axis=1)
    chances = np.array([chances_of_slope(each.tolist()) for each in odds])
    has_slope = bool(chances[0].max() > LIKELY_ENOUGH)
    return {
        outcome: _learnt(each, experiment, outcome, p_slope, has_slope=has_slope, settings=settings)
        for (outcome, each), p_slope in zip(found.items(), chances.T, strict=True)
    }


def mean_effects(
    learnt: Mapping[str, LearntEffects], option: Option | None, picked: Places | None,
    measured: tuple[float, float] | None = None,
) -> Floats:  # fmt: skip
    """Mean effects of every option on `OUTCOMES`; of a simple policy's `option` those on whom it picks.

    Parameters
    ----------
    picked
        Of the policy, from `models.judge.simple_policies.picked_by`, shape (rows,); None where no simple one decides.
    measured
        What the comparison of policies found that those gained a head before it was paid for, and what it is worth that
        they stay (`models.judge.calibrated_promise`): their margin is what staying leaves of it.

    Returns
    -------
    Shape (options, outcomes).
    """
    means = np.stack([learnt[outcome].mean for outcome in OUTCOMES], axis=1)
    if option is not None and picked is not None and picked.any():
        place = learnt[OUTCOMES[0]].options.index(option)
        means[place] = [learnt[outcome].mean_where(picked) for outcome in OUTCOMES]
        if measured is not None:
            gain, worth = measured
            means[place, 0] = gain - means[place, 1] * worth
    return means


def chances_of_slope(log_odds: Sequence[float]) -> list[float]:
    """Probability of each outcome that discounts change it, given how much likelier that makes each outcome.

    Half of the prior says that discounts change nothing at all; the rest is shared by the sets of outcomes, every
    outcome as likely as not (spike and slab: Mitchell & Beauchamp 1988). So one outcome speaks for the others. What is
    less likely than `LEAST_LIKELY` is 0: of a discount without effect nothing remains.

    Examples
    --------
    >>> [round(each, 2) for each in chances_of_slope([0.0, 0.0])]
    [0.33, 0.33]
    >>> [round(each, 2) for each in chances_of_slope([5.0, 0.0])], chances_of_slope([-6.0, -5.0])
    ([0.99, 0.5], [0.0, 0.0])
    """
    sets = np.array(list(product((False, True), repeat=len(log_odds))))
    prior = np.where(sets.any(axis=1), 0.5 / (len(sets) - 1), 0.5)
    weight = np.log(prior) + sets @ np.asarray(log_odds)
    likely = np.exp(weight - weight.max())
    found = (likely @ sets) / likely.sum()
    return [float(each) for each in np.where(found < LEAST_LIKELY, 0.0, found)]


def _alone(odds: Floats) -> Floats:
    """Chances of slope of an outcome by itself; shape as `odds`."""
    return np.array([chances_of_slope([each])[0] for each in odds.tolist()])


def _margin(
    design: EffectDesign, experiment: pd.DataFrame, usual: Floats, columns: list[str], settings: Settings
) -> _Regressed:
    """Regress margin in money, and in own orders if they are known; the unit that explains more held-out rows stays."""
    order = experiment[ORDER] if ORDER in design.columns else pd.Series(dtype=np.float64)
    typical = float(order[order > 0].median()) if (order > 0).any() else 0.0
    units = [EffectUnit("money"), *([EffectUnit("own_money", typical)] if typical > 0 else [])]
    per_unit = units[-1].money(experiment)
    own = experiment["margin_soon"].to_numpy(dtype=np.float64) / per_unit
    cut = np.clip(own, *np.quantile(own, TAILS))
    expected = _usual_outcome(experiment.assign(margin_soon=cut), "margin_soon", columns, design, settings)
    found = []
    for unit in units:
        scale = per_unit / unit.money(experiment)
        left = (cut - expected) * scale
        regression = EffectRegression.of(design, Target(left, precision(like_expected(expected * scale), left)))
        found.append(_Regressed(regression, regression.best(), unit, usual))
    return max(found, key=lambda each: each.gain)


def _retention(design: EffectDesign, experiment: pd.DataFrame, usual: Floats) -> _Regressed:
    """Regress staying in log-odds: one Newton step from what is expected anyway, and one from what that showed."""
    stayed = experiment["is_retained"].to_numpy(dtype=np.float64)
    if not np.ptp(stayed):  # an experiment that states one outcome says nothing of staying
        regression = EffectRegression.of(design, Target(np.zeros(len(stayed)), np.ones(len(stayed))))
        return _Regressed(regression, regression.best(), EffectUnit("log_odds", float(stayed.mean())), stayed)
    unit, chance = EffectUnit("log_odds", float(stayed.mean())), np.clip(usual, LEAST_CHANCE, 1 - LEAST_CHANCE)
    log_odds, expected, score = np.log(chance / (1 - chance)), chance, np.zeros(len(chance))
    for _ in range(2):
        spread = expected * (1 - expected)
        regression = EffectRegression.of(design, Target(score + (stayed - expected) / spread, spread))
        fits = regression.best()
        found = _Regressed(regression, fits, unit, chance)
        score = _drawn_scores(regression, found.pooled(_alone(found.odds_of_slope)))
        expected = np.clip(1 / (1 + np.exp(-log_odds - score)), LEAST_CHANCE, 1 - LEAST_CHANCE)
    return found


def _drawn_scores(regression: EffectRegression, fit: PooledFit) -> Floats:
    """Held-out score of what a row drew, less its mean over the treatments; (rows,)."""
    design, scores = regression.design, regression.held_out(fit)
    options = len(design.action_set.options)
    padded = np.c_[np.zeros(len(scores)), scores, np.zeros(len(scores))]
    drawn = padded[np.arange(len(scores)), np.minimum(design.place, options) + 1]
    return np.asarray(drawn - (design.chances[:, 1:] * scores).sum(axis=1))


def _learnt(
    regressed: _Regressed,
    experiment: pd.DataFrame,
    outcome: str,
    p_slope: Floats,
    *,
    has_slope: bool,
    settings: Settings,
) -> LearntEffects:
    regression, design, fit = regressed.regression, regressed.regression.design, regressed.pooled(p_slope)
    scores = regression.held_out(fit)
    drawn = (design.chances[:, 1:] * scores).sum(axis=1)
    if regressed.unit.kind == "log_odds":
        without = regressed.usual + shifted(regressed.usual, -drawn)
        held_out = shifted(without[:, None], scores)
    else:
        held_out = regressed.unit.effects(scores, experiment, None)
        without = regressed.usual - (design.chances[:, 1:] * held_out).sum(axis=1)
    rng = np.random.default_rng([settings.seed, *outcome.encode()])
    estimator = _as_estimator(design, regression.coefficients(fit, DRAWS, rng), outcome)
    action_set = design.action_set
    model = EffectModel(estimator, action_set.options, action_set.offers, regressed.unit, design.listening)
    label = experiment[outcome].to_numpy(dtype=np.float64)
    robust = _scores(label, np.c_[without, without[:, None] + held_out], design)
    return LearntEffects(
        model, design.action_set.options, held_out, without,
        dict(zip(GROUPS, fit.spread.tolist(), strict=True)), has_slope,
        _means(robust, design, np.eye(len(design.action_set.options)))[0],
        *_means(robust, design, design.action_set.own), design.fold, design.had_chance,
    )  # fmt: skip


def _usual_outcome(
    experiment: pd.DataFrame, outcome: str, columns: list[str], design: EffectDesign, settings: Settings
) -> Floats:
    """Predict the outcome whatever was drawn, each fold of users by trees that did not see it."""
    training = settings.training.model_copy(update={"trees": NUISANCE_TREES})
    light = settings.model_copy(update={"training": training})
    usual = np.zeros(len(experiment))
    for k in np.unique(design.fold):
        others = design.fold != k
        model = fit_lightgbm(experiment[others], outcome, columns, light, link="identity")
        usual[~others] = model.raw_score(experiment[~others])
    return usual


def _scores(label: Floats, predicted: Floats, design: EffectDesign) -> Floats:
    """Doubly robust score of every option on every row; `predicted` is (rows, 1 + options), *nothing* first."""
    rows = np.flatnonzero(design.place + 1 < predicted.shape[1])
    drawn = design.place[rows] + 1
    scores = predicted.copy()
    scores[rows, drawn] += (label[rows] - predicted[rows, drawn]) / design.propensity[rows]
    return np.asarray(scores[:, 1:] - scores[:, :1])


def _means(scores: Floats, design: EffectDesign, members: Floats) -> tuple[Floats, Floats]:
    """Mean effect of groups of options and its standard error when the rows of a user hang together.

    Both are 0 of a group that never had a chance.

    Parameters
    ----------
    members
        1 where an option belongs to a group; shape (options, groups).
    """
    pairs = design.had_chance @ members
    total = (scores * design.had_chance) @ members
    counts = np.maximum(pairs.sum(axis=0), 1)
    mean = total.sum(axis=0) / counts
    by_user = [np.bincount(design.users, column) for column in (total - pairs * mean).T]
    return mean, np.array([np.sqrt((column**2).sum()) for column in by_user]) / counts


def _as_estimator(design: EffectDesign, coefficients: Floats, outcome: str) -> MultiOutputEstimator:
    """Wrap coefficients, shape (outputs, 1 + inputs), as a scikit-learn regression behind the fitted head."""
    model = LinearRegression()
    model.coef_, model.intercept_ = coefficients[:, 1:], coefficients[:, 0]
    model.n_features_in_ = coefficients.shape[1] - 1
    core = Pipeline([*design.head.steps, ("linearregression", model)])
    estimator = MultiOutputEstimator(outcome, "signed", design.columns, core)
    check_finite(f"effect on {outcome}", coefficients, ["every user alike", *estimator.columns_behind()])
    return estimator
