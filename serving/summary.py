"""The figures of one day's decisions, as report, command line and tests read them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import duckdb
import pandas as pd

from configs.errors import InputError
from features.lake import Lake
from serving.decisions import day_folder

AT_RISK = ("high", "medium")


@dataclass(frozen=True)
class Summary:
    """Counts and sums over all users of a day; money in account currency.

    `value_at_risk` is the sum of P(churn) x remaining value over everyone whose risk is known. `offers` has one row
    per option given: ``offer_id, discount, channel, users, expected_cost, expected_value, p_redeem, evidence``.
    `nothing` counts the users without an offer by reason; `drivers` the strongest reasons of users at risk.
    """

    users: int
    known: int
    by_band: dict[str, int]
    value_by_band: dict[str, float]
    value_at_risk: float
    with_offer: int
    in_control: int
    expected_cost: float
    expected_value: float
    offers: pd.DataFrame
    nothing: pd.DataFrame


def summarise(lake: Lake, as_of: date) -> Summary:
    """Read a day's decisions and add them up.

    Raises
    ------
    InputError
        The day has no decisions.
    """
    decisions = decisions_source(lake, as_of)
    with duckdb.connect() as connection:
        row = connection.execute(f"""
            SELECT count(*), count(p_churn), count(*) FILTER (offer_id <> 'none'), count(*) FILTER (arm = 'control'),
                   coalesce(sum(p_churn * remaining_value), 0), sum(expected_cost), sum(expected_value) FROM {decisions}
        """).fetchone()
        bands = connection.execute(f"""
            SELECT risk_band, count(*), coalesce(sum(p_churn * remaining_value), 0) FROM {decisions}
            GROUP BY risk_band ORDER BY risk_band
        """).fetchall()
        offers = connection.execute(f"""
            SELECT offer_id, discount, channel, count(*) AS users, sum(expected_cost) AS expected_cost,
                   sum(expected_value) AS expected_value, avg(p_redeem) AS p_redeem, any_value(evidence) AS evidence
            FROM {decisions} WHERE offer_id <> 'none' GROUP BY ALL ORDER BY offer_id, discount
        """).df()
        nothing = connection.execute(f"""
            SELECT why, count(*) AS users FROM {decisions} WHERE offer_id = 'none' GROUP BY why ORDER BY users DESC, why
        """).df()
    users, known, with_offer, in_control, value_at_risk, cost, value = row or (0,) * 7
    return Summary(
        users=users,
        known=known,
        by_band={band: count for band, count, _ in bands},
        value_by_band={band: total for band, _, total in bands},
        value_at_risk=value_at_risk,
        with_offer=with_offer,
        in_control=in_control,
        expected_cost=cost or 0.0,
        expected_value=value or 0.0,
        offers=offers,
        nothing=nothing,
    )


def examples(lake: Lake, as_of: date, count: int = 10) -> pd.DataFrame:
    """Pick users that show the day: half with an offer, half without, most value at risk first."""
    with duckdb.connect() as connection:
        return connection.execute(f"""
            WITH ranked AS (
                SELECT *, row_number() OVER (
                    PARTITION BY offer_id <> 'none' ORDER BY p_churn * remaining_value DESC NULLS LAST, user_id) AS place
                FROM {decisions_source(lake, as_of)} WHERE p_churn IS NOT NULL
            )
            SELECT * EXCLUDE (place) FROM ranked ORDER BY place, offer_id = 'none' LIMIT {count}
        """).df()


def decision_of(lake: Lake, as_of: date, user_id: str) -> pd.Series:
    """Read one user's decision.

    Raises
    ------
    InputError
        The user is unknown.
    """
    with duckdb.connect() as connection:
        query = f"SELECT * FROM {decisions_source(lake, as_of)} WHERE user_id = $1"
        found = connection.execute(query, [user_id]).df()
        if found.empty:
            near = f"SELECT user_id FROM {decisions_source(lake, as_of)} ORDER BY levenshtein(user_id, $1), user_id LIMIT 3"
            known = ", ".join(name for (name,) in connection.execute(near, [user_id]).fetchall())
            raise InputError(f"there is no user {user_id!r} in the decisions of {as_of}; the nearest ids are {known}")
    return found.iloc[0]


def options_of(lake: Lake, as_of: date, user_id: str) -> pd.DataFrame:
    """Read one user's options, best first."""
    path = day_folder(lake, as_of) / "options.parquet"
    with duckdb.connect() as connection:
        query = f"SELECT * FROM read_parquet('{path}') WHERE user_id = $1 ORDER BY value DESC"
        return connection.execute(query, [user_id]).df()


def decided_days(lake: Lake) -> list[date]:
    """Days that have decisions, in order."""
    return lake.days("decisions")


def decisions_source(lake: Lake, as_of: date) -> str:
    """Write the SQL source of a day's decisions.

    Raises
    ------
    InputError
        The day has none.
    """
    path = day_folder(lake, as_of) / "decisions.parquet"
    if not path.exists():
        raise InputError(f"there are no decisions of {as_of} in {lake.root}; run winback score-users --as-of {as_of}")
    return f"read_parquet('{path}')"
