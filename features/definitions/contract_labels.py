"""Labels of contracts: who is under contract at a moment, and whether it ends by choice or by failed payments.

A renewal holds for ``churn.period_days`` and the grace. A contract ends when its user cancels, or on the day on which a
renewal can come no more. It ends *involuntarily* where a payment failed since the last renewal: before a renewal that
never came, or within the grace before the cancellation. The two exclude each other: competing outcomes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from configs.churn_settings import Churn
from configs.custom_features import CustomFeature
from configs.settings import Settings

if TYPE_CHECKING:  # takes long to import, and look-ups name columns alone
    import ibis.expr.types as ir

RENEWALS, FAILURES = "renewal_count", "payment_failure_count"  # daily measures that the columns below bring
CONTRACT_COLUMNS = {
    "renewal": {"meaning": "Days since the contract was begun or renewed", "role": "renewal", "measure": "last"},
    "payment_failure": {"meaning": "Days since a payment failed", "role": "payment_failure", "measure": "last"},
    "contract_renewals": {
        "meaning": "Renewals of the contract", "role": "renewal", "measure": "count", "windows": [90, 365],
    },
}  # fmt: skip


def own_columns(settings: Settings) -> dict[str, CustomFeature]:
    """Columns of the app's own tables, and those of contracts where it has them."""
    if settings.churn.kind != "cancellation":
        return settings.features.custom
    of_contracts = {name: CustomFeature.model_validate(table) for name, table in CONTRACT_COLUMNS.items()}
    return {**of_contracts, **settings.features.custom}


def contract_parts(pairs: ir.Table, was_known: ir.BooleanValue, churn: Churn) -> dict[str, ir.Value]:
    """Aggregate what `ended` needs of the daily rows around a moment; `pairs` have the ``offset`` of each row's day."""
    before, after = was_known & (pairs.offset < 0), pairs.offset >= 0
    within = after & (pairs.offset < churn.horizon_days)
    renews, fails, cancels = pairs[RENEWALS] > 0, pairs[FAILURES] > 0, pairs.cancellations_count > 0
    return {
        "renewed_before": pairs.offset.max(where=before & renews),
        "ended_before": pairs.offset.max(where=before & cancels),
        "renewed_after": pairs.offset.min(where=after & renews),
        "cancelled_at": pairs.offset.min(where=within & cancels),
        "failed_at": pairs.offset.max(where=fails & (pairs.offset < churn.horizon_days)),
    }


def under_contract(labels: ir.Table, churn: Churn) -> ir.BooleanValue:
    """Say whose last renewal still holds at the moment, and who has not cancelled since."""
    holds = labels.renewed_before >= -churn.contract_days
    return (holds & (labels.renewed_before > labels.ended_before.fill_null(-(10**6)))).fill_null(False)


def ended(labels: ir.Table, churn: Churn) -> dict[str, ir.IntegerValue]:
    """Say whose contract ends within the horizon (``is_churned``), and for whom payments are why."""
    due = labels.renewed_before + churn.contract_days
    misses = (due < churn.horizon_days) & (labels.renewed_after.isnull() | (labels.renewed_after > due))
    cancels = labels.cancelled_at.notnull()
    failed_since = labels.failed_at.notnull() & (labels.failed_at > labels.renewed_before)
    just_failed = failed_since & (labels.failed_at >= labels.cancelled_at - churn.grace_days)
    involuntary = (cancels & just_failed.fill_null(False)) | (~cancels & misses & failed_since)
    return {
        "is_churned": (cancels | misses).cast("int64"),
        "is_retained": (~(cancels | misses)).cast("int64"),
        "is_involuntary": involuntary.cast("int64"),
    }
