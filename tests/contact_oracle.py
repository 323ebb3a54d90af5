"""A slow, independent reading of the rules of contact: what a person would check with a list of messages at hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from configs.offers import Catalogue, Offer
from configs.settings import Settings

LENGTHS = {"in_24_hours": timedelta(days=1), "in_7_days": timedelta(days=7), "in_28_days": timedelta(days=28)}


@dataclass(frozen=True)
class Message:
    """What reached a person: one decision, or one message of somebody else, which has no offer."""

    user_id: str
    sent_at: datetime
    channel: str
    offer_id: str | None
    is_new: bool = False


@dataclass
class Person:
    """What is known of somebody."""

    zone: str
    consents: dict[str, float]
    opted_out: dict[str, datetime] = field(default_factory=dict)  # by channel, "" for all


def violations(settings: Settings, catalogue: Catalogue, people: dict[str, Person], sent: list[Message]) -> list[str]:
    """List every rule that a new message breaks, in words."""
    offers = {offer.offer_id: offer for offer in catalogue.offers}
    of_user: dict[str, list[Message]] = {}
    for each in sent:
        of_user.setdefault(each.user_id, []).append(each)
    new = [each for each in sent if each.is_new]
    found = [text for each in new for text in _personal(settings, people[each.user_id], each, offers)]
    for each in new:
        own, offer = of_user[each.user_id], offers[each.offer_id or ""]
        found += _too_soon(each, own, offer)
        if offer.is_marketing:
            counted = [other for other in own if other.offer_id not in offers or offers[other.offer_id].is_marketing]
            found += _over(settings, each, counted)
    stocks = {offer.offer_id: offer.stock for offer in catalogue.offers if offer.stock is not None}
    given = Counter(each.offer_id for each in new)
    return found + [f"{name} went to {given[name]}, of {most}" for name, most in stocks.items() if given[name] > most]


def _personal(settings: Settings, person: Person, new: Message, offers: dict[str, Offer]) -> Iterator[str]:
    """Say what consents, opt-outs and the clock have against a message; what must be said needs no profile."""
    profile = ["profiling"] if offers[new.offer_id or ""].is_marketing else []
    for what in (*profile, new.channel):
        agrees = person.consents.get(what, float("nan"))
        if agrees == 0 or (agrees != agrees and settings.contact.unknown_consent == "refused"):
            yield f"{new} without consent to {what}"
    if {"", new.channel} & {*person.opted_out}:
        yield f"{new} after an opt-out"
    local = new.sent_at.astimezone(_zone(person.zone, settings)).hour
    first, last = settings.contact.quiet_from, settings.contact.quiet_until
    if first <= local < last if first < last else (local >= first or local < last):
        yield f"{new} in the quiet hours, at {local}"


def _too_soon(new: Message, own: list[Message], offer: Offer) -> list[str]:
    """List the earlier messages of a play that has not cooled down."""
    least = timedelta(days=offer.cool_down_days)
    same = [each for each in own if each is not new and each.offer_id == new.offer_id]
    return [f"{new} cools down from {each}" for each in same if abs(each.sent_at - new.sent_at) < least]


def _over(settings: Settings, new: Message, own: list[Message]) -> Iterator[str]:
    """List the windows that hold a new message and more messages than a cap allows."""
    caps = {"": settings.contact.caps} | {new.channel: settings.contact.channel_caps.get(new.channel)}
    for channel, cap in caps.items():
        counted = [each for each in own if channel in ("", each.channel)]
        for name, length in LENGTHS.items():
            most = getattr(cap, name) if cap is not None else None
            for last in counted if most is not None else ():
                inside = [each for each in counted if last.sent_at - length < each.sent_at <= last.sent_at]
                if new in inside and len(inside) > most:
                    yield f"{new}: {len(inside)} of at most {most} {channel} {name}"


def _zone(name: str, settings: Settings) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        return ZoneInfo(settings.time_zone)


def at(day: datetime, hours: float) -> datetime:
    """Say an instant some hours after another one, to the second."""
    return (day + timedelta(seconds=round(3600 * hours))).astimezone(UTC)
