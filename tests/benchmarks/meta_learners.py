"""Learners of one treatment's effect that the field knows, with tuned LightGBM: what winback's own has to beat.

Each takes inputs (rows, columns), `treated` (rows,), the outcome and the propensity of treatment, and returns what
makes effects of inputs. Sources: S, T and X by Künzel et al. 2019; DR by Kennedy 2023; R by Nie & Wager 2021.
"""

from __future__ import annotations

from collections.abc import Callable

import lightgbm as lgb
import numpy as np
import pandas as pd

from features.arrays.array_types import Flags, Floats, Places

LEAVES, RATE, MOST_TREES, PATIENCE, FOLDS, LEAST = (4, 8, 16), 0.05, 300, 20, 3, 0.02
Effects = Callable[[pd.DataFrame], Floats]
MetaLearner = Callable[[pd.DataFrame, Floats, Floats, Floats], Effects]


def tuned(inputs: pd.DataFrame, outcome: Floats, weight: Floats | None = None, seed: int = 0) -> lgb.Booster:
    """Fit trees whose depth and number are chosen by a quarter of the rows, then on all of them."""
    weight = np.ones(len(outcome)) if weight is None else weight
    is_known = np.random.default_rng(seed).random(len(outcome)) < 0.75
    found = []
    for leaves in LEAVES:
        known = lgb.Dataset(inputs[is_known], outcome[is_known], weight=weight[is_known])
        held_out = lgb.Dataset(inputs[~is_known], outcome[~is_known], weight=weight[~is_known], reference=known)
        stop = lgb.early_stopping(PATIENCE, verbose=False)
        model = lgb.train(_parameters(leaves), known, MOST_TREES, valid_sets=[held_out], callbacks=[stop])
        found.append((model.best_score["valid_0"]["l2"], leaves, max(model.best_iteration, 1)))
    _, leaves, trees = min(found)
    return lgb.train(_parameters(leaves), lgb.Dataset(inputs, outcome, weight=weight), trees)


def s_learner(inputs: pd.DataFrame, treated: Floats, outcome: Floats, propensity: Floats) -> Effects:
    """Tell the treated by a column of one model."""
    model = tuned(inputs.assign(treated=treated), outcome)
    return lambda fresh: _predict(model, fresh.assign(treated=1.0)) - _predict(model, fresh.assign(treated=0.0))


def t_learner(inputs: pd.DataFrame, treated: Floats, outcome: Floats, propensity: Floats) -> Effects:
    """Fit a model per arm."""
    nothing, something = (tuned(inputs[treated == arm], outcome[treated == arm]) for arm in (0, 1))
    return lambda fresh: _predict(something, fresh) - _predict(nothing, fresh)


def x_learner(inputs: pd.DataFrame, treated: Floats, outcome: Floats, propensity: Floats) -> Effects:
    """Fit what each arm would have gained or missed by the other arm's model, and weigh both by the propensity."""
    is_treated = treated == 1
    nothing, something = (tuned(inputs[treated == arm], outcome[treated == arm]) for arm in (0, 1))
    gained = tuned(inputs[is_treated], outcome[is_treated] - _predict(nothing, inputs[is_treated]))
    missed = tuned(inputs[~is_treated], _predict(something, inputs[~is_treated]) - outcome[~is_treated])
    share = float(propensity.mean())
    return lambda fresh: share * _predict(missed, fresh) + (1 - share) * _predict(gained, fresh)


def dr_learner(inputs: pd.DataFrame, treated: Floats, outcome: Floats, propensity: Floats) -> Effects:
    """Fit the doubly robust scores of cross-fitted models of both arms."""
    arms = [_held_out(inputs, outcome, treated == arm) for arm in (0, 1)]
    chance = np.clip(propensity, LEAST, 1 - LEAST)
    own = np.where(treated == 1, arms[1], arms[0])
    score = arms[1] - arms[0] + (treated - chance) / (chance * (1 - chance)) * (outcome - own)
    model = tuned(inputs, score)
    return lambda fresh: _predict(model, fresh)


def r_learner(inputs: pd.DataFrame, treated: Floats, outcome: Floats, propensity: Floats) -> Effects:
    """Fit what is left of the outcome over what is left of the treatment, weighted by the square of the latter."""
    left = outcome - _held_out(inputs, outcome, np.ones(len(outcome), dtype=bool))
    drawn = treated - np.clip(propensity, LEAST, 1 - LEAST)
    model = tuned(inputs, left / drawn, drawn**2)
    return lambda fresh: _predict(model, fresh)


META_LEARNERS: dict[str, MetaLearner] = {
    "s_learner": s_learner, "t_learner": t_learner, "x_learner": x_learner, "dr_learner": dr_learner,
    "r_learner": r_learner,
}  # fmt: skip


def _held_out(inputs: pd.DataFrame, outcome: Floats, among: Flags) -> Floats:
    """Predict every row by trees of some rows of the other folds."""
    fold: Places = np.arange(len(outcome)) % FOLDS
    found = np.zeros(len(outcome))
    for k in range(FOLDS):
        rows = (fold != k) & among
        found[fold == k] = _predict(tuned(inputs[rows], outcome[rows], seed=k), inputs[fold == k])
    return found


def _parameters(leaves: int) -> dict[str, object]:
    return {
        "objective": "regression", "metric": "l2", "num_leaves": leaves, "learning_rate": RATE, "min_data_in_leaf": 30,
        "feature_fraction": 0.7, "num_threads": 1, "seed": 0, "deterministic": True, "verbosity": -1,
    }  # fmt: skip


def _predict(model: lgb.Booster, inputs: pd.DataFrame) -> Floats:
    return np.asarray(model.predict(inputs, num_threads=1), dtype=np.float64)
