"""From a training to the registry: every candidate is logged, the gate's winner becomes champion."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from configs.offers import Option
from configs.settings import MACHINES, Settings
from features.definitions.registry import Feature
from features.storage.lake import Lake
from models.effects.observational_effects import OfferEffect, has_money
from models.effects.uplift import LearntEffects
from models.judge.policy_verdict import PolicyVerdict
from models.learn.estimators import Estimator
from models.learn.training import Trained
from models.metrics.metric import Metric
from models.registry.champions import challenge, promote
from models.registry.explain import shap_pictures
from models.registry.model_notes import EffectNotes, PropensityNotes, RedemptionNotes, ValueNotes, notes_as_json
from models.registry.pictures import amount_picture, calibration_picture, lift_picture
from models.registry.response import EFFECT_SUBJECTS, propensity_subject
from models.registry.tracking import ModelLineage, fingerprint, register

IRRELEVANT = MACHINES | {"scoring", "profile", "ingest", "offers"}  # of offers the rows say what counts


@dataclass(frozen=True)
class Published:
    """What a training run left in the registry; `pictures` maps names to PNG bytes."""

    subject: str
    champion: str
    version: int
    reason: str
    metrics: dict[str, Metric]
    pictures: dict[str, bytes]


def publish(
    lake: Lake, trained: Trained, frame: pd.DataFrame, features: list[Feature], settings: Settings, as_of: date,
    first_day: date, notes: ValueNotes | RedemptionNotes | None = None,
) -> Published:  # fmt: skip
    """Log and register every candidate of a subject and promote the gate's winner, with the gate's reason.

    Training again on the same rows with the same settings registers nothing new.
    """
    relevant = settings.model_dump_json(exclude=IRRELEVANT)
    mark = fingerprint(frame, f"{trained.subject}|{relevant}|{as_of}")
    pictures = quality_pictures(trained, settings, features)
    versions = {}
    for name, candidate in trained.candidates.items():
        is_winner = name == trained.verdict.winner
        versions[name] = register(
            lake,
            ModelLineage(trained.subject, name, as_of, first_day, as_of, mark),
            candidate.estimator,
            trained.latest.head(100),
            parameters=parameters(settings, candidate.estimator, len(frame)),
            metrics=trained.metrics if is_winner else _own_metrics(trained, name),
            pictures=pictures if is_winner else {},
            notes={} if notes is None else notes_as_json(notes),
            verdict=trained.verdict.reason,
        )
    promote(lake, trained.subject, versions[trained.verdict.winner], trained.verdict.reason)
    for name, version in versions.items():
        if name != trained.verdict.winner:
            challenge(lake, trained.subject, version)
    champion = ModelLineage(trained.subject, trained.verdict.winner, as_of, first_day, as_of, mark).name
    version = versions[trained.verdict.winner]
    return Published(trained.subject, champion, version, trained.verdict.reason, trained.metrics, pictures)


def publish_propensities(
    lake: Lake, effects: list[OfferEffect], frame: pd.DataFrame, settings: Settings, as_of: date, first_day: date
) -> None:
    """Register who used to get each offer, which says whom its effect speaks about."""
    for offer in effects:
        subject = propensity_subject(offer.effect.offer_id)
        mark = fingerprint(frame, f"{subject}|{settings.model_dump_json(exclude=IRRELEVANT)}|{as_of}")
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
        )
        promote(lake, subject, version, "the only candidate")


def publish_effects(
    lake: Lake, learnt: dict[str, LearntEffects], options: tuple[Option, ...], verdict: PolicyVerdict,
    experiment: pd.DataFrame,
    settings: Settings, as_of: date, first_day: date,
) -> list[Published]:  # fmt: skip
    """Register what every option changes for every user, and the policy that the gate deploys."""
    average = np.stack([learnt[outcome].mean for outcome in EFFECT_SUBJECTS], axis=1)
    offers = learnt["margin_soon"].effect_model.offers
    averages = tuple(map(tuple, average.tolist()))
    kept = EffectNotes(options, offers, verdict.deployed, averages, verdict.reason, has_money(experiment))
    notes = notes_as_json(kept)
    published = []
    for outcome, subject in EFFECT_SUBJECTS.items():
        # the gate's verdict depends on costs and budget too: another one is another version
        known_by = (
            f"{subject}|{settings.model_dump_json(exclude=IRRELEVANT)}|{as_of}|{json.dumps(notes, sort_keys=True)}"
        )
        mark = fingerprint(experiment, known_by)
        training = ModelLineage(subject, "linear", as_of, first_day, as_of, mark)
        each = learnt[outcome]
        found = {f"{subject.replace(' ', '_')}.ridge": Metric.exact(each.ridge, len(experiment))} | verdict.metrics
        known = {name: metric for name, metric in found.items() if np.isfinite([metric.value, metric.low]).all()}
        version = register(
            lake, training, each.effect_model.estimator, experiment.head(100),
            parameters=parameters(settings, each.effect_model.estimator, len(experiment)), metrics=known, pictures={},
            notes=notes, verdict=verdict.reason,
        )  # fmt: skip
        promote(lake, subject, version, verdict.reason)
        published.append(Published(subject, training.name, version, verdict.reason, {}, {}))
    return published


def quality_pictures(trained: Trained, settings: Settings, features: list[Feature]) -> dict[str, bytes]:
    """Draw calibration, lift and SHAP of the chosen model."""
    label, score = trained.label, trained.score
    if trained.subject == "value":
        quality = {"calibration": amount_picture(label, score, settings.currency)}
    else:
        what = {"churn": "leaves", "redemption": "redeems"}[trained.subject]
        quality = {
            "calibration": calibration_picture(label, score, what),
            "lift": lift_picture(label, score, {"churn": "leavers", "redemption": "redeemers"}[trained.subject]),
        }
    labels = {feature.name: feature.label for feature in features} | {"offer_id": "kind of offer"}
    return quality | shap_pictures(trained.winner.estimator, trained.latest, labels)


def parameters(settings: Settings, estimator: Estimator, rows: int) -> dict[str, object]:
    """Parameters that a run is logged with."""
    named = {"family": estimator.family, "seed": settings.seed, "profile": settings.profile}
    horizons = {
        "churn_lookback_days": settings.churn.lookback_days,
        "churn_horizon_days": settings.churn.horizon_days,
        "value_horizon_days": settings.value.horizon_days,
        "holdout_days": settings.training.holdout_days,
    }
    return {"rows": rows, **named, **horizons, **estimator.parameters(settings)}


def _own_metrics(trained: Trained, name: str) -> dict[str, Metric]:
    return {key: metric for key, metric in trained.metrics.items() if key.endswith(f"_{name}")}
