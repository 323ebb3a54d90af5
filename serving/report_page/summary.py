"""Summary figures of a day's decisions, for report, command line and tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import duckdb
import pandas as pd
import pyarrow as pa

from features.storage.lake import Lake
from models.measurement.personalisation import common_pairs, personalisation_index
from serving.stored_days.day_tables import connect, decisions_source
from serving.wording.reason_codes import RAISES, WITHDRAWN, asked_at

AT_RISK = ("high", "medium")


@dataclass(frozen=True)
class Summary:
    """Counts and sums over all users of a day; money in account currency.

    `valued` counts the users whose value is known. `worth_by_band` is the sum of what users bring who stay,
    `value_by_band` that of P(churn) x that value, `leavers_by_band` that of P(churn), and `value_at_risk` that of
    P(churn) x value over everybody whose risk is known; `highest_by_band` has the highest P(churn). `offers` has one
    row per option given: ``offer_id, discount, channel, play, users, at_risk, expected_cost, expected_value, p_redeem,
    evidence``. `nothing` counts the users without an offer by arm and reasons, in the order in which these are asked:
    ``arm, why, users``.
    `drivers` has what raises the risk of the users at risk: ``column, users`` for whom it is among the strongest
    reasons, ``strongest`` for whom nothing raises it more, and the typical value: ``number``, the median, or ``value``,
    the most frequent text. `unscored` counts by stage whose risk is not known, apart from who is ``refusing``
    profiling. `model_versions` names the models behind the decisions, and `withdrawn` counts those that broke a rule
    when they were to be written.
    """

    users: int
    known: int
    valued: int
    by_band: dict[str, int]
    unscored: dict[str, int]
    by_arm: dict[str, int]
    worth_by_band: dict[str, float]
    value_by_band: dict[str, float]
    leavers_by_band: dict[str, float]
    highest_by_band: dict[str, float]
    value_at_risk: float
    with_offer: int
    withdrawn: int
    expected_cost: float
    expected_value: float
    offers: pd.DataFrame
    nothing: pd.DataFrame
    drivers: pd.DataFrame
    model_versions: list[str]

    @property
    def in_control(self) -> int:
        """Users of the control group who might have got something."""
        return self.by_arm.get("control", 0)

    @property
    def personalisation(self) -> float:
        """Chance that two users with an offer get different offers or levels."""
        return personalisation_index(self.offers["users"].tolist())

    @property
    def common_pairs(self) -> int:
        """Pairs of offer and level that many of those with an offer get."""
        return common_pairs(self.offers["users"].tolist())

    @property
    def at_risk(self) -> int:
        """Users in the bands that call for attention."""
        return sum(self.by_band.get(band, 0) for band in AT_RISK)

    @property
    def worth_at_risk(self) -> float:
        """What the users at risk are worth if all of them stay."""
        return sum(self.worth_by_band.get(band, 0.0) for band in AT_RISK)

    @property
    def expected_leavers(self) -> float:
        """How many of all users are expected to leave, at risk or not."""
        return sum(self.leavers_by_band.values())

    @property
    def leavers_at_risk(self) -> float:
        """How many of the users at risk are expected to leave."""
        return sum(self.leavers_by_band.get(band, 0.0) for band in AT_RISK)

    @property
    def base_rate(self) -> float:
        """Share of the users that is expected to leave, of those whose risk is known."""
        return self.expected_leavers / self.known if self.known else 0.0

    @property
    def expected_loss(self) -> float:
        """What is expected to go with the users at risk: their part of the value at risk."""
        return sum(self.value_by_band.get(band, 0.0) for band in AT_RISK)


TOTALS = """
    SELECT count(*), count(p_churn), count(retained_value), count(*) FILTER (offer_id <> 'none'),
           count(*) FILTER (why[1].code = '{withdrawn}'), coalesce(sum(p_churn * retained_value), 0),
           coalesce(sum(expected_cost), 0), coalesce(sum(expected_value), 0)
    FROM {decisions}
"""
BANDS = """
    SELECT risk_band, count(*), coalesce(sum(retained_value), 0), coalesce(sum(p_churn * retained_value), 0),
           coalesce(sum(p_churn), 0), coalesce(max(p_churn), 0)
    FROM {decisions} GROUP BY risk_band ORDER BY risk_band
