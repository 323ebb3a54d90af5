"""Flow: everyone's risk, options and decision of a day, and the report about them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from datetime import date
from functools import partial

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from configs.offers import load_catalogue
from configs.progress import announce
from configs.settings import Settings
from features.materialise.as_of_view import AsOfView, open_as_of
from features.materialise.spark_executor import spark_machines
from features.storage.fingerprints import stored_input
from features.storage.lake import Lake
from features.training_data.feature_store import FeatureStore, open_store
from features.training_data.frames import count_users, scoring_batch, scoring_batch_anywhere
from flows.outcome import Outcome, dated, open_run, writes_alone
from models.metrics.metric import Metric
from models.registry.response import load_response
from models.registry.tracking import load
from serving.decide.assignment import Spending
from serving.decide.day_tables import day_folder
from serving.decide.decisions import decide
from serving.decide.executors import LocalExecutor, SparkExecutor
from serving.decide.scoring import Policy
from serving.report_page.report import latest_training, write_report
from serving.report_page.summary import Summary, summarise


@task(name="decisions", cache_policy=NO_CACHE)
def decide_for_all(settings: Settings, lake: Lake, as_of: date) -> Spending:
    """Predict, value and decide, in batches of users."""
    announce(f"decisions for everybody as of {as_of}")
    with ExitStack() as sources:
        history = sources.enter_context(open_as_of(settings, lake, as_of))
        store = open_store(lake, history.features, only=as_of)
        policy = Policy(
            settings,
            load_catalogue(settings.offers),
            load(lake, "churn"),
            load(lake, "value"),
            load_response(lake),
        )
        executor = batches_on_spark(history) if settings.engine == "spark" else batches(history, store, sources.close)
        return decide(policy, lake, as_of, executor, inputs=stored_input(lake.partition("snapshots", as_of)) or "")


def places_of_batches(history: AsOfView) -> list[range]:
    """Cut everybody into batches of ``scoring.batch_users``: places among all users of the snapshot."""
    everybody, size = range(count_users(history.lake, history.as_of)), history.settings.scoring.batch_users
    return [everybody[first : first + size] for first in everybody[::size]]


def batches(history: AsOfView, store: FeatureStore, done: Callable[[], None]) -> LocalExecutor:
    """Read each batch when its turn comes; `done` is called when nothing is read any more."""
    read = partial(scoring_batch, store, history.lake, history.as_of, history.settings.time_zone)
    return LocalExecutor([partial(read, places) for places in places_of_batches(history)], done)


def batches_on_spark(history: AsOfView) -> SparkExecutor:
    """Let Spark's machines read and score the batches."""
    read = partial(scoring_batch_anywhere, history.lake, history.as_of, history.settings.time_zone)
    return SparkExecutor(
        spark_machines(history.settings), [partial(read, places) for places in places_of_batches(history)]
    )


@flow(name="score-users", flow_run_name=dated("score-users"), validate_parameters=False)
@writes_alone
def score_users(profile: str | None = None, data_dir: str | None = None, as_of: date | None = None) -> Outcome:
    """Give every user a decision under the budget and write the report."""
    settings, lake, day = open_run(profile, data_dir, as_of)
    spending = decide_for_all(settings, lake, day)
    summary = summarise(lake, day)
    report = write_report(settings, lake, day)
    figures = user_figures(summary) | spending_figures(spending)
    metrics = {name: Metric.exact(figure, summary.users) for name, figure in figures.items()}
    metrics |= champion_metrics(lake, day)
    folder = day_folder(lake, day)
    outputs = {"report": str(report), "decisions": str(folder / "decisions.parquet")}
    outputs |= {"budget curve": str(folder / "budget_curve.parquet")}
    outcome = Outcome("score-users", day, metrics, outputs, notes(settings, summary, spending))
    create_markdown_artifact(outcome.markdown(), key="score-users")
    return outcome


def user_figures(summary: Summary) -> dict[str, float]:
    """Count the users of a day, by what is known and done about them."""
    return {
        "users.scored": summary.users,
        "users.at_high_risk": summary.by_band.get("high", 0),
        "users.with_offer": summary.with_offer,
        "users.exploring": summary.by_arm.get("explore", 0),
        "users.in_control": summary.in_control,
        "users.business_as_usual": summary.by_arm.get("business_as_usual", 0),
    }


def spending_figures(spending: Spending) -> dict[str, float]:
    """Say what a day's decisions cost and bring, and what more of each scarce thing would earn."""
    prices = {
        f"allocation.{name.replace(' ', '_')}.shadow_price": price for name, price in spending.limit_prices.items()
    }
    used = {f"allocation.{name.replace(' ', '_')}.used": places for name, places in spending.used.items()}
    return {
        "budget.limit": spending.budget,
        "budget.expected_cost": spending.spent,
        "budget.for_exploration": spending.exploration_spent,
        "exploration.share": spending.exploration_share,
        "policy.expected_value": spending.value,
        "allocation.bound": spending.bound,
        "allocation.gap": spending.gap,
        "allocation.shadow_price": spending.shadow_price,
        **prices,
        **used,
    }


def notes(settings: Settings, summary: Summary, spending: Spending) -> list[str]:
    """Say what a person should know about the decisions of a day."""
    found = [] if summary.with_offer else ["no offer is expected to pay for anyone; nobody gets one"]
    if summary.withdrawn:
        found.append(f"{summary.withdrawn:,} decisions broke a rule when they were to be written, and were withdrawn")
    wanted = settings.scoring.exploration.share
    if spending.exploration_share < wanted:
        found.append(
            f"the budget pays for an exploration share of {spending.exploration_share:.2%} instead of {wanted:.2%}; "
            "raise scoring.budget or scoring.exploration.budget_share, or lower scoring.exploration.share"
        )
    return found


def champion_metrics(lake: Lake, as_of: date) -> dict[str, Metric]:
    """Metrics of the newest training on or before a day: how good the models behind its decisions are."""
    training = latest_training(lake, as_of)
    models = training.models.values() if training is not None else []
    return {name: Metric(**metric) for model in models for name, metric in model["metrics"].items()}
