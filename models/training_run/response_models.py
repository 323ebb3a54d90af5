"""Who uses offers and what offers change: from randomised treatments if there are enough, else from targeted ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

from configs.offers import load_catalogue
from configs.settings import Settings
from features.storage.lake import Lake
from models.effects.average_effect import AverageEffect
from models.effects.observational_effects import average_of_experiment, estimate_effects
from models.effects.uplift import LearntEffects, learn_effects, usable_options
from models.judge.policies import judge_policies
from models.judge.policy_verdict import PolicyVerdict
from models.learn.redeemed_spend import RedeemedSpend
from models.learn.redemption import train_redemption
from models.learn.training import Trained, cross_fitted_models, newest
from models.registry.model_notes import RedemptionNotes
from models.registry.promotion import Published, publish, publish_effects, publish_propensities
from models.registry.response import gather_evidence
from models.registry.tracking import load
from models.training_run.training_frames import TrainingFrames, closed_values


@dataclass(frozen=True)
class FittedResponse:
    """Models of the response to offers, average effects, and the gate's verdict where treatments were randomised.

    All of it is empty where there were fewer closed treatments than ``response.min_treatments``.
    """

    published: list[Published]
    effects: tuple[AverageEffect, ...] = ()
    verdict: PolicyVerdict | None = None


def fit_response(settings: Settings, lake: Lake, as_of: date, frames: TrainingFrames) -> FittedResponse:
    """Fit, judge and register redemption and effects; the value model must be registered already."""
    if len(frames.treatments) < settings.response.min_treatments:
        return FittedResponse([])
    redemption = train_redemption(frames.treatments, frames.features, settings, as_of)
    catalogue = load_catalogue(settings.offers)
    options = usable_options(frames.experiment, catalogue.options)
    if options:
        learnt = learn_effects(frames.experiment, options, frames.features, settings)
        found = fit_randomised(settings, lake, as_of, frames, learnt, redemption)
    else:
        found = fit_targeted(settings, lake, as_of, frames)
    notes = RedemptionNotes(redemption.spend or RedeemedSpend(), () if options else found.effects, bool(options))
    first = publish(lake, redemption, frames.treatments, frames.features, settings, as_of, frames.first_day, notes)
    return replace(found, published=[first, *found.published])


def fit_randomised(
    settings: Settings, lake: Lake, as_of: date, frames: TrainingFrames, learnt: dict[str, LearntEffects],
    redemption: Trained,
) -> FittedResponse:  # fmt: skip
    """Judge the policies that learnt effects allow, and register the effects with the verdict."""
    verdict = judge_experiment(settings, lake, as_of, frames, learnt, redemption)
    options, experiment = learnt["margin_soon"].options, frames.experiment
    published = publish_effects(lake, learnt, options, verdict, experiment, settings, as_of, frames.first_day)
    return FittedResponse(published, tuple(average_of_experiment(experiment, learnt)), verdict)


def fit_targeted(settings: Settings, lake: Lake, as_of: date, frames: TrainingFrames) -> FittedResponse:
    """Estimate one average effect per offer, adjusted for who used to get it."""
    found = estimate_effects(frames.exposure, settings)
    publish_propensities(lake, found, frames.exposure, settings, as_of, frames.first_day)
    return FittedResponse([], tuple(offer.effect for offer in found))


def judge_experiment(
    settings: Settings, lake: Lake, as_of: date, frames: TrainingFrames, learnt: dict[str, LearntEffects],
    redemption: Trained,
) -> PolicyVerdict:  # fmt: skip
    """Ask the gate whether deciding personally beats every simpler policy on held-out randomised treatments."""
    worth = load(lake, "value").estimator
    stayed = closed_values(frames.outcomes, settings, as_of).query("is_churned == 0")
    evidence = gather_evidence(
        frames.experiment, learnt,
        cross_fitted_models(redemption.winner.estimator, frames.treatments, settings, rising=("discount",)),
        cross_fitted_models(worth, stayed.assign(margin=stayed["margin"].clip(lower=0.0)), settings),
        redemption.spend or RedeemedSpend(), load_catalogue(settings.offers), learnt["margin_soon"].options,
        settings.scoring.budget * frames.share / len(newest(frames.outcomes)),
    )  # fmt: skip
    return judge_policies(evidence)
