"""A waterfall: from where everybody stands, by what moves one user, to where that user stands."""

from __future__ import annotations

from collections.abc import Sequence

from serving.charts.chart_frame import (
    ENGLISH,
    WIDTH,
    Chart,
    ChartWords,
    Rows,
    ValueFormat,
    drawing,
    line,
    rect,
    text,
    written,
)

NUMBER, BAR = 92.0, 14.0


def waterfall(
    title: str,
    start: tuple[str, float],
    steps: Sequence[tuple[str, float]],
    end: tuple[str, float],
    *,
    format_value: ValueFormat,
    changed: ValueFormat = "{:+.2f}".format,
    words: ChartWords = ENGLISH,
) -> Chart:
    """Draw how steps lead from a start to an end; what they do not explain is a step of its own.

    Parameters
    ----------
    format_value, changed
        How a level is written, and how a change.

    Examples
    --------
    >>> steps, percent = [("rare", 0.3)], "{:.0%}".format
    >>> chart = waterfall("Risk", ("usual", 0.1), steps, ("this user", 0.5), format_value=percent)
    >>> [(label, round(number, 2)) for label, number in chart.rows]
    [('usual', 0.1), ('rare', 0.3), ('everything else', 0.1), ('this user', 0.5)]
    """
    rest = end[1] - start[1] - sum(change for _, change in steps)
    moves = [*steps, *([(words.say("everything else"), rest)] if abs(rest) >= 0.0005 else [])]
    levels = [start[1]]
    for _, change in moves:
        levels.append(levels[-1] + change)
    low, high = min(0.0, *levels, end[1]), max(*levels, end[1], 1e-9)
    rows = Rows.of([start[0], end[0], *(label for label, _ in moves)], BAR)
    scale = (WIDTH - rows.left - NUMBER) / (high - low)

    def x(level: float) -> float:
        return rows.left + (level - low) * scale

    def row(place: int, label: str, left: float, right: float, kind: str, told: str) -> list[str]:
        y = rows.bar(place)
        return [
            rows.label(place, label),
            rect(x(left), y, max((right - left) * scale, 1.5), BAR, kind, f"{label}: {told}"),
            text(x(right) + 6, y + 11, told, "number"),
        ]

    height = rows.step * (len(moves) + 2)
    parts = [line(x(0.0), 0, x(0.0), height), *row(0, start[0], 0.0, start[1], "fill-quiet", format_value(start[1]))]
    for place, (label, change) in enumerate(moves):
        low_end, high_end = sorted((levels[place], levels[place + 1]))
        kind = "fill-up" if change > 0 else "fill-down"
        parts += row(place + 1, label, low_end, high_end, kind, changed(change))
    parts += row(len(moves) + 1, end[0], 0.0, end[1], "fill-1", format_value(end[1]))
    told = words.say(
        "{title}: from {first} ({start}) to {last} ({end}).",
        title=title, first=format_value(start[1]), start=start[0], last=format_value(end[1]), end=end[0],
    )  # fmt: skip
    svg = drawing(title, told, WIDTH, height, parts)
    cells = (*written([start], format_value), *written(moves, changed), *written([end], format_value))
    return Chart(title, told, svg, (words.say("what"), words.say("change")), (start, *moves, end), cells)
