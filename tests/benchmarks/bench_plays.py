"""What the plays of the starter catalogue cost on a day of many users: their rules in batches, and who may get what.

Run as a script it prints one JSON object; ``--quick`` takes 100,000 users instead of a million, ``--users`` any number.
"""

from __future__ import annotations

import argparse
import json
import resource

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
from bench_segments import snapshot
from timing import seconds

from configs.offers import load_catalogue
from configs.settings import load_settings
from features.definitions.app_declarations import declarations_of
from serving.contact_rules.contact_rule import forbidden, no_contacts
from serving.contact_rules.rule_list import rules_of
from serving.plays.play_rules import play_rules_of, usable
from serving.segments.stages import stages_of


def main() -> None:
    """Ask every play and every rule of every user."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--users", type=int, default=1_000_000)
    asked = parser.parse_args()
    users, rng = 100_000 if asked.quick else asked.users, np.random.default_rng(1)
    settings = load_settings()
    whole = load_catalogue("starter")
    plays = play_rules_of(settings, declarations_of(settings).catalogue(), whole)
    catalogue, stages = usable(whole, plays), stages_of(settings)
    rules = rules_of(settings, catalogue)
    frame = pd.DataFrame(snapshot(users, rng)).assign(user_id=np.arange(users).astype(str))
    with duckdb.connect() as connection:
        connection.register("day", pa.table({"active_days_count_90d": frame["active_days_count_90d"]}))
        plays = plays.with_cuts(connection, "day")
    size = settings.scoring.batch_users
    batches = [frame.iloc[first : first + size] for first in range(0, users, size)]
    known = [{"stage": stages.of(each), "p_churn": rng.random(len(each))} for each in batches]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    held, none = [], np.full(size, None, dtype=object)
    of_plays = seconds(lambda: held.extend(map(plays.holds, batches, known)))
    meant = [each.assign(**flags) for each, flags in zip(batches, held, strict=True)]
    of_rules = seconds(
        lambda: [
            forbidden(rules, each, no_contacts().of(each["user_id"], none[: len(each)]), catalogue) for each in meant
        ]
    )
    found = {"users": users, "plays": len(plays.rules), "options": len(catalogue.options)}
    found |= {"plays_cpu_seconds": round(of_plays.cpu, 2), "rules_cpu_seconds": round(of_rules.cpu, 2)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({**found, "peak_mib_before": before, "peak_mib": peak}, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
