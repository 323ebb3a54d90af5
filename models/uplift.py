"""What every option changes for every user, learnt from treatments that were drawn by lot.

An effect is linear in what is known about a user, and per offer a level plus a pull of the discount that never
falls: ``effect(x, offer, d) = level(x) + level_of(x, offer) + max(0, slope(x) + slope_of(x, offer)) * pull(d)``.
What the offers share is learnt from all of them; their own parts are pulled to zero by a stronger ridge, so that a
rare offer borrows from the others (partial pooling).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from configs.settings import Settings
from models.estimators import Estimator, fit_lightgbm, scaled_columns
from models.evaluation import Floats
from models.training import user_fold, varied

Option = tuple[str, float]
Places = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]
MODERATORS = (
    "days_since_last_activity", "active_days_count_28d", "active_days_count_90d", "sessions_count_365d",
    "overdue_ratio_365d", "tenure_days", "spend_sum_28d", "spend_sum_90d", "order_value_mean_365d",
    "discount_share_90d", "discounted_items_count_90d", "messages_opened_count_90d", "messages_sent_count_90d",
    "open_share_90d",
)  # fmt: skip
OUTCOMES = ("margin_soon", "is_retained")
MIN_OPTION_ROWS, MIN_NOTHING_ROWS = 50, 30
HALF_PULL = 0.10  # the discount at which the pull has risen by log(2)
RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0)  # per row
OWN_RIDGE = 30.0  # times that of what the offers share
INTERCEPT_RIDGE = 0.01
DRAWS = 16
NUISANCE_TREES = 60


@dataclass(frozen=True)
class Menu:
    """Options as effects see them: arrays have shape (options,); `offers` are those with parts of their own."""

    options: tuple[Option, ...]
    offers: tuple[str, ...]

    @property
    def pull(self) -> Floats:
        """How strong each discount is: rising ever more slowly, 0 without one."""
        return np.log1p(np.array([discount for _, discount in self.options]) / HALF_PULL)

    @property
    def own(self) -> Floats:
        """Which offer each option belongs to; shape (options, offers)."""
        return np.array([[float(offer == name) for name in self.offers] for offer, _ in self.options])

    @property
    def levels(self) -> Floats:
        """Basis of the level of an effect; shape (options, 1 + offers)."""
        return np.c_[np.ones(len(self.options)), self.own]

    @property
    def basis(self) -> Floats:
        """Basis of an effect, levels before slopes; shape (options, 2 + 2 offers)."""
        return np.c_[self.levels, self.levels * self.pull[:, None]]

    def places(self, offer_ids: Sequence[str], discounts: Floats) -> Places:
        """Find each row's option: -1 for *nothing*, `len(options)` for whatever the menu lacks."""
        known = {(offer, round(discount, 6)): place for place, (offer, discount) in enumerate(self.options)}
        known[("none", 0.0)] = -1
        pairs = zip(offer_ids, np.round(np.where(np.array(offer_ids) == "none", 0.0, discounts), 6), strict=True)
        return np.array([known.get(pair, len(self.options)) for pair in pairs], dtype=np.intp)


