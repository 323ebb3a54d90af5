"""From a training to the registry: every candidate is logged, the gate's winner becomes champion."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from functools import partial

import numpy as np
import pandas as pd

from configs.offers import Option
from configs.settings import Settings
from features.arrays.array_types import Places
from features.arrays.calendar_days import start_of
from features.definitions.registry import Feature
from features.storage.lake import Lake
from models.champion_gate.champions import name_version, promote, withhold
from models.champion_gate.drift_reference import drift_reference
from models.champion_gate.incumbent import meet_champion
from models.effects.observational_effects import OfferEffect, has_money
from models.effects.uplift import LearntEffects, mean_effects
from models.learn.listening import CHANNEL_SHARE
from models.learn.training import NotTrainableError, Trained
from models.metrics.metric import Leak, Metric
from models.model_cards.explain import shap_pictures
from models.model_cards.model_notes import EffectNotes, PropensityNotes, RedemptionNotes, ValueNotes, notes_as_json
from models.model_cards.pictures import amount_picture, calibration_picture, lift_picture
from models.model_cards.run_description import parameters, relevant_settings, training_run
from models.policy_value.policy_verdict import PolicyVerdict
from models.registry.fold_models import FoldModels, what_is_predicted, write_folds
from models.registry.model_reader import ModelLineage
from models.registry.registry_state import NEWEST
from models.registry.response import EFFECT_SUBJECTS, propensity_subject
from models.registry.tracking import fingerprint, log_training, register, rows_digest

OUTCOMES = {  # what a model of classes predicts, and who they are of whom it is true
    "churn": ("leaves", "leavers"),
    "churn_cause": ("leaves as payments fail", "those whose payments fail"),
    "redemption": ("redeems", "redeemers"),
}


@dataclass(frozen=True)
class Published:
    """What a training run left in the registry; `pictures` maps names to PNG bytes."""

    subject: str
    champion: str
    version: int
    reason: str
    metrics: dict[str, Metric]
    pictures: dict[str, bytes]
    leaks: tuple[Leak, ...] = ()


def publish(
    lake: Lake, trained: Trained, frame: pd.DataFrame, features: list[Feature], settings: Settings, as_of: date,
    first_day: date, notes: ValueNotes | RedemptionNotes | None = None, everybody: pd.DataFrame | None = None,
) -> Published:  # fmt: skip
    """Log and register every candidate of a subject, and let the gate's winner meet the champion.

    Training again on the same rows with the same settings registers nothing new. `everybody` are those whom scoring
    asks a model of options about (`drift_reference`).

    Raises
    ------
    NotTrainableError
        No candidate is good enough to be promoted, and there is no champion.
    """
    training, digest = training_run(settings, as_of), rows_digest(frame)
    mark = fingerprint(digest, f"{trained.subject}|{relevant_settings(settings)}|{as_of}")
    pictures = quality_pictures(trained, settings, features)
    versions = {}
    for name, candidate in trained.candidates.items():
        folds = fold_models_of(trained, name, settings, as_of)
        versions[name] = register(
            lake,
            ModelLineage(trained.subject, name, as_of, first_day, as_of, mark),
            candidate.estimator,
            trained.latest.head(100),
            parameters=parameters(settings, candidate.estimator, len(frame)),
            metrics=trained.own_metrics[name],
            pictures=pictures if name == trained.verdict.winner else {},
            notes={} if notes is None else notes_as_json(notes),
            verdict=trained.verdict.reason,
            tags=folds.tags,
            folders={"folds": partial(write_folds, folds)},
            training=training,
            digest=digest,
            reference=drift_reference(
                trained, name, frame, pd.Timestamp(start_of(as_of, settings.time_zone)), everybody
            ),
        )
    first = versions[trained.verdict.winner]
    name_version(lake, trained.subject, NEWEST, first)
    found = meet_champion(lake, trained, first, settings)
    if found.trained.verdict.shortfall:
        lack = f"{trained.verdict.winner} is not good enough, {trained.verdict.shortfall}"
        withhold(lake, trained.subject, lack)
        raise NotTrainableError(f"the {trained.subject} model is not promoted: {lack}")
    others = [name for name, version in versions.items() if version != found.version]
    challenger = first if found.version != first else versions[trained.best_of(others)] if others else None
    promote(lake, trained.subject, found.version, found.reason, challenger=challenger)
    log_training(lake, training, found.trained.metrics)
    if found.version != first:
        pictures = quality_pictures(found.trained, settings, features)
    return Published(
        trained.subject, found.name, found.version, found.reason, found.trained.metrics, pictures, trained.leaks
    )


def fold_models_of(trained: Trained, name: str, settings: Settings, as_of: date) -> FoldModels:
    """Collect the fold models of a candidate, which judge it on the rows of a later training if it is champion then.

    Where users alone were left out its models know all labels until `as_of`.
    """
    until = trained.trial.honest_from or pd.Timestamp(start_of(as_of, settings.time_zone))
    by_fold, predicts = trained.candidates[name].by_fold, what_is_predicted(settings, trained.subject)
    return FoldModels(by_fold, settings.training.folds, until.isoformat(), predicts)


def publish_propensities(
    lake: Lake, effects: list[OfferEffect], frame: pd.DataFrame, settings: Settings, as_of: date, first_day: date
) -> None:
    """Register the propensity model of each offer, which says for which users its effect is known."""
    training, digest = training_run(settings, as_of), rows_digest(frame)
    for offer in effects:
        subject = propensity_subject(offer.effect.offer_id)
        mark = fingerprint(digest, f"{subject}|{relevant_settings(settings)}|{as_of}")
        version = register(
            lake,
            ModelLineage(subject, "logistic", as_of, first_day, as_of, mark),
            offer.propensity,
            frame.head(100),
            parameters=parameters(settings, offer.propensity, len(frame)),
            metrics={"propensity.overlap": Metric.exact(offer.effect.overlap, offer.effect.retention.n)},
            pictures={},
            notes=notes_as_json(PropensityNotes(offer.effect)),
            verdict="the only candidate",
            training=training,
            digest=digest,
        )
        promote(lake, subject, version, "the only candidate")


def publish_effects(
    lake: Lake, learnt: dict[str, LearntEffects], options: tuple[Option, ...], verdict: PolicyVerdict,
    experiment: pd.DataFrame,
    settings: Settings, as_of: date, first_day: date, picked: Places | None = None,
) -> list[Published]:  # fmt: skip
    """Register what every option changes for every user, and the policy that the gate deploys.

    A simple policy's option is worth what it changes for whom that policy `picked`, (rows,), not for everybody.
    """
    notes = notes_as_json(_effect_notes(learnt, options, verdict, experiment, picked))
    training, digest = training_run(settings, as_of), rows_digest(experiment)
    published = []
    for outcome, subject in EFFECT_SUBJECTS.items():
        effects = learnt[outcome]
        # the gate's verdict depends on costs and budget too: another one is another version
        known_by = f"{subject}|{relevant_settings(settings)}|{as_of}|{json.dumps(notes, sort_keys=True)}"
        lineage = ModelLineage(subject, "linear", as_of, first_day, as_of, fingerprint(digest, known_by))
        estimator = effects.effect_model.estimator
        version = register(
            lake, lineage, estimator, experiment.head(100),
            parameters=parameters(settings, estimator, len(experiment)),
            metrics=_effect_metrics(subject, effects, verdict, len(experiment)), pictures={},
            notes=notes, verdict=verdict.reason, training=training, digest=digest,
        )  # fmt: skip
        promote(lake, subject, version, verdict.reason)
        published.append(Published(subject, lineage.name, version, verdict.reason, {}, {}))
    return published


def _effect_notes(
    learnt: dict[str, LearntEffects], options: tuple[Option, ...], verdict: PolicyVerdict, experiment: pd.DataFrame,
    picked: Places | None,
) -> EffectNotes:  # fmt: skip
    """Gather what scoring must know of the effects besides their models."""
    average = mean_effects(learnt, verdict.deployed.option, picked, verdict.shown)
    margin, retention = learnt["margin_soon"].effect_model, learnt["is_retained"].effect_model
    return EffectNotes(
        options,
        margin.offers,
        verdict.deployed,
        tuple(map(tuple, average.tolist())),
        (margin.unit, retention.unit),
        margin.listening,
        verdict.reason,
        has_money(experiment),
        is_net="is_net" in experiment,
        trial=verdict.trial,
        costs=verdict.costs,
        believed=verdict.believed,
    )


def _effect_metrics(subject: str, effects: LearntEffects, verdict: PolicyVerdict, rows: int) -> dict[str, Metric]:
    """Name the spread of each group of coefficients, and the values of the policies, as far as they are known."""
    prefix = f"{subject.replace(' ', '_')}.spread"
    spread = {f"{prefix}_{name}": Metric.exact(value, rows) for name, value in effects.spread.items()}
    metrics = spread | verdict.metrics
    return {name: metric for name, metric in metrics.items() if np.isfinite([metric.value, metric.low]).all()}


def quality_pictures(trained: Trained, settings: Settings, features: list[Feature]) -> dict[str, bytes]:
    """Draw calibration, lift and SHAP of the chosen model."""
    label, score = trained.label, trained.score
    if not len(label):
        quality = {}  # nothing honest is known of it
    elif trained.subject == "value":
        quality = {"calibration": amount_picture(label, score, settings.currency)}
    else:
        what, who = OUTCOMES[trained.subject]
        quality = {
            "calibration": calibration_picture(label, score, what),
            "lift": lift_picture(label, score, who),
        }
    labels = {feature.name: feature.label for feature in features} | {
        "offer_id": "kind of offer",
        CHANNEL_SHARE: "share opened of its channel",
    }
    return quality | shap_pictures(trained.winner.estimator, trained.latest, labels)
