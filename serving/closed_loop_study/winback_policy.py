"""winback as one of the policies: it knows only events, retrains every few weeks, and pays for control and trials."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from configs.offers import NOTHING, Catalogue, Option
from configs.progress import announce
from configs.settings import Settings
from features.materialise.build_daily import build_aggregates
from features.simulator.ground_truth import Truth
from features.simulator.simulated_day import Day, Given, World
from features.simulator.simulated_events import events_of
from features.storage.lake import Lake
from features.tables.parquet_files import read_parquet, write_parquet
from features.training_data.snapshot_run import bring_snapshots_up_to_date
from models.measurement.promise_ratio import ALL
from models.policy_value.policy_verdict import NOBODY
from models.training_run.outcome_models import fit_outcomes
from models.training_run.response_models import fit_response
from models.training_run.run_summary import keep_training
from models.training_run.training_frames import collect_frames
from serving.closed_loop_study.policy_weeks import OURS, Career, WeekPromise, follow, given_to
from serving.decide.decided_day import decide_day
from serving.decide.promise_ratios import AS_MODELLED, KeptRatios, newest_ratios, plan_promise
from serving.offer_measurement.closed_decisions import collect_closed
from serving.offer_measurement.measured_lift import measure_day
from serving.stored_days.day_tables import day_folder
from serving.stored_days.ledger import OF_EXPERIMENTS

RETRAIN_EVERY = 4  # weeks


def live_ours(settings: Settings, lake: Lake, world: World, weeks: int) -> Career:
    """Let winback decide every week from events alone, and learn again every few weeks."""
    deployed: list[str] = []
    promises: list[WeekPromise] = []

    def decide(world: World, truth: Truth) -> Given:
        announce(f"week {len(deployed) + 1} of {weeks}")
        as_of = world.today
        build_aggregates(settings, lake)
        bring_snapshots_up_to_date(settings, lake, as_of)
        is_learning = len(deployed) % RETRAIN_EVERY == 0
        if is_learning and deployed:
            measure_day(settings, lake, as_of, collect_closed(settings, lake, as_of))
        deployed.append(retrain(settings, lake, as_of) if is_learning else deployed[-1])
        decide_day(settings, lake, as_of)
        given = given_by(world, lake)
        promises.append(week_promise(lake, as_of, truth, given))
        return given

    def record(world: World, day: Day) -> None:
        write_parquet(events_of(world, day), lake.partition("events", world.today))

    career = follow(OURS, world, weeks, decide, settings, record)
    return Career(OURS, career.weeks, tuple(deployed), tuple(promises))


def week_promise(lake: Lake, as_of: date, truth: Truth, given: Given) -> WeekPromise:
    """Compare the gain that a plan predicts with the true effects of the same offers."""
    kept = newest_ratios(lake, as_of)
    modelled = plan_promise(lake, as_of, KeptRatios(None, {ALL: AS_MODELLED}))
    promised = plan_promise(lake, as_of, kept) or modelled
    users = np.flatnonzero(given.option != NOTHING)
    true = float(truth.value[users, given.option[users]].sum())
    said, told = (each.value if each is not None else 0.0 for each in (modelled, promised))
    return WeekPromise(said, told, true)


def retrain(settings: Settings, lake: Lake, as_of: date) -> str:
    """Train every model on what is known; returns the policy that the gate deploys, and what it puts on trial."""
    frames = collect_frames(settings, lake, as_of)
    outcomes = fit_outcomes(settings, lake, as_of, frames)
    response = fit_response(settings, lake, as_of, frames)
    keep_training(lake, as_of, outcomes, response)
    verdict = response.verdict
    if verdict is None:
        return NOBODY
    return f"{verdict.deployed} ({verdict.ladder})" if verdict.trial.arms else str(verdict.deployed)


def given_by(world: World, lake: Lake) -> Given:
    """Read this morning's decisions: what each user gets, and by which variant of a play's experiment.

    An option that the world does not know is found at -1, which is `NOTHING`.
    """
    decisions = read_parquet(day_folder(lake, world.today) / "decisions.parquet")
    users = pc.cast(pc.utf8_slice_codeunits(decisions["user_id"], 1), "int64").to_numpy()
    chosen = pd.MultiIndex.from_arrays([decisions[name].to_numpy(zero_copy_only=False) for name in Option._fields])
    given = given_to(
        world, users, pd.MultiIndex.from_tuples(world.catalogue.options, names=Option._fields).get_indexer(chosen)
    )
    given.decision_id[users] = decisions["decision_id"].to_numpy(zero_copy_only=False)
    is_other_way = np.zeros(len(given.option), dtype=bool)
    experiment, variant = (decisions[name].to_pandas() for name in OF_EXPERIMENTS)
    is_other_way[users] = variant.notna() & (experiment.map(_usual(world.catalogue)) != variant)
    return replace(given, is_other_way=is_other_way)


def _usual(catalogue: Catalogue) -> dict[str, str]:
    """Name the first variant of each experiment, as the play says it anyway."""
    experiments = (offers[0].experiment for offers in catalogue.experiments.values())
    return {each.name: each.variants[0].name for each in experiments if each is not None}