@dataclass(frozen=True)
class Surface:
    """A fitted effect on one outcome, as the registry keeps it.

    `estimator` gives each row the coefficients of the basis: first those in use, then those of `DRAWS` resamples.
    """

    estimator: Estimator
    offers: tuple[str, ...]

    def effects(self, frame: pd.DataFrame, options: Sequence[Option]) -> Floats:
        """Effect of every option on every row against *nothing*; shape (rows, options)."""
        return self._of(self.estimator.raw_score(frame), options)[0]

    def draws(self, frame: pd.DataFrame, options: Sequence[Option]) -> Floats:
        """Effects under each resample of users; shape (draws, rows, options). Their spread is the uncertainty."""
        return self._of(self.estimator.raw_score(frame), options)[1:]

    def contributions(self, frame: pd.DataFrame, options: Sequence[Option], chosen: Places) -> Floats:
        """Split the effect of each row's own option into the Shapley values of the columns.

        Parameters
        ----------
        chosen
            Place of an option per row, shape (rows,).

        Returns
        -------
        Shape (rows, columns + 1), the last one the effect on the average user; each row sums to its effect. Exact,
        because the effect is linear (Lundberg & Lee 2017); where the pull of the discount is cut off at 0 its slope
        has no part.
        """
        menu = Menu(tuple(options), self.offers)
        coefficients = self.estimator.raw_score(frame)[:, : menu.basis.shape[1]]
        half = menu.levels.shape[1]
        slope = (coefficients[:, half:] * menu.levels[chosen]).sum(axis=1)
        weight = menu.basis[chosen] * np.c_[np.ones((len(frame), half)), np.repeat((slope > 0)[:, None], half, axis=1)]
        head, model = self.estimator.core[:-1], self.estimator.core[-1]
        scaled = np.asarray(head.transform(self.estimator.plain_inputs(frame)), dtype=np.float64)
        moved = scaled * (weight @ model.coef_[: menu.basis.shape[1]])
        parts = np.zeros((len(frame), len(self.estimator.columns) + 1))
        for place, column in enumerate(self.estimator.columns_behind()):
            parts[:, self.estimator.columns.index(column)] += moved[:, place]
        parts[:, -1] = weight @ model.intercept_[: menu.basis.shape[1]]
        return parts

    def _of(self, coefficients: Floats, options: Sequence[Option]) -> Floats:
        return surface_effects(coefficients, Menu(tuple(options), self.offers))


@dataclass(frozen=True)
class Learnt:
    """Everything that a lot taught about one outcome.

    `held_out` (rows, options) is the effect on every row as predicted without its user, `without` (rows,) the
    outcome expected under *nothing*. `mean` (options,) are the average effects, `offer_mean` (offers,) those over an
    offer's discounts, with their standard errors, clustered by user. `fold` (rows,) says what was held out together,
    `had_chance` (rows, options) which options the lot of a row could draw.
    """

    surface: Surface
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
    """Rows of a lot as the effects need them; `patterns` are the rows that had the same options to draw from."""

    head: Pipeline
    columns: tuple[str, ...]
    inputs: Floats
    menu: Menu
    place: Places
    propensity: Floats
    fold: Places
    users: Places
    had_chance: Flags
    patterns: tuple[Places, ...]


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


def usable_options(lots: pd.DataFrame, options: Sequence[Option]) -> tuple[Option, ...]:
    """Options whose offer was drawn often enough, if *nothing* was too; empty: not enough data."""
    if lots.empty or (lots["offer_id"] == "none").sum() < MIN_NOTHING_ROWS:
        return ()
    rows = lots["offer_id"].value_counts()
    return tuple(option for option in options if rows.get(option[0], 0) >= MIN_OPTION_ROWS)


def learn_effects(lots: pd.DataFrame, options: tuple[Option, ...], settings: Settings) -> dict[str, Learnt]:
    """Learn the effect of every option on margin and retention, doubly robust and cross-fitted.

    Every row gets a score per option whose mean is the effect when either the propensity or the outcome model is
    right (Robins, Rotnitzky & Zhao 1994), built by models that did not see its user (Chernozhukov et al. 2018); the
    effects are the ridge regression of these scores on what is known (DR-learner: Kennedy 2023).

    Parameters
    ----------
    lots
        From `features.frames.lot_frame`. Rows of other options stay: without them the propensities would be wrong.
    options
        From `usable_options`.
    """
    design = _design(lots, options, settings)
    scored = {outcome: _second_round(design, lots, outcome, settings) for outcome in OUTCOMES}
    has_slope = any(each.choice.discount_matters for each in scored.values())
    return {outcome: _learnt(design, each, outcome, has_slope, settings) for outcome, each in scored.items()}


def surface_effects(coefficients: Floats, menu: Menu) -> Floats:
    """Turn coefficients, shape (rows, sets * basis), into effects, shape (sets, rows, options)."""
    half = menu.levels.shape[1]
    sets = coefficients.reshape(len(coefficients), -1, 2 * half).transpose(1, 0, 2)
    # summed term by term: a matrix product's last bits depend on how many rows there are
    level, slope = (
        np.sum([part[..., [term]] * menu.levels[:, term] for term in range(half)], axis=0)
        for part in (sets[..., :half], sets[..., half:])
    )
    return np.asarray(level + np.maximum(slope, 0.0) * menu.pull)


