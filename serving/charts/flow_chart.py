"""A flow: how many went from each group of before to each group of now."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from serving.charts.bar_charts import KINDS
from serving.charts.chart_frame import ENGLISH, WIDTH, Chart, ChartWords, drawing, rect, shortened, text

SIDE, BOX, GAP, LEAST, HEIGHT = 128.0, 9.0, 5.0, 12.0, 340.0
LABEL_SIGNS = 16


class Move(NamedTuple):
    """How many `users` went from one group to another."""

    before: str
    now: str
    users: int


def flow_chart(title: str, moves: Sequence[Move], *, words: ChartWords = ENGLISH) -> Chart:
    """Draw ribbons from the groups on the left to those on the right, as thick as they have users.

    Examples
    --------
    >>> flow_chart("Stages", [Move("new", "active", 3), Move("new", "new", 2)]).rows
    (('new', 'active', 3), ('new', 'new', 2))
    """
    plain, moves = words.plain, [each for each in moves if each.users > 0]
    lefts, rights = (list(dict.fromkeys(getattr(each, side) for each in moves)) for side in ("before", "now"))
    whole = sum(each.users for each in moves) or 1
    room = HEIGHT - (GAP + LEAST) * max(len(lefts), len(rights), 1)
    scale = room / whole
    left, right = _tops(lefts, moves, 0, scale), _tops(rights, moves, 1, scale)
    parts, heads = list[str](), (dict(left), dict(right))
    kinds = {name: KINDS[place % len(KINDS)] for place, name in enumerate(dict.fromkeys([*lefts, *rights]))}
    for move in moves:
        thick, a, b = move.users * scale, left[move.before], right[move.now]
        parts.append(_ribbon(a, b, thick, kinds[move.before], f"{move.before} → {move.now}: {plain(move.users)}"))
        left[move.before], right[move.now] = a + thick, b + thick
    for place, (names, ends) in enumerate(zip((lefts, rights), heads, strict=True)):
        parts += [part for name in names for part in _group(name, ends[name], moves, place, scale, kinds[name], words)]
    moved = sum(each.users for each in moves if each.before != each.now)
    told = words.say("{title}: {moved} of {users} moved.", title=title, moved=plain(moved), users=plain(whole))
    return Chart(
        title,
        told,
        drawing(title, told, WIDTH, HEIGHT, parts),
        (words.say("before"), words.say("now"), words.say("users")),
        tuple(tuple(each) for each in moves),
    )


def _size(name: str, moves: Sequence[Move], side: int) -> int:
    return sum(each.users for each in moves if each[side] == name)


def _tops(names: Sequence[str], moves: Sequence[Move], side: int, scale: float) -> dict[str, float]:
    tops, y = dict[str, float](), 0.0
    for name in names:
        tops[name] = y
        y += max(_size(name, moves, side) * scale, LEAST) + GAP
    return tops


def _group(
    name: str, y: float, moves: Sequence[Move], side: int, scale: float, kind: str, words: ChartWords
) -> list[str]:
    users = _size(name, moves, side)
    x, at, anchor = (SIDE, SIDE - 8, "end") if side == 0 else (WIDTH - SIDE - BOX, WIDTH - SIDE + 8, "start")
    told = f"{shortened(name, LABEL_SIGNS)} {words.plain(users)}"
    return [
        rect(x, y, BOX, max(users * scale, 1.5), kind),
        text(at, y + max(users * scale / 2, 3) + 4, told, "label", anchor),
    ]


def _ribbon(a: float, b: float, thick: float, kind: str, tip: str) -> str:
    x1, x2 = SIDE + BOX, WIDTH - SIDE - BOX
    middle = (x1 + x2) / 2
    above = f"M{x1} {a:.1f}C{middle} {a:.1f} {middle} {b:.1f} {x2} {b:.1f}"
    a, b = a + thick, b + thick
    path = f"{above}V{b:.1f}C{middle} {b:.1f} {middle} {a:.1f} {x1} {a:.1f}Z"
    return f'<path d="{path}" class="ribbon {kind}"><title>{escape(tip)}</title></path>'
