"""A beeswarm of counts: for each driver how many users it moves by how much, and by which of its values."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from serving.charts.chart_frame import WIDTH, Chart, drawing, line, text

SIDE, ROW, BOTTOM, MOST_RADIUS = 14.0, 54.0, 40.0, 13.0
TIERS = ("low", "middle", "high")


class Swarm(NamedTuple):
    """How many `users` a driver moves by about so many `points` of risk, with values in a `tier` of its own values."""

    driver: str
    points: float
    tier: str
    users: int


def beeswarm(title: str, swarms: Sequence[Swarm], *, unit: str = "percentage points") -> Chart:
    """Draw a circle for each count, as large as it has users; where it lies says by how much the risk moves.

    Examples
    --------
    >>> beeswarm("Drivers", [Swarm("days away", 5.0, "high", 12)]).rows
    (('days away', 5.0, 'high', 12),)
    """
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
            _circle(middle + half * each.points / reach, y, MOST_RADIUS * (each.users / most) ** 0.5, each)
            for each in own
        ]
    marks = ((-reach, "lowers the risk", "start"), (0.0, "0", "middle"), (reach, "raises the risk", "end"))
    parts += [text(middle + half * at / reach, height - 22, words, "number", anchor) for at, words, anchor in marks]
    parts.append(
        text(middle, height - 5, f"by up to {reach / 1.08:.0f} {unit}; colour: value of the driver", "number", "middle")
    )
    told = f"{title}: how many users each driver moves and by how many {unit}; {len(drivers)} drivers."
    rows = tuple((each.driver, each.points, each.tier, each.users) for each in swarms)
    return Chart(
        title, told, drawing(title, told, WIDTH, height, parts), ("driver", unit, "value of the driver", "users"), rows
    )


def _circle(x: float, y: float, radius: float, swarm: Swarm) -> str:
    lift = {"low": 7.0, "high": -7.0}.get(swarm.tier, 0.0)
    told = escape(f"{swarm.driver}: {swarm.points:+.1f} points for {swarm.users:,} users with {swarm.tier} values")
    tier = swarm.tier if swarm.tier in TIERS else "text"
    place = f'cx="{x:.1f}" cy="{y + lift:.1f}" r="{max(radius, 2.0):.1f}"'
    return f'<circle {place} class="tier-{tier}"><title>{told}</title></circle>'
