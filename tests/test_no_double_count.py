"""Nothing is counted twice: in every world what is measured at once and what comes later add up to the whole."""

from __future__ import annotations

import numpy as np
import pytest

from configs.offers import load_catalogue
from configs.settings import Settings, load_settings
from features.simulator.ground_truth import Truth
from features.simulator.simulated_day import World
from features.simulator.simulator_run import new_world


def horizons(measured: int, later: int, seed: int = 1) -> Settings:
    """Settings in which margin is measured over some days, and staying is worth what comes in the days after."""
    spans = {"response": {"retained_from_day": measured}, "value": {"horizon_days": later}}
    return load_settings("simulated", seed=seed, **spans)


@pytest.fixture(scope="module", params=[1, 2, 3])
def world(request: pytest.FixtureRequest) -> World:
    """Morning of 800 users after four weeks."""
    world = new_world(horizons(7, 7, request.param), load_catalogue("simulated"), 800, days=40)
    for _ in range(28):
        world, _ = world.live()
    return world


def later(truth: Truth) -> np.ndarray:
    """What is expected of each user after the measured days, untreated."""
    return truth.stays * truth.remaining_value


def test_what_staying_is_worth_begins_where_the_measured_margin_ends(world):
    # days 8 to 14 and 15 to 28 are days 8 to 28: none twice, none left out
    parts = later(world.expected(horizons(7, 7))) + later(world.expected(horizons(14, 14)))
    assert parts == pytest.approx(later(world.expected(horizons(7, 21))), rel=1e-9, abs=1e-12)


def test_an_options_worth_is_what_it_changes_over_the_whole_time(world):
    near, whole = world.expected(horizons(7, 21)), world.expected(horizons(28, 1))
    # margin of the first week, and who is kept times what comes in the three weeks after, against four weeks measured
    counted = near.margin + near.retention * near.remaining_value[:, None]
    assert counted.sum() == pytest.approx(whole.margin.sum(), rel=0.15)
    # with four weeks of staying on top a week would be in it twice, and that would be seen
    twice = near.margin + near.retention * world.expected(horizons(7, 28)).remaining_value[:, None]
    assert abs(twice.sum() - whole.margin.sum()) > abs(counted.sum() - whole.margin.sum())
