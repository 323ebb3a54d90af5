"""The options of each user: value, cost and eligibility of every offer and discount."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from configs.offers import NOTHING, Catalogue
from configs.settings import Settings
from features.arrays.array_types import Flags, Floats, Kinds, Places
from models.effects.effect_model import Chances
from models.effects.observational_effects import is_comparable
from models.learn.benefit_cost import is_own_spend, redemption_costs
from models.learn.paid_costs import AS_EXPECTED
from models.learn.redeemed_spend import RedeemedSpend
from models.learn.redemption import p_redeem_each
from models.policy_value.policy_verdict import PERSONAL
from models.registry.response import PersonalEffects, ResponseModels
from serving.contact_rules.contact_rule import (
    ELIGIBLE,
    FIRST_RULE,
    NOT_CHOSEN,
    NOT_MEASURED,
    NOT_VALUED,
    SIGN_DEPENDS,
    UNLIKE_COMPARED,
    Forbidden,
)
from serving.valuation.staying import possible, sign_depends, staying_by_risk, staying_by_use, strength_by_use
from serving.valuation.trial_choices import Learnt, learnt_effects, trial_choices
from serving.wording.reason_codes import DOES_NOT_PAY, Reason, Reasons
from serving.wording.reason_lists import ReasonLists


@dataclass(frozen=True)
class Options:
    """Every option of some users; arrays have shape (users, options), in the catalogue's order.

    `discount_cost` is what one redemption costs, by what was paid for those whom a personal policy picks where one
    decides (`models.learn.paid_costs`), `expected_cost` what the option is expected to cost in all,
    `value` the formula of DESIGN: incremental margin, plus retention times what staying is worth, less costs.
    `value_error` is the standard error of the value (0 where it is not known). `learnt_margin` and `learnt_retention`
    are what randomised treatments taught of the effects, NaN where nothing, whether decisions use them or not.
    `why_not` is the kind of reason why an option may not be chosen, and `ineligible` (users,) the kind of rule by which
    a user may get nothing at all; both are `ELIGIBLE` where nothing speaks against it. `tried` is what each arm of a
    trial of policies would give, the place of an option or `NOTHING`; shape (users, arms).
    """

    catalogue: Catalogue
    p_redeem: Floats
    incremental_retention: Floats
    incremental_margin: Floats
    discount_cost: Floats
    expected_cost: Floats
    value: Floats
    value_error: Floats
    learnt_margin: Floats
    learnt_retention: Floats
    why_not: Kinds
    ineligible: Kinds
    tried: Kinds = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int8))

    @property
    def explorable(self) -> Flags:
        """Whether an option may be tried to learn from it: no rule forbids it, but its effect need not be known."""
        return np.asarray((self.why_not < FIRST_RULE) & self._is_shared_out)

    @property
    def eligible(self) -> Flags:
        """Whether an option may be chosen."""
        return np.asarray((self.why_not == ELIGIBLE) & self._is_shared_out)

    @property
    def by_rule(self) -> Places:
        """What each user gets whatever it is worth, or `NOTHING`; shape (users,).

        It is the first option of a transactional or mandatory play that no rule forbids.
        """
        is_allowed = (self.why_not < FIRST_RULE) & ~self._is_marketing
        if not is_allowed.shape[1]:
            return np.full(len(is_allowed), NOTHING, dtype=np.intp)
        return np.where(is_allowed.any(axis=1), is_allowed.argmax(axis=1), NOTHING)

    @property
    def win_back(self) -> Flags:
        """Which options a user who has lapsed may draw at random; shape (users, options)."""
        is_win_back = np.array([offer.is_win_back for offer in self.catalogue.offer_of_options], dtype=bool)
        return np.asarray((self.why_not < FIRST_RULE) & is_win_back)

    @property
    def _is_shared_out(self) -> Flags:
        """Whether options are given for what they are worth: neither by rule nor by the draws of the lapsed."""
        offers = self.catalogue.offer_of_options
        return np.array([offer.is_marketing and not offer.is_win_back for offer in offers], dtype=bool)

    @property
    def _is_marketing(self) -> Flags:
        return np.array([offer.is_marketing for offer in self.catalogue.offer_of_options], dtype=bool)

    @property
    def allocatable(self) -> Floats:
        """Value for the allocation: ``-inf`` where an option is not eligible."""
        return np.where(self.eligible, self.value, -np.inf)

    def impersonal(self, refuses: Flags) -> Options:
        """Forget what options would do to those who refuse to be profiled, of whom only the contact's cost is known."""
        if not refuses.any():
            return self
        contact = np.array([offer.contact_cost for offer in self.catalogue.offer_of_options])
        unknown = {"p_redeem": np.nan, "expected_cost": contact, "value": -contact, **dict.fromkeys(LEARNT, np.nan)}
        blank = {name: getattr(self, name).copy() for name in MATRICES}
        for name, column in blank.items():
            column[refuses] = unknown.get(name, 0.0)
        tried = np.where(refuses[:, None], np.int8(NOTHING), self.tried) if self.tried.size else self.tried
        return replace(self, **blank, tried=tried)

    def table(self, frame: pd.DataFrame, kinds: Sequence[Reasons], refuses: Flags | None = None) -> pa.Table:
        """List one row per user and option, so that anyone can check a number; `kinds` are those of why not.

        What was learnt of effects is not told of those who refuse to be profiled, shape (users,).
        """
        users, options = self.value.shape
        flat = {name: getattr(self, name).ravel() for name in MEASURES}
        learnt = {name: getattr(self, name) for name in LEARNT}
        if refuses is not None:
            learnt = {name: np.where(refuses[:, None], np.nan, column) for name, column in learnt.items()}
        flat |= {name: column.ravel() for name, column in learnt.items()}
        why_not = np.where(self.eligible & (self.value <= 0), len(kinds), self.why_not).ravel()
        lists = ReasonLists(users * options)
        lists.extend_each(why_not, [*kinds, (Reason(DOES_NOT_PAY),)])

        def repeated(values: Iterable[str]) -> pa.Array:
            return pa.array(values, pa.string()).take(np.tile(np.arange(options), users))

        return pa.table(
            {
                "user_id": pa.array(frame["user_id"], pa.string()).take(np.repeat(np.arange(users), options)),
                "offer_id": repeated(option.offer_id for option in self.catalogue.options),
                "discount": pa.array(
                    np.tile([option.discount for option in self.catalogue.options], users), pa.float64()
                ),
                "channel": repeated(offer.channel for offer in self.catalogue.offer_of_options),
                **{name: pa.array(column, pa.float64(), from_pandas=True) for name, column in flat.items()},
                "eligible": pa.array(self.eligible.ravel()),
                "why_not": lists.build(why_not != ELIGIBLE),
            }
        )


