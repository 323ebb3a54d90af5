"""Whether win-back plays earn their cost, or are stopped, in simulated apps: weeks of draws among who has lapsed.

Run as a script it prints one JSON object per world; ``--users``, ``--worlds`` and ``--weeks`` say how large. Nobody is
given anything else, so that the sums tell the draws alone, and everybody who has lapsed draws (``--share``).
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import pandas as pd

from configs.offers import NO_OFFER, NOTHING, Catalogue, load_catalogue
from configs.settings import load_settings
from features.arrays.array_types import Floats
from features.simulator.simulated_day import Given, World
from features.simulator.simulator_run import new_world
from models.judge.win_back_verdict import win_back_verdicts
from serving.arms.win_back_draws import OpenOptions, WinBackFindings, draw_win_back, who_draws

BEFORE, EVERY = 84, 7  # days before the first draw, days between draws


def lived(world: World, days: int, last_seen: Floats, gross_margin: float) -> tuple[World, Floats]:
    """Live some days; returns the margin of each user after discounts, and notes in `last_seen` who came."""
    margin = np.zeros(len(world.people))
    for _ in range(days):
        number = world.day
        world, day = world.live()
        last_seen[day.visits] = number
        margin += day.margin(gross_margin) - day.discounts
    return world, margin


def study(users: int, weeks: int, seed: int, share: float) -> dict[str, object]:
    """Run one world; say week by week what was known of the play, and at last what it earned for each draw."""
    settings = load_settings("simulated", seed=seed, win_back={"share": share, "min_draws": 100})
    (offer,) = (each for each in load_catalogue("starter").offers if each.offer_id == "win_back")
    catalogue, lookback = Catalogue(offers=(offer,)), settings.churn.lookback_days
    world = new_world(settings, catalogue, users, days=BEFORE)
    last_seen, weekly, drawn, known = np.full(users, -np.inf), [], [], WinBackFindings()
    world, _ = lived(world, BEFORE, last_seen, settings.value.gross_margin)
    margins, spent, states = list[Floats](), 0.0, list[str]()
    drew_before = np.zeros(users, dtype=bool)
    for _week in range(weeks):
        has_lapsed = (world.day - last_seen > lookback) & (world.people.joined < world.day - lookback) & ~drew_before
        cost = np.full((users, 1), offer.contact_cost + offer.discounts[0] * offer.covered_spend)
        options = OpenOptions.of(catalogue, known)
        draws = draw_win_back(
            pd.Series(world.user_ids), has_lapsed[:, None], cost, options, settings.win_back, seed, world.today
        )
        taking = who_draws(draws, np.inf, ())
        option = np.where(taking, draws.option, NOTHING).astype(np.intp)
        world = world.decide(Given(option, np.full(users, None, dtype=object)))
        drew_before |= taking
        drawn.append((np.flatnonzero(taking), option[taking], draws.chance[taking], world.day))
        world, margin = lived(world, EVERY, last_seen, settings.value.gross_margin)
        margins.append(margin)
        closed = drawn[: max(len(margins) - 1, 0)]  # two weeks are over
        rows = [rows_of(each, margins[place : place + 2], last_seen, offer) for place, each in enumerate(closed)]
        found = win_back_verdicts(pd.concat(rows), min_draws=100, most_draws=2000) if rows else []
        known = WinBackFindings(*(frozenset(v.offer_id for v in found if v.state == s) for s in ("stopped", "proven")))
        states.append(found[0].state if found else "nothing closed")
        weekly = found
        spent += float((option != NOTHING).sum() * offer.contact_cost)
    return {"seed": seed, "lapsed_draws": int(drew_before.sum()), "states": states, "contacts_cost": round(spent, 2),
            "verdict": weekly[0].words if weekly else None}  # fmt: skip


def rows_of(week_draws: tuple, margins: list[Floats], last_seen: Floats, offer: object) -> pd.DataFrame:
    """What became of one week's draws within two weeks."""
    who, option, chance, day = week_draws
    given = option != NOTHING
    return pd.DataFrame(
        {"offer_id": np.where(given, offer.offer_id, NO_OFFER), "intended_offer_id": offer.offer_id,
         "propensity": chance,
         "margin": sum(margins)[who] - np.where(given, offer.contact_cost, 0.0), "is_retained": last_seen[who] >= day}
    )  # fmt: skip


def main() -> None:
    """Print what each world shows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--worlds", type=int, default=5)
    parser.add_argument("--weeks", type=int, default=10)
    parser.add_argument("--share", type=float, default=1.0)
    asked = parser.parse_args()
    for seed in range(1, asked.worlds + 1):
        print(json.dumps(study(asked.users, asked.weeks, seed, asked.share)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
