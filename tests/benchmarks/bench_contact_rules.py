"""What the rules of contact take for a million users: caps and cool-downs over 28 days of ledger and of message events.

Bars: under 20 seconds, and under 1.5 GiB more memory. Every user has a row of the ledger each day, three in ten of them
a message, which an event tells again; one in ten has a message of somebody else, too.

    make bench BENCH=bench_contact_rules.py
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from configs.offers import Catalogue, Offer
from configs.settings import Settings, load_settings
from features.storage.lake import Lake
from serving.contact_rules.contact_rule import forbidden
from serving.contact_rules.rule_list import rules_of
from serving.earlier_contacts.past_contacts import PastContacts
from serving.stored_days.decision_moment import DecisionMoment

DAY, DAYS, BATCH = date(2024, 7, 1), 28, 50_000
BAR_SECONDS, BAR_GIB = 20.0, 1.5
EACH = {"title": "A", "message": "m", "discounts": (0.1,), "valid_days": 1, "contact_cost": 0.01, "covered_spend": 20.0}
OFFERS = Catalogue(
    offers=tuple(
        Offer(offer_id=f"o{place}", play=f"p{place}", channel=("push", "email")[place % 2], cool_down_days=7, **EACH)
        for place in range(6)
    )
)
ROWS = """
    SELECT 'u' || lpad(i::VARCHAR, 7, '0') AS user_id, md5(i || ' {day}') AS decision_id,
           TIMESTAMPTZ '{day} 00:00:00+00' AS decided_at, hash(i, '{day}') % 10 < 3 AS is_given,
           hash(i, 'offer {day}') % 6 AS place, hash(i, 'foreign {day}') % 10 = 0 AS is_foreign,
           TIMESTAMPTZ '{day} 08:00:00+00' + to_minutes((hash(i, 'hour {day}') % 700)::BIGINT) AS send_at
    FROM range({users}) AS t(i)
"""
GIVEN = "CASE WHEN is_given THEN 'o' || place ELSE 'none' END AS offer_id"
CHANNEL = "CASE WHEN place % 2 = 0 THEN 'push' ELSE 'email' END AS channel"
TABLES = {
    "treatments": f"SELECT decision_id, user_id, decided_at, {GIVEN}, {CHANNEL}, "
    "decided_at + INTERVAL 1 DAY AS valid_until",
    "decisions": f"SELECT decision_id, user_id, decided_at AS as_of, {GIVEN}, {CHANNEL}, "
    "CASE WHEN is_given THEN send_at END AS send_at",
    "events": f"""
        SELECT 'e' || decision_id AS event_id, user_id, 'notification_receive' AS event_name, send_at AS occurred_at,
               {CHANNEL}, decision_id FROM rows WHERE is_given
        UNION ALL SELECT 'f' || decision_id, user_id, 'notification_receive', send_at, 'push', NULL
    """,
}


def make(root: Path, users: int) -> None:
    """Write 28 days of ledger and events."""
    lake = Lake(root)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for back in range(1, DAYS + 1):
            day = DAY - timedelta(days=back)
            connection.execute(f"CREATE OR REPLACE TEMP TABLE rows AS {ROWS.format(day=day, users=users)}")
            for table, query in TABLES.items():
                path = lake.partition(table, day)
                path.parent.mkdir(parents=True, exist_ok=True)
                last = " WHERE is_foreign" if table == "events" else ""
                connection.execute(f"COPY ({query} FROM rows{last}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")


def bench_settings(root: Path) -> Settings:
    """Caps in all and by channel, and a stop."""
    contact = {
        "caps": {"in_24_hours": 1, "in_7_days": 3, "in_28_days": 8},
        "channel_caps": {"push": {"in_7_days": 2}, "email": {"in_28_days": 6}},
        "stop_after_ignored": 6,
    }
    return load_settings(data_dir=root, contact=contact)


def measure(root: Path, users: int) -> None:
    """Read the history, and ask every rule about everybody, in batches."""
    settings, lake = bench_settings(root), Lake(root)
    moment = DecisionMoment.of_night(DAY, "UTC")
    rules = rules_of(settings, OFFERS)
    frames = [_frame(range(first, min(first + BATCH, users))) for first in range(0, users, BATCH)]
    before, started, cpu = _peak(), time.perf_counter(), time.process_time()
    history = PastContacts(lake, settings, OFFERS, moment)()
    counted, counted_cpu = time.perf_counter() - started, time.process_time() - cpu
    held = np.zeros(len(rules), np.int64)
    for frame in frames:
        known = history.of(frame["user_id"], np.full(len(frame), "UTC", dtype=object))
        held += forbidden(rules, frame, known, OFFERS).broken.sum(axis=0)
    seconds, own_cpu, more = time.perf_counter() - started, time.process_time() - cpu, _peak() - before
    told = {f"{rule.code} {rule.value or ''}".strip(): int(many) for rule, many in zip(rules, held, strict=True)}
    lines = [
        f"{users:,} users, {DAYS} days, {len(history.restrictions):,} restrictions",
        f"history {counted:.1f} s ({counted_cpu:.1f} CPU s), with every rule asked {seconds:.1f} s "
        f"({own_cpu:.1f} CPU s), {more:.2f} GiB more; bars {BAR_SECONDS:.0f} s, {BAR_GIB} GiB",
        f"users held back: {told}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def _frame(places: range) -> pd.DataFrame:
    ids = [f"u{place:07d}" for place in places]
    return pd.DataFrame({"user_id": ids, "days_since_last_activity": 3.0, "payment_failures_count_28d": 0.0})


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--root", type=Path)
    asked = parser.parse_args()
    if asked.root is not None:
        measure(asked.root, asked.users)
    else:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), asked.users)
            command = [sys.executable, __file__, "--users", str(asked.users), "--root", folder]
            subprocess.run(command, check=True)
