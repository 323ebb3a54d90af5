"""The page What if: another budget, cap, play, level or priority, compared with what was decided."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from configs.offers import NOTHING, Option
from features.arrays.array_types import Flags, Places
from features.storage.lake import Lake
from features.tables.duckdb_sessions import sql_text
from features.tables.parquet_files import read_parquet
from serving.charts.bar_charts import bar_chart
from serving.charts.chart_frame import Chart
from serving.cubes.stored_cubes import DayCubes, is_offered
from serving.desk.access_log import note
from serving.desk.desk_pages import Page, Question, RefusedError
from serving.desk.people_page import segment_titles
from serving.desk.plays_page import option_words
from serving.desk.visitors import Visitor
from serving.desk.what_if import Recomputed, Wish, decide_again
from serving.memberships.stored_segments import SEGMENTS, read_rules, segment_days, stored_source
from serving.segments.day_query import quoted
from serving.stored_days.day_tables import connect, day_file
from serving.stored_days.decision_moment import DecisionMoment
from serving.stored_days.stored_day import BUDGET, StoredDay, read_stored_day

PROPOSALS = "desk/proposals"
MOST_FACTOR = 10.0
ASKING = ("budget", "budget_share", "segment", "factor")
ASKED_OF_WHAT_IF = (*ASKING, "cap_", "off_")


def what_if_page(question: Question) -> Page:
    """Show the form, and once something is asked what would have been decided."""
    desk, cubes = question.desk, question.cubes()
    options, channels, segments = known_of(question, cubes)
    own_budget = budget_of(question)
    wish = wish_of(question, options, channels, segments, own_budget)
    is_asked = any(question.given.get(name) for name in ASKING) or wish.caps or wish.without
    found = recompute(question, wish) if is_asked else None
    now = {Option(row["offer_id"], row["discount"]): row for row in cubes.by("offer_id", "discount", where=is_offered)}
    values = {
        "options": [{"option": each, "title": desk.title(each.offer_id), "name": option_name(each),
                     "is_off": each in wish.without,
                     "benefit": desk.words.benefit(*each) or desk.words.say("none")} for each in options],
        "channels": channels, "segments": segment_titles(question), "own_budget": own_budget, "wish": wish,
        "found": found, "now": now,
        "sums": {name: cubes.total(name, is_offered) for name in ("users", "expected_cost", "expected_value")},
    }  # fmt: skip
    if found is not None:
        note(desk.lake, question.visitor, "what if", question.given, found.users)
    return Page("what-if", desk.words.say("What if"), values, _charts(question, found, now) if found else {})


def known_of(question: Question, cubes: DayCubes) -> tuple[list[Option], list[str], list[str]]:
    """List the options, channels and segments of the day."""
    pairs = sorted({(row["offer_id"], row["discount"]) for row in cubes.rules})
    channels = sorted({row["channel"] for row in cubes.rules if row["channel"]})
    has_segments = question.day in segment_days(question.desk.lake)
    segments = [each.name for each in read_rules(question.desk.lake, question.day).segments] if has_segments else []
    return [Option(*each) for each in pairs], channels, segments


def proposal(question: Question) -> str:
    """Leave what was asked as a file for the operator; returns its name."""
    wish = wish_of(question, *known_of(question, question.cubes()), budget_of(question))
    return write_proposal(question.desk.lake, question.visitor, question, wish)


def option_name(option: Option) -> str:
    """Name an option in an address: the discount first, as an offer's id may hold any sign."""
    return f"{option.discount!r}@{option.offer_id}"


def wish_of(
    question: Question, options: Sequence[Option], channels: Sequence[str], segments: Sequence[str], own_budget: float
) -> Wish:
    """Read what is wished; every part is checked against what there is.

    Raises
    ------
    InputError
        A number is none or out of bounds, or an option, channel or segment is not known.
    """
    budget = question.number("budget", own_budget * question.number("budget_share", 1.0, most=100.0))
    caps = {
        name: question.whole(f"cap_{name}", 0) for name in channels if question.given.get(f"cap_{name}", "").strip()
    }
    capped = [name.removeprefix("cap_") for name in question.given if name.startswith("cap_")]
    if others := [name for name in capped if name not in channels]:
        raise RefusedError(
            "no offer of the day goes by {channel}; caps are of {channels}",
            channel=others[0][:40], channels=", ".join(channels),
        )  # fmt: skip
    known = {option_name(each): each for each in options}
    off = [name.removeprefix("off_") for name, value in question.given.items() if name.startswith("off_") and value]
    if strange := [name for name in off if name not in known]:
        raise RefusedError("{options} of the options that are to be off are none of the day's", options=len(strange))
    segment = question.one_of("segment", segments)
    factor = question.number("factor", 1.0, most=MOST_FACTOR)
    preferred = members(question, segment) if segment and factor != 1.0 else None
    return Wish(budget, caps, frozenset(known[name] for name in off), preferred, factor)


