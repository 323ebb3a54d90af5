"""Lines over days or amounts, with a band where an interval is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

from serving.charts.chart_frame import (
    ENGLISH,
    WIDTH,
    Cell,
    Chart,
    ChartWords,
    Shown,
    drawing,
    line,
    nice_top,
    shortened,
    text,
    written,
)

HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 190.0, 70.0, 30.0, 12.0, 18.0
MARK_KINDS = ("model", "settings", "run")  # `ChartWords.marks` says what each is


class Point(NamedTuple):
    """A value at a place of the horizontal axis, with the bounds of its interval where they are known."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None


class Mark(NamedTuple):
    """A change on a day: the `label` of its place, one of `MARK_KINDS`, and what it was in words."""

    label: str
    kind: str
    words: str


class Beside(NamedTuple):
    """A second measure as dots: its name, that of the line, and a value for each point, None where it is not known."""

    name: str
    of_line: str
    values: Sequence[float | None]


def line_chart(
    title: str, columns: tuple[str, str], points: Sequence[Point], *, shown: Shown | None = None,
    marked: int | None = None, at: Sequence[float] | None = None, marks: Sequence[Mark] = (),
    beside: Beside | None = None, is_share: bool = False, words: ChartWords = ENGLISH,
) -> Chart:  # fmt: skip
    """Draw values in their order, with a band between the bounds.

    Parameters
    ----------
    marked
        Place of the point that stands out.
    at
        Where each point lies on the horizontal axis; evenly by default.
    marks
        Changes laid over it as vertical lines, told in a legend and in the table; labels must sort as they follow.
    beside
        A second measure of the same points.
    is_share
        The axis ends at 1 at most.

    Examples
    --------
    >>> line_chart("Users", ("day", "users"), [Point("Monday", 3), Point("Tuesday", 4, 3.5, 4.5)]).rows
    (('Monday', 3, None, None), ('Tuesday', 4, 3.5, 4.5))
    >>> new = [Mark("2024-05-02", "model", "churn 2")]
    >>> line_chart("Users", ("day", "users"), [Point("2024-05-01", 3), Point("2024-05-03", 4)], marks=new).rows[1]
    ('2024-05-02', None, 'churn 2')
    """
    shown = shown or words.plain
    second = [each for each in beside.values if each is not None] if beside else []
    bounds = [*second, *(each for point in points for each in point[1:] if each is not None)]
    high, low = nice_top(max([0.0, *bounds])), -nice_top(-min([0.0, *bounds])) if min([0.0, *bounds]) < 0 else 0.0
    high = min(high, 1.0) if is_share else high
    places = list(at) if at is not None else list(range(len(points)))
    span = (max(places) - min(places) if places else 0) or 1

    def across(place: float) -> float:
        inside = (place - min(places)) / span if len(points) > 1 else 0.5
        return LEFT + inside * (WIDTH - LEFT - RIGHT)

    def x(place: int) -> float:
        return across(places[place])

    def y(value: float) -> float:
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [*_axis(low, high, y, shown), *_band(points, x, y)]
    if len(points) > 1:
        path = _path([(x(place), y(each.value)) for place, each in enumerate(points)])
        parts.append(f'<polyline points="{path}" class="line"/>')
    if len(points) <= 40 and beside is None:
        parts += [
            _dot(x(place), y(each.value), f"{each.label}: {shown(each.value)}") for place, each in enumerate(points)
        ]
    if beside:
        told = [
            (x(place), value, points[place].label) for place, value in enumerate(beside.values) if value is not None
        ]
        parts += [
            _dot(across, y(value), f"{label}: {beside.name} {shown(value)}", "dot-2") for across, value, label in told
        ]
    if marked is not None:
        parts += [
            line(x(marked), TOP, x(marked), HEIGHT - BOTTOM, "mark"),
            text(x(marked) + 5, TOP + 10, words.say("today"), "number"),
        ]
    for each in marks:
        parts += _mark(each, across(_place_of(each.label, points)), words)
    keys = _keys(marks, beside, words)
    parts += [*_labels(points, x), *_legend(keys)]
    told_words = _told(title, points, shown, marks, words)
    height = HEIGHT + 18.0 * len(keys)
    bounds_words = (words.say("from (95%)"), words.say("to (95%)")) if _has_bounds(points) else ()
    heads = (
        *columns,
        *bounds_words,
        *([beside.name] if beside else []),
        *([words.say("what changed")] if marks else []),
    )
    rows = _rows(points, marks, beside)
    svg = drawing(title, told_words, WIDTH, height, parts)
    return Chart(title, told_words, svg, heads, rows, written(rows, shown))


