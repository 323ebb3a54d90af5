"""What a training says at its end: its record, its metrics and what a person should know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from configs.settings import Settings
from features.storage.lake import Lake
from models.judge.policy_verdict import PolicyVerdict
from models.metrics.metric import Metric
from models.registry.promotion import Published
from models.training_run.response_models import FittedResponse
from models.training_run.training_frames import TrainingFrames
from models.training_run.training_record import ModelRecord, TrainingRecord, write_training


def keep_training(lake: Lake, as_of: date, outcomes: Sequence[Published], response: FittedResponse) -> Path:
    """Write the record of a training and its pictures; returns their folder."""
    published = [*outcomes, *response.published]
    models = {each.subject: ModelRecord(each.champion, each.reason, _rounded(each.metrics)) for each in published}
    verdict = _rounded_verdict(response.verdict) if response.verdict is not None else None
    record = TrainingRecord(as_of, models, response.effects, verdict)
    pictures = {f"{each.subject}_{name}": png for each in published for name, png in each.pictures.items()}
    return write_training(lake, record, pictures)


def training_metrics(published: Sequence[Published], response: FittedResponse) -> dict[str, Metric]:
    """Name every metric of a training: of its models, of average effects and of the policies that were judged."""
    metrics = {name: metric for each in published for name, metric in each.metrics.items()}
    for effect in response.effects:
        metrics[f"{effect.offer_id}.incremental_margin"] = effect.margin
        metrics[f"{effect.offer_id}.incremental_retention"] = effect.retention
    return metrics | (response.verdict.metrics if response.verdict is not None else {})


def training_warnings(
    settings: Settings, frames: TrainingFrames, published: Sequence[Published], response: FittedResponse
) -> list[str]:
    """Say why each champion is champion, why there is no model of offers where there is none, and what was left out."""
    warnings = [f"{each.subject}: {each.reason}" for each in published]
    if frames.left_out:
        of_all = frames.left_out + len(frames.treatments)
        warnings.append(
            f"{frames.left_out:,} of {of_all:,} closed treatments taught nothing: no snapshot of their day knows their "
            f"user (the history begins on {frames.first_day}); ingest the events before them"
        )
    if not response.published:
        found, wanted = len(frames.treatments), settings.response.min_treatments
        warnings.append(f"no offer model: {found:,} closed treatments, response.min_treatments = {wanted:,}")
    return warnings


def _rounded(metrics: dict[str, Metric]) -> dict[str, Metric]:
    return {name: metric.rounded() for name, metric in metrics.items()}


def _rounded_verdict(verdict: PolicyVerdict) -> PolicyVerdict:
    gains = {name: gain.rounded() for name, gain in verdict.gains.items()}
    values = {name: value.rounded() for name, value in verdict.values.items()}
    return replace(verdict, gains=gains, values=values, lead=verdict.lead.rounded())
