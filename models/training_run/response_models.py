"""The training step of redemption and effects, from randomised treatments if there are enough, else targeted ones."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np
import pandas as pd

from configs.errors import InputError
from configs.offers import NO_OFFER, Option, load_catalogue
from configs.settings import Settings
from features.arrays.array_types import Floats, Places
from features.storage.lake import Lake
from models.champion_gate.promotion import Published, publish, publish_effects, publish_propensities
from models.effects.average_effect import AverageEffect
from models.effects.effect_model import ActionSet
from models.effects.effect_ranking import effect_rankings
from models.effects.observational_effects import (
    MIN_CONTROL,
    MIN_TREATED,
    average_of_experiment,
    estimate_effects,
    has_money,
)
from models.effects.uplift import LearntEffects, learn_effects, usable_options
from models.judge.calibrated_value import Calibrated
from models.judge.policies import judge_policies
from models.judge.simple_policies import picked_by
from models.learn.listening import with_channel_share
from models.learn.paid_costs import Payments
from models.learn.redeemed_spend import RedeemedSpend
from models.learn.redemption import RISING, p_redeem_each, shallow, train_redemption
from models.learn.training import NotTrainableError, Trained, cross_fitted_models, newest, user_fold
from models.learn.value import later_share
from models.metrics.metric import Metric
from models.model_cards.model_notes import RedemptionNotes
from models.policy_value.off_policy import Logged
from models.policy_value.policy_verdict import (
    NO_MONEY,
    NOBODY,
    PERSONAL,
    Deployed,
    PolicyValue,
    PolicyVerdict,
    option_names,
)
from models.policy_value.propensity_check import Misfit, propensity_misfits
from models.registry.model_reader import load_if_any
from models.registry.response import EFFECT_SUBJECTS, gather_evidence, payments_of
from models.training_run.outcome_models import NO_EVENTS, lack_of
from models.training_run.training_frames import TrainingFrames, closed_values
from models.training_run.training_record import EFFECTS, Untrained, cold_start, latest_training

NO_STAYING = "who stays is not known of treatments that state their outcome"
NO_EFFECT_ON_STAYING = "offers are judged by the outcomes alone"
NO_EFFECTS = "no offer can be proven to pay, and nobody gets one but at random"


@dataclass(frozen=True)
class FittedResponse:
    """Models of the response to offers, average effects, and the gate's verdict where treatments were randomised.

    `untrained` are the models that the data could not teach, `rankings` say how well learnt effects rank users, and
    `misfits` which stated propensities what was drawn does not bear out.
    """

    published: list[Published]
    effects: tuple[AverageEffect, ...] = ()
    verdict: PolicyVerdict | None = None
    untrained: tuple[Untrained, ...] = ()
    rankings: dict[str, Metric] = field(default_factory=dict)
    misfits: tuple[Misfit, ...] = ()


def fit_response(settings: Settings, lake: Lake, as_of: date, frames: TrainingFrames) -> FittedResponse:
    """Fit, judge and register redemption and effects, each if the data teach it; value must be registered already."""
    found, wanted = frames.offers_given, settings.response.min_treatments
    if found < wanted:
        why = cold_start(found, wanted, settings.scoring.exploration.share)
        if not load_catalogue(settings.offers).offers:
            why = f"offers = {settings.offers!r} is an empty catalogue: nothing is given, and nothing learnt of it"
        return FittedResponse(
            [], untrained=(lack_of(lake, "redemption", why, no_rate(settings)), Untrained(EFFECTS, why, NO_EFFECTS))
        )
    redemption, untrained = None, []
    channels = {offer.offer_id: offer.channel for offer in load_catalogue(settings.offers).offers}
    try:
        if frames.outcomes.empty:
            raise NotTrainableError(NO_EVENTS)
        redemption = train_redemption(frames.treatments, frames.features, settings, as_of, channels)
    except NotTrainableError as error:
        untrained.append(lack_of(lake, "redemption", str(error), no_rate(settings)))
    fitted = fit_effects(settings, lake, as_of, frames, redemption)
    untrained, published = [*untrained, *fitted.untrained], fitted.published
    if redemption is not None:
        averages = () if fitted.verdict is not None else fitted.effects
        notes = RedemptionNotes(
            redemption.spend or RedeemedSpend(), averages, fitted.verdict is not None, redemption.listening
        )
        arguments = (lake, redemption, frames.treatments, frames.features, settings, as_of, frames.first_day, notes)
        try:
            published = [publish(*arguments, everybody=frames.outcomes), *published]
        except NotTrainableError as error:
            untrained.append(lack_of(lake, "redemption", str(error), no_rate(settings)))
    return replace(fitted, published=published, untrained=tuple(untrained))


def fit_effects(
    settings: Settings, lake: Lake, as_of: date, frames: TrainingFrames, redemption: Trained | None
) -> FittedResponse:
    """Learn what offers change: from randomised treatments if there are enough, else from targeted ones, if at all."""
    if frames.exposure.empty and frames.experiment.empty:
        young = f"no treatment is {settings.churn.horizon_days} days old, when its effect shows (churn.horizon_days)"
        return FittedResponse([], untrained=(Untrained(EFFECTS, young, NO_EFFECTS),))
    options = usable_options(frames.experiment, load_catalogue(settings.offers).options)
    users = int((frames.experiment if options else frames.exposure)["user_id"].nunique())
    if users < settings.training.min_users:
        few = f"{users:,} users can be compared, training.min_users = {settings.training.min_users}"
        return FittedResponse([], untrained=(Untrained(EFFECTS, few, NO_EFFECTS),))
    if options:
        p_redeem = expected_redemptions(frames, redemption, options, settings)
        channels = {offer.offer_id: offer.channel for offer in load_catalogue(settings.offers).offers}
        learnt = learn_effects(
            frames.experiment, options, frames.features, settings, p_redeem=p_redeem, channels=channels
        )
        return fit_randomised(settings, lake, as_of, frames, learnt, redemption, p_redeem)
    fitted = fit_targeted(settings, lake, as_of, frames)
    few = f"no offer has {MIN_TREATED} comparable users with it and {MIN_CONTROL} without"
    lacking = () if fitted.effects else (Untrained(EFFECTS, few, NO_EFFECTS),)
    return replace(fitted, untrained=lacking)


def expected_redemptions(
    frames: TrainingFrames, redemption: Trained | None, options: tuple[Option, ...], settings: Settings
) -> Floats | None:
    """P(redeem) of each option for each user with a randomised treatment, out of fold; shape (rows, options)."""
    if redemption is None:
        return None
    return _held_out_redemptions(frames, redemption, options, settings, frames.experiment)


def chosen_payments(
    frames: TrainingFrames, redemption: Trained | None, options: tuple[Option, ...], settings: Settings
) -> Payments | None:
    """List what was paid for treatments that a policy chose (propensity 1); None without any."""
    if redemption is None or redemption.spend is None or "propensity" not in frames.treatments:
        return None
    rows = frames.treatments[frames.treatments["propensity"] == 1.0].reset_index(drop=True)
    if rows.empty:
        return None
    p_redeem = _held_out_redemptions(frames, redemption, options, settings, rows)
    catalogue = load_catalogue(settings.offers)
    return payments_of(rows, p_redeem, options, catalogue, redemption.spend, settings.categories)


def _held_out_redemptions(
    frames: TrainingFrames, redemption: Trained, options: tuple[Option, ...], settings: Settings, rows: pd.DataFrame
) -> Floats:
    """Chance of each option to be used by each row, by models that did not see its user; (rows, options)."""
    fold, found = user_fold(rows["user_id"], settings), np.zeros((len(rows), len(options)))
    treatments, winner = with_channel_share(frames.treatments, redemption.listening), redemption.winner.estimator
    for k, model in cross_fitted_models(winner, treatments, shallow(treatments, settings), rising=RISING).items():
        found[fold == k] = p_redeem_each(model, rows[fold == k], options, redemption.listening)
    return found


def no_rate(settings: Settings) -> str:
    """Describe what offers are charged if nothing is known about who uses them."""
    rate = settings.response.assumed_redemption_rate
    so = ", so that no budget is overspent and few randomised offers are given" if rate == 1 else ""
    return (
        f"what an offer costs is not known, and is charged as if {rate:.0%} of users used it "
        f"(response.assumed_redemption_rate){so}"
    )


def fit_randomised(
    settings: Settings, lake: Lake, as_of: date, frames: TrainingFrames, learnt: dict[str, LearntEffects],
    redemption: Trained | None, p_redeem: Floats | None,
) -> FittedResponse:  # fmt: skip
    """Estimate effects from randomised treatments, judge the policies that they allow, and register both.

    Where what was drawn refutes the propensities that all of it rests on, nobody gets an offer, and no figure is told.
    """
    experiment, options = frames.experiment, learnt["margin_soon"].options
    picked, misfits = None, misfits_of(experiment, options)
    refuted = tuple(each.name for each in misfits if each.is_refuted)
    if has_money(experiment) and not refuted:
        verdict, picked = judge_experiment(settings, lake, as_of, frames, learnt, redemption, p_redeem)
    else:
        unknown = PolicyValue(float("nan"), float("-inf"), float("inf"), len(experiment))
        verdict = PolicyVerdict(Deployed(NOBODY), {}, unknown, {}, refuted=refuted)
    published = publish_effects(lake, learnt, options, verdict, experiment, settings, as_of, frames.first_day, picked)
    lacking: tuple[Untrained, ...] = ()
    if not has_money(experiment):
        published = [each for each in published if each.subject != EFFECT_SUBJECTS["margin_soon"]]
        lacking = (Untrained(EFFECT_SUBJECTS["margin_soon"], NO_MONEY, NO_EFFECTS),)
    if "is_net" in experiment:
        published = [each for each in published if each.subject != EFFECT_SUBJECTS["is_retained"]]
        lacking = (*lacking, Untrained(EFFECT_SUBJECTS["is_retained"], NO_STAYING, NO_EFFECT_ON_STAYING))
    if refuted:
        return FittedResponse(published, (), verdict, lacking, misfits=misfits)
    averages, rankings = average_of_experiment(experiment, learnt), effect_rankings(experiment, learnt, settings)
    return FittedResponse(published, tuple(averages), verdict, lacking, rankings, misfits)


def misfits_of(experiment: pd.DataFrame, options: tuple[Option, ...]) -> tuple[Misfit, ...]:
    """Find the stated propensities of an experiment that do not fit what was drawn."""
    discounts = experiment["discount"].to_numpy(dtype=np.float64)
    action = ActionSet(options, ()).places(experiment["offer_id"].astype(str).tolist(), discounts) + 1
    logged = Logged(
        action, experiment["propensity"].to_numpy(dtype=np.float64), np.zeros(len(action)), experiment["user_id"]
    )
    return propensity_misfits(logged, experiment["day"], [NO_OFFER, *option_names(options)])


def fit_targeted(settings: Settings, lake: Lake, as_of: date, frames: TrainingFrames) -> FittedResponse:
    """Estimate one average effect per offer, adjusted for who used to get it."""
    found = estimate_effects(frames.exposure, settings)
    publish_propensities(lake, found, frames.exposure, settings, as_of, frames.first_day)
    return FittedResponse([], tuple(offer.effect for offer in found))


def judge_experiment(
    settings: Settings, lake: Lake, as_of: date, frames: TrainingFrames, learnt: dict[str, LearntEffects],
    redemption: Trained | None, p_redeem: Floats | None,
) -> tuple[PolicyVerdict, Places | None]:  # fmt: skip
    """Ask the gate whether deciding personally beats every simpler policy on held-out randomised treatments.

    Returns
    -------
    The verdict, and what a simple policy that decides picks where no row had a say in it (`picked_by`).
    """
    value, stayed = load_if_any(lake, "value"), closed_values(frames.outcomes, settings, as_of)
    stayed = stayed.query("is_churned == 0") if len(stayed) else stayed
    everybody = len(newest(frames.outcomes)) if len(frames.outcomes) else frames.experiment["user_id"].nunique()
    worth, spend = {}, RedeemedSpend()
    if value is not None and len(stayed):
        worth = cross_fitted_models(value.estimator, stayed.assign(margin=stayed["margin"].clip(lower=0.0)), settings)
    if redemption is not None:
        spend = redemption.spend or spend
    evidence = gather_evidence(
        frames.experiment, learnt, p_redeem, worth, spend, load_catalogue(settings.offers),
        learnt["margin_soon"].options, settings.scoring.budget * frames.share / everybody,
        categories=settings.categories, later_share=later_share(stayed, settings) if len(stayed) else 0.0,
        assumed_rate=settings.response.assumed_redemption_rate,
    )  # fmt: skip
    before, chosen = verdict_before(lake, as_of), None
    if before is not None and before.deployed.name == PERSONAL:
        chosen = chosen_payments(frames, redemption, learnt["margin_soon"].options, settings)
    verdict = judge_policies(evidence, settings.scoring.ladder, before, chosen)
    return verdict, picked_by(Calibrated(evidence), verdict.deployed)


def verdict_before(lake: Lake, as_of: date) -> PolicyVerdict | None:
    """Read what the gate said in the newest training; None where there is none, or it is damaged (winback verify)."""
    with suppress(InputError):
        trained = latest_training(lake, as_of)
        return trained.verdict if trained is not None else None
    return None
