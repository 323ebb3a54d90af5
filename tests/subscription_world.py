"""A simulated app with contracts: users renew every 30 days until they cancel, or until their payments fail for good.

Two causes with separate drivers, so that a model of one tells little of the other: who uses the app less and less and
looks at the help pages cancels; whose card is old has payments that fail, mostly more than once. Visits of both go on.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from apps import App, small_app

from features.ingestion.contract import EVENTS
from features.simulator.simulated_events import contract_table

FIRST, DAYS, PERIOD, GRACE = date(2023, 1, 1), 420, 30, 7
AS_OF = FIRST + timedelta(days=DAYS)
SETTINGS: dict[str, object] = {
    "app": "Streaming", "offers": "none",
    "churn": {
        "kind": "cancellation", "lookback_days": 60, "horizon_days": 28, "period_days": PERIOD, "grace_days": GRACE,
    },
    "roles": {
        "renewal": ["app_store_subscription_renew"], "cancellation": ["app_store_subscription_cancel"],
        "activity": ["session_start"], "payment_failure": ["payment_failed"],
    },
    "features": {"snapshot_every_days": 28, "min_history_days": 90},
    "value": {"horizon_days": 28},
    "training": {"holdout_days": 84, "bootstrap_samples": 200, "min_users": 100, "trees": 60, "min_leaf_rows": 30},
}  # fmt: skip


def subscription_app(folder: Path, users: int, seed: int = 3) -> App:
    """Write the world's raw files, with a source that reads them."""
    random = np.random.default_rng(seed)
    rows = [row for user in range(users) for row in _life(random, user)]
    names = ("event_id", "user_id", "event_name", "occurred_at", "amount")
    columns = {name: pa.array([row[place] for row in rows]) for place, name in enumerate(names)}
    return small_app(folder, overrides=SETTINGS, events=contract_table(EVENTS, len(rows), columns))


def _life(random: np.random.Generator, user: int) -> list[tuple[object, ...]]:
    """One user's events until the contract ends, or the history does."""
    day, pace, card = float(random.integers(0, DAYS - 30)), random.gamma(3, 0.07) + 0.06, random.random()
    fades_from = random.exponential(150) + 20  # days after which they lose interest
    found: list[tuple[object, ...]] = []

    def tell(name: str, at: float, amount: float | None = None) -> None:
        if at < DAYS:
            moment = datetime.combine(FIRST, datetime.min.time(), UTC) + timedelta(days=at)
            found.append((f"{user}-{len(found)}", f"user-{user:05d}", name, moment, amount))

    begun, visited = day, day
    while day < DAYS:
        tell("app_store_subscription_renew", day, 9.99)
        ends = day + PERIOD
        interest = 1.0 if day - begun < fades_from else 0.25
        while (visited := visited + random.exponential(1 / (pace * interest))) < ends:
            tell("session_start", visited)
        visited = ends
        if random.random() < (0.01 if interest == 1.0 else 0.4):
            tell("app_store_subscription_cancel", day + random.uniform(5, PERIOD - 1))
            break
        if random.random() < 0.65 * card**6:  # an old card: the payment fails, is tried again, and may come late
            tell("payment_failed", ends)
            if random.random() < 0.45:
                tell("payment_failed", ends + 3)
                break
            day = ends + 2
            continue
        day = ends
    return found