"""
ARMS = "SELECT arm, count(*) FROM {decisions} GROUP BY arm ORDER BY arm"
OFFERS = f"""
    SELECT offer_id, discount, channel, play, count(*) AS users, count(*) FILTER (risk_band IN {AT_RISK}) AS at_risk,
           sum(expected_cost) AS expected_cost, sum(expected_value) AS expected_value, avg(p_redeem) AS p_redeem,
           min(evidence) AS evidence
    FROM {{decisions}} WHERE offer_id <> 'none' GROUP BY ALL ORDER BY offer_id, discount, channel
"""
WITHOUT = """
    SELECT arm, why, count(*) AS users FROM {decisions} WHERE offer_id = 'none' GROUP BY ALL ORDER BY users DESC, why
"""
DRIVERS = f"""
    WITH raising AS (SELECT list_filter(reasons, lambda each: each.code = '{RAISES}') AS reasons FROM {{decisions}}
                     WHERE risk_band IN {AT_RISK}),
         listed AS (SELECT unnest(reasons) AS reason, generate_subscripts(reasons, 1) AS place FROM raising)
    SELECT reason.column AS "column", count(*) AS users, count(*) FILTER (place = 1) AS strongest,
           median(reason.number) AS number, mode(reason.value ORDER BY reason.value) AS value
    FROM listed GROUP BY ALL ORDER BY users DESC, strongest DESC, "column"
"""
UNSCORED = """
    SELECT CASE why[1].code WHEN 'no_profiling' THEN 'refusing' ELSE stage END AS kind, count(*)
    FROM {decisions} WHERE p_churn IS NULL GROUP BY ALL ORDER BY ALL
"""
MODELS = "SELECT DISTINCT model_versions FROM {decisions} WHERE model_versions IS NOT NULL ORDER BY ALL"


def summarise(lake: Lake, as_of: date) -> Summary:
    """Read a day's decisions and add them up.

    Raises
    ------
    InputError
        The day has no decisions.
    """
    decisions = decisions_source(lake, as_of)
    with connect(lake) as connection:

        def ask(query: str) -> duckdb.DuckDBPyConnection:
            return connection.execute(query.format(decisions=decisions, withdrawn=WITHDRAWN))

        bands = ask(BANDS).fetchall()
        users, known, valued, with_offer, withdrawn, value_at_risk, cost, value = ask(TOTALS).fetchall()[0]
        return Summary(
            users=users,
            known=known,
            valued=valued,
            by_band={band: count for band, count, *_ in bands},
            unscored=dict(ask(UNSCORED).fetchall()),
            by_arm=dict(ask(ARMS).fetchall()),
            worth_by_band={band: worth for band, _, worth, *_ in bands},
            value_by_band={band: loss for band, _, _, loss, *_ in bands},
            leavers_by_band={band: leavers for band, *_, leavers, _ in bands},
            highest_by_band={band: highest for band, *_, highest in bands},
            value_at_risk=value_at_risk,
            with_offer=with_offer,
            withdrawn=withdrawn,
            expected_cost=cost,
            expected_value=value,
            offers=ask(OFFERS).df(),
            nothing=_as_asked(_frame(ask(WITHOUT))),
            drivers=ask(DRIVERS).df(),
            model_versions=[names for (names,) in ask(MODELS).fetchall()],
        )


def _as_asked(nothing: pd.DataFrame) -> pd.DataFrame:
    """Sort the reasons for nothing as they are asked; those asked at once stay most users first."""
    order = [asked_at(why[0]["code"]) for why in nothing["why"]]
    return nothing.iloc[sorted(range(len(order)), key=order.__getitem__)].reset_index(drop=True)


def examples(lake: Lake, as_of: date, count: int = 10) -> pd.DataFrame:
    """Pick users that show the day: half with an offer, half without, most value at risk first."""
    with connect(lake) as connection:
        decisions = decisions_source(lake, as_of)
        return _frame(
            connection.execute(f"""
            WITH ranked AS (
                SELECT user_id, row_number() OVER (
                    PARTITION BY offer_id <> 'none'
                    ORDER BY p_churn * coalesce(retained_value, 1) DESC NULLS LAST, user_id) AS place
                FROM {decisions} WHERE p_churn IS NOT NULL QUALIFY place <= {count}
            )
            SELECT * EXCLUDE (place) FROM {decisions} JOIN ranked USING (user_id)
            ORDER BY place, offer_id = 'none' LIMIT {count}
        """)
        )


def _frame(rows: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Read rows with their reasons as lists of dictionaries, None where there are none."""
    table = rows.to_arrow_table()
    lists = {field.name: table[field.name].to_pylist() for field in table.schema if pa.types.is_list(field.type)}
    return table.to_pandas().assign(**{name: pd.Series(column, dtype=object) for name, column in lists.items()})
