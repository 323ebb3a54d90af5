"""Flow: snapshots and labels in, judged and registered models out."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from configs.offers import load_catalogue
from configs.progress import announce
from configs.settings import Settings
from features.arrays.array_types import Flags
from features.definitions.registry import Feature
from features.materialise.as_of_view import grid_days, open_as_of
from features.storage.lake import Lake
from features.storage.parquet_files import count_rows
from features.storage.whole_writes import write_bytes, write_text
from features.training_data.feature_store import open_store
from features.training_data.frames import (
    experiment_frame,
    given_offers,
    outcome_frame,
    redemption_frame,
    treatment_days,
)
from flows.outcome import Outcome, dated, open_run, writes_alone
from models.effects.observational_effects import Effect, effects_of_lots, estimate_effects, label_exposure
from models.effects.uplift import LearntEffects, learn_effects, usable_options
from models.judge.policies import PolicyVerdict, judge_policies
from models.learn.churn import train_churn
from models.learn.redemption import train_redemption
from models.learn.training import Trained, cross_fitted_models, newest
from models.learn.value import train_value
from models.metrics.splits import hash_share
from models.registry.promotion import Published, publish, publish_effects, publish_propensities
from models.registry.response import gather_evidence
from models.registry.tracking import load, tracking_uri


@dataclass(frozen=True)
class Frames:
    """Everything the models learn from: that of a `share` of all users."""

    outcomes: pd.DataFrame
    treatments: pd.DataFrame
    exposure: pd.DataFrame
    lots: pd.DataFrame
    features: list[Feature]
    first_day: date
    share: float = 1.0


@task(name="training frames", cache_policy=NO_CACHE)
def collect_frames(settings: Settings, lake: Lake, as_of: date) -> Frames:
    """Join labels with what was known at each example's moment."""
    announce(f"training frames up to {as_of}")
    grid = grid_days(settings, lake, as_of, holdouts=(settings.training.holdout_days,))
    treated = treatment_days(lake, as_of)
    horizon = settings.churn.horizon_days
    share = learning_share(settings, lake, as_of)

    def is_learnt_from(user_ids: pd.Series) -> Flags:
        return np.asarray(hash_share(user_ids, f"learners:{settings.seed}") < share)

    with open_as_of(settings, lake, as_of) as history:
        store = open_store(lake, history.features, engine=settings.engine)
        outcomes = outcome_frame(history, store, grid, horizon_days=horizon, user_filter=is_learnt_from)
        treatments = redemption_frame(history, store, load_catalogue(settings.offers), user_filter=is_learnt_from)
        exposure, lots = pd.DataFrame(), pd.DataFrame()
        if len(treatments):
            around = outcome_frame(history, store, treated, horizon_days=horizon, user_filter=is_learnt_from)
            exposure = label_exposure(around, given_offers(history, treatments), horizon)
            lots = experiment_frame(history, around, treatments)
        return Frames(outcomes, treatments, exposure, lots, history.features, history.first_day, share)


def learning_share(settings: Settings, lake: Lake, as_of: date) -> float:
    """Share of the users that models learn from, so that they are no more than ``training.max_users``."""
    users = max(
        (count_rows(lake.partition("snapshots", day)) for day in lake.days("snapshots") if day <= as_of), default=0
    )
    return min(1.0, settings.training.max_users / users) if users else 1.0


@task(name="churn and value", cache_policy=NO_CACHE)
def train_outcomes(settings: Settings, lake: Lake, as_of: date, frames: Frames) -> list[Published]:
    """Fit, judge and register who leaves and what staying is worth."""
    announce("churn and value models")
    worth = closed_values(frames.outcomes, settings, as_of)
    churn = train_churn(frames.outcomes, frames.features, settings, as_of)
    value = train_value(worth, frames.features, settings, as_of)
    return [
        publish(lake, churn, frames.outcomes, frames.features, settings, as_of, frames.first_day),
        publish(lake, value, worth, frames.features, settings, as_of, frames.first_day),
    ]


