"""The decisions that are measured: each user's first one that meant an offer, once its outcome is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import ibis
import ibis.expr.types as ir
import pandas as pd

from configs.offers import NO_OFFER, load_catalogue
from configs.settings import Settings
from features.ingestion.contract import TREATMENTS
from features.materialise.as_of_view import AsOfView, open_as_of
from features.storage.lake import Lake
from features.training_data.frames import measured_frame
from models.judge.experiment_verdict import ExperimentResult
from models.judge.win_back_verdict import WinBackVerdict
from models.measurement.lift import SampleRatio, sample_ratio_mismatch
from models.measurement.promise_ratio import PromiseRatio
from serving.arms.assignment import CONTROL, EXPLORE, POLICY
from serving.offer_measurement.closed_variants import results_of
from serving.offer_measurement.closed_win_back import measured_win_back
from serving.offer_measurement.kept_promises import measured_promises
from serving.offer_measurement.opened_ledger import ledger_rows
from serving.offer_measurement.randomised_offers import NO_RANDOMISED_OFFERS, RandomisedOffers, collect_randomised
from serving.stored_days.decision_moment import NIGHTLY
from serving.stored_days.ledger import effective_files

GROUPS = {POLICY: "treated", CONTROL: "control"}
SPLIT = (POLICY, EXPLORE, CONTROL)  # explorers are drawn from the users of the policy
INTENDED = {"offer_id": "intended_offer_id", "channel": "intended_channel", "stage": "stage"}


@dataclass(frozen=True)
class Measured:
    """Closed first decisions as `models.measurement.lift` reads them, how the split came out, when there will be more.

    `first_day` is the first day on which somebody was meant to get an offer, None before there was one; `promises` say
    how much of what was promised came true, `win_back` what plays for the lapsed bring, `experiments` which variants of
    plays are better.
    """

    frame: pd.DataFrame
    ratio: SampleRatio | None
    first_day: date | None
    randomised: RandomisedOffers = NO_RANDOMISED_OFFERS
    promises: tuple[PromiseRatio, ...] = ()
    win_back: tuple[WinBackVerdict, ...] = ()
    experiments: tuple[ExperimentResult, ...] = ()


def collect_closed(settings: Settings, lake: Lake, as_of: date) -> Measured:
    """Read the ledger before a day and what became of its users."""
    files = effective_files(lake, date.min, as_of - timedelta(days=1))
    if not files and not lake.days(TREATMENTS.name):
        return Measured(pd.DataFrame(), None, None)
    with open_as_of(settings, lake, as_of) as history:
        randomised = collect_randomised(history)
        if not files:
            return Measured(pd.DataFrame(), None, None, randomised)
        ledger = open_ledger(history, files)
        first = first_decisions(ledger)
        frame = measured_frame(history, first)
        began_at = None if first.empty else pd.Timestamp(first["as_of"].min()).tz_convert(settings.time_zone)
        ratio = sample_ratio(ledger, settings)
        catalogue = load_catalogue(settings.offers)
        promises = tuple(measured_promises(history, ledger, first_entries(meant_offers(ledger)), catalogue))
        win_back = tuple(measured_win_back(history, files))
        experiments = tuple(results_of(history, catalogue, files))
    first_day = None if began_at is None else began_at.date()
    return Measured(frame, ratio, first_day, randomised, promises, win_back, experiments)


def open_ledger(history: AsOfView, files: Sequence[Path]) -> ir.Table:
    """Open what counts of the ledger: users of the policy, randomised or not, and of the control group."""
    rows = ledger_rows(history, files)
    return rows.filter(rows.arm.isin(SPLIT))


def first_decisions(ledger: ir.Table) -> pd.DataFrame:
    """Take each user's first decision that meant an offer for them, so that no money is counted twice.

    Later decisions are left out on purpose. Their windows overlap the first one's, and what is decided by then rests on
    what the first offer did, so that from then on the two groups are not alike any more. Whose first one was randomised
    is left out altogether: it was not the policy's. Chance picks them, so the groups stay alike as far as exploring is
    open to everybody whom the policy means an offer for, and the share that explores is the same on all days.

    Returns
    -------
    One row per user: ``user_id``, ``as_of``, ``group`` and, *intended*, ``offer_id``, ``channel`` and ``stage``.
    """
    first = first_entries(meant_offers(ledger)).filter(lambda rows: rows.arm.isin(list(GROUPS)))
    rows = first.select("user_id", "as_of", group=first.arm.cases(*GROUPS.items()), **INTENDED)
    return rows.order_by("as_of", "user_id").to_pandas()


def meant_offers(ledger: ir.Table) -> ir.Table:
    """Keep the decisions that meant an offer."""
    return ledger.filter(ledger.intended_offer_id != NO_OFFER)


def first_entries(ledger: ir.Table) -> ir.Table:
    """Take each user's first decision; of two triggers at one instant the night counts, then the first by name."""
    order = [ledger.as_of, ledger.trigger != NIGHTLY, ledger.trigger]
    return ledger.mutate(nth=ibis.row_number().over(group_by="user_id", order_by=order)).filter(
        lambda rows: rows.nth == 0
    )


def sample_ratio(ledger: ir.Table, settings: Settings) -> SampleRatio | None:
    """Compare the groups with the shares that were meant; None where no control group was.

    Every user counts once, by the first decision that did not bar them: nothing had been given by then that could
    make one group decide more often.
    """
    control, as_usual = settings.scoring.control_share, settings.scoring.business_as_usual_share
    if not 0 < control < 1 - as_usual:
        return None
    arms = first_entries(ledger)
    users = arms.aggregate(users=arms.count(), control=arms.count(where=arms.arm == CONTROL)).to_pandas().iloc[0]
    kept = int(users["control"])
    return sample_ratio_mismatch(int(users["users"]) - kept, kept, control / (1 - as_usual))
