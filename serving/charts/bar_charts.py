"""Bar charts: plain, stacked, and funnels."""

from __future__ import annotations

from collections.abc import Sequence

from serving.charts.chart_frame import (
    ENGLISH,
    SIGN,
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

NUMBER, BAR, KEY = 78.0, 14.0, 38.0
KINDS = ("fill-1", "fill-2", "fill-3", "fill-4", "fill-5", "fill-6")


def bar_chart(
    title: str, columns: tuple[str, str], bars: Sequence[tuple[str, float]], *, format_value: ValueFormat | None = None,
    note: str = "", words: ChartWords = ENGLISH,
) -> Chart:  # fmt: skip
    """Draw one bar for each label, to the right; what is below zero goes to the left.

    Parameters
    ----------
    columns
        Headings of labels and numbers, for the table.
    format_value
        How a number is written beside its bar; as plain as may be by default.
    note
        What else the description says.

    Examples
    --------
    >>> bar_chart("Users", ("stage", "users"), [("active", 3), ("new", 1)]).rows
    (('active', 3), ('new', 1))
    """
    format_value = format_value or words.plain
    low, high = min([0.0, *(number for _, number in bars)]), max([0.0, *(number for _, number in bars)])
    rows = Rows.of([label for label, _ in bars], BAR)
    scale = (WIDTH - rows.left - NUMBER) / ((high - low) or 1.0)
    zero = rows.left - low * scale
    height = rows.step * max(len(bars), 1)
    parts = [line(zero, 0, zero, height)]
    for place, (label, number) in enumerate(bars):
        y, length = rows.bar(place), abs(number) * scale
        start, kind = (zero, "fill-1") if number >= 0 else (zero - length, "fill-2")
        parts += [
            rows.label(place, label),
            rect(start, y, max(length, 1.0 if number else 0.0), BAR, kind, f"{label}: {format_value(number)}"),
            text(max(start + length, zero) + 6, y + 11, format_value(number), "number"),
        ]
    told = _told(title, bars, format_value, note, words)
    svg = drawing(title, told, WIDTH, height, parts)
    return Chart(title, told, svg, columns, tuple(bars), written(bars, format_value))


def _told(
    title: str, bars: Sequence[tuple[str, float]], format_value: ValueFormat, note: str, words: ChartWords
) -> str:
    if not bars:
        return f"{words.say('{title}: nothing to show.', title=title)} {note}".strip()
    said = "; ".join(f"{label} {format_value(number)}" for label, number in bars[:5])
    more = words.say("; {more} more in the table", more=words.plain(len(bars) - 5)) if len(bars) > 5 else ""
    return f"{title}: {said}{more}. {note}".strip()


def stacked_bar(
    title: str,
    columns: tuple[str, str],
    parts_of: Sequence[tuple[str, float]],
    *,
    kinds: Sequence[str] = KINDS,
    words: ChartWords = ENGLISH,
) -> Chart:
    """Draw parts of one whole side by side, with a key below; `kinds` are the colours of the parts.

    Examples
    --------
    >>> stacked_bar("Risk", ("band", "users"), [("high", 1), ("low", 3)]).description
    'Risk: high 1 (25%); low 3 (75%).'
    """
    shown, whole = words.plain, sum(number for _, number in parts_of) or 1.0
    drawn, x = list[str](), 0.0
    for place, (label, number) in enumerate(parts_of):
        width = WIDTH * number / whole
        drawn.append(
            rect(
                x, 0, max(width - 2, 0.5 if number else 0.0), 26, kinds[place % len(kinds)], f"{label}: {shown(number)}"
            )
        )
        x += width
    drawn += _key([f"{label} {shown(number)}" for label, number in parts_of], 48.0, kinds)
    height = 58.0 + 20.0 * _key_rows([f"{label} {shown(number)}" for label, number in parts_of])
    said = "; ".join(f"{label} {shown(number)} ({words.percent(number / whole)})" for label, number in parts_of)
    told = f"{title}: {said}."
    return Chart(title, told, drawing(title, told, WIDTH, height - 20, drawn), columns, tuple(parts_of))


def _key(labels: Sequence[str], y: float, kinds: Sequence[str]) -> list[str]:
    drawn, x = list[str](), 0.0
    for place, label in enumerate(labels):
        width = KEY + SIGN * len(label)
        if x and x + width > WIDTH:
            x, y = 0.0, y + 20
        drawn += [rect(x, y - 10, 11, 11, kinds[place % len(kinds)]), text(x + 17, y, label)]
        x += width
    return drawn


def _key_rows(labels: Sequence[str]) -> int:
    rows, x = 1, 0.0
    for label in labels:
        width = KEY + SIGN * len(label)
        if x and x + width > WIDTH:
            rows, x = rows + 1, 0.0
        x += width
    return rows


def funnel_chart(
    title: str, columns: tuple[str, str, str], steps: Sequence[tuple[str, float]], *, first: str,
    words: ChartWords = ENGLISH,
) -> Chart:  # fmt: skip
    """Draw how many are left after each step of losses.

    Parameters
    ----------
    steps
        Name of a step, and how many remain after it; the first is everybody. A step that adds some loses none.
    first
        What everybody is called.

    Examples
    --------
    >>> funnel_chart("Reach", ("step", "left", "lost"), [("all", 10), ("no consent", 7)], first="all").rows
    (('all', 10, None), ('no consent', 7, 3))
    >>> funnel_chart("Reach", ("step", "left", "lost"), [("all", 10), ("no gain", 0), ("luck", 4)], first="all").rows[2]
    ('luck', 4, None)
    """
    say, plain = words.say, words.plain
    most = max([number for _, number in steps], default=0.0) or 1.0
    lanes = Rows.of([label for label, _ in steps], BAR)
    scale, parts = (WIDTH - lanes.left - NUMBER - 40) / most, list[str]()
    before = steps[0][1] if steps else 0.0
    rows = list[tuple[str, float, float | None]]()
    for place, (label, left) in enumerate(steps):
        y, lost, end = lanes.bar(place), max(before - left, 0.0), lanes.left + left * scale
        parts += [
            lanes.label(place, label),
            rect(
                lanes.left, y, left * scale, BAR, "fill-1", say("{label}: {users} left", label=label, users=plain(left))
            ),
            rect(end, y, lost * scale, BAR, "fill-lost", say("{label}: {users} lost", label=label, users=plain(lost))),
            text(end + lost * scale + 6, y + 11, plain(left) + (f" (−{plain(lost)})" if lost else ""), "number"),
        ]
        rows.append((label, left, lost if place and left <= before else None))
        before = left
    told = (
        say(
            "{title}: of {all} {first} {users} are left.",
            title=title, all=plain(steps[0][1]), first=first, users=plain(steps[-1][1]),
        )
        if steps
        else say("{title}: nothing to show.", title=title)
    )  # fmt: skip
    return Chart(title, told, drawing(title, told, WIDTH, lanes.step * max(len(steps), 1), parts), columns, tuple(rows))
