"""The cost of one redemption, per user and option: the level of the benefit times what the user spends on it.

A redemption is charged whole, whether the user would have bought anyway or not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from configs.benefits import FEATURED, ORDER, Benefit, window_of
from configs.categories import Categories
from configs.errors import InputError
from configs.offers import Catalogue, Offer, Option
from features.arrays.array_types import Flags, Floats
from models.learn.redeemed_spend import ORDER_VALUE, RedeemedSpend

FAVOURITE, FAVOURITE_SPEND = "favourite_category_90d", "favourite_category_spend_90d"
TENURE = "tenure_days"
FEWEST_DAYS = 28.0  # over which the pace of a user is taken, however new they are


def redemption_costs(
    frame: pd.DataFrame, options: Sequence[Option], catalogue: Catalogue, spend: RedeemedSpend, categories: Categories
) -> Floats:
    """Cost of one redemption of every option for every user, account currency, shape (rows, options).

    A percentage costs its share of `covered_spend`, an amount itself, but no more than that spend, shipping what it
    costs you, free days and points their number times `Offer.unit_cost`; where the scope is a column, a free day
    costs the user's own spend per day there. None costs more than `Offer.max_cost`.

    Parameters
    ----------
    frame
        Features of one user per row; the columns of the scopes are read.
    spend
        What earlier redemptions taught.
    categories
        Which favourites a message may name: who has another one is told of no category.
    """
    costs = np.zeros((len(frame), len(options)))
    covered: dict[str, Floats] = {}
    levels = dict(zip(catalogue.options, catalogue.benefits, strict=True))
    for place, option in enumerate(options):
        offer, benefit = catalogue[option[0]], levels[option]
        if not benefit.level:
            continue
        if offer.offer_id not in covered:
            covered[offer.offer_id] = covered_spend(frame, offer, spend, categories)
        costs[:, place] = _cost(frame, offer, benefit, covered[offer.offer_id])
    return costs


def covered_spend(frame: pd.DataFrame, offer: Offer, spend: RedeemedSpend, categories: Categories) -> Floats:
    """Spend that one redemption of an offer covers, account currency, shape (rows,).

    Of an ``order`` the user's usual one, in the proportion that redeemers taught, or their mean where that predicted
    better. Of a category or a column the user's own spend there in the days in which the offer can be used, at the pace
    of the column's window. Who has none is charged the mean, or `Offer.covered_spend` where nobody redeemed yet.
    """
    mean, own = spend.by_offer.get(offer.offer_id, offer.covered_spend), _own_spend(frame, offer, spend, categories)
    return np.where(own > 0, own, mean)


def is_own_spend(
    frame: pd.DataFrame, options: Sequence[Option], catalogue: Catalogue, spend: RedeemedSpend, categories: Categories
) -> Flags:
    """Say where a redemption is charged at what the user spends, not at what others did; shape (rows, options)."""
    own = {name: _own_spend(frame, catalogue[name], spend, categories) > 0 for name in {offer for offer, _ in options}}
    return np.array([own[offer] for offer, _ in options], dtype=bool).reshape(len(options), len(frame)).T


def _own_spend(frame: pd.DataFrame, offer: Offer, spend: RedeemedSpend, categories: Categories) -> Floats:
    """Spend of the user's own that a redemption covers, 0 where it is not known or says no more than the mean."""
    if offer.scope != ORDER:
        return _pace(frame, offer, categories) * offer.valid_days
    if offer.offer_id in spend.by_offer and spend.per_order is None:
        return np.zeros(len(frame))
    return _usual_order(frame, spend)


def _cost(frame: pd.DataFrame, offer: Offer, benefit: Benefit, covered: Floats) -> Floats:
    if benefit.kind == "percent":
        cost = benefit.level * covered
    elif benefit.kind == "amount":
        cost = np.minimum(benefit.level, covered)
    elif benefit.kind == "shipping":
        cost = np.full(len(frame), benefit.level)
    elif benefit.kind == "free_days" and window_of(offer.scope) is not None:
        cost = benefit.level * covered / offer.valid_days
    else:
        cost = np.full(len(frame), benefit.level * offer.unit_cost)
    return cost if offer.max_cost is None else np.minimum(cost, offer.max_cost)


def _usual_order(frame: pd.DataFrame, spend: RedeemedSpend) -> Floats:
    usual = frame[ORDER_VALUE].to_numpy(dtype=np.float64)
    return np.nan_to_num(usual) * (spend.per_order or 1.0)


def _pace(frame: pd.DataFrame, offer: Offer, categories: Categories) -> Floats:
    """Money per day in the scope, 0 where nothing is known; of who is new since they are here."""
    column = FAVOURITE_SPEND if offer.scope == FEATURED else offer.scope
    for name in (column, TENURE, *([FAVOURITE] if offer.scope == FEATURED else [])):
        if name not in frame.columns:
            raise InputError(
                f"the offer {offer.offer_id!r} covers what users spend on {column!r}, and no snapshot has the column "
                f"{name!r}; name a column of money of features.custom or of winback catalogue as its scope"
            )
    window = float(window_of(column) or 1)
    days = np.clip(frame[TENURE].to_numpy(dtype=np.float64, na_value=window), min(FEWEST_DAYS, window), window)
    pace = np.nan_to_num(frame[column].to_numpy(dtype=np.float64)) / days
    return np.where(_is_named(frame, categories), pace, 0.0) if offer.scope == FEATURED else pace


def _is_named(frame: pd.DataFrame, categories: Categories) -> Flags:
    """Whether a message may name each user's favourite category, shape (rows,)."""
    favourite = frame[FAVOURITE].astype("category").cat
    is_named = [categories.featured(str(name)) is not None for name in favourite.categories]
    return np.array([*is_named, False])[favourite.codes.to_numpy()]
