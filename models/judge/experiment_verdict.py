"""The verdict on an A/B test inside a play: a winner, no difference, or the number of users still needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date

import numpy as np
import pandas as pd

from configs.offers import Offer
from configs.play_experiments import Experiment
from features.arrays.array_types import Places
from models.judge.confidence_sequence import ERROR
from models.judge.variant_comparison import (
    NOBODY,
    Moments,
    difference,
    has_enough,
    is_mismatch,
    pair_error,
    split_doubt,
    users_needed,
    winners,
)
from models.metrics.metric import Metric

# outcome, and what was known before of the same kind
OUTCOMES = {
    "margin": ("margin", "pre_spend"),
    "retention": ("is_retained", "pre_active_days"),
    "conversion": ("is_converted", "pre_purchases"),
    "redemption": ("is_redeemed", "pre_purchases"),
}
WORTH_FINDING = 0.1  # of what the first variant brings, where nobody says how small a difference is worth finding
NOT_YET, WON, ALIKE, UNEVEN, NOBODY_YET = "not_yet", "won", "alike", "uneven", "nobody_yet"


@dataclass(frozen=True)
class VariantResult:
    """The result of one variant: users, those with a known outcome, their mean, and the effect beside the first.

    `mean` is missing before anybody's outcome is known; `effect` is that of a head beside the first variant, an
    interval that may be looked at every day, missing for the first and where users are too few.
    """

    name: str
    share: float
    exposed: int
    closed: int
    mean: float | None
    effect: Metric | None


@dataclass(frozen=True)
class ExperimentResult:
    """What an experiment has shown by a day.

    `needed` is about how many users with a known outcome it takes to find `smallest_effect`, None before anything is
    known. `split_doubt` is how likely so uneven a split is by chance, at every look. `saved` is the share of the
    variance that was known before.
    """

    name: str
    play: str
    title: str
    measured_by: str
    is_running: bool
    first_day: date | None
    variants: tuple[VariantResult, ...]
    state: str
    winner: str | None
    needed: int | None
    smallest_effect: float | None
    split_doubt: float
    saved: float

    @property
    def closed(self) -> int:
        """Users whose outcome is known."""
        return sum(each.closed for each in self.variants)


def judged(offers: Sequence[Offer], exposed: pd.DataFrame | None, closed: pd.DataFrame | None) -> ExperimentResult:
    """Judge one experiment.

    Parameters
    ----------
    offers
        Those of the play.
    exposed
        Who got which ``variant`` first, one row per user: ``variant, as_of``; None before there is anybody.
    closed
        Those of them whose outcome is known, with their outcome and what was known before (`OUTCOMES`).
    """
    experiment, measured_by = experiment_of(offers), measure_of(offers)
    names, shares = [each.name for each in experiment.variants], [each.share for each in experiment.variants]
    count = len(names)
    drew = np.bincount(_places(exposed, names), minlength=count).astype(np.float64)
    outcome, known = OUTCOMES[measured_by]
    values = np.zeros((2, 0)) if closed is None else closed[[outcome, known]].to_numpy(dtype=np.float64).T
    moments = Moments.of(values[0], values[1], _places(closed, names), count)
    doubt, is_known = float(split_doubt(drew, shares)), bool(moments.users.min() > 1)
    effects = _effects(moments, outcome) if is_known else [None] * count
    results = tuple(
        VariantResult(name, share, int(drawn), int(users), float(mean) if users else None, effect)
        for name, share, drawn, users, mean, effect in zip(
            names, shares, drew, moments.users, moments.outcome, effects, strict=True
        )
    )
    worth = experiment.smallest_effect or (WORTH_FINDING * abs(float(moments.outcome[0])) if is_known else None)
    deviation, saved = _deviation(moments) if is_known else (0.0, 0.0)
    needed = users_needed(deviation, worth, shares) if worth and deviation else None
    best = int(winners(moments, is_yes_no=outcome.startswith("is_"))) if is_known else NOBODY
    state = NOBODY_YET if not drew.any() else _state(best, moments, outcome, worth, doubt)
    return ExperimentResult(
        name=experiment.name,
        play=offers[0].play_id or offers[0].offer_id,
        title=offers[0].title,
        measured_by=measured_by,
        is_running=experiment.is_running,
        first_day=None if exposed is None else pd.Timestamp(exposed["as_of"].min()).date(),
        variants=results,
        state=state,
        winner=names[best] if state == WON else None,
        needed=needed,
        smallest_effect=worth,
        split_doubt=doubt,
        saved=saved,
    )


def _state(best: int, moments: Moments, outcome: str, worth: float | None, doubt: float) -> str:
    """Say what is known: a split that chance hardly explains speaks against everything else."""
    if is_mismatch(np.array(doubt)):
        return UNEVEN
    if best != NOBODY:
        return WON
    if worth and bool(has_enough(moments, is_yes_no=outcome.startswith("is_"))) and _all_within(moments, worth):
        return ALIKE
    return NOT_YET


def _all_within(moments: Moments, worth: float) -> bool:
    """Tell whether no two variants can be as far apart as is worth finding."""
    count = len(moments.users)
    pairs = [(first, second) for first in range(count) for second in range(first)]
    found = [difference(moments, *pair, error=pair_error(count)) for pair in pairs]
    return all(float(each.low) > -worth and float(each.high) < worth for each in found)


def _effects(moments: Moments, outcome: str) -> list[Metric | None]:
    """Compare each variant with the first."""
    if not has_enough(moments, is_yes_no=outcome.startswith("is_")):
        return [None] * len(moments.users)
    error = pair_error(len(moments.users))
    found = [difference(moments, place, 0, error=error) for place in range(1, len(moments.users))]
    users = [int(moments.users[0] + each) for each in moments.users[1:]]
    rows = zip(found, users, strict=True)
    return [None, *(Metric(float(each.value), float(each.low), float(each.high), count) for each, count in rows)]


def _deviation(moments: Moments) -> tuple[float, float]:
    """Find the deviation between users beyond what was known, of the first two variants, and the share that was."""
    found = difference(moments, 0, 1, error=ERROR)
    count = 1 / (1 / moments.users[0] + 1 / moments.users[1])
    saved = 1 - float(found.error) ** 2 / float(found.plain_error) ** 2 if found.plain_error > 0 else 0.0
    return float(found.error) * float(np.sqrt(count)), max(saved, 0.0)


def _places(rows: pd.DataFrame | None, names: Sequence[str]) -> Places:
    """Place of each row's variant."""
    if rows is None:
        return np.zeros(0, dtype=np.intp)
    return pd.Categorical(rows["variant"], categories=list(names)).codes.astype(np.intp)


def experiment_of(offers: Sequence[Offer]) -> Experiment:
    """Return the experiment of some offers that share one."""
    return next(offer.experiment for offer in offers if offer.experiment is not None)


def measure_of(offers: Sequence[Offer]) -> str:
    """Name what says which variant is better: the experiment's own, else the play's."""
    return experiment_of(offers).measured_by or offers[0].measured_by


def result_facts(experiment: ExperimentResult) -> Mapping[str, object]:
    """Write a result as JSON holds it."""
    variants = [
        {**asdict(each), "effect": each.effect.as_dict() if each.effect else None} for each in experiment.variants
    ]
    return {**asdict(experiment), "variants": variants}