def budget_of(question: Question) -> float:
    """Budget that the night had."""
    prices = read_parquet(day_file(question.desk.lake, question.day, "prices"), ["limit", "most"]).to_pylist()
    return float(next(row["most"] for row in prices if row["limit"] == BUDGET))


def members(question: Question, segment: str) -> Flags:
    """Tell who is in a segment, in the order of the decisions; shape (users,)."""
    lake, day = question.desk.lake, question.day
    decisions = f"read_parquet({sql_text(day_file(lake, day, 'decisions'))}, file_row_number = true)"
    query = f"""
        SELECT coalesce({quoted(segment)}, false) AS is_member
        FROM (SELECT user_id, file_row_number FROM {decisions}) AS own
        LEFT JOIN {stored_source(lake, day, SEGMENTS)} USING (user_id) ORDER BY file_row_number
    """
    with connect(lake) as connection:
        found = connection.execute(query).fetchnumpy()
    return np.asarray(found["is_member"], dtype=np.bool_)


def recompute(question: Question, wish: Wish) -> Recomputed:
    """Decide the night of the day again."""
    desk = question.desk
    moment = DecisionMoment.of_night(question.day, desk.settings.time_zone)
    stored = read_stored_day(desk.lake, moment)
    channels = channels_of(question, len(stored.options))
    return decide_again(stored, wish, channels, desk.settings, given_today(question, stored))


def channels_of(question: Question, options: int) -> list[str]:
    """Channel of each option, in their order."""
    with connect(question.desk.lake) as connection:
        source = (
            f"read_parquet({sql_text(day_file(question.desk.lake, question.day, 'options'))}, file_row_number = true)"
        )
        rows = connection.execute(
            f"SELECT channel FROM {source} WHERE file_row_number < {options} ORDER BY file_row_number"
        ).fetchall()
    return [str(channel) for (channel,) in rows]


def given_today(question: Question, stored: StoredDay) -> Places:
    """Place of the option that each user was given, or `NOTHING`; shape (users,)."""
    rows = read_parquet(day_file(question.desk.lake, question.day, "decisions"), ["offer_id", "discount"])
    offer_ids, discounts = rows["offer_id"].to_numpy(zero_copy_only=False), rows["discount"].to_numpy()
    places = np.full(len(rows), NOTHING)
    for place, option in enumerate(stored.options):
        places[(offer_ids == option.offer_id) & (discounts == option.discount)] = place
    return places


def _charts(question: Question, recomputed: Recomputed, now: Mapping[Option, Any]) -> dict[str, Chart]:
    today = {option: row["users"] for option, row in now.items()}
    more = [(each.option, float(each.users - today.get(each.option, 0))) for each in recomputed.options]
    bars = [(option_words(question.desk, *option), users) for option, users in more]
    changed = [bar for bar in bars if bar[1]]
    if not changed:
        return {}
    say, drawn = question.desk.words.say, question.desk.chart_words
    columns = (say("option"), say("users"))
    return {"changes": bar_chart(say("Users more or fewer than today"), columns, changed, words=drawn)}


def write_proposal(lake: Lake, visitor: Visitor, question: Question, wish: Wish) -> str:
    """Leave what was asked as a file for the operator; nothing of it is in force. Returns its name."""
    moment = datetime.now(UTC)
    name = f"{PROPOSALS}/{moment:%Y%m%dT%H%M%S%f}Z.toml"
    caps = ", ".join(f"{json.dumps(channel)} = {most}" for channel, most in wish.caps.items())
    lines = [
        f"# A proposal of {moment:%Y-%m-%d %H:%M} UTC by {visitor.name!r}, from the decisions of {question.day}.",
        "# Nothing of it is in force.",
        "# To try it, name it behind your own profile: winback check --profile PROFILE,THIS_FILE",
        "[scoring]",
        f"budget = {wish.budget!r}",
        *([f"channel_capacity = {{ {caps} }}"] if caps else []),
        *(
            f"# to be taken out of the catalogue: {json.dumps(each.offer_id)} at {each.discount!r}"
            for each in sorted(wish.without)
        ),
    ]
    if wish.preferred is not None:
        segment = json.dumps(question.given.get("segment"))
        lines.append(
            f"# asked with the value of segment {segment} counted {wish.factor!r} times, which no setting does"
        )
    lake.files.write(name, ("\n".join(lines) + "\n").encode())
    note(lake, visitor, "proposal", question.given, 1)
    return name
