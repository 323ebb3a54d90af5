"""Lines over days or amounts, with a band where an interval is known."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from serving.charts.chart_frame import (
    ENGLISH,
    WIDTH,
    Cell,
    Chart,
    ChartWords,
    ValueFormat,
    drawing,
    line,
    nice_top,
    shortened,
    text,
    written,
)

HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 190.0, 70.0, 30.0, 12.0, 18.0
MOST_DOTS = 40  # points that can be told apart as dots
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
    title: str, columns: tuple[str, str], points: Sequence[Point], *, format_value: ValueFormat | None = None,
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
    format_value = format_value or words.plain
    axes = _Axes.of(points, beside, at, is_share=is_share)
    keys = _keys(marks, beside, words)
    parts = [
        *_grid(axes, format_value),
        *_band(points, axes),
        *_line(points, axes, format_value, has_dots=beside is None),
        *_second(points, beside, axes, format_value),
        *_highlight(marked, axes, words),
        *(part for mark in marks for part in _mark(mark, axes.across(_place_of(mark.label, points)), words)),
        *_labels(points, axes),
        *_legend(keys),
    ]
    description = _description(title, points, format_value, marks, words)
    svg = drawing(title, description, WIDTH, HEIGHT + 18.0 * len(keys), parts)
    rows, heads = _rows(points, marks, beside), _heads(columns, points, marks, beside, words)
    return Chart(title, description, svg, heads, rows, written(rows, format_value))


class _Axes(NamedTuple):
    """Where values lie in the drawing: `places` of the points on the horizontal axis, `low` and `high` of the other."""

    places: Sequence[float]
    low: float
    high: float

    @classmethod
    def of(cls, points: Sequence[Point], beside: Beside | None, at: Sequence[float] | None, *, is_share: bool) -> _Axes:
        """Make axes that hold all values and their bounds, and zero."""
        second = [value for value in beside.values if value is not None] if beside else []
        values = [0.0, *second, *(value for point in points for value in point[1:] if value is not None)]
        high, least = nice_top(max(values)), min(values)
        low = -nice_top(-least) if least < 0 else 0.0
        places = list(at) if at is not None else list(range(len(points)))
        return cls(places, low, min(high, 1.0) if is_share else high)

    def across(self, place: float) -> float:
        """Say where a place of the horizontal axis lies."""
        span = (max(self.places) - min(self.places) if self.places else 0) or 1
        inside = (place - min(self.places)) / span if len(self.places) > 1 else 0.5
        return LEFT + inside * (WIDTH - LEFT - RIGHT)

    def x(self, number: int) -> float:
        """Say how far to the right a point lies, by its number."""
        return self.across(self.places[number])

    def y(self, value: float) -> float:
        """Say how far down a value lies."""
        return TOP + (self.high - value) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)


def _line(points: Sequence[Point], axes: _Axes, format_value: ValueFormat, *, has_dots: bool) -> list[str]:
    """Draw the line, and its points where they are few enough to be told apart."""
    parts = []
    if len(points) > 1:
        path = _path([(axes.x(number), axes.y(point.value)) for number, point in enumerate(points)])
        parts.append(f'<polyline points="{path}" class="line"/>')
    if has_dots and len(points) <= MOST_DOTS:
        parts += [
            _dot(axes.x(number), axes.y(point.value), f"{point.label}: {format_value(point.value)}")
            for number, point in enumerate(points)
        ]
    return parts


def _second(points: Sequence[Point], beside: Beside | None, axes: _Axes, format_value: ValueFormat) -> list[str]:
    """Draw the dots of the second measure."""
    known = [(number, value) for number, value in enumerate(beside.values if beside else ()) if value is not None]
    name = beside.name if beside else ""
    return [
        _dot(axes.x(number), axes.y(value), f"{points[number].label}: {name} {format_value(value)}", "dot-2")
        for number, value in known
    ]


def _highlight(marked: int | None, axes: _Axes, words: ChartWords) -> list[str]:
    """Draw a vertical line through the point that stands out."""
    if marked is None:
        return []
    x = axes.x(marked)
    return [line(x, TOP, x, HEIGHT - BOTTOM, "mark"), text(x + 5, TOP + 10, words.say("today"), "number")]


def _heads(
    columns: tuple[str, str], points: Sequence[Point], marks: Sequence[Mark], beside: Beside | None, words: ChartWords
) -> tuple[str, ...]:
    """Name the columns of the table."""
    bounds = (words.say("from (95%)"), words.say("to (95%)")) if _has_bounds(points) else ()
    second = (beside.name,) if beside else ()
    return (*columns, *bounds, *second, *((words.say("what changed"),) if marks else ()))


def _band(points: Sequence[Point], axes: _Axes) -> list[str]:
    known = [(number, each.low, each.high) for number, each in enumerate(points) if None not in (each.low, each.high)]
    ends = [(axes.x(number), axes.y(high or 0.0)) for number, _, high in known]
    ends += [(axes.x(number), axes.y(low or 0.0)) for number, low, _ in reversed(known)]
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


def _grid(axes: _Axes, format_value: ValueFormat) -> list[str]:
    low, high = axes.low, axes.high
    values = [low, (low + high) / 2, high] if not low < 0 < high else [low, 0.0, high]
    return [
        part
        for value in values
        for part in (
            line(LEFT, axes.y(value), WIDTH - RIGHT, axes.y(value), "axis" if value == 0 else "grid"),
            text(LEFT - 8, axes.y(value) + 4, format_value(value), "number", "end"),
        )
    ]


def _labels(points: Sequence[Point], axes: _Axes) -> list[str]:
    shown = sorted({0, len(points) // 2, len(points) - 1}) if points else []
    anchors = {0: "start", len(points) - 1: "end"} if len(points) > 1 else {}
    return [
        text(axes.x(number), HEIGHT - 9, shortened(points[number].label, 24), "number", anchors.get(number, "middle"))
        for number in shown
    ]


def _dot(x: float, y: float, tip: str, kind: str = "dot") -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" class="{kind}"><title>{escape(tip)}</title></circle>'


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _description(
    title: str, points: Sequence[Point], format_value: ValueFormat, marks: Sequence[Mark], words: ChartWords
) -> str:
    if not points:
        return words.say("{title}: nothing to show.", title=title)
    first, last = points[0], points[-1]
    more = " " + words.say("Changes that are marked: {changes}.", changes=words.plain(len(marks))) if marks else ""
    if len(points) == 1:
        return f"{title}: {first.label} {format_value(first.value)}.{more}"
    return words.say(
        "{title}: from {first} ({start}) to {last} ({end}).",
        title=title, first=format_value(first.value), start=first.label, last=format_value(last.value), end=last.label,
    ) + more  # fmt: skip
