"""Reasons derived from models: SHAP values for risk and effects, and the terms of an option's value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from configs.offers import Option
from configs.settings import Roles
from features.arrays.array_types import Floats, Places
from features.definitions.registry import without_window
from models.effects.effect_model import UNKNOWN, Chances
from models.estimator_families.estimators import Estimator
from models.policy_value.policy_verdict import NOBODY, P_REDEEM, PERSONAL, Deployed
from models.registry.response import PersonalEffects
from serving.wording.reason_codes import BECAUSE, DISCOUNTED, LOWERS, RAISES, WORTH, Reason
from serving.wording.reason_lists import NO_TEXT, ReasonLists

TOP = 3
# facts that tell people the same; the others only where nothing but buying is activity
SAME_FACT = {"sessions_count": "active_days_count", "gap_days_std": "gap_days_variation"}
SAME_FOR_BUYERS = {"purchases_count": "active_days_count", "days_since_last_purchase": "days_since_last_activity"}
HALF_A_CENT = 0.005  # what moves an effect by less is no reason


def add_risk_reasons(lists: ReasonLists, rows: Places, estimator: Estimator, frame: pd.DataFrame, roles: Roles) -> None:
    """Add the facts that move each user's risk most, as their exact Shapley values say, strongest first.

    Columns of one fact (`fact_of`) count as one: their values add up, and the column that moves most in the direction
    of the sum stands for it. A fact that moves nothing is no reason. `rows` are the lists that the rows of the frame
    belong to.
    """
    parts = estimator.contributions(frame)[:, :-1]
    _add_strongest(lists, rows, parts, estimator.columns, frame, roles, (LOWERS, RAISES))


def add_effect_reasons(
    lists: ReasonLists, rows: Places, personal: PersonalEffects, options: Sequence[Option], frame: pd.DataFrame,
    chosen: Places, remaining: Floats, roles: Roles, chances: Chances = UNKNOWN,
) -> None:  # fmt: skip
    """Add why each user's own option works better, or less, on them than on most: the strongest facts below it.

    Parameters
    ----------
    rows
        The lists that the rows of the frame belong to.
    options, chosen, remaining, chances
        As in `effect_parts`.
    """
    columns, parts = effect_parts(personal, options, frame, chosen, remaining, chances)
    parts = parts[:, :-1]
    differs = parts.sum(axis=1)
    moving = np.where(np.abs(parts) < HALF_A_CENT, 0.0, parts)
    has_reasons = moving.any(axis=1)
    codes = np.array([lists.place(code) for code in ("works_as_usual", "works_less_well", "works_better")])
    how = codes[np.where(has_reasons, np.where(differs > 0, 2, 1), 0)]
    lists.add(rows, how, effect=np.where(has_reasons, differs, np.nan))
    _add_strongest(lists, rows, moving, columns, frame, roles, (BECAUSE, BECAUSE))


def effect_parts(
    personal: PersonalEffects, options: Sequence[Option], frame: pd.DataFrame, chosen: Places, remaining: Floats,
    chances: Chances = UNKNOWN,
) -> tuple[list[str], Floats]:  # fmt: skip
    """Split the worth of what each user's own option changes, costs aside, into the Shapley values of the columns.

    Those of the effects on margin and on retention add up, because Shapley values are linear (Lundberg & Lee 2017).

    Parameters
    ----------
    options, chosen
        All options, and each row's place among them, shape (rows,); their effects must be known.
    remaining
        What staying is worth, account currency, shape (rows,).
    chances
        Of these users, for all options.

    Returns
    -------
    Column names, and shape (rows, columns + 1), the last one the effect on the average user; each row sums to
    incremental margin + incremental retention x `remaining`.
    """
    columns = list(dict.fromkeys(personal.margin.estimator.columns + personal.retention.estimator.columns))
    parts = np.zeros((len(frame), len(columns) + 1))
    for effect_model, weight in ((personal.margin, np.ones(len(frame))), (personal.retention, remaining)):
        own = [columns.index(name) for name in effect_model.estimator.columns]
        own_parts = effect_model.contributions(frame, options, chosen, chances)
        parts[:, [*own, -1]] += personal.believed * weight[:, None] * own_parts
    return columns, parts


def policy_reasons(deployed: Deployed) -> tuple[Reason, ...]:
    """Say who gets what under the policy that decides."""
    if deployed.name == PERSONAL:
        return (Reason("everybody_own"),)
    if deployed.name == NOBODY or deployed.option is None:
        return (Reason("nobody"),)
    offer_id, discount = deployed.option
    what = Reason(DISCOUNTED if discount else "plain_offer", value=offer_id, number=discount)
    if deployed.column is None:
        return what, Reason("for_everybody")
    if deployed.column == P_REDEEM:
        return what, Reason("for_likely" if deployed.is_above else "for_unlikely", number=deployed.threshold)
    if deployed.category is not None:
        side = "for_those_of" if deployed.is_above else "for_those_not_of"
        return what, Reason(side, deployed.column, value=deployed.category)
    side = "for_those_above" if deployed.is_above else "for_those_at_most"
    return what, Reason(side, deployed.column, number=deployed.threshold)


def add_rule(lists: ReasonLists, rows: Places, deployed: Deployed, frame: pd.DataFrame, p_redeem: Floats) -> None:
    """Add the rule by which some users were given their option, and their own number where it asks for one.

    Parameters
    ----------
    rows
        The lists that the rows of the frame belong to.
    p_redeem
        Probability that the option is used, shape (rows,).
    """
    lists.extend(rows, (Reason("one_rule"), *policy_reasons(deployed)))
    if deployed.column == P_REDEEM:
        lists.add(rows, "own_chance", number=p_redeem)
    elif deployed.column is not None:
        value, number = lists.values(frame[deployed.column])
        lists.add(rows, "own_value", deployed.column, value, number)


def add_worth(
    lists: ReasonLists, rows: Places, currency: str, *, margin: Floats, retention: Floats, remaining: Floats,
    p_redeem: Floats, discount_cost: Floats, contact: Floats, assumed_rate: float = 1.0,
) -> None:  # fmt: skip
    """Add the value formula of the chosen options, term by term; amounts, shape (rows,), add up to the worth.

    Where `p_redeem` is NaN `assumed_rate` is charged.
    """
    is_known = ~np.isnan(p_redeem)
    spent = np.where(is_known, p_redeem, assumed_rate) * discount_cost
    total = margin + retention * remaining - spent - contact
    lists.add(rows, WORTH, value=currency, effect=total)
    lists.add(rows, "extra_margin", effect=margin)
    lists.add(rows, "extra_retention", number=retention, effect=retention * remaining)
    lists.add(rows, "worth_of_staying", number=remaining)
    paid = np.flatnonzero(discount_cost > 0)
    told, untold = paid[is_known[paid]], paid[~is_known[paid]]
    lists.add(rows[told], "expected_discount", number=p_redeem[told], effect=-spent[told])
    lists.add(rows[untold], "assumed_discount", number=assumed_rate, effect=-spent[untold])
    lists.add(rows[paid], "cost_of_use", number=discount_cost[paid])
    lists.add(rows, "contact", effect=-contact)


def fact_of(column: str, roles: Roles) -> str:
    """Name the fact that a column tells: windows of one measure tell one, and so do visits and active days.

    Examples
    --------
    >>> from configs.settings import load_settings
    >>> grocery, app = (load_settings(profile).roles for profile in ("complete_journey", None))
    >>> [fact_of("sessions_count_90d", app), fact_of("spend_sum_28d", app)]
    ['active_days_count', 'spend_sum']
    >>> [fact_of("purchases_count_28d", roles) for roles in (grocery, app)]
    ['active_days_count', 'purchases_count']
    """
    fact = without_window(column)
    same = SAME_FACT | SAME_FOR_BUYERS if set(roles.activity) == set(roles.value) else SAME_FACT
    return same.get(fact, fact)


def _add_strongest(
    lists: ReasonLists, rows: Places, parts: Floats, columns: Sequence[str], frame: pd.DataFrame, roles: Roles,
    codes: tuple[str, str],
) -> None:  # fmt: skip
    """Add the facts that move each row most; the first of `codes` is said where it goes down, the second where up."""
    effects, columns_of_facts = _by_fact(parts, columns, roles)
    order = _strongest(effects)
    effect, told = (np.take_along_axis(each, order, axis=1) for each in (effects, columns_of_facts))
    value, number = np.full(order.shape, NO_TEXT), np.full(order.shape, np.nan)
    # a loop over columns, never over users
    for place in np.unique(told):
        at = np.nonzero(told == place)
        value[at], number[at] = lists.values(frame[columns[place]].iloc[at[0]])
    column = np.array([lists.place(name) for name in columns], dtype=np.intp)[told]
    code = np.array([lists.place(each) for each in codes])[(effect > 0).astype(int)]
    for rank in range(order.shape[1]):
        own = np.flatnonzero(effect[:, rank])
        lists.add(rows[own], *(part[own, rank] for part in (code, column, value, number, effect)))


def _by_fact(parts: Floats, columns: Sequence[str], roles: Roles) -> tuple[Floats, Places]:
    """Add up the parts of each fact; returns sums and the place of the column that stands for each, (rows, facts)."""
    facts = [fact_of(name, roles) for name in columns]
    members = {fact: [place for place, own in enumerate(facts) if own == fact] for fact in dict.fromkeys(facts)}
    sums, told = np.empty((len(parts), len(members))), np.empty((len(parts), len(members)), dtype=np.intp)
    for number, own in enumerate(members.values()):
        sums[:, number], told[:, number] = parts[:, own].sum(axis=1), own[0]
        if len(own) == 1:
            continue
        along = parts[:, own] * np.sign(sums[:, [number]])
        told[:, number] = np.array(own)[along.argmax(axis=1)]
    return sums, told


def _strongest(parts: Floats) -> Places:
    """Places of what moves each row most, strongest first, shape (rows, up to `TOP`)."""
    weakness = np.abs(parts)
    np.negative(weakness, out=weakness)
    return np.argsort(weakness, axis=1, kind="stable")[:, :TOP].copy()  # without all the others behind it
