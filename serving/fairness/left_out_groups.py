"""Groups that the fairness audit leaves out: too few users to compare, or a trait that nobody has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from configs.settings import Settings
from serving.fairness.fairness_audit import AGE
from serving.wording.rendering import Words

USUAL = ("gender", AGE, "country")


def users_left_out(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Count the users whom no row of a trait shows, by trait; a trait that shows everybody is left out.

    Examples
    --------
    >>> users_left_out([{"trait": "country", "group": "DE", "users": 75, "user_share": 0.75}])
    {'country': 25}
    """
    shown: dict[str, int] = {}
    everybody: dict[str, int] = {}
    for row in rows:
        shown[row["trait"]] = shown.get(row["trait"], 0) + row["users"]
        everybody[row["trait"]] = round(row["users"] / row["user_share"])
    return {trait: most - shown[trait] for trait, most in everybody.items() if most > shown[trait]}


def traits_absent(settings: Settings, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """List the traits that an audit asks for and does not show: nobody's is known, or every group is too small."""
    protected = [name for name in settings.features.protected if name not in (*USUAL, "birth_year")]
    shown = {row["trait"] for row in rows}
    return [name for name in (*USUAL, *protected) if name not in shown]


def left_out_lines(
    left_out: Mapping[str, int], absent: Sequence[str], settings: Settings, words: Words
) -> Iterator[str]:
    """Say of whom an audit shows nothing, and why."""
    said, number = words.language.audit, words.language.number
    least = number(settings.segments.audit_min_users, ",.0f")
    for trait, users in left_out.items():
        yield said["left_out"].format(trait=_title(trait, said), users=number(users, ",.0f"), least=least)
    if absent:
        yield said["absent"].format(traits=", ".join(_title(each, said) for each in absent), least=least)


def _title(trait: str, said: Mapping[str, str]) -> str:
    return said.get(trait.replace(" ", "_"), trait)
