"""The design matrix of the effect regression: what each user could draw, and the contrast of what was drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from configs.offers import Option
from configs.settings import Settings
from features.arrays.array_types import Flags, Floats, Places
from features.definitions.registry import Feature
from models.effects.effect_model import OWN_PARTS, PARTS, ActionSet, scores_of, since_first_drawn
from models.estimator_families.linear_estimators import scaled_columns
from models.learn.listening import Listening, listening_to
from models.learn.training import user_fold, varied, within_inputs

MODERATORS = (
    "days_since_last_activity", "active_days_count_28d", "active_days_count_90d", "sessions_count_365d",
    "overdue_ratio_365d", "tenure_days", "spend_sum_28d", "spend_sum_90d", "order_value_mean_365d",
    "discount_share_90d", "discounted_items_count_90d", "messages_opened_count_90d", "messages_sent_count_90d",
    "open_share_90d",
)  # fmt: skip
GROUPS = (
    "level", "level_inputs", "slope", "slope_inputs", "conversion", "conversion_inputs", "heard", "heard_inputs",
    "heard_slope", "heard_slope_inputs", "offer", "offer_slope", "option",
)  # fmt: skip
MOST_INPUTS = 60  # that effects may differ by: memory grows with their square, time with their cube


class SplitParameters(NamedTuple):
    """Coefficients of parts, (PARTS, 1 + inputs), constants of offers, (OWN_PARTS, offers), and of options."""

    shared: Floats
    own: Floats
    options: Floats


@dataclass(frozen=True)
class EffectDesign:
    """Randomised treatments with the inputs of their users.

    `inputs` (rows, 1 + inputs) begin with a 1, `listens` (rows, offers) tells how users listen to an offer's channel.
    `place` is each row's option, `chances` (rows, 1 + options) how often *nothing* and every option come in the
    reweighted treatments, and `weight` (rows,) what a row stands for there: 0 where an option left the catalogue.
    """

    head: Pipeline
    columns: tuple[str, ...]
    inputs: Floats
    listening: tuple[Listening, ...]
    listens: Floats
    action_set: ActionSet
    place: Places
    propensity: Floats
    fold: Places
    users: Places
    had_chance: Flags
    chances: Floats
    weight: Floats
    p_redeem: Floats | None = field(repr=False)

    @property
    def contrasts(self) -> Floats:
        """Subtract from each row's regressors their mean over what the user could have drawn.

        Returns
        -------
        Shape (rows, parameters): the inputs times the strength of each part in turn, then the constants of offers
        (level, slope) and of options.
        """
        options, pull = np.arange(len(self.action_set.options)), self.action_set.pull
        drawn = (self.place[:, None] == options) - self.chances[:, 1:]
        heard = self.listens[:, self.action_set.own.argmax(axis=1)]
        used = np.zeros(drawn.shape) if self.p_redeem is None else self.p_redeem
        strengths = np.stack(
            [(drawn * strength).sum(axis=1) for strength in (1.0, pull, used, heard, heard * pull)], axis=1
        )
        blocks = [strengths[:, [part]] * self.inputs for part in range(PARTS)]
        own = self.action_set.own
        return np.concatenate([*blocks, drawn @ own, (drawn * pull) @ own, drawn], axis=1)

    def scores(self, parameters: Floats, rows: Flags) -> Floats:
        """Score every option on some rows by solved parameters; shape (rows, options)."""
        split = self.split(parameters)
        p_redeem = None if self.p_redeem is None else self.p_redeem[rows]
        parts = self.inputs[rows] @ split.shared.T
        return scores_of(parts, split.own[None], split.options[None], self.action_set, self.listens[rows], p_redeem)[0]

    def split(self, parameters: Floats) -> SplitParameters:
        """Tell apart the coefficients of parts, the constants of offers and those of options."""
        shared, offers = PARTS * self.inputs.shape[1], len(self.action_set.offers)
        own = parameters[shared : shared + OWN_PARTS * offers].reshape(OWN_PARTS, -1)
        return SplitParameters(parameters[:shared].reshape(PARTS, -1), own, parameters[self.option_places])

    @cached_property
    def group(self) -> Places:
        """Which parameters vary alike, shape (parameters,): `GROUPS` names them."""
        deep, offers, options = self.inputs.shape[1], len(self.action_set.offers), len(self.action_set.options)
        each = [place for part in range(PARTS) for place in (2 * part, *[2 * part + 1] * (deep - 1))]
        own = [2 * PARTS + part for part in range(OWN_PARTS) for _ in range(offers)]
        return np.array([*each, *own, *[len(GROUPS) - 1] * options], dtype=np.intp)

    @cached_property
    def option_places(self) -> Places:
        """Where the options' own constants are among the parameters; shape (options,)."""
        before = PARTS * self.inputs.shape[1] + OWN_PARTS * len(self.action_set.offers)
        return before + np.arange(len(self.action_set.options))

    @cached_property
    def is_parameter(self) -> Flags:
        """Which parameters tell something that no other one does; an offer's only option has no constant of its own."""
        told = np.ones(len(self.group), dtype=bool)
        for levels in self.action_set.levels:
            told[self.option_places[levels]] = len(levels) > 1
        return told

    @cached_property
    def of_discounts(self) -> Flags:
        """Which parameters hang on discounts; shape (parameters,)."""
        names = [name for name in GROUPS if name.startswith(("slope", "conversion", "heard_slope", "offer_slope"))]
        return np.isin(self.group, [GROUPS.index(name) for name in (*names, "option")])


