"""Descriptions of personas: users, value, risk, and what distinguishes each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from features.storage.lake import Lake
from models.personas.persona_model import PersonaModel
from models.personas.stored_personas import latest_personas
from serving.stored_days.day_tables import connect, decisions_source
from serving.wording.rendering import Words

Apart = tuple[str, float | None, float | None]
FIGURES = """
    SELECT persona, count(*) AS users, avg(retained_value) AS worth, avg(p_churn) AS p_churn FROM {source}
    WHERE persona IS NOT NULL GROUP BY persona ORDER BY users DESC, persona
"""


@dataclass(frozen=True)
class PersonaCard:
    """A persona on a day: its users, the mean of what each brings who stays, their mean chance to leave.

    `apart` are the columns that set it apart, most of all first, with the median of its users and that of everybody.
    """

    name: str
    users: int
    worth: float | None
    p_churn: float | None
    apart: tuple[Apart, ...]


def persona_cards(lake: Lake, as_of: date) -> list[PersonaCard]:
    """List the personas of a decided day, those with most users first; none where there were no stable groups."""
    model = latest_personas(lake, as_of)
    if model is None or not model.names:
        return []
    with connect(lake) as connection:
        rows = connection.execute(FIGURES.format(source=decisions_source(lake, as_of))).fetchall()
    return [PersonaCard(name, users, worth, p_churn, set_apart(model, name)) for name, users, worth, p_churn in rows]


def set_apart(model: PersonaModel | None, name: str) -> tuple[Apart, ...]:
    """List what sets a persona apart; nothing of one that the model does not know."""
    if model is None or name not in model.names:
        return ()
    persona = model.names.index(name)
    found = ((column, model.scale.columns.index(column)) for column, _ in model.set_apart(persona))
    return tuple((name, _known(model.medians[persona, place]), _known(model.usual[place])) for name, place in found)


def apart_words(apart: tuple[Apart, ...], words: Words, template: str) -> list[str]:
    """Write what sets a persona apart, a text a column; `template` has fields {label}, {theirs} and {usual}."""
    return [
        template.format(
            label=words.label(column), theirs=_value(words, column, own), usual=_value(words, column, usual)
        )
        for column, own, usual in apart
    ]


def _value(words: Words, column: str, number: float | None) -> str:
    return words.value({"column": column, "number": number, "value": None})


def _known(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None
