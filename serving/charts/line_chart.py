"""Lines over days or amounts, with a band where an interval is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

from serving.charts.bar_charts import Shown, plain
from serving.charts.chart_frame import WIDTH, Chart, drawing, line, nice_top, shortened, text

HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 190.0, 70.0, 30.0, 12.0, 18.0


class Point(NamedTuple):
    """A value at a place of the horizontal axis, with the bounds of its interval where they are known."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None


def line_chart(
    title: str, columns: tuple[str, str], points: Sequence[Point], *, shown: Shown = plain, marked: int | None = None,
    mark: str = "today", at: Sequence[float] | None = None,
) -> Chart:  # fmt: skip
    """Draw values in their order, with a band between the bounds.

    Parameters
    ----------
    marked
        Place of the point that stands out.
    at
        Where each point lies on the horizontal axis; evenly by default.

    Examples
    --------
    >>> line_chart("Users", ("day", "users"), [Point("Monday", 3), Point("Tuesday", 4, 3.5, 4.5)]).rows
    (('Monday', 3, None, None), ('Tuesday', 4, 3.5, 4.5))
    """
    bounds = [each for point in points for each in (point.value, point.low, point.high) if each is not None]
    high, low = nice_top(max([0.0, *bounds])), -nice_top(-min([0.0, *bounds])) if min([0.0, *bounds]) < 0 else 0.0
    places = list(at) if at is not None else list(range(len(points)))
    span = (max(places) - min(places) if places else 0) or 1

    def x(place: int) -> float:
        inside = (places[place] - min(places)) / span if len(points) > 1 else 0.5
        return LEFT + inside * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = _axis(low, high, y, shown)
    with_band = [
        (place, point) for place, point in enumerate(points) if point.low is not None and point.high is not None
    ]
    if len(with_band) > 1:
        ends = [(x(place), y(point.high or 0.0)) for place, point in with_band]
        ends += [(x(place), y(point.low or 0.0)) for place, point in reversed(with_band)]
        parts.append(f'<polygon points="{_path(ends)}" class="band"/>')
    elif with_band:
        place, point = with_band[0]
        parts.append(line(x(place), y(point.low or 0.0), x(place), y(point.high or 0.0), "whisker"))
    if len(points) > 1:
        path = _path([(x(place), y(each.value)) for place, each in enumerate(points)])
        parts.append(f'<polyline points="{path}" class="line"/>')
    if len(points) <= 40:
        parts += [
            _dot(x(place), y(each.value), f"{each.label}: {shown(each.value)}") for place, each in enumerate(points)
        ]
    if marked is not None:
        parts += [
            line(x(marked), TOP, x(marked), HEIGHT - BOTTOM, "mark"),
            text(x(marked) + 5, TOP + 10, mark, "number"),
        ]
    parts += _labels(points, x)
    told = _told(title, points, shown)
    rows = tuple((point.label, point.value, point.low, point.high) for point in points)
    return Chart(title, told, drawing(title, told, WIDTH, HEIGHT, parts), (*columns, "low", "high"), rows)


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


def _dot(x: float, y: float, tip: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" class="dot"><title>{escape(tip)}</title></circle>'


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _told(title: str, points: Sequence[Point], shown: Shown) -> str:
    if not points:
        return f"{title}: nothing to show."
    first, last = points[0], points[-1]
    if len(points) == 1:
        return f"{title}: {first.label} {shown(first.value)}."
    return f"{title}: from {shown(first.value)} ({first.label}) to {shown(last.value)} ({last.label})."