MEASURES = ("p_redeem", "incremental_retention", "incremental_margin", "expected_cost", "value")
LEARNT = ("learnt_margin", "learnt_retention")
MATRICES = (*MEASURES, "discount_cost", "value_error", *LEARNT)


def build_options(
    frame: pd.DataFrame, p_churn: Floats | None, remaining_value: Floats, eligibility: Forbidden,
    response: ResponseModels | None, catalogue: Catalogue, settings: Settings,
) -> Options:  # fmt: skip
    """Value every (offer, discount) for every user of a batch.

    Parameters
    ----------
    frame
        From `features.training_data.scoring_frames.scoring_frame`, one row per user.
    p_churn, remaining_value
        Predictions, shape (users,); NaN where the user is outside the models' population. Without a model of churn
        there is no `p_churn`, without one of value `remaining_value` is NaN.
    eligibility
        What the rules of eligibility say.
    response
        What is known about redemption and effects; None when nothing is.
    """
    personal = response.personal if response is not None else None
    contact = np.array([offer.contact_cost for offer in catalogue.offer_of_options])
    p_redeem = _p_redeem(frame, response, catalogue)
    worth = np.nan_to_num(remaining_value)[:, None]
    if personal is not None:
        effects = _personal_effects(frame, p_churn, p_redeem, worth, personal, catalogue, settings)
    else:
        effects = _effects_per_offer(frame, p_churn, p_redeem, response, catalogue, settings)
    effects = effects._replace(retention=possible(effects.retention, p_churn))
    expected_price, paid_price = _redemption_prices(frame, response, catalogue, settings)
    price = paid_price if _decides_personally(personal) else expected_price
    # where it is not known who uses offers, each is charged as the settings say
    rate = np.where(np.isnan(p_redeem), settings.response.assumed_redemption_rate, p_redeem)
    cost = rate * price + contact
    is_net = personal is not None and personal.is_net  # the measured margin has the redemptions taken off already
    value = effects.margin + effects.retention * worth - (contact if is_net else cost)
    if effects.other_retention is not None:
        effects, value = _with_lesser_retention(effects, effects.other_retention, value, worth)
    learnt = _learnt_of_options(effects, frame, p_churn, p_redeem, personal, catalogue)
    has_learnt_money = personal is not None and personal.has_money
    built = Options(
        catalogue, p_redeem, effects.retention, effects.margin, price, cost, value, effects.error,
        learnt.margin if has_learnt_money else np.full(p_redeem.shape, np.nan), learnt.retention,
        _why_not(effects.why_not, eligibility, response), eligibility.everything,
    )  # fmt: skip
    if personal is None or not personal.trial.arms:
        return built
    cost = rate * paid_price + contact
    tried = trial_choices(frame, p_churn, p_redeem, worth, cost, built.explorable, personal, catalogue, learnt)
    return replace(built, tried=tried)


