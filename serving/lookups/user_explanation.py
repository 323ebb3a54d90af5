"""One user of a decided day: their risk and its reasons, the decision, and what every option is worth for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from configs.errors import InputError
from configs.offers import NO_OFFER
from configs.settings import Settings
from features.storage.lake import Lake
from features.tables.duckdb_sessions import sql_text
from models.personas.stored_personas import latest_personas
from serving.memberships.onboarding_progress import UserProgress, progress_line
from serving.memberships.persona_cards import Apart, apart_words, set_apart
from serving.memberships.user_memberships import Membership, UserMemberships
from serving.segments.known_columns import PERSONA
from serving.stored_days.day_tables import CAUSES, columns_of_day, connect, day_file, decisions_source
from serving.stored_days.decision_moment import DecisionMoment
from serving.wording.reason_codes import NO_DATA, UNLIKE, Reasons
from serving.wording.rendering import Words, stored

Row = dict[str, Any]
LETTERS = 4
LONGEST_OFFER = 366  # days back that an offer that is still open may have been given
COMEBACK = ("p_return", "value_if_back")
NO_PREFERENCES: Mapping[str, Sequence[Row]] = {"tastes": (), "hours": ()}


def decision_of(lake: Lake, as_of: date, user_id: str) -> Row:
    """Read one user's decision; instants are in UTC, and what is not known is None.

    Raises
    ------
    InputError
        The day has no decisions, or the user is unknown.
    """
    source = decisions_source(lake, as_of)
    found = _rows(lake, f"SELECT * FROM {source} WHERE user_id = {sql_text(user_id)}")
    if found:
        return found[0] | _predicted(lake, as_of, user_id)
    raise InputError(f"there is no user {user_id!r} in the decisions of {as_of}; {_like(lake, source, user_id)}")


def _predicted(lake: Lake, as_of: date, user_id: str) -> Row:
    """Read the chances to leave by choice and by failed payments, and what is expected of who has lapsed.

    What is not predicted of anybody, as there are no contracts or an older winback decided, is left out.
    """
    names = [name for name in columns_of_day(lake, as_of, "predictions") if name in {*CAUSES, *COMEBACK}]
    if not names:
        return {}
    source = f"read_parquet({sql_text(day_file(lake, as_of, 'predictions'))})"
    query = f"SELECT {', '.join(names)} FROM {source} WHERE user_id = {sql_text(user_id)}"
    return next(iter(_rows(lake, query)), {})


def _like(lake: Lake, source: str, user_id: str) -> str:
    """Name ids that an unknown one may have been meant for: at most a letter in `LETTERS` is another; else some."""
    apart = f"damerau_levenshtein(lower(user_id), lower({sql_text(user_id)}))"
    near = _rows(lake, f"SELECT user_id, {apart} AS apart FROM {source} ORDER BY apart, user_id LIMIT 3")
    most = max(1, len(user_id) // LETTERS)
    if meant := [row["user_id"] for row in near if row["apart"] <= most]:
        return f"did you mean {', '.join(meant)}?"
    some = _rows(lake, f"SELECT user_id, count(*) OVER () AS users FROM {source} ORDER BY user_id LIMIT 3")
    return (
        f"none of its {some[0]['users']:,} ids is like it; they begin with {', '.join(row['user_id'] for row in some)}"
    )


def options_of(lake: Lake, as_of: date, user_id: str, columns: str = "*") -> list[Row]:
    """Read one user's options, best first; `columns` in SQL, as few are read faster than all."""
    path = day_file(lake, as_of, "options")
    own = f"SELECT {columns} FROM read_parquet({sql_text(path)}) WHERE user_id = {sql_text(user_id)}"
    return _rows(lake, f"{own} ORDER BY value DESC")


def preferences_of(lake: Lake, as_of: date, user_id: str) -> dict[str, list[Row]]:
    """Read what a day kept of a user's ``tastes`` and ``hours``; of a larger app only those written to have any."""
    found = {}
    for name, order in (("tastes", " ORDER BY list, place"), ("hours", "")):
        is_there = lake.files.exists(f"decisions/day={as_of}/{name}.parquet")  # an older winback kept none
        source = f"read_parquet({sql_text(day_file(lake, as_of, name))})" if is_there else ""
        own = f"SELECT * FROM {source} WHERE user_id = {sql_text(user_id)}{order}"
        found[name] = _rows(lake, own) if is_there else []
    return found


