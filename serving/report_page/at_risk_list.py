"""The list of users at risk as a CSV file: value at risk, reasons, and offers."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow as pa

from configs.settings import Settings
from features.storage.lake import Lake
from features.tables.duckdb_sessions import sql_text
from serving.report_page.summary import AT_RISK
from serving.stored_days.day_tables import connect, decisions_source, spreadsheet_text
from serving.wording.reason_codes import RAISES
from serving.wording.rendering import Words

SAID = pa.schema([("column", pa.string()), ("value", pa.string()), ("number", pa.float64()), ("words", pa.string())])
LISTED = f"""
    CREATE TEMP TABLE listed AS
    SELECT user_id, place, reason.code AS code, reason.column AS "column", reason.value AS value,
           reason.number AS number
    FROM (SELECT user_id, unnest(reasons) AS reason, generate_subscripts(reasons, 1) AS place
          FROM {{decisions}} WHERE risk_band IN {AT_RISK})
"""
DIFFERENT = f"""SELECT DISTINCT "column", value, number FROM listed WHERE code = '{RAISES}' ORDER BY ALL"""
TABLE = f"""
    WITH why AS (
        SELECT user_id, string_agg(words, '; ' ORDER BY place) AS raised_by FROM listed
        JOIN said ON listed."column" = said."column" AND listed.value IS NOT DISTINCT FROM said.value
                  AND listed.number IS NOT DISTINCT FROM said.number
        WHERE code = '{RAISES}' GROUP BY user_id
    )
    SELECT {{user_id}} AS user_id, risk_band AS risk, round(p_churn, 4) AS p_churn,
           round(retained_value, 2) AS worth, round(p_churn * retained_value, 2) AS value_at_risk, {{stage}} AS stage,
           {{raised_by}} AS why_at_risk, {{offer_id}} AS offer, discount, {{channel}} AS channel,
           timezone({{zone}}, send_at) AS send_at, {{message}} AS message
    FROM {{decisions}} LEFT JOIN why USING (user_id) WHERE risk_band IN {AT_RISK}
    ORDER BY p_churn * retained_value DESC NULLS LAST, p_churn DESC, user_id
"""
TEXTS = ("user_id", "raised_by", "offer_id", "channel", "message", "stage")


def write_at_risk(settings: Settings, lake: Lake, as_of: date, words: Words) -> Path:
    """Write the users at risk, most value at risk first, to ``reports/<as_of>-at-risk.csv``.

    One row per user: ``user_id, risk, p_churn, worth, value_at_risk`` (account currency), ``stage, why_at_risk`` (what
    raises the risk, in words), ``offer, discount`` (share), ``channel, send_at`` (the app's clock), ``message``. A text
    that a spreadsheet would take for a formula gets an apostrophe before it.

    Raises
    ------
    InputError
        The day has no decisions.
    """
    name, decisions = f"reports/{as_of}-at-risk.csv", decisions_source(lake, as_of)
    texts = {name: spreadsheet_text(name) for name in TEXTS}
    query = TABLE.format(decisions=decisions, zone=sql_text(settings.time_zone), **texts)
    with connect(lake) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(LISTED.format(decisions=decisions))
        different = connection.execute(DIFFERENT).to_arrow_table()
        connection.register("said", _said(different, words))
        with lake.files.publish() as publication:
            connection.execute(f"COPY ({query}) TO {sql_text(publication.path(name))} (FORMAT csv, HEADER)")
    return lake.path(name)


def at_risk_path(lake: Lake, as_of: date) -> Path:
    """File that lists a day's users at risk."""
    return lake.path("reports", f"{as_of}-at-risk.csv")


def _said(different: pa.Table, words: Words) -> pa.Table:
    """Put each different reason into words, once, however many users have it."""
    rows = [{**row, "words": f"{words.label(row['column'])}: {words.value(row)}"} for row in different.to_pylist()]
    return pa.Table.from_pylist(rows, schema=SAID)
