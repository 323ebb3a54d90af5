"""The oracle from end to end: Ibis queries from events to snapshots, compiled once and run on any rows; no files."""

from __future__ import annotations

from datetime import date

import ibis
import pandas as pd
import pyarrow as pa
from apps import Row
from histories import contract_table
from oracle_daily import daily_aggregates, daily_category_hour_counts, with_roles
from oracle_snapshots import snapshots

from configs.settings import load_settings
from features.arrays.calendar_days import start_of
from features.ingestion.contract import EVENTS, TREATMENTS

USERS = pa.schema(
    {"user_id": pa.string(), "signed_up_on": pa.date32(), "trait_country": pa.string(), "trait_pets": pa.float64()}
)


class Oracle:
    """An open DuckDB with the queries; days are those of UTC."""

    def __init__(self) -> None:
        self.engine = ibis.duckdb.connect()
        events, treatments = (self._put(name, dated(name, [])) for name in ("events", "treatments"))
        marked = with_roles(events, treatments, load_settings().roles)
        steps = {"aggregates": daily_aggregates(marked), "category_hour_counts": daily_category_hour_counts(marked)}
        tables = [self.engine.create_table(name, query, temp=True) for name, query in steps.items()]
        query = snapshots(*tables, self._put("users", USERS.empty_table()), self._put("spine", spine_of()))
        steps["snapshots"] = query.order_by("user_id", "day")
        self.steps = {name: ibis.to_sql(query, dialect="duckdb") for name, query in steps.items()}

    def features(self, rows: dict[str, list[Row]], users: pa.Table, *days: date) -> pd.DataFrame:
        """Compute the snapshots of some days, in the order of users and days."""
        for name in ("events", "treatments"):
            self._put(name, dated(name, rows.get(name, [])))
        self._put("users", users.cast(USERS))
        self._put("spine", spine_of(*days))
        for name, query in self.steps.items():
            self.engine.raw_sql(f"CREATE OR REPLACE TEMP TABLE {name} AS {query}")
        return self.engine.con.execute("FROM snapshots").df()

    def _put(self, name: str, rows: pa.Table) -> ibis.Table:
        return self.engine.create_table(name, rows, temp=True, overwrite=True)


def dated(table: str, rows: list[Row]) -> pa.Table:
    """Rows of a contract table, with the day that ingestion gives them."""
    contract = EVENTS if table == "events" else TREATMENTS
    whole = contract_table(table, rows)
    days = [instant.date() for instant in whole[contract.instant].to_pylist()]
    return whole.append_column("day", pa.array(days, pa.date32()))


def spine_of(*days: date) -> pa.Table:
    """Days of snapshots and the instants at which they start."""
    starts = pa.array([start_of(day, "UTC") for day in days], pa.timestamp("us", "UTC"))
    return pa.table({"day": pa.array(days, pa.date32()), "as_of": starts})
