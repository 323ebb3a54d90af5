"""Users of a decided day who may not be contacted any more: opt-outs, withdrawn consents, missing addresses.

An id that turned out to be somebody since is asked about as that user, and one user is written to once.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa

from configs.offers import NOTHING, load_catalogue
from configs.settings import Settings
from features.arrays.array_types import Flags, Kinds
from features.ingestion.contract import ALIASES
from features.ingestion.user_aliases import who_is_who
from features.storage.lake import Lake
from features.training_data.contact_details import own_zones, with_contact_details
from serving.contact_rules.contact_rule import ELIGIBLE, FIRST_RULE, Rule, broken_by, forbidden
from serving.contact_rules.rule_list import rules_of
from serving.earlier_contacts.opt_outs import opt_outs
from serving.stored_days.decision_moment import DecisionMoment
from serving.wording.reason_codes import SAME_USER, Reason

OF_WISHES = ("suppressed_user", "no_profiling", "no_consent", "opted_out", "no_address")


def withdrawn(settings: Settings, lake: Lake, as_of: date, given: pa.Table) -> pa.Table:
    """List those whom a rule about their own wishes forbids, as the files are now, what they were given.

    Of ids that turned out to be one user the user's own is asked about, else the first, and the others are listed.

    Parameters
    ----------
    given
        ``user_id, offer_id`` of everybody who is given something; an offer that the catalogue has lost is not asked of.

    Returns
    -------
    ``user_id, code, value``: those of the first rule.
    """
    ids = given["user_id"].to_pandas()
    own = ids.map(somebody(settings, lake)).fillna(ids)
    again = _told_twice(own, ids)
    broken = np.full(len(ids), ELIGIBLE, dtype=np.int8)
    rules, broken[~again] = _broken(settings, lake, as_of, own[~again], given["offer_id"].to_pandas()[~again])
    rows = np.flatnonzero((broken != ELIGIBLE) | again)
    found = [rules[kind - FIRST_RULE] if kind != ELIGIBLE else Reason(SAME_USER) for kind in broken[rows].tolist()]
    words = {name: pa.array([getattr(each, name) for each in found], pa.string()) for name in ("code", "value")}
    return pa.table({"user_id": given["user_id"].take(pa.array(rows)), **words})


def _broken(
    settings: Settings, lake: Lake, as_of: date, user_ids: pd.Series, offer_ids: pd.Series
) -> tuple[list[Rule], Kinds]:
    """Ask the rules about wishes of what each of some users is given: the rules, and the kind that each breaks."""
    catalogue = load_catalogue(settings.offers)
    rules = [rule for rule in rules_of(settings, catalogue) if rule.code in OF_WISHES]
    frame = with_contact_details(lake, user_ids.to_frame("user_id"), settings.contact, as_of)
    moment = DecisionMoment.of_night(as_of, settings.time_zone)
    contacts = opt_outs(lake, settings, catalogue, moment).of(frame["user_id"], own_zones(frame, settings.time_zone))
    first = {offer.offer_id: place for place, offer in reversed([*enumerate(catalogue.offer_of_options)])}
    places = offer_ids.astype(object).map(first).fillna(NOTHING).to_numpy().astype(np.intp)
    return rules, broken_by(places, forbidden(rules, frame, contacts, catalogue))


def somebody(settings: Settings, lake: Lake) -> dict[str, str]:
    """Say of each old id who it turned out to be."""
    if not lake.days(ALIASES.name):
        return {}
    who = who_is_who(settings, lake)
    return dict(zip(who["old_user_id"].to_pylist(), who["user_id"].to_pylist(), strict=True))


def _told_twice(own: pd.Series, ids: pd.Series) -> Flags:
    """Tell which ids are of a user who is written to already, by their own id first."""
    order = np.argsort((own != ids).to_numpy(), kind="stable")
    found = np.zeros(len(own), dtype=bool)
    found[order] = own.iloc[order].duplicated().to_numpy()
    return found
