"""Flow: from snapshots and labels to evaluated, registered models."""

from __future__ import annotations

from datetime import date

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from configs.masking import masked
from configs.settings import Settings
from features.materialise.user_traits import keep_traits
from features.storage.lake import Lake
from flows.runs.opened_run import dated, open_run, writes_alone
from flows.runs.outcome import Outcome
from flows.runs.run_steps import step
from models.metrics.comeback_note import ComebackNote
from models.personas.persona_note import PersonaNote
from models.registry.tracking import tracking_uri
from models.tastes.taste_training import TasteVerdict
from models.training_run import (
    comeback_learning,
    outcome_models,
    persona_learning,
    response_models,
    taste_learning,
    training_frames,
)
from models.training_run.outcome_models import FittedOutcomes
from models.training_run.response_models import FittedResponse
from models.training_run.run_summary import keep_training, model_table, training_metrics, training_warnings
from models.training_run.taste_learning import taste_metrics
from models.training_run.training_frames import TrainingFrames


@task(name="training frames", cache_policy=NO_CACHE)
def collect_frames(settings: Settings, lake: Lake, as_of: date) -> TrainingFrames:
    """Join labels with what was known at each example's moment."""
    with step("training frames", f"training frames up to {as_of}") as taken:
        frames = training_frames.collect_frames(settings, lake, as_of)
        taken.rows = len(frames.outcomes) + len(frames.treatments)
    return frames


@task(name="churn and value", cache_policy=NO_CACHE)
def fit_outcomes(settings: Settings, lake: Lake, as_of: date, frames: TrainingFrames) -> FittedOutcomes:
    """Fit, judge and register who leaves and what staying is worth."""
    with step("churn and value", "churn and value models") as taken:
        taken.rows = len(frames.outcomes)
        return outcome_models.fit_outcomes(settings, lake, as_of, frames)


@task(name="redemption and effects", cache_policy=NO_CACHE)
def fit_response(settings: Settings, lake: Lake, as_of: date, frames: TrainingFrames) -> FittedResponse:
    """Fit, judge and register who uses offers and what offers change."""
    with step("redemption and effects", "redemption model and effects of offers") as taken:
        taken.rows = len(frames.treatments)
        return response_models.fit_response(settings, lake, as_of, frames)


@task(name="tastes", cache_policy=NO_CACHE)
def fit_tastes(settings: Settings, lake: Lake, as_of: date) -> TasteVerdict | None:
    """Learn and judge what users buy again, and what for the first time."""
    with step("tastes", "what users buy again and anew") as taken:
        verdict = taste_learning.fit_tastes(settings, lake, as_of)
        taken.rows = len(verdict.model.categories) if verdict is not None else 0
    return verdict


@task(name="personas", cache_policy=NO_CACHE)
def fit_personas(settings: Settings, lake: Lake, as_of: date) -> PersonaNote | None:
    """Find groups of users with like habits, where there are any that are stable."""
    with step("personas", "users with like habits") as taken:
        found = persona_learning.fit_personas(settings, lake, as_of)
        taken.rows = len(found.names) if found is not None else 0
    return found


@task(name="comeback", cache_policy=NO_CACHE)
def learn_comeback(settings: Settings, lake: Lake, as_of: date) -> ComebackNote | None:
    """Learn who comes back of those who have lapsed."""
    with step("comeback", "who comes back") as taken:
        found = comeback_learning.learn_comeback(settings, lake, as_of)
        taken.rows = found.metrics["comeback.rate"].n if found is not None else 0
    return found


@flow(name="train-models", flow_run_name=dated("train-models"), validate_parameters=False)
@writes_alone
def train_models(profile: str | None = None, data_dir: str | None = None, as_of: date | None = None) -> Outcome:
    """Train every model on closed labels, judge it out of time and of users, and promote what earns it."""
    settings, lake, day = open_run(profile, data_dir, as_of)
    frames = collect_frames(settings, lake, day)
    outcomes = fit_outcomes(settings, lake, day, frames)
    response = fit_response(settings, lake, day, frames)
    keep_traits(lake, frames.features)
    tastes = fit_tastes(settings, lake, day)
    personas = fit_personas(settings, lake, day)
    comeback = learn_comeback(settings, lake, day)
    folder = keep_training(lake, day, outcomes, response, tastes, personas, comeback)
    published, lacking = [*outcomes.published, *response.published], (*outcomes.untrained, *response.untrained)
    outputs = {"mlflow": masked(tracking_uri(lake)), "training": str(folder)}
    outputs |= {f"{each.subject}.champion": f"{each.champion} (version {each.version})" for each in published}
    warnings, models = training_warnings(frames, published, lacking), model_table(published, lacking)
    warnings += map(str, response.misfits)
    metrics = training_metrics(published, response) | taste_metrics(tastes)
    if personas is not None:
        metrics |= personas.metrics
        outputs["personas"] = str(personas)
    if comeback is not None:
        metrics |= comeback.metrics
        outputs["comeback"] = str(comeback)
    outcome = Outcome("train-models", day, metrics, outputs, warnings, models=models)
    create_markdown_artifact(outcome.markdown(), key="train-models")
    return outcome