@task(name="redemption and effects", cache_policy=NO_CACHE)
def train_response(
    settings: Settings, lake: Lake, as_of: date, frames: Frames
) -> tuple[list[Published], list[Effect], PolicyVerdict | None]:
    """Fit, judge and register who uses offers and what offers change: from lots if there are enough of them."""
    announce("redemption model and effects of offers")
    if len(frames.treatments) < settings.response.min_treatments:
        return [], [], None
    trained = train_redemption(frames.treatments, frames.features, settings, as_of)
    catalogue = load_catalogue(settings.offers)
    options = usable_options(frames.lots, catalogue.options)
    published: list[Published] = []
    verdict: PolicyVerdict | None = None
    if options:
        learnt = learn_effects(frames.lots, options, frames.features, settings)
        verdict = judge_lots(settings, lake, as_of, frames, learnt, trained)
        published = publish_effects(lake, learnt, options, verdict, frames.lots, settings, as_of, frames.first_day)
        effects = effects_of_lots(frames.lots, learnt)
    else:
        found = estimate_effects(frames.exposure, settings)
        publish_propensities(lake, found, frames.exposure, settings, as_of, frames.first_day)
        effects = [offer.effect for offer in found]
    known = {effect.offer_id: effect.as_dict() for effect in effects if not options}
    trained = replace(trained, notes={**trained.notes, "effects": known, "has_lots": bool(options)})
    redemption = publish(lake, trained, frames.treatments, frames.features, settings, as_of, frames.first_day)
    return [redemption, *published], effects, verdict


def judge_lots(
    settings: Settings, lake: Lake, as_of: date, frames: Frames, learnt: dict[str, LearntEffects], redemption: Trained
) -> PolicyVerdict:
    """Ask the gate whether deciding personally beats every simpler policy on held-out lots."""
    worth = load(lake, "value").estimator
    stayed = closed_values(frames.outcomes, settings, as_of).query("is_churned == 0")
    catalogue = load_catalogue(settings.offers)
    options = learnt["margin_soon"].options
    evidence = gather_evidence(
        frames.lots, learnt,
        cross_fitted_models(redemption.winner.estimator, frames.treatments, settings, rising=("discount",)),
        cross_fitted_models(worth, stayed.assign(margin=stayed["margin"].clip(lower=0.0)), settings),
        redemption.notes, catalogue, options, settings.scoring.budget * frames.share / len(newest(frames.outcomes)),
    )  # fmt: skip
    return judge_policies(evidence)


def closed_values(outcomes: pd.DataFrame, settings: Settings, as_of: date) -> pd.DataFrame:
    """Rows whose value horizon is over."""
    closed = pd.to_datetime(outcomes["day"]) <= pd.Timestamp(as_of - timedelta(days=settings.value.horizon_days))
    return outcomes[closed].reset_index(drop=True)


@flow(name="train-models", flow_run_name=dated("train-models"), validate_parameters=False)
@writes_alone
def train_models(profile: str | None = None, data_dir: str | None = None, as_of: date | None = None) -> Outcome:
    """Train every model on closed labels, judge it out of time and of users, and promote what earns it."""
    settings, lake, day = open_run(profile, data_dir, as_of)
    frames = collect_frames(settings, lake, day)
    published = train_outcomes(settings, lake, day, frames)
    responses, effects, verdict = train_response(settings, lake, day, frames)
    published += responses
    metrics = {name: metric for each in published for name, metric in each.metrics.items()}
    for effect in effects:
        metrics[f"{effect.offer_id}.incremental_margin"] = effect.margin
        metrics[f"{effect.offer_id}.incremental_retention"] = effect.retention
    metrics |= verdict.metrics if verdict is not None else {}
    folder = lake.path("training", f"day={day}")
    write_training(lake, day, published, effects, verdict)
    outputs = {"mlflow": tracking_uri(lake), "training": str(folder)}
    outputs |= {f"{each.subject}.champion": f"{each.champion} (version {each.version})" for each in published}
    warnings = [f"{each.subject}: {each.reason}" for each in published]
    if not responses:
        found, wanted = len(frames.treatments), settings.response.min_treatments
        warnings.append(f"no offer model: {found:,} closed treatments, response.min_treatments = {wanted:,}")
    outcome = Outcome("train-models", day, metrics, outputs, warnings)
    create_markdown_artifact(outcome.markdown(), key="train-models")
    return outcome


def write_training(
    lake: Lake, as_of: date, published: list[Published], effects: list[Effect], verdict: PolicyVerdict | None
) -> None:
    """Keep what the report needs of a training: verdicts, metrics, effects and pictures."""
    with lake.whole_folder("training", f"day={as_of}") as folder:
        models = {}
        for each in published:
            metrics = {name: metric.as_dict() for name, metric in each.metrics.items()}
            models[each.subject] = {"champion": each.champion, "reason": each.reason, "metrics": metrics}
            for name, content in each.pictures.items():
                write_bytes(folder / f"{each.subject}_{name}.png", content)
        summary = {"as_of": str(as_of), "models": models, "effects": [effect.as_dict() for effect in effects]}
        if verdict is not None:
            gains = {name: gain.as_dict() for name, gain in verdict.gains.items()}
            summary["policy"] = {
                "deployed": verdict.deployed.as_dict(), "reason": verdict.reason, "gains": gains,
                "lead": verdict.lead.as_dict(),
            }  # fmt: skip
        write_text(folder / "training.json", json.dumps(summary, indent=1) + "\n")
