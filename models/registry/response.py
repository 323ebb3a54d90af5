"""Everything that is known about users' response to offers, as serving reads it from the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

import numpy as np
import pandas as pd

from configs.categories import Categories
from configs.errors import InputError
from configs.offers import Catalogue, Option
from features.arrays.array_types import Floats
from features.storage.lake import Lake
from models.effects.average_effect import AverageEffect
from models.effects.effect_model import ActionSet, EffectModel, EffectUnit
from models.effects.uplift import LearntEffects
from models.estimator_families.estimators import Estimator
from models.estimator_families.linear_estimators import MultiOutputEstimator
from models.learn.benefit_cost import is_own_spend, redemption_costs
from models.learn.listening import Listening
from models.learn.paid_costs import AS_EXPECTED, CostRatios, Payments
from models.learn.redeemed_spend import RedeemedSpend
from models.model_cards.model_notes import EffectNotes, PropensityNotes, RedemptionNotes, read_notes
from models.policy_value.evidence import Evidence
from models.policy_value.policy_verdict import NO_TRIAL, Deployed, Trial
from models.registry.model_reader import Registered, load, load_if_any

EFFECT_SUBJECTS = {"margin_soon": "effect on margin", "is_retained": "effect on retention"}


@dataclass(frozen=True)
class KnownEffect:
    """Effect of one offer that decisions use, already pulled to zero by its uncertainty.

    `margin` is account currency (0 without `has_money`) and `retention` a probability per treated user over the churn
    horizon, at the `redemption_rate` of those treated; `propensity` tells who is comparable with them, of whom the
    share `leaving` left.
    """

    margin: float
    retention: float
    redemption_rate: float
    evidence: str
    propensity: Estimator
    has_money: bool = True
    leaving: float = 0.0


@dataclass(frozen=True)
class PersonalEffects:
    """Effects learnt from randomised treatments, and the policy that the gate allows to use them.

    `average` (options, 2) are the mean effects on margin and retention, for the simple policies. Without `has_money`
    only retention could be learnt. Effects are `is_net` where what offers gave away is paid in them already. The
    `trial` lets other policies decide for some users. `costs` is what the personal policy's picks cost,
    and `believed` the share of their effects that it promises.
    """

    margin: EffectModel
    retention: EffectModel
    options: tuple[Option, ...]
    deployed: Deployed
    average: Floats
    name: str
    has_money: bool = True
    is_net: bool = False
    trial: Trial = NO_TRIAL
    costs: CostRatios = AS_EXPECTED
    believed: float = 1.0


@dataclass(frozen=True)
class ResponseModels:
    """Redemption model, what a redemption costs, and effects: randomised where there were enough, else per offer.

    `redemption` is None, and `name` empty, where nothing is known of who uses offers; `listening` is what it reads of
    each offer's channel. `notes_of` as in `Registered`.
    """

    redemption: Estimator | None
    name: str
    spend: RedeemedSpend
    effects: dict[str, KnownEffect]
    personal: PersonalEffects | None = None
    notes_of: str = ""
    listening: Mapping[str, Listening] = field(default_factory=dict)

    @property
    def has_money(self) -> bool:
        """Whether any effect is one on margin; else nothing says what an effect is worth."""
        known = [self.personal] if self.personal is not None else list(self.effects.values())
        return not known or any(each.has_money for each in known)


def load_response(lake: Lake, offers: Sequence[str] = ()) -> ResponseModels | None:
    """Read the champions of redemption and of effects; None where there is neither.

    Parameters
    ----------
    offers
        Those of the catalogue: where there is no redemption model, effects of targeted offers are looked for by name.
    """
    return response_with(lake, load_if_any(lake, "redemption"), offers)


def response_with(
    lake: Lake, champion: Registered | None, offers: Sequence[str] = (), *, has_effects: bool = True
) -> ResponseModels | None:
    """Put what is known about the response together around a redemption model.

    Parameters
    ----------
    offers
        As in `load_response`.
    has_effects
        Whether the effects are read; without them nobody is given anything but at random.

    Raises
    ------
    UnreadableModelError
        A model of effects cannot be read.
    """
    if not has_effects:
        return _without_effects(champion) if champion is not None else None
    if champion is not None:
        notes = read_notes(RedemptionNotes, champion.notes, champion.lineage.name)
        effects = {
            effect.offer_id: _known_effect(effect, load(lake, propensity_subject(effect.offer_id)).estimator)
            for effect in notes.effects
        }
        personal = _load_personal(lake) if notes.has_experiment else None
        name = champion.lineage.name
        return ResponseModels(
            champion.estimator, name, notes.spend, effects, personal, champion.notes_of, notes.listening
        )
    if load_if_any(lake, EFFECT_SUBJECTS["margin_soon"]) is not None:
        return ResponseModels(None, "", RedeemedSpend(), {}, _load_personal(lake))
    effects = {
        offer_id: _effect_of(found)
        for offer_id in offers
        if (found := load_if_any(lake, propensity_subject(offer_id))) is not None
    }
    return ResponseModels(None, "", RedeemedSpend(), effects) if effects else None


def _without_effects(champion: Registered) -> ResponseModels:
    notes = read_notes(RedemptionNotes, champion.notes, champion.lineage.name)
    return ResponseModels(
        champion.estimator, champion.lineage.name, notes.spend, {}, None, champion.notes_of, notes.listening
    )


def _effect_of(propensity: Registered) -> KnownEffect:
    notes = read_notes(PropensityNotes, propensity.notes, propensity.lineage.name)
    return _known_effect(notes.effect, propensity.estimator)


def _known_effect(effect: AverageEffect, propensity: Estimator) -> KnownEffect:
    shrunk = (effect.margin_shrunk, effect.retention_shrunk, effect.redemption_rate)
    return KnownEffect(*shrunk, effect.evidence, propensity, effect.margin is not None, effect.leaving)


def _load_personal(lake: Lake) -> PersonalEffects:
    margin, retention = (load(lake, subject) for subject in EFFECT_SUBJECTS.values())
    notes = read_notes(EffectNotes, margin.notes, margin.lineage.name)
    return PersonalEffects(
        _effect_model(margin, notes, notes.units[0]),
        _effect_model(retention, notes, notes.units[1]),
        notes.options,
        notes.deployed,
        np.array(notes.average, dtype=np.float64),
        f"{margin.lineage.name}, {retention.lineage.name}",
        notes.has_money,
        notes.is_net,
        notes.trial,
        notes.costs,
        notes.believed,
    )


def _effect_model(registered: Registered, notes: EffectNotes, unit: EffectUnit) -> EffectModel:
    if not isinstance(registered.estimator, MultiOutputEstimator):
        raise InputError(
            f"{registered.lineage.name} is a {registered.estimator.family} model and no effect; train again"
        )
    return EffectModel(registered.estimator, notes.options, notes.offers, unit, notes.listening)


def gather_evidence(
    experiment: pd.DataFrame, learnt: dict[str, LearntEffects], p_redeem: Floats | None,
    worth: dict[int, Estimator], spend: RedeemedSpend, catalogue: Catalogue, options: tuple[Option, ...], budget: float,
    *, categories: Categories, later_share: float = 1.0, assumed_rate: float = 1.0,
) -> Evidence:  # fmt: skip
    """Collect outcome, effects and costs of every randomised treatment in account currency, for the gate for decisions.

    Where it does not show that a discount pulls, simple policies choose among the lowest of each offer only.

    Parameters
    ----------
    p_redeem
        Chance of each option to be used, (rows, options), by models that did not see the user: an offer's redemption
        is part of the outcome that policies are judged by. Without it `assumed_rate` is charged.
    worth
        Models of what staying is worth, one per fold of users that it did not see; without it staying counts nothing.
    budget
        Money per decision, in account currency.
    categories
        Which favourites messages name.
    later_share
        Share of that worth which comes after the measured margin.
    """
    fold = learnt["margin_soon"].fold
    remaining_value = np.zeros(len(experiment))
    for k, model in worth.items():
        remaining_value[fold == k] = later_share * model.predict(experiment[fold == k])
    margin, retention = learnt["margin_soon"], learnt["is_retained"]
    p_redeem = np.full((len(experiment), len(options)), assumed_rate) if p_redeem is None else p_redeem
    contact = np.array([catalogue[offer].contact_cost for offer, _ in options])
    cost = p_redeem * redemption_costs(experiment, options, catalogue, spend, categories) + contact
    charged = contact if "is_net" in experiment else cost
    given = experiment["offer_id"].astype(str).tolist()
    action = ActionSet(options, ()).places(given, experiment["discount"].to_numpy(dtype=np.float64))
    least = {offer: min(share for name, share in options if name == offer) for offer, _ in options}
    outcome = experiment["margin_soon"] + experiment["is_retained"] * remaining_value
    paid = experiment["discount_given"].to_numpy(dtype=np.float64) + np.r_[contact, 0.0][action]
    return Evidence(
        options=options,
        action=action,
        propensity=experiment["propensity"].to_numpy(dtype=np.float64),
        user_ids=experiment["user_id"],
        fold=fold,
        net=outcome.to_numpy(dtype=np.float64) - paid,
        usual=margin.without + retention.without * remaining_value,
        effect=margin.held_out + retention.held_out * remaining_value[:, None] - charged,
        cost=cost,
        p_redeem=p_redeem,
        columns=experiment,
        had_chance=margin.had_chance,
        is_simple=np.array([margin.has_slope or discount == least[offer] for offer, discount in options]),
        budget=budget,
        paid=None
        if "is_net" in experiment
        else experiment["discount_given"].to_numpy(float) + np.r_[contact, 0.0][action],
        contact=contact,
        is_own=is_own_spend(experiment, options, catalogue, spend, categories),
        worth=remaining_value,
    )


def payments_of(
    given: pd.DataFrame, p_redeem: Floats, options: tuple[Option, ...], catalogue: Catalogue, spend: RedeemedSpend,
    categories: Categories,
) -> Payments:  # fmt: skip
    """List paid and expected costs of treatments; those with unknown options are left out.

    Parameters
    ----------
    given
        Closed treatments with ``discount_given`` and the features of their day.
    p_redeem
        Chance of each option to be used by models that did not see the user; (rows, options).
    """
    discounts = given["discount"].to_numpy(dtype=np.float64)
    place = ActionSet(options, ()).places(given["offer_id"].astype(str).tolist(), discounts)
    rows = np.flatnonzero((place >= 0) & (place < len(options)))
    known, own = given.iloc[rows], (np.arange(len(rows)), place[rows])
    costs = redemption_costs(known, options, catalogue, spend, categories)[own] * p_redeem[rows, place[rows]]
    is_own = is_own_spend(known, options, catalogue, spend, categories)[own]
    return Payments(known["discount_given"].to_numpy(dtype=np.float64), costs, is_own)


def propensity_subject(offer_id: str) -> str:
    """Name of the registry's model of who used to get an offer; the registry refuses some signs.

    Examples
    --------
    >>> propensity_subject("10% off: now")
    'propensity-10%25 off%3A now'
    """
    return f"propensity-{quote(offer_id, safe=' ')}"