def effect_design(
    experiment: pd.DataFrame, options: tuple[Option, ...], features: Sequence[Feature], settings: Settings,
    p_redeem: Floats | None, channels: Mapping[str, str],
) -> EffectDesign:  # fmt: skip
    """Prepare randomised treatments.

    Reweighting by the inverse of what was drawn (stabilised: Robins, Hernán & Brumback 2000) makes every option as
    likely for everybody who could draw the same ones, whatever the draws favoured.
    """
    action_set = ActionSet(options, tuple(dict.fromkeys(offer for offer, _ in options)))
    listening = tuple(listening_to(channels.get(name, ""), settings, experiment) for name in action_set.offers)
    traits = {feature.name for feature in features if feature.view == "traits"}
    moderators = [*MODERATORS, *(name for name in experiment.columns if name in traits)]
    own = dict.fromkeys(name for each in listening for name in (each.opened, each.sent) if name is not None)
    names = varied(experiment, tuple(name for name in dict.fromkeys([*own, *moderators]) if name in experiment.columns))
    names = names or [name for name in moderators if name in experiment.columns][:1]  # all alike: so are effects
    names = within_inputs(experiment, names, MOST_INPUTS)
    head = make_pipeline(scaled_columns(experiment, names), StandardScaler())
    texts = dict.fromkeys(experiment[names].select_dtypes("category"), object)
    scaled = np.asarray(head.fit_transform(experiment[names].astype(texts)), dtype=np.float64)
    given = experiment["offer_id"].astype(str).tolist()
    place = action_set.places(given, experiment["discount"].to_numpy(dtype=np.float64))
    had_chance = since_first_drawn(pd.to_datetime(experiment["day"]).to_numpy(), place, len(options))
    propensity = experiment["propensity"].to_numpy(dtype=np.float64)
    chances, weight = reweighted(place, propensity, had_chance)
    listens = np.stack([each.share(experiment) for each in listening], axis=1)
    return EffectDesign(
        head, tuple(names), np.c_[np.ones(len(experiment)), scaled], listening, listens, action_set, place, propensity,
        user_fold(experiment["user_id"], settings), pd.factorize(experiment["user_id"])[0].astype(np.intp),
        had_chance, chances, weight, None if p_redeem is None else np.nan_to_num(p_redeem),
    )  # fmt: skip


def reweighted(place: Places, propensity: Floats, had_chance: Flags) -> tuple[Floats, Floats]:
    """Shares of *nothing* and of every option among rows that could draw the same, and the weights to that; see above.

    Examples
    --------
    >>> chances, weight = reweighted(np.array([-1, 0, 0, 0]), np.array([0.5, 0.5, 0.5, 1.0]), np.ones((4, 1), bool))
    >>> chances[0].tolist(), weight.tolist()
    ([0.25, 0.75], [0.5, 1.5, 1.5, 0.75])
    """
    options = had_chance.shape[1]
    chances, weight = np.zeros((len(place), 1 + options)), np.zeros(len(place))
    offered, pattern = np.unique(had_chance, axis=0, return_inverse=True)
    for own in range(len(offered)):
        rows = np.flatnonzero((pattern.ravel() == own) & (place < options))
        drawn = place[rows] + 1
        counts = np.bincount(drawn, minlength=1 + options)
        chances[pattern.ravel() == own] = counts / max(counts.sum(), 1)
        weight[rows] = chances[rows, drawn] / propensity[rows]
    return chances, weight
