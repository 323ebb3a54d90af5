"""The calibration guard: predicted against actual churn, on the newest day whose horizon is over."""

from __future__ import annotations

from datetime import date, timedelta

from configs.settings import Settings
from features.storage.lake import Lake
from features.tables.duckdb_sessions import duckdb_session, sql_text
from models.registry.model_reader import Registered
from serving.guards.guard_findings import PASSED, UNKNOWN, Finding, found_by

MOST_USERS = 20_000  # who are looked at: a part of them by the hash of their ids where there are more
ACTIVE = "SELECT DISTINCT user_id FROM {rows} WHERE active_days > 0"
SIGMAS = 3.0  # of a share, which differs by so much by chance once in 400 days


def realised_calibration(settings: Settings, lake: Lake, as_of: date, model: Registered) -> list[Finding]:
    """Hold the risk of users who were given nothing against what became of them.

    It fires where the share that left and the mean risk differ by more than the limit and three standard errors of the
    share (calibration in the large; Van Calster et al. 2019). Those who were given an offer are left out, since it was
    to change what they do.

    Raises
    ------
    InputError
        A file of that day, or of the daily rows since, cannot be read.
    """
    guard, name, horizon = settings.guards.calibration, model.lineage.name, settings.churn.horizon_days
    if guard.mode == "off":
        return []
    unknown = ("calibration", UNKNOWN, guard.mode, guard.limit)
    first, last = model.lineage.as_of, as_of - timedelta(days=horizon)  # earlier ones it decided in hindsight
    closed = [day for day in lake.days("decisions") if first <= day <= last]
    if not closed:
        return [Finding(*unknown, "no_labels", name)]
    day = closed[-1]
    stayed = stayed_query(settings, lake, day)
    decided = lake.partition("decisions", day)
    asked = f"FROM read_parquet({sql_text(decided)}) WHERE p_churn IS NOT NULL AND offer_id = 'none' AND "
    asked += f"list_contains(string_split(model_versions, ', '), {sql_text(name)})"
    with duckdb_session(settings) as connection:
        users = connection.execute(f"SELECT count(*) {asked}").fetchall()[0][0]
        if users < settings.guards.min_rows or stayed is None:
            return [Finding(*unknown, "few_rows" if users else "no_labels", name, users, settings.guards.min_rows)]
        some = f"hash(user_id) % {max(1, users // MOST_USERS)} = 0"
        found, expected, left = connection.execute(f"""
            SELECT count(*), avg(p_churn), avg((stayed.user_id IS NULL)::INT)
            FROM (SELECT user_id, p_churn {asked} AND {some}) LEFT JOIN
                 (SELECT user_id FROM ({stayed}) WHERE {some}) AS stayed USING (user_id)
        """).fetchall()[0]  # fmt: skip
    chance = SIGMAS * (max(left * (1 - left), 1e-9) / found) ** 0.5
    is_fired = abs(left - expected) > guard.limit + chance
    passed = Finding("calibration", PASSED, guard.mode, guard.limit, subject=name, value=left, usual=expected)
    return found_by("calibration", guard, is_fired, "calibration", name, left, expected) or [passed]


def stayed_query(settings: Settings, lake: Lake, day: date) -> str | None:
    """Write the SELECT of users who stayed through the horizon of a day; None where no daily rows tell."""
    has_contracts = settings.churn.kind == "cancellation"
    before = settings.churn.contract_days if has_contracts else 0
    around = [day + timedelta(days=offset) for offset in range(-before, settings.churn.horizon_days)]
    files = [lake.partition("aggregates", each) for each in around if lake.has_partition("aggregates", each)]
    rows = f"read_parquet([{', '.join(map(sql_text, files))}], hive_partitioning = true)"
    if not files:
        return None
    return under_contract_since(rows, day, settings) if has_contracts else ACTIVE.format(rows=rows)


def under_contract_since(rows: str, day: date, settings: Settings) -> str:
    """Write the SELECT of users whose contract held through the horizon: `features.definitions.contract_labels`."""
    churn = settings.churn
    due = f"renewed_before + {churn.contract_days}"
    return f"""
        SELECT user_id FROM (
            SELECT user_id, max("offset") FILTER ("offset" < 0 AND renewal_count > 0) AS renewed_before,
                   min("offset") FILTER ("offset" >= 0 AND renewal_count > 0) AS renewed_after,
                   bool_or("offset" >= 0 AND cancellations_count > 0) AS has_cancelled
            FROM (SELECT *, day - DATE '{day}' AS "offset" FROM {rows}) GROUP BY user_id)
        WHERE NOT has_cancelled AND ({due} >= {churn.horizon_days} OR renewed_after <= {due})
    """
