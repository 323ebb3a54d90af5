"""What every chart is made of: a title, a description, the drawing, and the table that it was drawn from."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import NamedTuple
from zlib import crc32

Cell = str | int | float | None
ValueFormat = Callable[[float], str]
WIDTH = 420.0  # of every chart, in its own units: about as many pixels
SIGN, SHORT_LABEL, LONG_LABEL = 6.6, 14, 58  # width of a sign; signs beside a bar, and above it
SPREADSHEET = re.compile(r"^([=+@\t\r]|-[^0-9])")  # what a spreadsheet would compute (OWASP, CSV injection)


def plain(number: float) -> str:
    """Write a number with thousands separators, decimals only where there are some, and a minus that is no hyphen.

    Examples
    --------
    >>> plain(1234.0), plain(0.25), plain(-3)
    ('1,234', '0.25', '−3')
    """
    return (f"{number:,.0f}" if number == round(number) else f"{number:,.2f}").replace("-", "−")


@dataclass(frozen=True)
class ChartWords:
    """What a chart says by itself.

    `say` gives an English text in a language, with its fields; `plain` writes a number and `percent` a share.
    `marks` says what is laid over charts, and with ``_sign`` by which letter.
    """

    say: Callable[..., str] = str.format
    plain: ValueFormat = plain
    percent: ValueFormat = "{:.0%}".format
    marks: Mapping[str, str] = field(default_factory=dict)


ENGLISH = ChartWords()


@dataclass(frozen=True)
class Chart:
    """A drawing with its words and its numbers.

    `svg` holds the whole element, `columns` the heading of each column of the table and `rows` its cells, which `cells`
    write as the drawing does, where it has a way of its own; a chart without rows says `description` alone.
    """

    title: str
    description: str
    svg: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    cells: tuple[tuple[str | None, ...], ...] = ()

    def as_csv(self) -> str:
        """Write the table for spreadsheets; a text that one would take for a formula gets an apostrophe before it.

        Examples
        --------
        >>> Chart("", "", "", ("play", "users"), (("=1+1", 3),)).as_csv().split()
        ['play,users', "'=1+1,3"]
        """
        return "".join(map(csv_row, (self.columns, *self.rows)))


def written(rows: Iterable[Sequence[Cell]], format_value: ValueFormat) -> tuple[tuple[str | None, ...], ...]:
    """Write the numbers of a table in a way; texts stay, and what is missing stays missing.

    Examples
    --------
    >>> written([("Monday", 0.25, None)], "{:.0%}".format)
    (('Monday', '25%', None),)
    """
    return tuple(tuple(format_value(cell) if isinstance(cell, int | float) else cell for cell in row) for row in rows)


def csv_row(cells: Sequence[object]) -> str:
    """Write one row as CSV in which no text is a formula."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\r\n").writerow([_inert(cell) for cell in cells])
    return file.getvalue()


def _inert(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and SPREADSHEET.match(cell) else cell


def drawing(title: str, description: str, width: float, height: float, parts: Iterable[str]) -> str:
    """Put parts into one SVG that scales with the page and is read out by its title and description."""
    name = f"c{crc32(f'{title}|{description}'.encode()):08x}"
    return (
        f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" role="img" aria-labelledby="{name}t {name}d">'
        f'<title id="{name}t">{escape(title)}</title><desc id="{name}d">{escape(description)}</desc>'
        f"{''.join(parts)}</svg>"
    )


def rect(x: float, y: float, width: float, height: float, kind: str, tip: str = "") -> str:
    """Draw a box; `tip` is shown by the browser where the pointer rests."""
    told = f"<title>{escape(tip)}</title>" if tip else ""
    size = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}"'
    return f'<rect {size} class="{kind}" rx="2">{told}</rect>' if told else f'<rect {size} class="{kind}" rx="2"/>'


def text(x: float, y: float, words: str, kind: str = "label", anchor: str = "start") -> str:
    """Write words at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str = "axis") -> str:
    """Draw a straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


class Rows(NamedTuple):
    """Where the rows of a chart lie: short labels stand beside their bars, long ones above, as on a phone.

    Bars begin at `left`; `step` is the height of a row, `are_above` where the labels are.
    """

    left: float
    step: float
    are_above: bool

    @classmethod
    def of(cls, labels: Iterable[str], bar: float) -> Rows:
        """Lay out rows with these labels, and bars of a height."""
        longest = max(map(len, labels), default=0)
        is_short = longest <= SHORT_LABEL
        return cls(SIGN * longest + 12 if is_short else 1.0, bar + 9 if is_short else bar + 24, not is_short)

    def bar(self, place: int) -> float:
        """Upper edge of the bar of a row."""
        return place * self.step + (19 if self.are_above else 4)

    def label(self, place: int, words: str) -> str:
        """Write the label of a row."""
        y = place * self.step + 13
        if self.are_above:
            return text(self.left + 5, y, shortened(words, LONG_LABEL))
        return text(self.left - 8, y + 2, words, "label", "end")


def shortened(words: str, most: int) -> str:
    """Cut a label to so many signs; the table has it whole.

    Examples
    --------
    >>> shortened("days since last active", 12)
    'days since …'
    """
    return words if len(words) <= most else f"{words[: most - 1]}…"


def nice_top(most: float) -> float:
    """Round a maximum up to a number that people read easily.

    Examples
    --------
    >>> [nice_top(each) for each in (0.0, 0.7, 13, 96, 1_200)]
    [1.0, 0.8, 15.0, 100.0, 1500.0]
    """
    if most <= 0:
        return 1.0
    power = 10.0 ** (len(str(int(most))) - 1) if most >= 1 else 0.1
    while power * 0.999 > most:
        power /= 10
    return next(
        float(round(step * power, 12)) for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= most - 1e-12
    )
