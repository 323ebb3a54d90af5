"""Sentences about lapsed users: what a day does about them, and the measured effect of win-back plays."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from configs.settings import Settings
from features.storage.lake import Lake
from features.tables.duckdb_sessions import sql_text
from serving.arms.assignment import WIN_BACK
from serving.decide.win_back_evidence import newest_verdicts
from serving.stored_days.day_tables import columns_of_day, connect, day_file, decisions_source
from serving.wording.rendering import Words

LAPSED = "SELECT count(p_return), coalesce(sum(p_return), 0), avg(value_if_back) FROM read_parquet({predictions})"
DRAWS = """
    SELECT count(*), count(*) FILTER (offer_id <> 'none'), coalesce(sum(expected_cost), 0)
    FROM {decisions} WHERE arm = '{arm}'
"""

EXPECTED = (
    "of {users} users who have lapsed or left, {back} are expected to come back by themselves within {days} days, and "
    "to bring {worth} each"
)
DREW = (
    "{drew} of those who have lapsed are in the win-back draw: {given} get a play, for {cost} of at most {most} "
    "(win_back.budget_share), and {nothing} nothing, which tells what the plays bring"
)
VERDICTS = {
    "learning": "win-back play {offer}: its draws go on: {effect} [{low}, {high}] a head over {draws} draws, "
    "{came_back:.1%} came back and {came_alone:.1%} alone",
    "proven": "win-back play {offer}: proven to earn more than it costs: {effect} [{low}, {high}] a head over "
    "{draws} draws, {came_back:.1%} came back and {came_alone:.1%} alone",
    "stopped": "win-back play {offer}: stopped, as it does not earn what it costs: {effect} [{low}, {high}] a head "
    "over {draws} draws, {came_back:.1%} came back and {came_alone:.1%} alone",
}


def win_back_sentences(settings: Settings, lake: Lake, as_of: date, words: Words) -> list[str]:
    """Say of a decided day who has lapsed, who is in the draw, and what was measured by then; mostly nothing."""
    shown = words.figures
    judged = [
        words.say(
            VERDICTS[each.state], offer=words.titles.get(each.offer_id, each.offer_id),
            effect=shown.a_head(each.effect.value), low=shown.a_head(each.effect.low),
            high=shown.a_head(each.effect.high), draws=shown.thousands(each.effect.n),
            came_back=each.came_back, came_alone=each.came_alone,
        )
        for each in newest_verdicts(lake, as_of)
    ]  # fmt: skip
    return [*_who_has_lapsed(settings, lake, as_of, words), *judged]


def _who_has_lapsed(settings: Settings, lake: Lake, as_of: date, words: Words) -> Iterator[str]:
    shown = words.figures
    with connect(lake) as connection:
        draws = connection.execute(DRAWS.format(decisions=decisions_source(lake, as_of), arm=WIN_BACK)).fetchone()
        known = None
        if "p_return" in columns_of_day(lake, as_of, "predictions"):
            path = day_file(lake, as_of, "predictions")
            known = connection.execute(LAPSED.format(predictions=sql_text(path))).fetchone()
    if known is not None and known[0]:
        users, back, worth = known
        yield words.say(
            EXPECTED, users=shown.thousands(users), back=shown.thousands(back), days=settings.churn.horizon_days,
            worth=shown.money(worth),
        )  # fmt: skip
    if draws is not None and draws[0]:
        drew, given, cost = draws
        most = shown.money(settings.scoring.budget * settings.win_back.budget_share)
        yield words.say(
            DREW, drew=shown.thousands(drew), given=shown.thousands(given), cost=shown.money(cost), most=most,
            nothing=shown.thousands(drew - given),
        )  # fmt: skip
