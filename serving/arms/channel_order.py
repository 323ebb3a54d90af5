"""A/B tests on the order of channels: a user with an offer gets it by the channel that their variant tries first.

The allocation stays as it is: who gets the play, at which level, and at no more cost in total. Only the channel
changes, to one that no rule forbids and with which the play pays. Options that were drawn at random keep their
channel, because their probabilities are those of that channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from configs.errors import InputError
from configs.offers import NOTHING, Catalogue, Offer
from configs.play_experiments import Experiment
from configs.settings import Settings
from features.arrays.array_types import Flags, Floats, Places
from serving.arms.assignment import AS_USUAL, CONTROL, EXPLORE, POLICY, Assignment
from serving.arms.variants import drawn_variants
from serving.contact_rules.contact_rule import ELIGIBLE, Forbidden
from serving.valuation.options import Options


def check_orders(settings: Settings, catalogue: Catalogue) -> None:
    """Refuse an experiment on the order of channels that have a capacity, or of a play with a stock.

    Raises
    ------
    InputError
        There is one.
    """
    for offers in _about_channels(catalogue):
        for offer in offers:
            has_stock = (offer.stock, offer.total_stock) != (None, None)
            scarce = "a stock" if has_stock else f"a capacity of the channel {offer.channel!r}"
            if has_stock or offer.channel in settings.scoring.channel_capacity:
                raise InputError(
                    f"the experiment {_experiment(offers).name!r} moves users between channels, which {scarce} forbids;"
                    " take the limit away, or `channels` out of its variants"
                )


def in_channel_order(
    assignment: Assignment, options: Options, user_ids: pd.Series, eligibility: Forbidden, seed: int
) -> tuple[Assignment, Flags]:
    """Send what some users of a batch are given by the channel that their variant tries first.

    Parameters
    ----------
    eligibility
        What the rules say as decisions are written.

    Returns
    -------
    The assignment, and who takes part: whom the play may reach by two channels or more; shape (users,).
    """
    takes_part, plays = np.zeros(len(user_ids), dtype=bool), _about_channels(options.catalogue)
    if not plays:
        return assignment, takes_part
    given, intended = assignment.given.copy(), assignment.intended.copy()
    may = options.eligible & (options.value > 0) & (eligibility.option == ELIGIBLE)
    is_own, is_meant = assignment.arm == POLICY, np.isin(assignment.arm, (POLICY, EXPLORE, CONTROL, AS_USUAL))
    for offers in plays:
        places = _places(options.catalogue, offers)
        for what, who in ((given, is_own), (intended, is_meant)):
            rows = np.flatnonzero(who & np.isin(what, places))
            level = _levels(places, what[rows])
            open_by = may[rows[:, None], places[:, level].T]
            rows, level, open_by = (each[open_by.sum(axis=1) > 1] for each in (rows, level, open_by))
            if not len(rows):
                continue
            first = _first_open(_experiment(offers), offers, user_ids.iloc[rows], open_by, seed)
            moved = np.where(first == NOTHING, what[rows], places[first, level])
            if what is given:
                takes_part[rows] = True
                moved = _affordable(options.expected_cost, rows, what[rows], moved)
            what[rows] = moved
    return replace(assignment, given=given, intended=intended), takes_part


def _levels(places: Places, given: Places) -> Places:
    """Find the level of each option that is given, by its column in `places`, of shape (channels, levels)."""
    of_option = np.zeros(places.max() + 1, dtype=np.intp)
    of_option[places] = np.arange(places.shape[1])
    return of_option[given]


def _places(catalogue: Catalogue, offers: Sequence[Offer]) -> Places:
    """Place of the option of each of a play's offers, one per channel, at each level; shape (channels, levels)."""
    ids = [option.offer_id for option in catalogue.options]
    return np.array([[place for place, each in enumerate(ids) if each == offer.offer_id] for offer in offers], np.intp)


def _first_open(
    experiment: Experiment, offers: Sequence[Offer], user_ids: pd.Series, open_by: Flags, seed: int
) -> Places:
    """Find the channel by which each user is reached, by its place; `NOTHING` where the variant names no order."""
    drawn, channels = drawn_variants(experiment, user_ids, seed), [offer.channel for offer in offers]
    first = np.full(len(drawn), NOTHING, dtype=np.intp)
    for place, variant in enumerate(experiment.variants):
        if not variant.channels:
            continue
        order = [channels.index(each) for each in variant.channels]
        order += [each for each in range(len(channels)) if each not in order]
        rows = np.flatnonzero(drawn == place)
        first[rows] = np.array(order)[open_by[rows][:, order].argmax(axis=1)]
    return first


def _affordable(cost: Floats, rows: Places, given: Places, moved: Places) -> Places:
    """Leave those where they were who would cost most more, until all moves together cost no more than before."""
    more = cost[rows, moved] - cost[rows, given]
    dearest = np.argsort(-more, kind="stable")
    left = more.sum() - np.cumsum(np.r_[0.0, more[dearest]])
    kept = moved.copy()
    stay = dearest[: int(np.argmax(left <= 1e-9))]
    kept[stay] = given[stay]
    return kept


def _about_channels(catalogue: Catalogue) -> list[list[Offer]]:
    """List the offers of each play whose running experiment is about the order of its channels."""
    plays = catalogue.experiments.values()
    return [offers for offers in plays if offers[0].running is not None and offers[0].running.is_about_channels]


def _experiment(offers: Sequence[Offer]) -> Experiment:
    return next(offer.running for offer in offers if offer.running is not None)