def open_offers_of(lake: Lake, settings: Settings, as_of: date, user_id: str) -> list[Row]:
    """Read what a user was given before a day and can still use then: ``offer_id, discount, valid_until``, by end."""
    now = DecisionMoment.of_night(as_of, settings.time_zone).in_utc
    days = [day for day in lake.days("treatments") if as_of - timedelta(days=LONGEST_OFFER) <= day <= as_of]
    if not days:
        return []
    files = ", ".join(sql_text(lake.partition("treatments", day)) for day in days)
    return _rows(
        lake,
        f"""
        SELECT DISTINCT offer_id, coalesce(discount, 0) AS discount, valid_until
        FROM read_parquet([{files}], union_by_name = true, hive_partitioning = false)
        WHERE user_id = {sql_text(user_id)} AND offer_id <> {sql_text(NO_OFFER)}
              AND decided_at < TIMESTAMPTZ '{now.isoformat()}' AND valid_until > TIMESTAMPTZ '{now.isoformat()}'
        ORDER BY valid_until, offer_id
    """,
    )


def persona_of(lake: Lake, as_of: date, decision: Row) -> tuple[Apart, ...]:
    """Read what sets the persona of a user apart, whose decision is of a day; nothing of who has none."""
    return set_apart(latest_personas(lake, as_of), decision[PERSONA]) if decision.get(PERSONA) else ()


def preference_lines(preferences: Mapping[str, Sequence[Row]], words: Words) -> Iterator[str]:
    """Write what a user buys again, may like anew and when they are there, a line each, of what is known."""
    lines, tastes = words.language.explain, preferences["tastes"]
    again = [row for row in tastes if row["list"] == "again"]
    if again:
        kinds = ["again_once" if row["usual_days_between"] is None else "again_item" for row in again]
        called = [{**row, "name": words.category(row["name"])} for row in again]
        told = [lines[kind].format_map(_filled(row, words)) for kind, row in zip(kinds, called, strict=True)]
        yield lines["again"].format(items=words.language.joins["headings"].join(told))
    for name in ("new", "favourite"):
        if named := [words.category(row["name"]) for row in tastes if row["list"] == name]:
            yield lines[name].format(items=words.language.joins["because_lines"].join(named))
    for row in preferences["hours"]:
        day = words.language.formats.weekdays[row["best_weekday"]]
        known = {**_filled(row, words), "weekday": day}
        yield lines["hours" if row["evidence"] else "usual_hours"].format_map(known)


def words_about(decision: Row, options: Sequence[Row], words: Words, discounts: Reasons = ()) -> dict[str, object]:
    """Put the reasons of a decision, those why not of its options and those of discounts on the whole into words."""
    sentences = {name: words.sentence(decision[name]) for name in ("reasons", "why", "suppressed_because")}
    own: dict[str, object] = {**sentences, "why_not": [words.sentence(option["why_not"]) for option in options]}
    return own | {"discounts": words.sentence(stored(discounts))}


def _about(decision: Row) -> list[str]:
    """Name the lines that say what is expected of a user."""
    if decision.get("p_return") is not None:
        return ["lapsed"]
    is_left_out = decision["suppressed_because"] is not None
    risk = ("no_risk" if is_left_out else "no_risk_model") if decision["p_churn"] is None else "risk"
    causes = ["causes"] if decision.get(CAUSES[0]) is not None else []
    return [risk, *causes, *([] if decision["retained_value"] is None else ["worth"])]


