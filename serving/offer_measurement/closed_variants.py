"""A/B tests inside plays with known outcomes: the first exposure of each user and what followed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import ibis
import pandas as pd

from configs.offers import Catalogue, Offer, load_catalogue
from configs.settings import Settings
from features.arrays.calendar_days import start_of
from features.definitions.labels import redemption_labels
from features.materialise.as_of_view import AsOfView, open_as_of
from features.storage.lake import Lake
from features.training_data.frames import measured_frame
from models.judge.experiment_verdict import ExperimentResult, experiment_of, judged, measure_of
from serving.offer_measurement.opened_ledger import ledger_rows
from serving.stored_days.decision_moment import NIGHTLY
from serving.stored_days.ledger import OF_EXPERIMENTS, effective_files


def experiment_results(settings: Settings, lake: Lake, as_of: date) -> list[ExperimentResult]:
    """Judge every experiment of the catalogue by what is known on a day."""
    catalogue = load_catalogue(settings.offers)
    files = effective_files(lake, date.min, as_of) if catalogue.experiments else []
    if not files:
        return [judged(offers, None, None) for offers in catalogue.experiments.values()]
    with open_as_of(settings, lake, as_of) as history:
        return results_of(history, catalogue, files)


def results_of(history: AsOfView, catalogue: Catalogue, files: Sequence[Path]) -> list[ExperimentResult]:
    """Judge every experiment of a catalogue by the ledger entries of `files`, and by what became of their users."""
    if not catalogue.experiments:
        return []
    exposed = first_exposures(history, files, list(catalogue.experiments))
    return [_result(history, catalogue, offers, exposed) for offers in catalogue.experiments.values()]


def first_exposures(history: AsOfView, files: Sequence[Path], names: Sequence[str]) -> pd.DataFrame:
    """Find the first decision by which each user got a variant of each experiment; from then on they are in it.

    Returns
    -------
    One row per user and experiment: ``experiment, variant, user_id, as_of, decision_id``.
    """
    rows = ledger_rows(history, files)
    if not set(OF_EXPERIMENTS) <= set(rows.columns):  # every entry is an older winback's
        return pd.DataFrame(columns=[*OF_EXPERIMENTS, "user_id", "as_of", "decision_id"])
    rows = rows.filter(rows.experiment.isin(list(names)))
    order = [rows.as_of, rows.trigger != NIGHTLY, rows.trigger]
    nth = ibis.row_number().over(group_by=["user_id", "experiment"], order_by=order)
    first = rows.mutate(nth=nth).filter(lambda each: each.nth == 0)
    return first.select(*OF_EXPERIMENTS, "user_id", "as_of", "decision_id").order_by("as_of", "user_id").to_pandas()


def _result(
    history: AsOfView, catalogue: Catalogue, offers: Sequence[Offer], exposed: pd.DataFrame
) -> ExperimentResult:
    experiment = experiment_of(offers)
    names = [each.name for each in experiment.variants]
    own = exposed[(exposed["experiment"] == experiment.name) & exposed["variant"].isin(names)]
    if own.empty:
        return judged(offers, None, None)
    closed = measured_frame(history, own)
    if measure_of(offers) == "redemption":
        closed = closed.merge(_redeemed(history, catalogue, closed), on="decision_id")
    return judged(offers, own, closed)


def _redeemed(history: AsOfView, catalogue: Catalogue, closed: pd.DataFrame) -> pd.DataFrame:
    """Say of decisions whose offers are over whether they were redeemed: ``decision_id, is_redeemed``."""
    if history.treatments is None:
        return pd.DataFrame({"decision_id": [], "is_redeemed": []})
    now = ibis.literal(start_of(history.as_of, history.settings.time_zone), type="timestamp('UTC', 6)")
    valid_days = {offer.offer_id: offer.valid_days for offer in catalogue.offers}
    treatments = history.treatments.filter(history.treatments.offer_id.isin(list(valid_days)))
    labels = redemption_labels(treatments, history.events, history.settings, valid_days, now)
    found = history.collect(labels.select("decision_id", "is_redeemed"))
    return found[found["decision_id"].isin(closed["decision_id"])]
