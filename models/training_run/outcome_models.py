"""The training step of the churn and value models; each is left out if the data cannot support it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from configs.settings import Settings
from features.storage.lake import Lake
from models.champion_gate.promotion import Published, publish
from models.learn.churn import TARGET, train_churn
from models.learn.churn_causes import SUBJECT, train_causes
from models.learn.recency_rule import recency_table
from models.learn.training import NotTrainableError, Trained
from models.learn.value import later_share, train_value
from models.metrics.recency_table import RecencyTable
from models.model_cards.model_notes import ValueNotes
from models.registry.registry_state import registered_model
from models.training_run.training_frames import TrainingFrames, closed_values
from models.training_run.training_record import Untrained

EARLIER = "the champion of an earlier training goes on"
NO_RISK = "nobody's risk is known, and nobody counts as at risk"
NO_CAUSES = "who leaves by choice is not told apart from whose payments fail"
NO_WORTH = "what staying is worth is not known, and an offer counts by what it brings at once"
NO_EVENTS = "there are no events, so that nobody can be seen to stay, to leave or to buy: experiments came alone"
NO_MONEY = "the report counts people instead of money, and no offer can be valued"


@dataclass(frozen=True)
class FittedOutcomes:
    """Models of leaving and of worth, those that the data could not teach, and the rule where no model can be used."""

    published: list[Published]
    untrained: tuple[Untrained, ...] = ()
    recency: RecencyTable | None = None


def fit_outcomes(settings: Settings, lake: Lake, as_of: date, frames: TrainingFrames) -> FittedOutcomes:
    """Fit, judge and register churn and value; the gate's winner of each becomes champion."""
    if frames.outcomes.empty:
        lacks = (lack_of(lake, name, NO_EVENTS, why) for name, why in (("churn", NO_RISK), ("value", NO_WORTH)))
        return FittedOutcomes([], tuple(lacks))
    published: list[Published] = []
    untrained: list[Untrained] = []
    try:
        churn = train_churn(frames.outcomes, frames.features, settings, as_of)
        published.append(publish(lake, churn, frames.outcomes, frames.features, settings, as_of, frames.first_day))
        if settings.churn.kind == "cancellation":
            published += _fit_causes(settings, lake, as_of, frames, churn, untrained)
    except NotTrainableError as error:
        untrained.append(lack_of(lake, "churn", str(error), NO_RISK))
    worth = closed_values(frames.outcomes, settings, as_of)
    try:
        value, notes = train_value(worth, frames.features, settings, as_of), ValueNotes(later_share(worth, settings))
        published.append(publish(lake, value, worth, frames.features, settings, as_of, frames.first_day, notes))
    except NotTrainableError as error:
        is_poor = not worth["margin"].any()
        untrained.append(lack_of(lake, "value", str(error), NO_MONEY if is_poor else NO_WORTH))
    return FittedOutcomes(published, tuple(untrained), recency_table(frames.outcomes, TARGET))


def _fit_causes(
    settings: Settings, lake: Lake, as_of: date, frames: TrainingFrames, churn: Trained, untrained: list[Untrained]
) -> list[Published]:
    """Fit, judge and register why contracts end; nothing where the data cannot teach it, which is told."""
    left = frames.outcomes[frames.outcomes[TARGET] == 1].reset_index(drop=True)
    try:
        causes = train_causes(frames.outcomes, frames.features, settings, as_of, churn)
        return [publish(lake, causes, left, frames.features, settings, as_of, frames.first_day)]
    except NotTrainableError as error:
        untrained.append(lack_of(lake, SUBJECT, str(error), NO_CAUSES))
        return []


def lack_of(lake: Lake, subject: str, reason: str, meaning: str) -> Untrained:
    """Say what a model means that could not be trained: nothing new where an earlier champion goes on."""
    return Untrained(subject, reason, meaning if registered_model(lake, subject).is_none else EARLIER)