def explanation_lines(
    decision: Row, options: Sequence[Row], words: Words, settings: Settings, day: date,
    member: UserMemberships | None = None, discounts: Reasons = (),
    preferences: Mapping[str, Sequence[Row]] = NO_PREFERENCES, apart: tuple[Apart, ...] = (),
    progress: UserProgress | None = None, held_back: Sequence[str] = (), open_offers: Sequence[Row] = (),
) -> Iterator[str]:  # fmt: skip
    """Write what is known about a user, who they are, and what was decided and why, as a page.

    `discounts` says why a discount is personal, or is not; `apart` what sets the user's persona apart; `progress` how
    far the user is with the first steps; `held_back` which rules of contact kept the user from which offers;
    `open_offers` what was given before and can still be used.
    """
    lines, why = words.language.explain, words.sentence(decision["why"])
    own = {"why": why, "currency": settings.currency, "horizon": settings.churn.horizon_days, "day": day}
    own["risk_band"] = words.risk(decision["risk_band"], decision["p_churn"], settings.scoring.medium_risk)
    is_given = decision["offer_id"] != NO_OFFER
    if is_given:
        sent = decision["send_at"].astimezone(ZoneInfo(settings.time_zone))
        own |= {"sent_on": words.language.day(sent.date()), "sent_at": f"{sent:%H:%M}"}
    known = {**_filled(decision, words), **own}
    yield from (lines[name].format_map(known) for name in ("user", *_about(decision)))
    for place, (reason, _) in enumerate(words.parts(decision["reasons"])):
        yield lines["more" if place else "because"] + reason
    if member is not None:
        yield from _membership_lines(member, words)
    if decision.get(PERSONA):
        values = words.language.joins["because_lines"].join(apart_words(apart, words, lines["persona_value"]))
        yield lines[PERSONA].format(title=words.persona(decision[PERSONA]), values=values).replace(" ()", "")
    if progress is not None:
        yield progress_line(progress, words)
    yield from preference_lines(preferences, words)
    if decision.get("fallback"):
        yield lines["fallback"].format_map(known)
    decided = ["decision", "why", "message", "sent", "evidence"] if is_given else ["no_decision", "why"]
    decided += ["variant"] if decision.get("variant") else []
    yield from (lines[name].format_map(known) for name in decided)
    yield from _rule_lines(held_back, words)
    yield from _open_lines(open_offers, settings, words)
    if discounts and options:
        yield lines["levels"].format(levels=words.sentence(stored(discounts)))
    if options:
        yield lines["options"].format_map(known)
    for option in options:
        filled = {
            **_filled({**option, "value": known_worth(option)}, words),
            "why_not": words.sentence(option["why_not"]),
        }
        yield lines["option"].format_map(filled).rstrip()


def known_worth(option: Row) -> float | None:
    """Give what an option is worth, in currency; None where its effect is not known: it would be its cost alone."""
    is_unknown = any(reason["code"] in (NO_DATA, UNLIKE) for reason in option["why_not"] or ())
    return None if is_unknown else option["value"]


def _rule_lines(held_back: Sequence[str], words: Words) -> Iterator[str]:
    lines = words.language.explain
    for place, rule in enumerate(held_back):
        yield (lines["more"] if place else lines["held_back"]) + rule


def _open_lines(open_offers: Sequence[Row], settings: Settings, words: Words) -> Iterator[str]:
    for each in open_offers:
        until = words.language.day(each["valid_until"].astimezone(ZoneInfo(settings.time_zone)).date())
        yield words.language.explain["open"].format_map({**_filled(each, words), "until": until})


def _membership_lines(member: UserMemberships, words: Words) -> Iterator[str]:
    lines = words.language.explain
    yield lines["stage"].format_map(_membership(member.stage, words))
    for place, segment in enumerate(member.segments):
        start = lines["more"] if place else lines["segments"]
        yield start + lines["segment"].format_map(_membership(segment, words))


def _membership(member: Membership, words: Words) -> Row:
    values = "; ".join(f"{words.label(each['column'])}: {words.value(each)}" for each in member.values)
    return {"title": words.group(member.name, member.title), "values": values or words.language.values["everybody"]}


def _filled(row: Row, words: Words) -> Row:
    """Put what a row holds as the lines of a language want it; a discount is what is given, exactly."""
    filled: Row = {name: words.field(value, is_money=True) for name, value in row.items()}
    if "discount" not in row:
        return filled
    named = {name: words.term(row[name]) for name in ("channel", "evidence") if row.get(name)}
    named["title"] = words.titles.get(row["offer_id"], row["offer_id"])
    return filled | named | {"discount": words.benefit(row["offer_id"], row["discount"]) or words.language.percent(0.0)}


def _rows(lake: Lake, query: str) -> list[Row]:
    """Ask a question; a parameter of DuckDB's would cost the import of pandas."""
    with connect(lake) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.execute(query)
        names = [name for name, *_ in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
