"""Flow: everyone's risk, options and decision of a day, and the report about them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import pandas as pd
from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from configs.offers import load_catalogue
from configs.progress import announce, track
from configs.settings import Settings
from features.frames import known_users, scoring_frame
from features.history import open_history
from features.lake import Lake
from features.store import open_store
from flows.outcome import Outcome, dated, open_run
from models.evaluation import Metric
from models.response import load_response
from models.tracking import load
from serving.allocation import Allocation
from serving.decisions import Policy, day_folder, decide
from serving.report import latest_training, write_report
from serving.summary import summarise


@task(name="decisions", cache_policy=NO_CACHE)
def decide_for_all(settings: Settings, lake: Lake, as_of: date) -> Allocation:
    """Predict, value and decide, in batches of users."""
    announce(f"decisions for everybody as of {as_of}")
    with open_history(settings, lake, as_of) as history:
        store = open_store(lake, history.features)
        users = known_users(history)
        size = settings.scoring.batch_users
        batches = [users.iloc[start : start + size] for start in range(0, len(users), size)]

        def frames() -> Iterator[pd.DataFrame]:
            return (scoring_frame(history, store, batch) for batch in track(batches, "users"))

        policy = Policy(
            settings,
            load_catalogue(settings.offers),
            history.features,
            load(lake, "churn"),
            load(lake, "value"),
            load_response(lake),
        )
        return decide(policy, lake, as_of, frames)


@flow(name="score-users", flow_run_name=dated("score-users"), validate_parameters=False)
def score_users(profile: str | None = None, data_dir: str | None = None, as_of: date | None = None) -> Outcome:
    """Give every user a decision under the budget and write the report."""
    settings, lake, day = open_run(profile, data_dir, as_of)
    allocation = decide_for_all(settings, lake, day)
    summary = summarise(lake, day)
    report = write_report(settings, lake, day)
    users = summary.users
    metrics = {
        "users.scored": Metric.exact(users, users),
        "users.at_high_risk": Metric.exact(summary.by_band.get("high", 0), users),
        "users.with_offer": Metric.exact(summary.with_offer, users),
        "budget.limit": Metric.exact(allocation.budget, users),
        "budget.expected_cost": Metric.exact(allocation.spent, users),
        "policy.expected_value": Metric.exact(allocation.value, users),
        "allocation.bound": Metric.exact(allocation.bound, users),
        "allocation.gap": Metric.exact(allocation.gap, users),
        "allocation.shadow_price": Metric.exact(allocation.shadow_price, users),
    }
    metrics |= champion_metrics(lake, day)
    outputs = {"report": str(report), "decisions": str(day_folder(lake, day) / "decisions.parquet")}
    warnings = [] if summary.with_offer else ["no offer is expected to pay for anyone; nobody gets one"]
    outcome = Outcome("score-users", day, metrics, outputs, warnings)
    create_markdown_artifact(outcome.markdown(), key="score-users")
    return outcome


def champion_metrics(lake: Lake, as_of: date) -> dict[str, Metric]:
    """Metrics of the newest training on or before a day: how good the models behind its decisions are."""
    training = latest_training(lake, as_of)
    models = training.models.values() if training is not None else []
    return {name: Metric(**metric) for model in models for name, metric in model["metrics"].items()}
