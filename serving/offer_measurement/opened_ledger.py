"""The valid entries of the ledger as a table for queries, with the user ids that events have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ibis
import ibis.expr.types as ir

from features.ingestion.user_aliases import who_is_who
from features.materialise.as_of_view import AsOfView
from features.storage.lake import literal


def ledger_rows(history: AsOfView, files: Sequence[Path]) -> ir.Table:
    """Open the ledger; an id that turned out to be somebody is that user, as it is in the events."""
    rows = history.engine.read_parquet(
        list(map(literal, files)), table_name="ledger", hive_partitioning=False, union_by_name=True
    )
    who = history.engine.create_table(
        "who_is_who", obj=who_is_who(history.settings, history.lake), temp=True, overwrite=True
    )
    who = who.select("old_user_id", somebody="user_id")
    rows = rows.left_join(who, rows.user_id == who.old_user_id)
    return rows.mutate(user_id=ibis.coalesce(rows.somebody, rows.user_id)).drop("somebody", "old_user_id")
