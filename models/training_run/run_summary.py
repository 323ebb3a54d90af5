"""The summary of a training: its record, metrics and warnings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from configs.errors import InputError
from features.storage.lake import Lake
from models.champion_gate.promotion import Published
from models.metrics.comeback_note import ComebackNote
from models.metrics.metric import Leak, Metric
from models.personas.persona_note import PersonaNote
from models.policy_value.policy_verdict import PolicyVerdict
from models.registry.response import EFFECT_SUBJECTS
from models.tastes.taste_training import TasteVerdict
from models.training_run.outcome_models import FittedOutcomes
from models.training_run.response_models import FittedResponse
from models.training_run.taste_learning import taste_metrics
from models.training_run.training_frames import TrainingFrames
from models.training_run.training_record import VERSION, ModelRecord, TrainingRecord, Untrained, write_training

MEANINGS = {
    "churn": "everybody has a risk, and those at high risk are named",
    "churn_cause": "leaving by choice and leaving by failed payments have a probability each",
    "value": "staying is worth money, user by user",
    "redemption": "an offer costs what those who will use it are given",
    "effect on margin": "offers go where they were proven to pay, if anywhere",
    "effect on retention": "keeping a user counts as much as was proven",
}


def keep_training(
    lake: Lake, as_of: date, outcomes: FittedOutcomes, response: FittedResponse, tastes: TasteVerdict | None = None,
    personas: PersonaNote | None = None, comeback: ComebackNote | None = None,
) -> Path:  # fmt: skip
    """Write the record of a training and its pictures; returns their folder.

    Raises
    ------
    InputError
        No model could be trained at all; earlier records stay.
    """
    published, untrained = [*outcomes.published, *response.published], (*outcomes.untrained, *response.untrained)
    if not published:
        raise InputError(f"no model could be trained: {'; '.join(dict.fromkeys(lack.reason for lack in untrained))}")
    models = {
        each.subject: ModelRecord(each.champion, each.reason, _rounded(each.metrics), each.leaks) for each in published
    }
    verdict = _rounded_verdict(response.verdict) if response.verdict is not None else None
    record = TrainingRecord(
        as_of,
        models,
        response.effects,
        verdict,
        untrained,
        VERSION,
        outcomes.recency,
        taste_metrics(tastes),
        personas,
        comeback,
    )
    pictures = {f"{each.subject}_{name}": png for each in published for name, png in each.pictures.items()}
    return write_training(lake, record, pictures)


def training_metrics(published: Sequence[Published], response: FittedResponse) -> dict[str, Metric]:
    """Name every metric of a training: of its models, of effects and of the policies that were judged."""
    metrics = {name: metric for each in published for name, metric in each.metrics.items()}
    unknown = {lack.subject for lack in response.untrained}
    for effect in response.effects:
        if effect.margin is not None:
            metrics[f"{effect.offer_id}.incremental_margin"] = effect.margin
        if EFFECT_SUBJECTS["is_retained"] not in unknown:
            metrics[f"{effect.offer_id}.incremental_retention"] = effect.retention
    metrics |= response.rankings
    return metrics | (response.verdict.metrics if response.verdict is not None else {})


def model_table(published: Sequence[Published], lacking: Sequence[Untrained]) -> list[dict[str, str | bool]]:
    """List every model: whether it was trained, why it is champion or why there is none, and what that means."""
    trained: list[dict[str, str | bool]] = [
        {
            "model": each.subject,
            "is_trained": True,
            "why": f"{each.champion} is champion",
            "meaning": MEANINGS[each.subject],
        }
        for each in published
    ]
    return trained + [
        {"model": lack.subject, "is_trained": False, "why": lack.reason, "meaning": lack.meaning} for lack in lacking
    ]


def training_warnings(
    frames: TrainingFrames, published: Sequence[Published], lacking: Sequence[Untrained]
) -> list[str]:
    """Say why each champion is champion, which models there are not and why, what tells too much and what nothing."""
    warnings = [f"{each.subject}: {each.reason}" for each in published] + [
        f"no model of {lack.subject}: {lack.reason}" for lack in lacking
    ]
    warnings += [_leak_warning(each.subject, leak) for each in published for leak in each.leaks]
    unseen = [
        feature.label
        for feature in frames.features
        if feature.view == "traits" and feature.name in frames.outcomes and frames.outcomes[feature.name].isna().all()
    ]
    if unseen:
        warnings.append(
            f"no snapshot that teaches knows {', '.join(unseen)}: models learn from them once they have been known for "
            "a horizon, or at once where users rows say known_from"
        )
    if frames.held_out:
        warnings.append(f"{frames.held_out:,} treatments are the holdout (is_holdout) and taught no effect")
    if frames.unused:
        warnings.append(
            f"{frames.unused:,} randomised treatments taught nothing: some state their outcome, others are measured by "
            f"events, which is not the same money, and the {len(frames.experiment):,} of the other kind are more"
        )
    if frames.left_out:
        of_all = frames.left_out + len(frames.treatments)
        warnings.append(
            f"{frames.left_out:,} of {of_all:,} closed treatments taught nothing: no snapshot of their day knows their "
            f"user (the history begins on {frames.first_day}); ingest the events before them, or say "
            "known_from of users"
        )
    if frames.refuse:
        warnings.append(f"{frames.refuse:,} users refuse profiling (consent_profiling): no model learns from them")
    used = frames.redemptions
    if used.counted < used.found:
        warnings.append(
            f"{used.found - used.counted:,} of {used.found:,} redemptions count for no treatment: their user had none "
            "open of that offer"
        )
    if used.foreign:
        warnings.append(
            f"{used.foreign:,} of {used.found:,} redemptions name a decision_id that no treatment has; they count for "
            "the latest open one of their user and offer, if there is one"
        )
    return warnings


def _leak_warning(subject: str, leak: Leak) -> str:
    gain = leak.gain_without
    found = (
        f"its AUC alone is {leak.auc_alone:.3f}"
        if gain is None
        else f"without it the trees are no better than the simplest model (log loss gain {gain.value:+.4f} "
        f"[{gain.low:+.4f}, {gain.high:+.4f}])"
    )
    return (
        f"{subject}: {leak.column} may tell the future, {found}; check that snapshots hold what was known on their day "
        "(known_from of users, received_at of events), or leave it out"
    )


def _rounded(metrics: dict[str, Metric]) -> dict[str, Metric]:
    return {name: metric.rounded() for name, metric in metrics.items()}


def _rounded_verdict(verdict: PolicyVerdict) -> PolicyVerdict:
    gains = {name: gain.rounded() for name, gain in verdict.gains.items()}
    values = {name: value.rounded() for name, value in verdict.values.items()}
    found = replace(verdict, gains=gains, values=values, lead=verdict.lead.rounded())
    if verdict.ladder is None:
        return found
    rungs = tuple(replace(rung, gain=rung.gain.rounded()) for rung in verdict.ladder.rungs)
    return replace(found, ladder=replace(verdict.ladder, rungs=rungs))
