"""What a day does about users who have lapsed, and what win-back plays were measured to bring, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from configs.settings import Settings
from features.storage.lake import Lake
from features.tables.duckdb_sessions import sql_text
from serving.arms.assignment import WIN_BACK
from serving.decide.win_back_evidence import newest_verdicts
from serving.stored_days.day_tables import columns_of_day, connect, day_file, decisions_source
from serving.wording.formatting import money

LAPSED = "SELECT count(p_return), coalesce(sum(p_return), 0), avg(value_if_back) FROM read_parquet({predictions})"
LOTS = """
    SELECT count(*), count(*) FILTER (offer_id <> 'none'), coalesce(sum(expected_cost), 0)
    FROM {decisions} WHERE arm = '{arm}'
"""


def win_back_sentences(settings: Settings, lake: Lake, as_of: date) -> list[str]:
    """Say of a decided day who has lapsed, who of them drew a lot, and what was measured by then; mostly nothing."""
    return [*_who_has_lapsed(settings, lake, as_of), *(each.words for each in newest_verdicts(lake, as_of))]


def _who_has_lapsed(settings: Settings, lake: Lake, as_of: date) -> Iterator[str]:
    with connect(lake) as connection:
        lots = connection.execute(LOTS.format(decisions=decisions_source(lake, as_of), arm=WIN_BACK)).fetchone()
        known = None
        if "p_return" in columns_of_day(lake, as_of, "predictions"):
            path = day_file(lake, as_of, "predictions")
            known = connection.execute(LAPSED.format(predictions=sql_text(path))).fetchone()
    if known is not None and known[0]:
        users, back, worth = known
        yield (
            f"of {users:,} users who have lapsed or left, {back:,.0f} are expected to come back by themselves within "
            f"{settings.churn.horizon_days} days, and to bring {money(worth, settings.currency)} each"
        )
    if lots is not None and lots[0]:
        drew, given, cost = lots
        most = money(settings.scoring.budget * settings.win_back.budget_share, settings.currency)
        yield (
            f"{drew:,} of those who have lapsed drew a win-back lot: {given:,} get a play, for "
            f"{money(cost, settings.currency)} of at most {most} (win_back.budget_share), and {drew - given:,} "
            "nothing, which tells what the plays bring"
        )
