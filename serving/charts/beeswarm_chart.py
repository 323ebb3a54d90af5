"""A beeswarm chart of counts: for each driver, how many users it moves and by how much."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from serving.charts.chart_frame import ENGLISH, SIGN, WIDTH, Chart, ChartWords, drawing, line, text

SIDE, ROW, BOTTOM, MOST_RADIUS = 14.0, 54.0, 40.0, 13.0
TIERS = ("low", "middle", "high")
TIER_WORDS = {"low": "low values", "middle": "middle values", "high": "high values", "text": "a text"}
UNIT = "percentage points"


class Swarm(NamedTuple):
    """How many `users` a driver moves by about so many `points` of risk, with values in a `tier` of its own values."""

    driver: str
    points: float
    tier: str
    users: int


def beeswarm(title: str, swarms: Sequence[Swarm], *, words: ChartWords = ENGLISH) -> Chart:
    """Draw a circle for each count, as large as it has users; where it lies says by how much the risk moves.

    Examples
    --------
    >>> beeswarm("Drivers", [Swarm("days away", 5.0, "high", 12)]).rows
    (('days away', 5.0, 'high values', 12),)
    """
    say, unit = words.say, words.say(UNIT)
    drivers = list(dict.fromkeys(each.driver for each in swarms))
    reach = max([abs(each.points) for each in swarms], default=1.0) * 1.08 or 1.0
    most = max([each.users for each in swarms], default=1) or 1
    middle, half = WIDTH / 2, WIDTH / 2 - SIDE
    height = ROW * len(drivers) + BOTTOM
    parts = [line(middle, 0, middle, ROW * len(drivers))]
    for place, driver in enumerate(drivers):
        y = (place + 0.64) * ROW
        parts += [
            text(0, y - 22, driver),
            line(0, y, WIDTH, y, "grid"),
        ]
        own = sorted((each for each in swarms if each.driver == driver), key=lambda each: -each.users)
        parts += [
            _circle(middle + half * each.points / reach, y, MOST_RADIUS * (each.users / most) ** 0.5, each, words)
            for each in own
        ]
    lowers, raises = say("lowers the risk"), say("raises the risk")
    marks = ((-reach, lowers, "start"), (reach, raises, "end"))
    parts += [text(middle + half * at / reach, height - 22, told, "number", anchor) for at, told, anchor in marks]
    most_points = words.plain(round(reach / 1.08))
    parts.append(text(middle, height - 22, say("0, and up to {points} points", points=most_points), "number", "middle"))
    parts += _key(height - 6, words)
    told = say(
        "{title}: how many users each driver moves and by how many percentage points; drivers: {drivers}.",
        title=title, drivers=words.plain(len(drivers)),
    )  # fmt: skip
    rows = tuple((each.driver, each.points, tier_words(each.tier, words), each.users) for each in swarms)
    columns = (say("driver"), unit, say("value of the driver"), say("users"))
    return Chart(title, told, drawing(title, told, WIDTH, height, parts), columns, rows)


def _key(y: float, words: ChartWords) -> list[str]:
    """Say which colour stands for which values of a driver."""
    parts, x = list[str](), 0.0
    for tier in TIERS:
        told = words.say(TIER_WORDS[tier])
        parts += [
            f'<circle cx="{x + 6:.1f}" cy="{y - 4:.1f}" r="5" class="tier-{tier}"/>',
            text(x + 16, y, told, "number"),
        ]
        x += 34 + SIGN * len(told)
    return parts


def tier_words(tier: str, words: ChartWords = ENGLISH) -> str:
    """Name a third of the values of a driver; a text is its own."""
    return words.say(TIER_WORDS[tier]) if tier in TIER_WORDS else tier


def _circle(x: float, y: float, radius: float, swarm: Swarm, words: ChartWords) -> str:
    lift = {"low": 7.0, "high": -7.0}.get(swarm.tier, 0.0)
    told = escape(words.say(
        "{driver}, {tier}: {points} percentage points, {users} users", driver=swarm.driver,
        tier=tier_words(swarm.tier, words), points=words.plain(round(swarm.points, 1)), users=words.plain(swarm.users),
    ))  # fmt: skip
    tier = swarm.tier if swarm.tier in TIERS else "text"
    place = f'cx="{x:.1f}" cy="{y + lift:.1f}" r="{max(radius, 2.0):.1f}"'
    return f'<circle {place} class="tier-{tier}"><title>{told}</title></circle>'