def _design(lots: pd.DataFrame, options: tuple[Option, ...], settings: Settings) -> _Design:
    traits = [name for name in lots.columns if name.startswith("trait_")]
    names = [name for name in (*MODERATORS, *traits) if name in lots.columns]
    names = varied(lots, tuple(names))
    head = make_pipeline(scaled_columns(lots, names), StandardScaler())
    texts = dict.fromkeys(lots[names].select_dtypes("category"), object)
    scaled = np.asarray(head.fit_transform(lots[names].astype(texts)), dtype=np.float64)
    menu = Menu(options, tuple(dict.fromkeys(offer for offer, _ in options)))
    place = menu.places(lots["offer_id"].astype(str).tolist(), lots["discount"].to_numpy(dtype=np.float64))
    had_chance = since_first_drawn(pd.to_datetime(lots["day"]).to_numpy(), place, len(options))
    _, pattern = np.unique(had_chance, axis=0, return_inverse=True)
    return _Design(
        head, tuple(names), np.c_[np.ones(len(lots)), scaled], menu, place,
        lots["propensity"].to_numpy(dtype=np.float64),
        user_fold(lots["user_id"], settings), pd.factorize(lots["user_id"])[0].astype(np.intp),
        had_chance, tuple(np.flatnonzero(pattern.ravel() == each) for each in range(int(pattern.max()) + 1)),
    )  # fmt: skip


def since_first_drawn(day: npt.NDArray[np.datetime64], place: Places, options: int) -> Flags:
    """Tell which options a row's lot could draw: an option had no chance before the first day on which it was drawn.

    Examples
    --------
    >>> day = np.array(["2024-01-01", "2024-01-02", "2024-01-02"], dtype="datetime64[D]")
    >>> since_first_drawn(day, np.array([0, 1, -1]), 2).tolist()
    [[True, False], [True, True], [True, True]]
    """
    first = np.full(options, day.max() + np.timedelta64(1, "D"))
    drawn = (place >= 0) & (place < options)
    np.minimum.at(first, place[drawn], day[drawn])
    return np.asarray(day[:, None] >= first)


def _second_round(design: _Design, lots: pd.DataFrame, outcome: str, settings: Settings) -> _Scored:
    """Score the rows by outcome models that know of the effects that a first round of scores shows."""
    label = lots[outcome].to_numpy(dtype=np.float64)
    usual = _usual_outcome(lots, outcome, design, settings)
    options = len(design.menu.options)
    scores = _scores(label, np.repeat(usual[:, None], options + 1, axis=1), design)
    first = _held_out(scores, design, _choose(scores, design).ridges[True], has_slope=True)
    without = usual.copy()
    for rows in design.patterns:
        chance = np.bincount(design.place[rows] + 1, minlength=options + 1) / len(rows)
        without[rows] -= first[rows] @ chance[1 : options + 1]
    scores = _scores(label, np.c_[without, without[:, None] + first], design)
    return _Scored(scores, without, _choose(scores, design))


def _learnt(design: _Design, scored: _Scored, outcome: str, has_slope: bool, settings: Settings) -> Learnt:
    ridge = scored.choice.ridges[has_slope]
    coefficients = [_fit(scored.scores, design, np.ones(len(design.users)), ridge, has_slope)]
    users = int(design.users.max()) + 1
    rng = np.random.default_rng([settings.seed, *outcome.encode()])
    for _ in range(DRAWS):
        weight = np.bincount(rng.integers(0, users, users), minlength=users)[design.users].astype(np.float64)
        coefficients.append(_fit(scored.scores, design, weight, ridge, has_slope))
    return Learnt(
        Surface(_as_estimator(design, np.concatenate(coefficients), outcome), design.menu.offers), design.menu.options,
        _held_out(scored.scores, design, ridge, has_slope), scored.without, ridge, has_slope,
        _means(scored.scores, design, np.eye(len(design.menu.options)))[0],
        *_means(scored.scores, design, design.menu.own), design.fold, design.had_chance,
    )  # fmt: skip


def _usual_outcome(lots: pd.DataFrame, outcome: str, design: _Design, settings: Settings) -> Floats:
    """Predict the outcome whatever was drawn, each fold of users by trees that did not see it."""
    training = settings.training.model_copy(update={"trees": NUISANCE_TREES})
    light = settings.model_copy(update={"training": training})
    usual = np.zeros(len(lots))
    for k in np.unique(design.fold):
        others = design.fold != k
        model = fit_lightgbm(lots[others], outcome, list(design.columns), light, link="identity")
        usual[~others] = model.raw_score(lots[~others])
    return usual


