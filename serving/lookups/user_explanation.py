"""One user of a decided day in words: risk and its reasons, the decision, and what every option is worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from zoneinfo import ZoneInfo

from configs.offers import NO_OFFER
from configs.settings import Settings
from serving.lookups.rule_answers import sentence_of
from serving.lookups.user_day import Row, UserDay
from serving.memberships.onboarding_progress import progress_line
from serving.memberships.persona_cards import apart_words
from serving.memberships.user_memberships import Membership, UserMemberships
from serving.segments.known_columns import PERSONA
from serving.stored_days.day_tables import CAUSES
from serving.wording.reason_codes import NO_DATA, UNLIKE
from serving.wording.rendering import Words, stored

SHARES_SHOWN = 3


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


def _sentences(user: UserDay, words: Words) -> dict[str, object]:
    """Put the reasons of the decision, of what its options lack, and of discounts in general into words."""
    sentences = {name: words.sentence(user.decision[name]) for name in ("reasons", "why", "suppressed_because")}
    why_not = [words.sentence(option["why_not"]) for option in user.options]
    return {**sentences, "why_not": why_not, "discounts": words.sentence(stored(user.discounts))}


def _about(decision: Row) -> list[str]:
    """Name the lines that say what is expected of a user."""
    if decision.get("p_return") is not None:
        return ["lapsed"]
    is_left_out = decision["suppressed_because"] is not None
    risk = ("no_risk" if is_left_out else "no_risk_model") if decision["p_churn"] is None else "risk"
    causes = ["causes"] if decision.get(CAUSES[0]) is not None else []
    return [risk, *causes, *([] if decision["retained_value"] is None else ["worth"])]


def explanation_lines(user: UserDay, words: Words, settings: Settings, day: date) -> Iterator[str]:
    """Write what is known about a user, who they are, and what was decided and why, as a page."""
    decision, lines = user.decision, words.language.explain
    known = {**_filled(decision, words), **_computed(decision, words, settings, day)}
    yield from (lines[name].format_map(known) for name in ("user", *_about(decision)))
    for place, (reason, _) in enumerate(words.parts(decision["reasons"])):
        yield lines["more" if place else "because"] + reason
    if user.memberships is not None:
        yield from _membership_lines(user.memberships, words)
    if decision.get(PERSONA):
        values = apart_words(user.persona_traits, words, lines["persona_value"])
        joined = words.language.joins["because_lines"].join(values)
        yield lines[PERSONA].format(title=words.persona(decision[PERSONA]), values=joined).replace(" ()", "")
    if user.progress is not None:
        yield progress_line(user.progress, words)
    yield from preference_lines(user.preferences, words)
    yield from (lines[name].format_map(known) for name in _of_decision(decision))
    yield from _rule_lines(held_back_sentences(user, words), words)
    yield from _open_lines(user.open_offers, settings, words)
    if user.discounts and user.options:
        yield lines["levels"].format(levels=words.sentence(stored(user.discounts)))
    if user.options:
        yield lines["options"].format_map(known)
    for option in user.options:
        why_not = words.sentence(option["why_not"])
        filled = {
            **_filled({**option, "value": known_worth(option)}, words),
            "why_not": "" if why_not == known["why"] else why_not,  # which is said once, above
        }
        yield lines["option"].format_map(filled).rstrip()
    yield from _feature_lines(user.features, words)


def _feature_lines(features: Row, words: Words) -> Iterator[str]:
    """Write each column of the snapshot with its value and what it is called."""
    if not features:
        return
    yield words.language.explain["features"]
    width = max(map(len, features))
    for name, value in features.items():
        yield (
            words.language.explain["feature"]
            .format(name=f"{name:<{width}}", value=_column_value(name, value, words), label=words.label(name))
            .rstrip()
        )


def _column_value(name: str, value: object, words: Words) -> str:
    """Write the value of one column; of a list of shares, the largest few."""
    if isinstance(value, list):
        shares = sorted(value, key=lambda each: (-each["share"], each["category"]))[:SHARES_SHOWN]
        told = [
            f"{words.category(each['category'])} {words.language.percent(round(each['share'], 2))}" for each in shares
        ]
        return words.language.joins["because_lines"].join(told)
    is_text = isinstance(value, str)
    return words.value({"column": name, "value": value if is_text else None, "number": None if is_text else value})


def _computed(decision: Row, words: Words, settings: Settings, day: date) -> Row:
    """Give what lines say of a decision beside its columns, and those columns that they say otherwise."""
    computed = {"why": words.sentence(decision["why"]), "currency": settings.currency, "day": day}
    computed["horizon"] = settings.churn.horizon_days
    computed["risk_band"] = words.risk(decision["risk_band"], decision["p_churn"], settings.scoring.medium_risk)
    if decision["offer_id"] != NO_OFFER:
        sent = decision["send_at"].astimezone(ZoneInfo(settings.time_zone))
        computed |= {"sent_on": words.language.day(sent.date()), "sent_at": f"{sent:%H:%M}"}
    return computed


def _of_decision(decision: Row) -> list[str]:
    """Name the lines that say what was decided."""
    fallback = ["fallback"] if decision.get("fallback") else []
    if decision["offer_id"] == NO_OFFER:
        decided = ["no_decision", "why"]
    else:
        decided = ["decision", "why", "message", "sent", "evidence"]
    return [*fallback, *decided, *(["variant"] if decision.get("variant") else [])]


def explanation_facts(user: UserDay, words: Words) -> dict[str, object]:
    """Give the same to machines: rows as they are stored, and the sentences that people read."""
    return {
        "decision": user.decision,
        "options": user.options,
        "words": _sentences(user, words),
        **user.preferences,
        "held_back_by": held_back_sentences(user, words),
        "open_offers": user.open_offers,
        **({"features": user.features} if user.features else {}),
        "persona": [dict(zip(("column", "theirs", "usual"), trait, strict=True)) for trait in user.persona_traits],
        "memberships": asdict(user.memberships) if user.memberships is not None else None,
        "onboarding": asdict(user.progress) if user.progress is not None else None,
    }


def held_back_sentences(user: UserDay, words: Words) -> list[str]:
    """Say which contact rules kept the user from offers."""
    return [sentence_of(rule, words) for rule in user.rules]


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
