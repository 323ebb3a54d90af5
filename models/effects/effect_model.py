"""What every option changes, as a function of users, discounts and chances: how effects are stored, read and explained.

A score is linear in what is known about a user, in five parts, of which the discount's pull and what a redemption
changes are never negative, so that no effect falls as the discount rises::

    score = level + heard * listens + max(0, slope + heard_slope * listens) * pull(d) + max(0, conversion) * p_redeem

Level and slope also have a constant per offer, and an option one of its own, which rises with the offer's discounts
where treatments do not speak against it; `listens` is the share of the offer's channel that the user opens. An
effect is the score in its unit (`EffectUnit`): the user's own money, or the log-odds of the user's own risk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from configs.offers import NO_OFFER, NOTHING, Option
from features.arrays.array_types import Flags, Floats, Places
from models.estimator_families.linear_estimators import MultiOutputEstimator
from models.learn.listening import Listening

HALF_PULL = 0.10  # the discount at which the pull has risen by log(2)
LEVEL, SLOPE, CONVERSION, HEARD, HEARD_SLOPE = range(5)  # parts of a score
PARTS, OWN_PARTS = 5, 2  # level and slope have a constant per offer
WIDEST = 8.0  # own money counts between the typical divided and multiplied by it
ORDER = "order_value_mean_365d"
LEAST = 1e-6  # score below which an effect is in proportion to it
STRONGEST = 20.0  # log-odds beyond which nothing changes any more


@dataclass(frozen=True)
class ActionSet:
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
    def levels(self) -> list[Places]:
        """Options of each offer, by rising discount."""
        rising = np.argsort([discount for _, discount in self.options], kind="stable")
        return [rising[self.own[rising, offer] > 0] for offer in range(len(self.offers))]

    def places(self, offer_ids: Sequence[str], discounts: Floats) -> Places:
        """Find each row's option: `NOTHING`, or `len(options)` for whatever is no longer among them."""
        known = {(offer, round(discount, 6)): place for place, (offer, discount) in enumerate(self.options)}
        known[NO_OFFER, 0.0] = NOTHING
        pairs = zip(offer_ids, np.round(np.where(np.array(offer_ids) == NO_OFFER, 0.0, discounts), 6), strict=True)
        return np.array([known.get(pair, len(self.options)) for pair in pairs], dtype=np.intp)


@dataclass(frozen=True)
class Chances:
    """Predictions of other models: `p_redeem` (rows, options) of the options asked for, `p_churn` (rows,), if known.

    Where nothing is known of redemptions, or NaN stands there, an effect is what it is without any; where nothing is
    known of the risk, users leave as often as they did in the training.
    """

    p_redeem: Floats | None = None
    p_churn: Floats | None = None

    def of_own(self, chosen: Places) -> Floats:
        """Chance of each row's own option to be used, 0 where nothing is known; shape (rows,)."""
        if self.p_redeem is None:
            return np.zeros(len(chosen))
        return np.nan_to_num(self.p_redeem[np.arange(len(chosen)), chosen])


UNKNOWN = Chances()


@dataclass(frozen=True)
class EffectUnit:
    """What a score of 1 means for a user.

    ``money``: one in account currency. ``own_money``: the mean worth of the user's own orders (`ORDER`), `typical`
    where unknown. ``log_odds``: the odds of staying times e, from the user's own risk; so nobody is kept more than
    they could leave. `typical` is then the share that stays, used where no risk is known.
    """

    kind: Literal["money", "own_money", "log_odds"]
    typical: float = 1.0

    def money(self, frame: pd.DataFrame) -> Floats:
        """Account currency that a score of 1 is worth; shape (rows,)."""
        if self.kind == "money":
            return np.ones(len(frame))
        own = frame[ORDER].to_numpy(dtype=np.float64)
        return np.clip(np.where(own > 0, own, self.typical), self.typical / WIDEST, self.typical * WIDEST)

    def effects(self, scores: Floats, frame: pd.DataFrame, p_churn: Floats | None) -> Floats:
        """Turn scores, shape (..., rows, options), into effects."""
        if self.kind != "log_odds":
            return scores * self.money(frame)[:, None]
        stays = np.full(len(frame), self.typical)
        if p_churn is not None:
            stays = np.where(np.isnan(p_churn), stays, 1.0 - p_churn)
        return shifted(stays[:, None], scores)


