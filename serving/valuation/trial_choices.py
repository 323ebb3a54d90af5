"""The option that each policy on trial would choose for each user."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from configs.offers import NOTHING, Catalogue
from features.arrays.array_types import Flags, Floats, Kinds, Places
from models.effects.effect_model import Chances
from models.policy_value.policy_verdict import PERSONAL, Deployed
from models.registry.response import PersonalEffects
from serving.valuation.staying import possible


class Learnt(NamedTuple):
    """What treatments taught of each option's effects on each user, NaN where nothing; shapes (users, options)."""

    margin: Floats
    retention: Floats


def learnt_effects(
    frame: pd.DataFrame, p_churn: Floats | None, p_redeem: Floats, personal: PersonalEffects | None,
    catalogue: Catalogue,
) -> Learnt:  # fmt: skip
    """Ask the effect models, if there are any, about every option that was drawn at random; shapes as below."""
    tried = personal.options if personal is not None else ()
    is_known = np.array([option in tried for option in catalogue.options], dtype=bool)
    known = [option for option in catalogue.options if option in tried]
    learnt = Learnt(*np.full((2, *p_redeem.shape), np.nan))
    if personal is not None and known:
        chances = Chances(p_redeem[:, is_known], p_churn)
        learnt.margin[:, is_known] = personal.margin.effects(frame, known, chances)
        learnt.retention[:, is_known] = personal.retention.effects(frame, known, chances)
    return learnt


def trial_choices(
    frame: pd.DataFrame, p_churn: Floats | None, p_redeem: Floats, worth: Floats, cost: Floats, may: Flags,
    personal: PersonalEffects, catalogue: Catalogue, learnt: Learnt,
) -> Kinds:  # fmt: skip
    """Ask every arm of the trial for its choice: the place of an option or `NOTHING`; shape (users, arms).

    Parameters
    ----------
    frame, p_churn, p_redeem
        Of the users, and each option's chance to be used, shape (users, options).
    worth
        What staying is worth, shape (users, 1).
    cost, may
        Expected cost of each option, and whether a rule allows it, shape (users, options).
    learnt
        From `learnt_effects`.
    """
    arms = personal.trial.arms
    found = np.full((len(frame), len(arms)), NOTHING, dtype=np.int8)
    for place, arm in enumerate(arms):
        if arm.policy.name == PERSONAL:
            value = personal_value(p_churn, worth, cost, learnt, personal, catalogue)
            found[:, place] = _best(value - personal.trial.price * cost, may)
        else:
            found[:, place] = _simple(frame, p_redeem, may, arm.policy, catalogue)
    return found


def personal_value(
    p_churn: Floats | None, worth: Floats, cost: Floats, learnt: Learnt, personal: PersonalEffects, catalogue: Catalogue
) -> Floats:
    """Say what each option is expected to be worth to each user, ``-inf`` where nothing is known of it.

    Expectations are shrunken: effects are pulled to zero as far as they are uncertain. Parameters and shape as above.
    """
    contact = np.array([[offer.contact_cost for offer in catalogue.offer_of_options]])
    value = learnt.margin + possible(learnt.retention, p_churn) * worth - (contact if personal.is_net else cost)
    return np.where(np.isnan(learnt.margin), -np.inf, value)


def _best(worth: Floats, may: Flags) -> Places:
    """Pick each user's best allowed option; `NOTHING` where none is worth more than that."""
    if not worth.shape[1]:
        return np.full(len(worth), NOTHING)
    worth = np.where(may, worth, -np.inf)
    return np.where(worth.max(axis=1) > 0, worth.argmax(axis=1), NOTHING)


def _simple(frame: pd.DataFrame, p_redeem: Floats, may: Flags, policy: Deployed, catalogue: Catalogue) -> Places:
    if policy.option is None or policy.option not in catalogue.options:
        return np.full(len(frame), NOTHING)
    place = list(catalogue.options).index(policy.option)
    return np.where(policy.applies_to(frame, p_redeem[:, place]) & may[:, place], place, NOTHING)
