"""Standard policies by name, as their choice for every row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from configs.offers import Option, load_catalogue
from configs.settings import Settings
from features.arrays.array_types import Floats, Places
from features.storage.lake import Lake
from features.training_data.experiments import training_treatments
from models.effects.uplift import learn_effects, usable_options
from models.learn.training import user_fold
from models.model_cards.model_notes import ValueNotes, read_notes
from models.policy_value.logged_treatments import LoggedTreatments
from models.policy_value.policy_comparison import NamedPolicy, best_option, constants
from models.policy_value.policy_verdict import PERSONAL, Deployed
from models.registry.model_reader import load_if_any
from models.registry.response import PersonalEffects, ResponseModels, load_response
from serving.contact_rules.contact_rule import ELIGIBLE, Forbidden
from serving.policy_evaluation.evaluated_treatments import EvaluatedTreatments
from serving.valuation.options import build_options

CHAMPION, BLIND_BEST, TOP_RISK, RELEARNT = "champion", "best constant, cross-fitted", "top risk", "personal relearnt"
RISKIEST = 0.2  # of the rows, which top risk gives something


def standard_policies(settings: Settings, lake: Lake, evaluated: EvaluatedTreatments) -> list[NamedPolicy]:
    """List what every evaluation shows: nobody, constants, top risk, and the champion's policies, as far as there are.

    The champion's are judged as they are where it learnt from none of these treatments; else by effects that were
    learnt anew from them, each fold of users from the others.
    """
    treatments = evaluated.treatments
    found = [*constants(treatments), _blind_best(settings, treatments)]
    churn = load_if_any(lake, "churn")
    if churn is not None:
        risk = churn.estimator.predict(treatments.frame)
        found.append(_top_risk(settings, treatments, risk))
    if not evaluated.is_unseen:
        return [*found, *_relearnt(settings, evaluated)]
    response = load_response(lake)
    if response is None or response.personal is None:
        return found
    return [*found, *_champions(settings, lake, treatments, response, response.personal)]


def _blind_best(settings: Settings, treatments: LoggedTreatments) -> NamedPolicy:
    """Choose the best constant for each fold of users by the others: without hindsight."""
    fold, choice = user_fold(treatments.frame["user_id"], settings), np.zeros(len(treatments.frame), dtype=np.intp)
    for k in np.unique(fold):
        choice[fold == k] = best_option(treatments, fold != k)
    return NamedPolicy(BLIND_BEST, choice, "chosen for each fold of users by the others, without hindsight")


def _top_risk(settings: Settings, treatments: LoggedTreatments, risk: Floats) -> NamedPolicy:
    """Give those most likely to leave the option that is best for those of the other folds."""
    at_risk = risk > np.quantile(risk, 1 - RISKIEST)
    fold, choice = user_fold(treatments.frame["user_id"], settings), np.zeros(len(risk), dtype=np.intp)
    for k in np.unique(fold):
        choice[(fold == k) & at_risk] = best_option(treatments, (fold != k) & at_risk)
    best = "" if choice.any() else ", for whom giving nothing is worth most: as nobody"
    return NamedPolicy(TOP_RISK, choice, f"the {RISKIEST:.0%} of the rows with the highest P(churn){best}")


def _champions(
    settings: Settings, lake: Lake, treatments: LoggedTreatments, response: ResponseModels, personal: PersonalEffects
) -> list[NamedPolicy]:
    """Say what the champion would give: to each what it expects most of, and what its gate lets it give."""
    frame, catalogue = treatments.frame, load_catalogue(settings.offers)
    churn, value = load_if_any(lake, "churn"), load_if_any(lake, "value")
    risk = None if churn is None else churn.estimator.predict(frame)
    worth = np.full(len(frame), np.nan)
    if value is not None:
        worth = read_notes(ValueNotes, value.notes, value.lineage.name).later_share * value.estimator.predict(frame)
    nobody_barred = Forbidden(
        np.full(len(frame), ELIGIBLE, dtype=np.int8),
        np.full((len(frame), len(catalogue.options)), ELIGIBLE, dtype=np.int8),
    )

    def choice(deployed: Deployed) -> Places:
        own = replace(response, personal=replace(personal, deployed=deployed))
        options = build_options(frame, risk, worth, nobody_barred, own, catalogue, settings)
        return _most_worth(treatments, catalogue.options, options.allocatable)

    told = str(personal.deployed)
    found = [NamedPolicy(PERSONAL, choice(Deployed(PERSONAL)), f"{personal.name}: to each what it expects most of")]
    return [*found, NamedPolicy(CHAMPION, choice(personal.deployed), f"what its gate lets decide: {told}")]


def _most_worth(treatments: LoggedTreatments, catalogue: Sequence[Option], worth: Floats) -> Places:
    """Pick what is worth most and more than nothing, as a place among the treatments' options."""
    best, rows = worth.argmax(axis=1), np.arange(len(worth))
    places = np.array(
        [treatments.options.index(each) + 1 if each in treatments.options else 0 for each in catalogue], dtype=np.intp
    )
    return np.where(worth[rows, best] > 0, places[best], 0)


def _relearnt(settings: Settings, evaluated: EvaluatedTreatments) -> list[NamedPolicy]:
    """Learn effects anew from these treatments, each fold of users from the others; give to each what is worth most."""
    treatments = evaluated.treatments
    taught = training_treatments(treatments.frame.assign(is_holdout=False))
    options = usable_options(taught, treatments.options)
    if not options:
        return []
    learnt = learn_effects(taught, options, evaluated.features, settings)["margin_soon"]
    contact = {option: _contact_cost(treatments, place) for place, option in enumerate(treatments.options, 1)}
    worth = learnt.held_out - np.array([contact[option] for option in options])
    worth = np.where(learnt.had_chance, worth, -np.inf)
    note = "effects learnt anew, each fold of users from the others, as the champion learnt from these treatments"
    return [NamedPolicy(RELEARNT, _most_worth(treatments, options, worth), note)]


def _contact_cost(treatments: LoggedTreatments, place: int) -> float:
    """Cost of giving an option, as logged."""
    costs = treatments.frame["cost"].fillna(0.0).to_numpy()[treatments.logged.action == place]
    return float(costs.mean()) if len(costs) else 0.0
