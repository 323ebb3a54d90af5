"""Logged randomised treatments for off-policy estimators: what was drawn, with which probability, and its outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from configs.offers import NO_OFFER, Option
from configs.settings import Settings
from features.arrays.array_types import Flags, Floats
from models.effects.effect_model import ActionSet
from models.estimator_families.tree_estimators import fit_lightgbm
from models.learn.training import user_fold, varied
from models.policy_value.off_policy import Logged

NET = "net_outcome"
PRIOR_ROWS = 30.0  # that pull what an option adds to 0 where it was drawn seldom
TREES = 60


@dataclass(frozen=True, eq=False)
class LoggedTreatments:
    """Randomised treatments: what was drawn with which probability, and what was known of the users.

    `frame` has one row per treatment. Options are those of `options`, in `logged` and `had_chance` (rows, 1 + options)
    after *nothing*; an option had a chance on a day on which anybody drew it. `predicted` (rows, 1 + options) is what
    every option is expected to bring, by models that did not see the row's user.
    """

    frame: pd.DataFrame
    options: tuple[Option, ...]
    logged: Logged
    had_chance: Flags
    predicted: Floats


def logged_treatments(
    frame: pd.DataFrame, catalogue: Sequence[Option], features: Sequence[str], settings: Settings
) -> LoggedTreatments:
    """Read randomised treatments with their outcomes.

    Parameters
    ----------
    frame
        From `features.training_data.experiments`: ``user_id, day, offer_id, discount, propensity, outcome, cost`` and
        the features.
    catalogue
        Options in their order; what was drawn besides them comes after.
    """
    pairs = frame[["offer_id", "discount"]].astype({"offer_id": str}).drop_duplicates()
    drawn = {Option(*pair) for pair in pairs.itertuples(index=False, name=None) if pair[0] != NO_OFFER}
    options = (*(each for each in catalogue if each in drawn), *sorted(drawn - set(catalogue)))
    given = frame["offer_id"].astype(str).tolist()
    action = ActionSet(options, ()).places(given, frame["discount"].to_numpy(dtype=np.float64)) + 1
    net = (frame["outcome"] - frame["cost"].fillna(0.0)).to_numpy(dtype=np.float64)
    logged = Logged(action, frame["propensity"].to_numpy(dtype=np.float64), net, frame["user_id"])
    predicted = expected_outcomes(frame, logged, len(options), features, settings)
    return LoggedTreatments(frame, options, logged, drawn_on_their_day(frame["day"], action, len(options)), predicted)


def drawn_on_their_day(day: pd.Series, action: np.ndarray, options: int) -> Flags:
    """Tell which options had a chance: *nothing* and each that anybody drew on the row's day; (rows, 1 + options).

    Examples
    --------
    >>> drawn_on_their_day(pd.Series(["mon", "mon", "tue"]), np.array([0, 2, 1]), 2).tolist()
    [[True, False, True], [True, False, True], [False, True, False]]
    """
    days, _ = pd.factorize(day)
    there = np.zeros((days.max(initial=-1) + 1, 1 + options), dtype=bool)
    there[days, action] = True
    return np.asarray(there[days])


def expected_outcomes(
    frame: pd.DataFrame, logged: Logged, options: int, features: Sequence[str], settings: Settings
) -> Floats:
    """Predict what each option brings each user: what trees expect whatever is drawn, and what the option adds.

    Both are learnt from the other folds of users. It need not be good: with the propensities known a doubly robust
    value is right whatever is predicted, and only more precise where it is good.

    Returns
    -------
    Shape (rows, 1 + options), account currency.
    """
    fold, rows = user_fold(frame["user_id"], settings), frame.assign(**{NET: logged.outcome})
    columns = varied(rows, tuple(name for name in features if name in rows.columns))
    light = settings.model_copy(update={"training": settings.training.model_copy(update={"trees": TREES})})
    predicted = np.zeros((len(rows), 1 + options))
    for k in np.unique(fold):
        inside = fold == k
        usual = np.full(len(rows), logged.outcome[~inside].mean())
        if columns:
            usual = fit_lightgbm(rows[~inside], NET, columns, light, link="identity").raw_score(rows)
        weight = ~inside / logged.propensity
        added = np.bincount(logged.action, weight * (logged.outcome - usual), minlength=1 + options)
        counts = np.bincount(logged.action, ~inside, minlength=1 + options)
        weights = np.bincount(logged.action, weight, minlength=1 + options)
        shrunk = counts / (counts + PRIOR_ROWS)
        predicted[inside] = usual[inside, None] + shrunk * np.divide(
            added, weights, out=np.zeros_like(added), where=weights > 0
        )
    return predicted