@dataclass(frozen=True)
class EffectModel:
    """A fitted effect on one outcome, as the registry keeps it.

    `estimator` gives each row the parts of the score, those in use before those of each draw from what treatments leave
    possible; after all of them come the constants of offers and of options. `listening` is that to each offer's
    channel.
    """

    estimator: MultiOutputEstimator
    options: tuple[Option, ...]
    offers: tuple[str, ...]
    unit: EffectUnit
    listening: tuple[Listening, ...]

    @property
    def sets(self) -> int:
        """Number of sets of coefficients: those in use, and the draws."""
        return len(self.estimator.core[-1].intercept_) // (PARTS + self._constants_each)

    @property
    def own_constants(self) -> Floats:
        """Constants of level and slope per offer; shape (sets, OWN_PARTS, offers)."""
        own = self._constants[:, : OWN_PARTS * len(self.offers)]
        return own.reshape(self.sets, OWN_PARTS, len(self.offers))

    def option_constants(self, options: Sequence[Option]) -> Floats:
        """Constants of some options, between those of an offer's known discounts; shape (sets, options)."""
        return np.asarray(self._constants[:, OWN_PARTS * len(self.offers) :] @ self._between(options))

    def _between(self, options: Sequence[Option]) -> Floats:
        """How much of each known option's constant is in that of an option asked for; shape (known, asked)."""
        found, known = np.zeros((len(self.options), len(options))), ActionSet(self.options, self.offers)
        discount = np.array([share for _, share in self.options])
        places = {offer: place for place, offer in enumerate(self.offers)}
        asked, wanted = np.array([places.get(offer, NOTHING) for offer, _ in options]), [share for _, share in options]
        for offer, levels in enumerate(known.levels):
            rows = np.eye(len(levels))
            for level, row in zip(levels, rows, strict=True):
                found[level] = np.where(asked == offer, np.interp(wanted, discount[levels], row), 0.0)
        return found

    @property
    def _constants_each(self) -> int:
        return OWN_PARTS * len(self.offers) + len(self.options)

    @property
    def _constants(self) -> Floats:
        """Constants of offers, then of options; shape (sets, constants)."""
        constants = self.estimator.core[-1].intercept_[self.sets * PARTS :]
        return np.asarray(constants, dtype=np.float64).reshape(self.sets, self._constants_each)

    def effects(self, frame: pd.DataFrame, options: Sequence[Option], chances: Chances = UNKNOWN) -> Floats:
        """Effect of every option on every row against *nothing*; shape (rows, options)."""
        return self.unit.effects(self._scores(frame, options, chances, sets=1)[0], frame, chances.p_churn)

    def draws(self, frame: pd.DataFrame, options: Sequence[Option], chances: Chances = UNKNOWN) -> Floats:
        """Draw effects from their posterior; shape (draws, rows, options).

        Their spread is the uncertainty: they come from the posterior of the coefficients (`empirical_bayes`).
        """
        return self.unit.effects(self._scores(frame, options, chances, sets=self.sets)[1:], frame, chances.p_churn)

    def contributions(
        self, frame: pd.DataFrame, options: Sequence[Option], chosen: Places, chances: Chances = UNKNOWN
    ) -> Floats:
        """Split the effect of each row's own option into the Shapley values of the columns.

        Parameters
        ----------
        chosen
            Place of an option per row, shape (rows,).

        Returns
        -------
        Shape (rows, columns + 1), the last one the effect on the average user at this option, its chance to be used and
        the unit of this user; each row sums to its effect. Exact: given those the score is linear in the inputs
        (Lundberg & Lee 2017), and in how a user listens, a factor of some of them, which stands under the column of
        messages opened. A part that is cut off at 0 has no share; log-odds are put to scale by effect over score.
        """
        action_set = ActionSet(tuple(options), self.offers)
        offer = action_set.own.argmax(axis=1)[chosen]
        parts = self.estimator.output_scores(frame, PARTS)
        own = self.own_constants[0][:, offer].T
        own[:, LEVEL] += self.option_constants(options)[0, chosen]
        listens = np.stack([each.share(frame) for each in self.listening])[offer, np.arange(len(frame))]
        usual = np.array([each.usual for each in self.listening])[offer]
        slope = parts[:, SLOPE] + own[:, 1] + parts[:, HEARD_SLOPE] * listens
        pull = action_set.pull[chosen] * (slope > 0)
        used = chances.of_own(chosen) * (parts[:, CONVERSION] > 0)
        score = parts[:, LEVEL] + own[:, 0] + parts[:, HEARD] * listens + slope * pull + parts[:, CONVERSION] * used
        scale = self._scale(score, frame, chances.p_churn)
        # a product's Shapley values: each factor moves by itself and with the other one moved, on average
        between = (listens + usual) / 2
        weight = np.stack([np.ones(len(frame)), pull, used, between, between * pull], axis=1)
        found = self.estimator.weighted_contributions(frame, weight * scale[:, None])
        usual_parts = self.estimator.core[-1].intercept_[:PARTS]
        heard = [(parts[:, part] + usual_parts[part]) / 2 for part in (HEARD, HEARD_SLOPE)]
        moved = (listens - usual) * (heard[0] + heard[1] * pull)
        # what the usual factors make together is that of the average user
        base = (usual - between) * (usual_parts[HEARD] + usual_parts[HEARD_SLOPE] * pull) + own[:, 0] + own[:, 1] * pull
        found[:, -1] += base * scale
        for place, each in enumerate(self.listening):
            if each.opened in self.estimator.columns:
                rows = offer == place
                found[rows, self.estimator.columns.index(each.opened)] += (moved * scale)[rows]
        return found

    def _scale(self, score: Floats, frame: pd.DataFrame, p_churn: Floats | None) -> Floats:
        """Effect per score of each row; shape (rows,)."""
        effect = self.unit.effects(score[:, None], frame, p_churn)[:, 0]
        least = self.unit.effects(np.full((len(frame), 1), LEAST), frame, p_churn)[:, 0]
        return np.divide(effect, score, out=least / LEAST, where=np.abs(score) > LEAST)

    def _scores(self, frame: pd.DataFrame, options: Sequence[Option], chances: Chances, *, sets: int) -> Floats:
        parts = self.estimator.output_scores(frame, sets * PARTS)
        listens = np.stack([each.share(frame) for each in self.listening], axis=1)
        action_set = ActionSet(tuple(options), self.offers)
        constants = self.own_constants[:sets], self.option_constants(options)[:sets]
        return scores_of(parts, *constants, action_set, listens, chances.p_redeem)


