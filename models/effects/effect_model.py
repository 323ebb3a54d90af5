"""What every option changes, as a function of users and discounts: how effects are stored, read and explained.

An effect is linear in what is known about a user, and per offer a level plus a pull of the discount that never
falls: ``effect(x, offer, d) = level(x) + level_of(x, offer) + max(0, slope(x) + slope_of(x, offer)) * pull(d)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from configs.offers import NO_OFFER, NOTHING, Option
from features.arrays.array_types import Flags, Floats, Places
from models.learn.linear_estimators import MultiOutputEstimator

HALF_PULL = 0.10  # the discount at which the pull has risen by log(2)


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
    def levels(self) -> Floats:
        """Basis of the level of an effect; shape (options, 1 + offers)."""
        return np.c_[np.ones(len(self.options)), self.own]

    @property
    def basis(self) -> Floats:
        """Basis of an effect, levels before slopes; shape (options, 2 + 2 offers)."""
        return np.c_[self.levels, self.levels * self.pull[:, None]]

    def places(self, offer_ids: Sequence[str], discounts: Floats) -> Places:
        """Find each row's option: `NOTHING`, or `len(options)` for whatever is no longer among them."""
        known = {(offer, round(discount, 6)): place for place, (offer, discount) in enumerate(self.options)}
        known[NO_OFFER, 0.0] = NOTHING
        pairs = zip(offer_ids, np.round(np.where(np.array(offer_ids) == NO_OFFER, 0.0, discounts), 6), strict=True)
        return np.array([known.get(pair, len(self.options)) for pair in pairs], dtype=np.intp)


@dataclass(frozen=True)
class EffectModel:
    """A fitted effect on one outcome, as the registry keeps it.

    `estimator` gives each row the coefficients of the basis: first those in use, then those of `DRAWS` resamples.
    """

    estimator: MultiOutputEstimator
    offers: tuple[str, ...]

    def effects(self, frame: pd.DataFrame, options: Sequence[Option]) -> Floats:
        """Effect of every option on every row against *nothing*; shape (rows, options)."""
        action_set = ActionSet(tuple(options), self.offers)
        return predicted_effects(self.estimator.output_scores(frame, action_set.basis.shape[1]), action_set)[0]

    def draws(self, frame: pd.DataFrame, options: Sequence[Option]) -> Floats:
        """Effects under each resample of users; shape (draws, rows, options). Their spread is the uncertainty."""
        return predicted_effects(self.estimator.output_scores(frame), ActionSet(tuple(options), self.offers))[1:]

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
        action_set = ActionSet(tuple(options), self.offers)
        coefficients = self.estimator.output_scores(frame, action_set.basis.shape[1])
        half = action_set.levels.shape[1]
        slope = (coefficients[:, half:] * action_set.levels[chosen]).sum(axis=1)
        weight = (
            action_set.basis[chosen] * np.c_[np.ones((len(frame), half)), np.repeat((slope > 0)[:, None], half, axis=1)]
        )
        return self.estimator.weighted_contributions(frame, weight)


def predicted_effects(coefficients: Floats, action_set: ActionSet) -> Floats:
    """Turn coefficients, shape (rows, sets * basis), into effects, shape (sets, rows, options)."""
    half = action_set.levels.shape[1]
    sets = coefficients.reshape(len(coefficients), -1, 2 * half).transpose(1, 0, 2)
    # summed term by term: a matrix product's last bits depend on how many rows there are
    level, slope = (
        np.sum([part[..., [term]] * action_set.levels[:, term] for term in range(half)], axis=0)
        for part in (sets[..., :half], sets[..., half:])
    )
    return np.asarray(level + np.maximum(slope, 0.0) * action_set.pull)


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
