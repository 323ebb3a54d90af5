"""Predicted gains of past decisions compared with realised ones, by control group and randomised offers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import ibis.expr.types as ir
import numpy as np
import pandas as pd

from configs.offers import NO_OFFER, Catalogue
from configs.settings import Settings
from features.definitions.labels import effect_days
from features.materialise.as_of_view import AsOfView
from features.training_data.frames import KNOWN_BEFORE, measured_frame
from models.measurement.promise_ratio import ALL, PromiseRatio
from models.measurement.promises import Comparison, compare_groups, promise_ratios
from serving.arms.assignment import CONTROL, EXPLORE, POLICY

COVARIATES = (*KNOWN_BEFORE, "p_churn", "remaining_value")
OF_PROMISES = (
    "decision_id",
    "user_id",
    "as_of",
    "arm",
    "expected_value",
    "remaining_value",
    "p_churn",
    "lot_propensity",
)


def measured_promises(history: AsOfView, ledger: ir.Table, first: ir.Table, catalogue: Catalogue) -> list[PromiseRatio]:
    """Find how much of what the policy promised came true, for everything and for each play.

    Two comparisons, both by chance alone: each user's first decision that meant an offer, in the policy beside in the
    control group; and explorers who drew what the policy meant for them beside those who drew nothing, each weighing
    1 / the chance of that. What a decision brought is counted as it was promised: margin of the `effect_days`, offers
    and contacts paid, and what staying is worth, for who stayed. What was decided later within the horizon counts, too.

    Parameters
    ----------
    ledger, first
        What counts of the ledger, and of each user the first decision that meant an offer.
    """
    plays = {offer.offer_id: offer.play for offer in catalogue.offers}
    by_play: dict[str, list[Comparison]] = {}
    for rows in (_of_control(first), _of_explorers(ledger)):
        found = realised(history, rows.execute())
        if found.empty:
            continue
        found["play"] = found["intended"].map(plays).fillna(found["intended"])
        for play, part in _parts(found):
            comparison = compare_groups(part, COVARIATES)
            if comparison is not None:
                by_play.setdefault(play, []).append(comparison)
    return promise_ratios(by_play)


def realised(history: AsOfView, entries: pd.DataFrame) -> pd.DataFrame:
    """Say what decisions brought, as promises count it (``realised``); those whose horizon is not over are left out.

    Parameters
    ----------
    entries
        Rows of the ledger: `OF_PROMISES`, ``is_given``, ``weight`` and ``intended``.
    """
    if entries.empty:
        return entries
    entries = entries.assign(remaining_value=entries["remaining_value"].fillna(0.0).astype(np.float64))
    rows = measured_frame(history, entries)
    soon = measured_frame(replace(history, settings=_for_margin(history.settings)), entries)[["decision_id", "margin"]]
    rows = rows.drop(columns="margin").merge(soon, on="decision_id")
    brought = rows["margin"] + rows["is_retained"] * rows["remaining_value"]
    return rows.assign(realised=brought, promised=rows["expected_value"].fillna(0.0))


def _for_margin(settings: Settings) -> Settings:
    """Make settings by which margin is measured over the days over which it was promised."""
    return settings.model_copy(
        update={"churn": settings.churn.model_copy(update={"horizon_days": effect_days(settings)})}
    )


def _of_control(first: ir.Table) -> ir.Table:
    """Pick first decisions of the policy and of the control group."""
    rows = first.filter(first.arm.isin([POLICY, CONTROL]))
    is_given = rows.arm == POLICY
    return rows.select(*OF_PROMISES, is_given=is_given, weight=1.0, intended=rows.intended_offer_id)


def _of_explorers(ledger: ir.Table) -> ir.Table:
    """Pick explorers for whom the policy meant an offer, who drew just that or nothing."""
    drew_nothing = ledger.offer_id == NO_OFFER
    same = (ledger.offer_id == ledger.intended_offer_id) & ((ledger.discount - ledger.intended_discount).abs() < 1e-6)
    meant = (ledger.arm == EXPLORE) & (ledger.intended_offer_id != NO_OFFER) & (ledger.lot_propensity > 0)
    rows = ledger.filter(meant & (drew_nothing | same))
    weight = 1.0 / rows.lot_propensity
    return rows.select(*OF_PROMISES, is_given=rows.offer_id != NO_OFFER, weight=weight, intended=rows.intended_offer_id)


def _parts(found: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    yield ALL, found
    yield from ((str(play), part) for play, part in found.groupby("play", observed=True))
