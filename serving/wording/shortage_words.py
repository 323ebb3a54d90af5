"""Sentences about missing evidence for an offer."""

from __future__ import annotations

from collections.abc import Iterable

from models.measurement.lift import Shortage
from serving.wording.rendering import Words

TOO_FEW = {
    ("treated", "users"): "users with an offer: {found}, at least {least} are needed",
    ("control", "users"): "users in the control group: {found}, at least {least} are needed",
    ("treated", "rarer_answer"): "users with an offer and the rarer answer: {found}, at least {least} are needed",
    ("control", "rarer_answer"): "users in control with the rarer answer: {found}, at least {least} are needed",
    ("treated", "amount"): "users with an offer and an amount: {found}, at least {least} are needed",
    ("control", "amount"): "users in control with an amount: {found}, at least {least} are needed",
}


def shortage_words(shortage: Iterable[Shortage], words: Words) -> str:
    """Say what is missing, group by group; nothing where there is enough.

    Examples
    --------
    >>> from serving.wording.language_file import load_language
    >>> shortage_words([Shortage("control", "users", 9, 30)], Words(load_language("en")))
    'users in the control group: 9, at least 30 are needed'
    """
    shown = words.figures.thousands
    return "; ".join(
        words.say(TOO_FEW[each.group, each.of], found=shown(each.found), least=shown(each.least)) for each in shortage
    )
