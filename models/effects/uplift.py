"""What every option changes for every user, learnt from randomised treatments.

What the offers share is learnt from all of them; their own parts are pulled to zero by a stronger ridge, so that a
rare offer borrows from the others (partial pooling).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import linalg
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from configs.offers import Option
from configs.settings import Settings
from features.arrays.array_types import Flags, Floats, Places
from features.definitions.registry import Feature
from models.effects.effect_model import ActionSet, EffectModel, predicted_effects, since_first_drawn
from models.learn.estimators import check_finite
from models.learn.linear_estimators import MultiOutputEstimator, scaled_columns
from models.learn.training import user_fold, varied, within_inputs
from models.learn.tree_estimators import fit_lightgbm

MODERATORS = (
    "days_since_last_activity", "active_days_count_28d", "active_days_count_90d", "sessions_count_365d",
    "overdue_ratio_365d", "tenure_days", "spend_sum_28d", "spend_sum_90d", "order_value_mean_365d",
    "discount_share_90d", "discounted_items_count_90d", "messages_opened_count_90d", "messages_sent_count_90d",
    "open_share_90d",
)  # fmt: skip
OUTCOMES = ("margin_soon", "is_retained")
MIN_OPTION_ROWS, MIN_NOTHING_ROWS = 50, 30
RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0)  # per row
OWN_RIDGE = 30.0  # times that of what the offers share
INTERCEPT_RIDGE = 0.01
DRAWS = 16
MOST_INPUTS = 300  # that effects may differ by: memory grows with their square, time with their cube
NUISANCE_TREES = 60


@dataclass(frozen=True)
class LearntEffects:
    """Everything that randomised treatments taught about one outcome.

    `held_out` (rows, options) is the effect on every row as predicted without its user, `without` (rows,) the
    outcome expected under *nothing*. `mean` (options,) are the average effects, `offer_mean` (offers,) those over an
    offer's discounts, with their standard errors, clustered by user. `fold` (rows,) says what was held out together,
    `had_chance` (rows, options) which options a row could draw.
    """

    effect_model: EffectModel
    options: tuple[Option, ...]
    held_out: Floats
    without: Floats
    ridge: float
    has_slope: bool
    mean: Floats
    offer_mean: Floats
    offer_error: Floats
    fold: Places
    had_chance: Flags


@dataclass(frozen=True)
class _Design:
    """Randomised treatments as the effects need them; `cells` part them by fold and by the options they could draw."""

    head: Pipeline
    columns: tuple[str, ...]
    inputs: Floats
    action_set: ActionSet
    place: Places
    propensity: Floats
    fold: Places
    users: Places
    had_chance: Flags
    cells: tuple[_Cell, ...]


class _Cell(NamedTuple):
    """Rows of one fold of users that could draw the same options, `offered` (options,)."""

    fold: int
    offered: Flags
    rows: Places


class _Moments(NamedTuple):
    """All that a ridge regression needs to know of a cell: of its inputs, (inputs, inputs) and with the scores."""

    cell: _Cell
    rows: float
    gram: Floats
    target: Floats


@dataclass(frozen=True)
class _Choice:
    """Best ridge without and with a pull of the discount, and whether the latter is better beyond doubt."""

    ridges: dict[bool, float]
    discount_matters: bool


@dataclass(frozen=True)
class _Scored:
    """Doubly robust scores (rows, options), the outcome expected under *nothing* (rows,), and the best ridges."""

    scores: Floats
    without: Floats
    choice: _Choice


def usable_options(experiment: pd.DataFrame, options: Sequence[Option]) -> tuple[Option, ...]:
    """Options whose offer was drawn often enough, if *nothing* was too; empty: not enough data."""
    if experiment.empty or (experiment["offer_id"] == "none").sum() < MIN_NOTHING_ROWS:
        return ()
    rows = experiment["offer_id"].value_counts()
    return tuple(option for option in options if rows.get(option[0], 0) >= MIN_OPTION_ROWS)


def learn_effects(
    experiment: pd.DataFrame, options: tuple[Option, ...], features: Sequence[Feature], settings: Settings
) -> dict[str, LearntEffects]:
    """Learn the effect of every option on margin and retention, doubly robust and cross-fitted.

    Every row gets a score per option whose mean is the effect when either the propensity or the outcome model is
    right (Robins, Rotnitzky & Zhao 1994), built by models that did not see its user (Chernozhukov et al. 2018); the
    effects are the ridge regression of these scores on what is known (DR-learner: Kennedy 2023).

    Parameters
    ----------
    experiment
        From `frames.experiment_frame`. Rows of other options stay: without them the propensities would be wrong.
    options
        From `usable_options`.
    features
        The data catalogue; effects may differ by its traits.

    Raises
    ------
    InputError
        A coefficient is not finite; the column is named.
    """
    design = _design(experiment, options, features, settings)
    scored = {outcome: _second_round(design, experiment, outcome, settings) for outcome in OUTCOMES}
    has_slope = any(each.choice.discount_matters for each in scored.values())
    return {outcome: _learnt(design, each, outcome, has_slope, settings) for outcome, each in scored.items()}


def _design(
    experiment: pd.DataFrame, options: tuple[Option, ...], features: Sequence[Feature], settings: Settings
) -> _Design:
    declared = {feature.name for feature in features if feature.view == "traits"}
    traits = [name for name in experiment.columns if name in declared]
    names = [name for name in (*MODERATORS, *traits) if name in experiment.columns]
    names = varied(experiment, tuple(names)) or names[:1]  # where all are alike, effects are alike too
    names = within_inputs(experiment, names, MOST_INPUTS)
    head = make_pipeline(scaled_columns(experiment, names), StandardScaler())
    texts = dict.fromkeys(experiment[names].select_dtypes("category"), object)
    scaled = np.asarray(head.fit_transform(experiment[names].astype(texts)), dtype=np.float64)
    action_set = ActionSet(options, tuple(dict.fromkeys(offer for offer, _ in options)))
    place = action_set.places(
        experiment["offer_id"].astype(str).tolist(), experiment["discount"].to_numpy(dtype=np.float64)
    )
    had_chance = since_first_drawn(pd.to_datetime(experiment["day"]).to_numpy(), place, len(options))
    fold = user_fold(experiment["user_id"], settings)
    return _Design(
        head, tuple(names), np.c_[np.ones(len(experiment)), scaled], action_set, place,
        experiment["propensity"].to_numpy(dtype=np.float64),
        fold, pd.factorize(experiment["user_id"])[0].astype(np.intp), had_chance, tuple(_cells(fold, had_chance)),
    )  # fmt: skip


def _cells(fold: Places, had_chance: Flags) -> Iterator[_Cell]:
    offered, pattern = np.unique(had_chance, axis=0, return_inverse=True)
    for k in np.unique(fold):
        for place in range(len(offered)):
            rows = np.flatnonzero((fold == k) & (pattern.ravel() == place))
            if len(rows):
                yield _Cell(int(k), offered[place], rows)


def _second_round(design: _Design, experiment: pd.DataFrame, outcome: str, settings: Settings) -> _Scored:
    """Score the rows by outcome models that know of the effects that a first round of scores shows."""
    label = experiment[outcome].to_numpy(dtype=np.float64)
    usual = _usual_outcome(experiment, outcome, design, settings)
    options = len(design.action_set.options)
    scores = _scores(label, np.repeat(usual[:, None], options + 1, axis=1), design)
    spine = _moments(scores, design, np.ones(len(label)))
    ridge = _best_ridge(_errors(scores, spine, design, has_slope=True))
    first = _held_out(spine, design, ridge, has_slope=True)
    drawn = {cell.offered.tobytes(): np.zeros(options + 2) for cell in design.cells}
    for cell in design.cells:
        drawn[cell.offered.tobytes()] += np.bincount(design.place[cell.rows] + 1, minlength=options + 2)
    without = usual.copy()
    for cell in design.cells:
        counts = drawn[cell.offered.tobytes()]
        without[cell.rows] -= first[cell.rows] @ (counts[1 : options + 1] / counts.sum())
    scores = _scores(label, np.c_[without, without[:, None] + first], design)
    return _Scored(scores, without, _choose(scores, _moments(scores, design, np.ones(len(label))), design))


def _learnt(design: _Design, scored: _Scored, outcome: str, has_slope: bool, settings: Settings) -> LearntEffects:
    ridge = scored.choice.ridges[has_slope]
    spine = _moments(scored.scores, design, np.ones(len(design.users)))
    coefficients = [_solve(spine, design.action_set, ridge, has_slope)]
    users = int(design.users.max()) + 1
    rng = np.random.default_rng([settings.seed, *outcome.encode()])
    for _ in range(DRAWS):
        weight = np.bincount(rng.integers(0, users, users), minlength=users)[design.users].astype(np.float64)
        coefficients.append(_solve(_moments(scored.scores, design, weight), design.action_set, ridge, has_slope))
    return LearntEffects(
        EffectModel(_as_estimator(design, np.concatenate(coefficients), outcome), design.action_set.offers),
        design.action_set.options,
        _held_out(spine, design, ridge, has_slope), scored.without, ridge, has_slope,
        _means(scored.scores, design, np.eye(len(design.action_set.options)))[0],
        *_means(scored.scores, design, design.action_set.own), design.fold, design.had_chance,
    )  # fmt: skip


def _usual_outcome(experiment: pd.DataFrame, outcome: str, design: _Design, settings: Settings) -> Floats:
    """Predict the outcome whatever was drawn, each fold of users by trees that did not see it."""
    training = settings.training.model_copy(update={"trees": NUISANCE_TREES})
    light = settings.model_copy(update={"training": training})
    usual = np.zeros(len(experiment))
    for k in np.unique(design.fold):
        others = design.fold != k
        model = fit_lightgbm(experiment[others], outcome, list(design.columns), light, link="identity")
        usual[~others] = model.raw_score(experiment[~others])
    return usual


def _scores(label: Floats, predicted: Floats, design: _Design) -> Floats:
    """Doubly robust score of every option on every row; `predicted` is (rows, 1 + options), *nothing* first."""
    rows = np.flatnonzero(design.place + 1 < predicted.shape[1])
    drawn = design.place[rows] + 1
    scores = predicted.copy()
    scores[rows, drawn] += (label[rows] - predicted[rows, drawn]) / design.propensity[rows]
    return np.asarray(scores[:, 1:] - scores[:, :1])


def _choose(scores: Floats, spine: Sequence[_Moments], design: _Design) -> _Choice:
    """Pick the ridge by held-out error, without and with a pull of the discount, and say whether it matters.

    Of a discount without effect nothing may remain, so its slopes must lower the held-out error by more than two
    standard errors.
    """
    errors = {has_slope: _errors(scores, spine, design, has_slope=has_slope) for has_slope in (False, True)}
    best = {has_slope: _best_ridge(found) for has_slope, found in errors.items()}
    gain = errors[False][best[False]] - errors[True][best[True]]
    by_user = np.bincount(design.users, gain - gain.mean())
    return _Choice(best, bool(gain.mean() > 2.0 * np.sqrt((by_user**2).sum()) / len(gain)))


def _best_ridge(errors: dict[float, Floats]) -> float:
    return min(errors, key=lambda ridge: float(errors[ridge].mean()))


def _errors(scores: Floats, spine: Sequence[_Moments], design: _Design, *, has_slope: bool) -> dict[float, Floats]:
    """Squared distance of held-out effects from the scores by ridge, less what no model can change; each (rows,)."""
    errors = {}
    for ridge in RIDGES:
        held_out = _held_out(spine, design, ridge, has_slope)
        errors[ridge] = ((held_out**2 - 2 * held_out * scores) * design.had_chance).mean(axis=1)
    return errors


def _held_out(spine: Sequence[_Moments], design: _Design, ridge: float, has_slope: bool) -> Floats:
    held_out = np.zeros((len(design.inputs), len(design.action_set.options)))
    for k in np.unique(design.fold):
        coefficients = _solve([part for part in spine if part.cell.fold != k], design.action_set, ridge, has_slope)
        rows = design.fold == k
        held_out[rows] = predicted_effects(design.inputs[rows] @ coefficients.T, design.action_set)[0]
    return held_out


def _moments(scores: Floats, design: _Design, weight: Floats) -> list[_Moments]:
    """Sum up every cell once, so that any ridge on any folds is solved without the rows; `weight` has shape (rows,)."""
    spine = []
    for cell in design.cells:
        inputs = design.inputs[cell.rows]
        weighted = (inputs * weight[cell.rows, None]).T
        target = weighted @ (scores[cell.rows] * cell.offered)
        spine.append(_Moments(cell, float(weight[cell.rows].sum()), weighted @ inputs, target))
    return spine


def _solve(spine: Sequence[_Moments], action_set: ActionSet, ridge: float, has_slope: bool) -> Floats:
    """Solve the ridge regression of the scores on basis times inputs; returns (basis, inputs).

    Options that had a chance have a score on every row of a cell, so its part of the normal equations is a Kronecker
    product of a small matrix of options and one of inputs.
    """
    basis = action_set.basis if has_slope else np.c_[action_set.levels, np.zeros(action_set.levels.shape)]
    wide, deep = basis.shape[1], len(spine[0].gram)
    gram = np.zeros((wide * deep, wide * deep))
    for part in spine:
        offered = basis[part.cell.offered]
        gram += np.kron(offered.T @ offered, part.gram)
    target = np.sum([part.target for part in spine], axis=0) @ basis
    pairs = sum(part.rows * np.count_nonzero(part.cell.offered) for part in spine)
    own = np.ones(wide)
    own[[*range(1, wide // 2), *range(wide // 2 + 1, wide)]] = OWN_RIDGE
    per_input = np.ones(deep)
    per_input[0] = INTERCEPT_RIDGE
    penalty = ridge * pairs * np.outer(own, per_input)
    factor = linalg.cho_factor(gram + np.diag(penalty.ravel()), check_finite=False)
    solved = linalg.cho_solve(factor, target.T.ravel(), check_finite=False)
    return np.asarray(solved.reshape(wide, deep))


def _means(scores: Floats, design: _Design, members: Floats) -> tuple[Floats, Floats]:
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


def _as_estimator(design: _Design, coefficients: Floats, outcome: str) -> MultiOutputEstimator:
    """Wrap coefficients, shape (outputs, 1 + inputs), as a scikit-learn regression behind the fitted head."""
    model = LinearRegression()
    model.coef_, model.intercept_ = coefficients[:, 1:], coefficients[:, 0]
    model.n_features_in_ = coefficients.shape[1] - 1
    core = Pipeline([*design.head.steps, ("linearregression", model)])
    estimator = MultiOutputEstimator(outcome, "signed", design.columns, core)
    check_finite(f"effect on {outcome}", coefficients, ["every user alike", *estimator.columns_behind()])
    return estimator