def _decides_personally(personal: PersonalEffects | None) -> bool:
    return personal is not None and personal.deployed.name == PERSONAL


def _p_redeem(frame: pd.DataFrame, response: ResponseModels | None, catalogue: Catalogue) -> Floats:
    """Predict P(redeem) of every option; NaN without a model. Shape (users, options)."""
    if response is None or response.redemption is None:
        return np.full((len(frame), len(catalogue.options)), np.nan)
    return p_redeem_each(response.redemption, frame, catalogue.options, response.listening)


def _redemption_prices(
    frame: pd.DataFrame, response: ResponseModels | None, catalogue: Catalogue, settings: Settings
) -> tuple[Floats, Floats]:
    """Say what one redemption costs: as models expect it, and as was paid for those whom the personal policy picks."""
    options, spend = catalogue.options, response.spend if response is not None else RedeemedSpend()
    expected = redemption_costs(frame, options, catalogue, spend, settings.categories)
    if response is None or response.personal is None or response.personal.costs == AS_EXPECTED:
        return expected, expected
    is_own = is_own_spend(frame, options, catalogue, spend, settings.categories)
    return expected, expected * response.personal.costs.of(is_own)


def _why_not(why_not: Kinds, eligibility: Forbidden, response: ResponseModels | None) -> Kinds:
    """Say why each option may not be chosen: first by rule, then as its worth or its effect is not known."""
    if response is not None and not response.has_money:
        why_not = np.where(why_not == NOT_MEASURED, why_not, NOT_VALUED).astype(np.int8)
    return np.where(eligibility.option == ELIGIBLE, why_not, eligibility.option)


def _learnt_of_options(
    effects: _Effects, frame: pd.DataFrame, p_churn: Floats | None, p_redeem: Floats,
    personal: PersonalEffects | None, catalogue: Catalogue,
) -> Learnt:  # fmt: skip
    """Say what randomised treatments taught of every option, whether decisions use it or not; NaN where nothing."""
    if personal is None or not _decides_personally(personal):
        return learnt_effects(frame, p_churn, p_redeem, personal, catalogue)
    is_known = np.array([option in personal.options for option in catalogue.options], dtype=bool)
    return Learnt(np.where(is_known, effects.margin, np.nan), np.where(is_known, effects.retention, np.nan))


