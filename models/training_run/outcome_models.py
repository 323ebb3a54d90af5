"""Who leaves and what staying is worth: both models fitted, judged and registered."""

from __future__ import annotations

from datetime import date

from configs.settings import Settings
from features.storage.lake import Lake
from models.learn.churn import train_churn
from models.learn.value import train_value
from models.registry.promotion import Published, publish
from models.training_run.training_frames import TrainingFrames, closed_values


def fit_outcomes(settings: Settings, lake: Lake, as_of: date, frames: TrainingFrames) -> list[Published]:
    """Fit, judge and register churn and value; the gate's winner of each becomes champion."""
    worth = closed_values(frames.outcomes, settings, as_of)
    churn = train_churn(frames.outcomes, frames.features, settings, as_of)
    value = train_value(worth, frames.features, settings, as_of)
    return [
        publish(lake, churn, frames.outcomes, frames.features, settings, as_of, frames.first_day),
        publish(lake, value, worth, frames.features, settings, as_of, frames.first_day),
    ]
