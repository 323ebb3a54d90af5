"""Answers about contact rules: what each says, its settings, and whom it held back on a day."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

from configs.counted import counted
from configs.settings import Settings
from serving.stored_days.stored_rules import Free, RuleCount
from serving.wording.reason_codes import Reason
from serving.wording.rendering import Words, stored


def sentence_of(rule: RuleCount, words: Words) -> str:
    """Say what a rule says of somebody whom it holds back."""
    return words.sentence(stored((Reason(rule.code, value=rule.value, number=rule.number),)))


def rule_lines(
    rules: Sequence[RuleCount], settings: Settings, words: Words, day: date | None, users: int, free: Free | None = None
) -> Iterator[str]:
    """Write the rules in the order in which they are asked, with their settings, and the users of a day behind each."""
    yield "asked in this order before the budget is shared out, and again when decisions are written"
    if day is not None:
        everybody = counted(users, "user")
        yield f"of {everybody} on {day}: kept from an offer by it / get nothing at all, it being one reason"
        if free is not None:
            yield (
                f"no rule holds back {free.users:,} of them: {free.given:,} get an offer, {free.users - free.given:,} "
                "nothing for other reasons (a random draw, the control group, what it is worth), which winback report "
                "counts"
            )
    else:
        yield "no day is decided yet with which to count whom they hold back"
    for rule in rules:
        counts = "" if rule.users is None else f"{rule.users:>9,} / {rule.nothing:,}"
        yield f"{rule.code:<16} {rule.value or '':<9}{counts:>20}  {sentence_of(rule, words)}"
        for name in rule.settings.split(", ") if rule.settings else ():
            yield f"{'':<27}{'':>20}{name} = {value_of(settings, name)}"


def rule_facts(rules: Sequence[RuleCount], settings: Settings, words: Words) -> list[dict[str, Any]]:
    """Write the rules for machines."""
    return [
        {**rule._asdict(), "sentence": sentence_of(rule, words),
         "settings": {name: value_of(settings, name) for name in rule.settings.split(", ") if name}}
        for rule in rules
    ]  # fmt: skip


def value_of(settings: Settings, name: str) -> object:
    """Look a setting up by its dotted name; what stands in the catalogue says so.

    Examples
    --------
    >>> from configs.settings import load_settings
    >>> value_of(load_settings(), "contact.quiet_from"), value_of(load_settings(), "contact.caps")
    (22, {'in_24_hours': 2, 'in_7_days': 5, 'in_28_days': 15})
    """
    if name.startswith("catalogue."):
        return "as each play of the catalogue says"
    found: Any = settings.model_dump(mode="json")
    for part in name.split("."):
        found = found.get(part, "no limit") if isinstance(found, dict) else found
    return found
