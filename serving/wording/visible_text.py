"""Invisible characters, such as controls and direction marks, that change how other text looks."""

from __future__ import annotations

INSTEAD = "\ufffd"
KEPT = "\t\n\r"
CONTROLS = [*range(0x20), *range(0x7F, 0xA0)]  # among them the one that begins commands to a terminal
TURNS = [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]  # embedding, overriding and isolating a direction of writing
UNSEEN = dict.fromkeys((code for code in (*CONTROLS, *TURNS) if chr(code) not in KEPT), INSTEAD)


def visible(text: str) -> str:
    r"""Put a sign that is seen for each that is not; marks that scripts from the right need stay.

    Examples
    --------
    >>> visible("tea\x1b[31m \u202egnp.exe"), visible("שלום\u200f\n")
    ('tea�[31m �gnp.exe', 'שלום\u200f\n')
    """
    return text.translate(UNSEEN)