def scores_of(
    parts: Floats, own: Floats, option: Floats, action_set: ActionSet, listens: Floats, p_redeem: Floats | None
) -> Floats:
    """Put the parts of scores together.

    Parameters
    ----------
    parts
        Of every set of coefficients, shape (rows, sets * PARTS).
    own
        Constants of offers, shape (sets, OWN_PARTS, offers).
    option
        Constants of options, shape (sets, options).
    listens
        Share of each offer's channel that users open, shape (rows, offers).

    Returns
    -------
    Shape (sets, rows, options).
    """
    each = parts.reshape(len(parts), -1, PARTS).transpose(1, 2, 0)[..., None]
    offer = action_set.own.argmax(axis=1)
    heard, constants = listens[:, offer], own[:, :, None, :][..., offer]
    slope = each[:, SLOPE] + constants[:, SLOPE] + each[:, HEARD_SLOPE] * heard
    level = each[:, LEVEL] + constants[:, LEVEL] + option[:, None]
    scores = level + each[:, HEARD] * heard + np.maximum(slope, 0.0) * action_set.pull
    if p_redeem is not None:
        scores = scores + np.maximum(each[:, CONVERSION], 0.0) * np.nan_to_num(p_redeem)
    return np.asarray(scores)


def shifted(stays: Floats, log_odds: Floats) -> Floats:
    """Change of a chance whose log-odds are shifted; never more than could leave, nor less than could stay.

    Examples
    --------
    >>> shifted(np.array([0.5, 0.9, 1.0]), np.log(np.array([3.0, 3.0, 3.0]))).round(3).tolist()
    [0.25, 0.064, 0.0]
    """
    factor = np.exp(np.clip(log_odds, -STRONGEST, STRONGEST))
    change = stays * (1.0 - stays) * (factor - 1.0) / (1.0 - stays + stays * factor)
    return np.asarray(np.clip(change, -stays, 1.0 - stays))


def since_first_drawn(day: npt.NDArray[np.datetime64], place: Places, options: int) -> Flags:
    """Tell which options a row could draw: an option had no chance before the first day on which it was drawn.

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