def _band(points: Sequence[Point], x: Callable[[int], float], y: Callable[[float], float]) -> list[str]:
    known = [(place, each.low, each.high) for place, each in enumerate(points) if None not in (each.low, each.high)]
    ends = [(x(place), y(high or 0.0)) for place, _, high in known]
    ends += [(x(place), y(low or 0.0)) for place, low, _ in reversed(known)]
    if len(known) > 1:
        return [f'<polygon points="{_path(ends)}" class="band"/>']
    return [line(*ends[1], *ends[0], "whisker")] if known else []


def _place_of(label: str, points: Sequence[Point]) -> float:
    """Place of a label on the axis, between the points that it lies between."""
    before = sum(each.label <= label for each in points) - 1
    if before >= 0 and points[before].label == label:
        return float(before)
    return min(max(before + 0.5, 0.0), float(max(len(points) - 1, 0)))


def _mark(mark: Mark, x: float, words: ChartWords) -> list[str]:
    drawn = line(x, TOP, x, HEIGHT - BOTTOM, f"mark-{mark.kind}")
    told = f"<title>{escape(f'{mark.label}: {mark.words}')}</title>"
    return [f"<g>{told}{drawn}</g>", text(x, TOP - 3, _sign(mark.kind, words), f"sign-{mark.kind}", "middle")]


def _sign(kind: str, words: ChartWords) -> str:
    return words.marks.get(f"{kind}_sign", kind[:1].upper())


def _keys(marks: Sequence[Mark], beside: Beside | None, words: ChartWords) -> list[str]:
    """List what the legend says, a line each; the class of the sign before a bar."""
    keys = [f"line|{beside.of_line}", f"dot-2|{beside.name}"] if beside else []
    kinds = dict.fromkeys(each.kind for each in marks)
    shown = [kind for kind in MARK_KINDS if kind in kinds]
    return keys + [f"mark-{kind}|{_sign(kind, words)}: {words.marks.get(kind, kind)}" for kind in shown]


def _legend(keys: Sequence[str]) -> list[str]:
    parts = []
    for place, key in enumerate(keys):
        kind, _, words = key.partition("|")
        y = HEIGHT + 18.0 * place
        sign = (
            _dot(LEFT + 9, y + 4, words, kind) if kind.startswith("dot") else line(LEFT, y + 4, LEFT + 18, y + 4, kind)
        )
        parts += [sign, text(LEFT + 26, y + 8, words)]
    return parts


def _rows(points: Sequence[Point], marks: Sequence[Mark], beside: Beside | None) -> tuple[tuple[Cell, ...], ...]:
    """Lay out the table: a row for each point, and one for each day of a change that is none of theirs."""
    changed: dict[str, list[str]] = {}
    for mark in marks:
        changed.setdefault(mark.label, []).append(mark.words)
    rows, told = list[tuple[Cell, ...]](), len(Point._fields) if _has_bounds(points) else 2
    for place, point in enumerate(points):
        second = (beside.values[place],) if beside else ()
        rows.append((*point[:told], *second, *(("; ".join(changed.pop(point.label, [])) or None,) if marks else ())))
    empty = (None,) * (told - 1 + (beside is not None))
    others: list[tuple[Cell, ...]] = [(label, *empty, "; ".join(words)) for label, words in changed.items()]
    return tuple(sorted([*rows, *others], key=lambda row: str(row[0])) if others else rows)


def _has_bounds(points: Sequence[Point]) -> bool:
    return any(each.low is not None or each.high is not None for each in points)


def _axis(low: float, high: float, y: Callable[[float], float], shown: Shown) -> list[str]:
    values = [low, (low + high) / 2, high] if not low < 0 < high else [low, 0.0, high]
    return [
        part
        for value in values
        for part in (
            line(LEFT, y(value), WIDTH - RIGHT, y(value), "axis" if value == 0 else "grid"),
            text(LEFT - 8, y(value) + 4, shown(value), "number", "end"),
        )
    ]


def _labels(points: Sequence[Point], x: Callable[[int], float]) -> list[str]:
    shown = sorted({0, len(points) // 2, len(points) - 1}) if points else []
    anchors = {0: "start", len(points) - 1: "end"} if len(points) > 1 else {}
    return [
        text(x(place), HEIGHT - 9, shortened(points[place].label, 24), "number", anchors.get(place, "middle"))
        for place in shown
    ]


def _dot(x: float, y: float, tip: str, kind: str = "dot") -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" class="{kind}"><title>{escape(tip)}</title></circle>'


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _told(title: str, points: Sequence[Point], shown: Shown, marks: Sequence[Mark], words: ChartWords) -> str:
    if not points:
        return words.say("{title}: nothing to show.", title=title)
    first, last = points[0], points[-1]
    more = " " + words.say("Changes that are marked: {changes}.", changes=words.plain(len(marks))) if marks else ""
    if len(points) == 1:
        return f"{title}: {first.label} {shown(first.value)}.{more}"
    return words.say(
        "{title}: from {first} ({start}) to {last} ({end}).",
        title=title, first=shown(first.value), start=first.label, last=shown(last.value), end=last.label,
    ) + more  # fmt: skip