def _scores(label: Floats, predicted: Floats, design: _Design) -> Floats:
    """Doubly robust score of every option on every row; `predicted` is (rows, 1 + options), *nothing* first."""
    rows = np.flatnonzero(design.place + 1 < predicted.shape[1])
    drawn = design.place[rows] + 1
    scores = predicted.copy()
    scores[rows, drawn] += (label[rows] - predicted[rows, drawn]) / design.propensity[rows]
    return np.asarray(scores[:, 1:] - scores[:, :1])


def _choose(scores: Floats, design: _Design) -> _Choice:
    """Pick the ridge by held-out error, without and with a pull of the discount, and say whether it matters.

    Of a discount without effect nothing may remain, so its slopes must lower the held-out error by more than two
    standard errors.
    """
    error = {(ridge, slope): _error_of(scores, design, ridge, slope) for ridge in RIDGES for slope in (False, True)}
    best = {slope: min(RIDGES, key=lambda ridge: float(error[ridge, slope].mean())) for slope in (False, True)}
    gain = error[best[False], False] - error[best[True], True]
    by_user = np.bincount(design.users, gain - gain.mean())
    return _Choice(best, bool(gain.mean() > 2.0 * np.sqrt((by_user**2).sum()) / len(gain)))


def _error_of(scores: Floats, design: _Design, ridge: float, has_slope: bool) -> Floats:
    """Squared distance of held-out effects from the scores, less what no model can change; shape (rows,)."""
    held_out = _held_out(scores, design, ridge, has_slope)
    return np.asarray(((held_out**2 - 2 * held_out * scores) * design.had_chance).mean(axis=1))


def _held_out(scores: Floats, design: _Design, ridge: float, has_slope: bool) -> Floats:
    held_out = np.zeros(scores.shape)
    for k in np.unique(design.fold):
        coefficients = _fit(scores, design, (design.fold != k).astype(np.float64), ridge, has_slope)
        rows = design.fold == k
        held_out[rows] = surface_effects(design.inputs[rows] @ coefficients.T, design.menu)[0]
    return held_out


def _fit(scores: Floats, design: _Design, weight: Floats, ridge: float, has_slope: bool) -> Floats:
    """Solve the ridge regression of the scores on basis times inputs; returns (basis, inputs).

    Options that had a chance have a score on every row of a pattern, so its part of the normal equations is a
    Kronecker product of a small matrix of options and one of inputs.
    """
    menu, inputs = design.menu, design.inputs
    basis = menu.basis if has_slope else np.c_[menu.levels, np.zeros(menu.levels.shape)]
    wide, deep = basis.shape[1], inputs.shape[1]
    gram, pairs = np.zeros((wide * deep, wide * deep)), 0.0
    for rows in design.patterns:
        offered = basis[design.had_chance[rows[0]]]
        gram += np.kron(offered.T @ offered, (inputs[rows] * weight[rows, None]).T @ inputs[rows])
        pairs += weight[rows].sum() * len(offered)
    target = (inputs * weight[:, None]).T @ ((scores * design.had_chance) @ basis)
    own = np.ones(wide)
    own[[*range(1, wide // 2), *range(wide // 2 + 1, wide)]] = OWN_RIDGE
    per_input = np.ones(deep)
    per_input[0] = INTERCEPT_RIDGE
    penalty = ridge * pairs * np.outer(own, per_input)
    solved = np.linalg.solve(gram + np.diag(penalty.ravel()), target.T.ravel())
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


def _as_estimator(design: _Design, coefficients: Floats, outcome: str) -> Estimator:
    """Wrap coefficients, shape (outputs, 1 + inputs), as a scikit-learn regression behind the fitted head."""
    model = LinearRegression()
    model.coef_, model.intercept_ = coefficients[:, 1:], coefficients[:, 0]
    model.n_features_in_ = coefficients.shape[1] - 1
    core = Pipeline([*design.head.steps, ("linearregression", model)])
    return Estimator(outcome, "surface", "signed", design.columns, core)
