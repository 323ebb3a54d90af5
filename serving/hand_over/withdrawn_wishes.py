"""Who was decided about and may not be written to any more: opted out, withdrew a consent, has no address by now."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa

from configs.offers import NOTHING, load_catalogue
from configs.settings import Settings
from features.storage.lake import Lake
from features.training_data.contact_details import own_zones, with_contact_details
from serving.contact_rules.contact_rule import ELIGIBLE, FIRST_RULE, broken_by, forbidden
from serving.contact_rules.rule_list import rules_of
from serving.earlier_contacts.opt_outs import opt_outs
from serving.stored_days.decision_moment import DecisionMoment

OF_WISHES = ("suppressed_user", "no_profiling", "no_consent", "opted_out", "no_address")


def withdrawn(settings: Settings, lake: Lake, as_of: date, given: pa.Table) -> pa.Table:
    """List those whom a rule about their own wishes forbids, as the files are now, what they were given.

    Parameters
    ----------
    given
        ``user_id, offer_id`` of everybody who is given something; an offer that the catalogue has lost is not asked of.

    Returns
    -------
    ``user_id, code, value``: those of the first rule.
    """
    catalogue = load_catalogue(settings.offers)
    rules = [rule for rule in rules_of(settings, catalogue) if rule.code in OF_WISHES]
    frame = with_contact_details(lake, given.select(["user_id"]).to_pandas(), settings.contact, as_of)
    moment = DecisionMoment.of_night(as_of, settings.time_zone)
    contacts = opt_outs(lake, settings, catalogue, moment).of(frame["user_id"], own_zones(frame, settings.time_zone))
    first = {offer.offer_id: place for place, offer in reversed([*enumerate(catalogue.offer_of_options)])}
    offers = pd.Series(given["offer_id"].to_pylist(), dtype=object)
    places = offers.map(first).fillna(NOTHING).to_numpy().astype(np.intp)
    broken = broken_by(places, forbidden(rules, frame, contacts, catalogue))
    rows = np.flatnonzero(broken != ELIGIBLE)
    found = [rules[kind - FIRST_RULE] for kind in broken[rows].tolist()]
    words = {name: pa.array([getattr(rule, name) for rule in found], pa.string()) for name in ("code", "value")}
    return pa.table({"user_id": given["user_id"].take(pa.array(rows)), **words})
