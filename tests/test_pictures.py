"""Pictures: PNG bytes, the same for the same numbers, drawn without a display."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from models.model_cards import pictures
from models.model_cards.pictures import (
    amount_picture,
    calibration_picture,
    lift_picture,
    loop_picture,
    panel,
    png,
)

RNG = np.random.default_rng(0)
SCORE = RNG.random(200)
LABEL = (RNG.random(200) < SCORE).astype(float)
DRAW = {
    "calibration": lambda label, score: calibration_picture(label, score, "leaves"),
    "lift": lambda label, score: lift_picture(label, score, "leavers"),
    "amount": lambda label, score: amount_picture(10 * label, 10 * score, "EUR"),
}
every_picture = pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)


@every_picture
def test_a_picture_is_a_png_that_depends_on_the_numbers_alone(draw):
    first = draw(LABEL, SCORE)
    assert first.startswith(b"\x89PNG\r\n")
    assert draw(LABEL, SCORE) == first
    assert draw(LABEL, 1 - SCORE) != first
    assert b"matplotlib" not in first.lower()


@every_picture
def test_a_constant_score_can_be_drawn(draw):
    assert draw(LABEL, np.full(200, 0.3)).startswith(b"\x89PNG")


@every_picture
def test_drawing_leaves_the_style_of_others_alone(draw):
    before = dict(mpl.rcParams)
    draw(LABEL, SCORE)
    assert dict(mpl.rcParams) == before


def test_a_picture_shows_the_numbers_of_its_table(monkeypatch):
    drawn: list[Figure] = []
    monkeypatch.setattr(pictures, "png", lambda figure: drawn.append(figure) or b"")
    label, score = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.2, 0.8, 0.9])
    calibration_picture(label, score, "leaves")
    lift_picture(label, score, "leavers")
    amount_picture(label, score, "EUR")
    calibration, lift, amount = (figure.axes[0] for figure in drawn)
    assert calibration.lines[1].get_xydata().tolist() == [[0.1, 0], [0.2, 0], [0.8, 1], [0.9, 1]]
    assert calibration.get_xlabel() == "predicted P(leaves)"
    caught = lift.lines[1].get_xydata()
    assert caught[0].tolist() == [0, 0]
    assert caught[5].tolist() == [0.5, 1.0]  # the better half holds both leavers
    assert lift.get_ylabel() == "share of all leavers caught"
    assert amount.get_xlabel() == "predicted margin, EUR"


def test_nothing_that_is_written_is_cut_off():
    with panel(1, 1) as (figure, axes):
        axes.set_xlabel("a label that is far wider than its picture, which grows with it")
        width = int.from_bytes(png(figure)[16:20], "big")
    assert width > 1.5 * figure.get_size_inches()[0] * figure.dpi


def test_a_panel_has_the_size_that_was_asked_for():
    with panel(4, 2) as (figure, axes):
        assert figure.get_size_inches().tolist() == [4, 2]
        assert axes in figure.axes
    assert png(figure).startswith(b"\x89PNG")


def test_a_loop_is_drawn_the_same_way_every_time():
    gains = {"nobody": np.zeros(2), "random": np.array([-1.0, -3.0]), "oracle": np.array([2.0, 5.0]), "us": np.ones(2)}
    churned = {name: np.array([0.1, 0.2]) for name in gains}
    first, again = (loop_picture(gains, churned, ours="us", best="oracle", none="nobody") for _ in range(2))
    assert first == again
    assert first.startswith(b"\x89PNG")
    other = loop_picture(gains | {"random": np.array([-1.0, 4.0])}, churned, ours="us", best="oracle", none="nobody")
    assert other != first
