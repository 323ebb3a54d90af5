"""Who is under contract, whose contract ends within the horizon and why; and models that tell the causes apart."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from apps import event, small_app
from subscription_world import AS_OF, SETTINGS, subscription_app

from configs.errors import InputError
from configs.settings import load_settings
from features.definitions.labels import outcome_labels
from features.materialise.as_of_view import open_as_of
from features.tables.duckdb_sessions import duckdb_session
from serving.guards.realised_calibration import under_contract_since

DAY, NOW = date(2024, 3, 1), date(2024, 5, 1)
RENEW, CANCEL, FAIL, VISIT = (
    "app_store_subscription_renew", "app_store_subscription_cancel", "payment_failed", "session_start"
)  # fmt: skip
# a period of 30 days and 7 of grace, a horizon of 28: what was done when, and what becomes of them (left, by payments)
LIVES = {
    "renews": ([(RENEW, "2024-02-10"), (RENEW, "2024-03-11")], (0, 0)),
    "renews-late": ([(RENEW, "2024-02-10"), (FAIL, "2024-03-11"), (RENEW, "2024-03-18")], (0, 0)),
    "a-day-too-late": ([(RENEW, "2024-02-10"), (FAIL, "2024-03-11"), (RENEW, "2024-03-19")], (1, 1)),
    "cancels": ([(RENEW, "2024-02-10"), (CANCEL, "2024-03-05")], (1, 0)),
    "never-renews": ([(RENEW, "2024-02-10"), (VISIT, "2024-03-20")], (1, 0)),
    "cannot-pay": ([(RENEW, "2024-02-10"), (FAIL, "2024-03-11"), (FAIL, "2024-03-14")], (1, 1)),
    "cancelled-as-payment-failed": ([(RENEW, "2024-02-10"), (FAIL, "2024-03-11"), (CANCEL, "2024-03-15")], (1, 1)),
    "paid-and-cancels-later": (
        [(RENEW, "2024-02-05"), (FAIL, "2024-03-06"), (RENEW, "2024-03-08"), (CANCEL, "2024-03-28")], (1, 0)
    ),
    "due-after-the-horizon": ([(RENEW, "2024-02-28")], (0, 0)),
    "failing-already": ([(RENEW, "2024-01-27"), (FAIL, "2024-02-26")], (1, 1)),
    "had-cancelled": ([(RENEW, "2024-02-10"), (CANCEL, "2024-02-20"), (VISIT, "2024-02-29")], None),
    "came-back": ([(RENEW, "2024-01-10"), (CANCEL, "2024-01-20"), (RENEW, "2024-02-25")], (0, 0)),
    "had-ended": ([(RENEW, "2024-01-20"), (VISIT, "2024-02-28")], None),
    "visits-alone": ([(VISIT, "2024-02-28"), (VISIT, "2024-03-20")], None),
    "begins-later": ([(VISIT, "2024-02-28"), (RENEW, "2024-03-02")], None),
}  # fmt: skip


def test_contracts_end_when_their_users_cancel_or_a_renewal_can_come_no_more(tmp_path: Path) -> None:
    events = [event(user, day, name) for user, (life, _) in LIVES.items() for name, day in life]
    app = small_app(tmp_path, overrides=SETTINGS, events=[*events, event("end", "2024-04-30", VISIT)])
    app.ingest()
    app.aggregate()
    with open_as_of(app.settings, app.lake, NOW) as history:
        rows = history.collect(outcome_labels(history.aggregates, history.spine([DAY]), app.settings))
    found = {row.user_id: (row.is_churned, row.is_involuntary) for row in rows.itertuples()}
    assert found == {user: ends for user, (_, ends) in LIVES.items() if ends is not None}
    assert (rows["is_retained"] == 1 - rows["is_churned"]).all()
    stayed = under_contract_since(
        f"read_parquet('{app.lake.glob('aggregates')}', hive_partitioning = true)", DAY, app.settings
    )
    with duckdb_session(app.settings) as connection:
        held = {user for (user,) in connection.execute(stayed).fetchall()}
    assert held & set(found) == {user for user, (left, _) in found.items() if not left}, "the guard counts alike"


def test_a_renewal_that_comes_to_be_known_later_puts_nobody_under_contract_before(tmp_path: Path) -> None:
    late = event("late", "2024-02-20", RENEW, received_at="2024-03-03")
    app = small_app(tmp_path, overrides=SETTINGS, events=[late, event("end", "2024-04-30", VISIT)])
    app.ingest()
    app.aggregate()
    with open_as_of(app.settings, app.lake, NOW) as history:
        labels = outcome_labels(history.aggregates, history.spine([DAY, date(2024, 3, 4)]), app.settings)
        assert history.collect(labels)["day"].astype(str).tolist() == ["2024-03-04"]


def test_contracts_need_events_that_renew_them_and_a_horizon_within_a_period() -> None:
    with pytest.raises(InputError, match=r"needs roles\.renewal"):
        load_settings(churn={"kind": "cancellation"})
    with pytest.raises(InputError, match="more than one renewal would be due"):
        load_settings(churn={"kind": "cancellation", "period_days": 7}, roles={"renewal": ["renew"]})


@pytest.mark.full
def test_both_causes_are_ranked_above_recency_and_add_up_to_the_risk(tmp_path: Path) -> None:
    from features.training_data.snapshot_run import bring_snapshots_up_to_date
    from models.learn.churn import train_churn
    from models.learn.churn_causes import train_causes
    from models.training_run.training_frames import collect_frames

    app = subscription_app(tmp_path, 1500)
    app.ingest()
    app.aggregate()
    bring_snapshots_up_to_date(app.settings, app.lake, AS_OF)
    frames = collect_frames(app.settings, app.lake, AS_OF)
    churn = train_churn(frames.outcomes, frames.features, app.settings, AS_OF)
    metrics = churn.metrics | train_causes(frames.outcomes, frames.features, app.settings, AS_OF, churn).metrics
    for cause in ("voluntary", "involuntary"):
        assert metrics[f"churn.auc_{cause}_gain"].low > 0, metrics
        assert metrics[f"churn.auc_{cause}"].low > 0.6
    rates = [metrics[f"churn.rate_{cause}"].value for cause in ("voluntary", "involuntary")]
    assert sum(rates) == pytest.approx(metrics["churn.rate"].value, abs=1e-3)
