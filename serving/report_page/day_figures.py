"""Figures of a day's decisions for the command line and the desk, with warnings."""

from __future__ import annotations

from datetime import date

from configs.settings import Settings
from features.storage.lake import Lake
from models.measurement.promise_ratio import ALL
from models.metrics.metric import Metric
from models.training_run.training_record import TrainingRecord, latest_training
from serving.arms.assignment import Spending
from serving.decide.promise_ratios import AS_MODELLED, KeptRatios, newest_ratios, plan_promise
from serving.report_page.summary import Summary

# what an operator looks at in the morning, of all that a day is told in
SHOWN = {
    "users": ("users.scored", "users.expected_to_leave", "users.at_risk", "users.at_high_risk", "users.with_offer",
              "users.in_control", "users.exploring"),
    "money": ("budget.limit", "budget.expected_cost", "policy.expected_value", "policy.expected_value_as_modelled",
              "promise.all.ratio"),
    "models, as they were judged": ("churn.auc", "churn.auc_recency", "churn.ece", "value.r_squared", "redemption.auc",
                                    "redemption.ece", "*.incremental_margin", "policy.gain"),
}  # fmt: skip


def day_metrics(lake: Lake, as_of: date, summary: Summary, spending: Spending) -> dict[str, Metric]:
    """Name every figure of a day: its users, its money, and how good the models behind it are."""
    figures = user_figures(summary) | spending_figures(spending)
    exact = {name: Metric.exact(figure, summary.users) for name, figure in figures.items()}
    training = latest_training(lake, as_of)
    return exact | promise_figures(lake, as_of) | (training.metrics if training is not None else {})


def promise_figures(lake: Lake, as_of: date) -> dict[str, Metric]:
    """Say what the plan promises, by how much of earlier promises came true; nothing before that was measured.

    ``policy.expected_value`` is then that sum, and ``policy.expected_value_as_modelled`` what the models alone say.
    """
    kept = newest_ratios(lake, as_of)
    promise = plan_promise(lake, as_of, kept)
    if promise is None or kept.whole is None:
        return {}
    said = plan_promise(lake, as_of, KeptRatios(None, {ALL: AS_MODELLED}))
    modelled = {"policy.expected_value_as_modelled": said} if said is not None else {}
    return {"policy.expected_value": promise, "promise.all.ratio": kept.whole, **modelled}


def user_figures(summary: Summary) -> dict[str, float]:
    """Count the users of a day, by what is known and done about them."""
    return {
        "users.scored": summary.users,
        "users.expected_to_leave": summary.expected_leavers,
        "users.at_risk": summary.at_risk,
        "users.at_high_risk": summary.by_band.get("high", 0),
        "users.with_offer": summary.with_offer,
        "users.exploring": summary.by_arm.get("explore", 0),
        "users.in_control": summary.in_control,
        "offers.personalisation": summary.personalisation,
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


def day_notes(
    settings: Settings, summary: Summary, spending: Spending, training: TrainingRecord | None = None
) -> list[str]:
    """Say what a person should know about the decisions of a day: also which models there were not, and why."""
    lacking = training.untrained if training is not None else ()
    found = [str(lack) for lack in lacking]
    if not summary.with_offer and not lacking:
        found.append("no offer is expected to pay for anyone; nobody gets one")
    if summary.known and not summary.at_risk:
        found.append(
            f"nobody's risk reaches scoring.medium_risk = {settings.scoring.medium_risk:.0%} and the average of "
            f"{summary.base_rate:.1%}; lower it to see who stands out"
        )
    if summary.withdrawn:
        found.append(f"{summary.withdrawn:,} decisions broke a rule when they were to be written, and were withdrawn")
    wanted = settings.scoring.exploration.share
    if spending.exploration_share < wanted:
        found.append(
            f"the budget pays for an exploration share of {spending.exploration_share:.2%} instead of {wanted:.2%}; "
            "raise scoring.budget or scoring.exploration.budget_share, or lower scoring.exploration.share"
        )
    return found