class _Effects(NamedTuple):
    """What options change, with the standard error of what that is worth; arrays have shape (users, options).

    `other_retention` is the effect on staying in the shape that the data cannot tell from the first, if there is one.
    """

    margin: Floats
    retention: Floats
    error: Floats
    why_not: Kinds
    other_retention: Floats | None = None

    @classmethod
    def none(cls, shape: tuple[int, int]) -> _Effects:
        """Effects that are all nil, without a reason against any option."""
        return cls(np.zeros(shape), np.zeros(shape), np.zeros(shape), np.full(shape, ELIGIBLE, dtype=np.int8))


def _with_lesser_retention(
    effects: _Effects, other_retention: Floats, value: Floats, worth: Floats
) -> tuple[_Effects, Floats]:
    """Count the lesser of two effects on staying; an option that pays with one of them alone may not be chosen.

    Staying is never worth less than nothing, so the lesser effect has the lesser value.
    """
    least, most = (each(effects.retention, other_retention) for each in (np.minimum, np.maximum))
    value = value + (least - effects.retention) * worth
    depends = sign_depends(value, value + (most - least) * worth) & (effects.why_not == ELIGIBLE)
    why_not = np.where(depends, SIGN_DEPENDS, effects.why_not).astype(np.int8)
    return effects._replace(retention=least, why_not=why_not, other_retention=None), value


def _effects_per_offer(
    frame: pd.DataFrame, p_churn: Floats | None, p_redeem: Floats, response: ResponseModels | None,
    catalogue: Catalogue, settings: Settings,
) -> _Effects:  # fmt: skip
    """Say what every option changes for every user, by each offer's effect on average."""
    effects, by_risk = _Effects.none(p_redeem.shape), np.zeros(p_redeem.shape)
    margin, by_use, _, why_not, _ = effects
    for place, option in enumerate(catalogue.options):
        effect = response.effects.get(option.offer_id) if response is not None else None
        if effect is None:
            why_not[:, place] = NOT_MEASURED
            continue
        used = p_redeem[:, place]
        margin[:, place] = effect.margin * strength_by_use(used, effect)
        by_use[:, place] = staying_by_use(effect, used, p_churn)
        by_risk[:, place] = staying_by_risk(effect, used, p_churn)
        why_not[~is_comparable(effect.propensity.predict(frame), settings), place] = UNLIKE_COMPARED
    return effects._replace(other_retention=by_risk)


def _personal_effects(
    frame: pd.DataFrame, p_churn: Floats | None, p_redeem: Floats, worth: Floats, personal: PersonalEffects,
    catalogue: Catalogue, settings: Settings,
) -> _Effects:  # fmt: skip
    """Effects learnt from randomised assignment, within what the gate allows; `worth` (users, 1) is that of staying."""
    options = catalogue.options
    is_known = np.array([option in personal.options for option in options], dtype=bool)
    known = [option for option in options if option in personal.options]
    effects = _Effects.none(p_redeem.shape)
    margin, retention, error, why_not, _ = effects
    why_not[:, ~is_known] = NOT_MEASURED
    if not known:
        return effects
    deployed = personal.deployed
    if deployed.name == PERSONAL:
        chances = Chances(p_redeem[:, is_known], p_churn)
        margin[:, is_known] = personal.believed * personal.margin.effects(frame, known, chances)
        retention[:, is_known] = personal.believed * personal.retention.effects(frame, known, chances)
        if settings.scoring.exploration.method == "thompson":
            drawn = personal.margin.draws(frame, known, chances)
            drawn = drawn + personal.retention.draws(frame, known, chances) * worth
            error[:, is_known] = personal.believed * drawn.std(axis=0)
        return effects
    for place in np.flatnonzero(is_known):
        margin[:, place], retention[:, place] = personal.average[personal.options.index(options[place])]
        is_meant = deployed.option == options[place]
        why_not[~(is_meant & deployed.applies_to(frame, p_redeem[:, place])), place] = NOT_CHOSEN
    return effects
