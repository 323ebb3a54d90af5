"""Pictures of a model's quality, as PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from features.arrays.array_types import Floats
from models.measurement.lift import Lift
from models.metrics.evaluation import calibration_table, lift_table
from models.policy_value.policy_comparison import ESTIMATORS, Comparison
from models.policy_value.policy_verdict import NOBODY

INK, ACCENT, MUTED = "#1f2933", "#0b7285", "#9aa5b1"
OTHERS = ("#d9480f", "#9c36b5", "#e8a33d", "#5c7cfa", "#66a80f", "#868e96")  # where many lines must be told apart
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.dpi": 110,
    "svg.hashsalt": "winback",
}


@contextmanager
def panel(width: float = 5.2, height: float = 3.6) -> Iterator[tuple[Figure, Axes]]:
    """Open one figure in winback's style, without a display."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots()


def png(figure: Figure) -> bytes:
    """Render a figure; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None}, bbox_inches="tight")
    return buffer.getvalue()


def calibration_picture(label: Floats, score: Floats, what: str) -> bytes:
    """Draw predicted against observed rates; on the diagonal the probabilities can be taken at their word."""
    return _against_truth(label, score, f"predicted P({what})", "observed share")


def lift_picture(label: Floats, score: Floats, what: str) -> bytes:
    """Draw how many of the positives the top shares of the ranking catch, against picking at random."""
    table = lift_table(label, score)
    with panel() as (figure, axes):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--", label="at random")
        axes.plot(np.r_[0, table["share"]], np.r_[0, table["caught"]], color=ACCENT, marker="o", label="model")
        axes.set(
            xlabel="share of users, most likely first",
            ylabel=f"share of all {what} caught",
            xlim=(0, 1),
            ylim=(0, 1.02),
        )
        axes.legend(frameon=False, loc="lower right")
        return png(figure)


def amount_picture(label: Floats, score: Floats, currency: str) -> bytes:
    """Draw predicted against true amounts by tenths of the prediction."""
    return _against_truth(label, score, f"predicted margin, {currency}", f"true margin, {currency}")


def offers_picture(lifts: Sequence[Lift], currency: str) -> bytes:
    """Draw what the offers changed per user, with 95% intervals: one line per offer, channel and stage.

    Filled where it can be told from chance among all comparisons; what lacks data for a verdict is pale.
    """
    subjects = list(dict.fromkeys(found.subject for found in lifts))
    measures = list(dict.fromkeys(found.measure for found in lifts))
    with mpl.rc_context(STYLE):
        size = 1.6 + 2.4 * len(measures), 1.2 + 0.3 * len(subjects)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
        for axes, measure in zip(panels, measures, strict=True):
            axes.axvline(0, color=MUTED, linewidth=1, linestyle="--")
            for found in (found for found in lifts if found.measure == measure):
                _interval(axes, found, subjects.index(found.subject))
            is_money = measure in ("margin", "revenue")
            axes.set(title=measure, xlabel=f"{currency} a user" if is_money else "share of the users")
        panels[0].set_yticks(range(len(subjects)), subjects)
        panels[0].set_ylim(len(subjects) - 0.5, -0.5)
        return png(figure)


def policies_picture(comparison: Comparison, currency: str) -> bytes:
    """Draw what each policy was worth a decision, with 95% intervals by each estimator; what is not known is absent."""
    policies = comparison.policies
    nobody = next((each.values["doubly_robust"].value for each in policies if each.name == NOBODY), 0.0)
    with panel(7.2, 1.2 + 0.34 * len(policies)) as (figure, axes):
        axes.axvline(nobody, color=MUTED, linewidth=1, linestyle="--")
        for nth, (kind, word) in enumerate(ESTIMATORS.items()):
            known = [(place, each.values[kind]) for place, each in enumerate(policies) if each.values[kind].is_known]
            places = np.array([place for place, _ in known]) + 0.22 * (nth - 1)
            values = np.array([[each.value, each.low, each.high] for _, each in known]).reshape(-1, 3)
            colour = (MUTED, OTHERS[0], ACCENT)[nth]
            axes.hlines(places, values[:, 1], values[:, 2], color=colour)
            axes.plot(values[:, 0], places, color=colour, marker="o", markersize=4, linestyle="", label=word)
        axes.set_yticks(range(len(policies)), [each.name for each in policies])
        axes.set(ylim=(len(policies) - 0.5, -0.5), xlabel=f"{currency} a decision; dashed: nobody is given anything")
        axes.legend(frameon=False, loc="best", fontsize=8)
        return png(figure)


def loop_picture(gains: dict[str, Floats], churned: dict[str, Floats], *, ours: str, best: str, none: str) -> bytes:
    """Draw what policies earned over doing nothing, and who left, week by week.

    Parameters
    ----------
    gains, churned
        Per policy, shape (weeks,): account currency, and a share of the first morning's members.
    ours, best, none
        Policies that stand out: the one it is about, the one that nobody can beat, and doing nothing.
    """
    others = [name for name in gains if name not in (ours, best, none)]
    styles = {name: {"color": colour, "linewidth": 1.2} for name, colour in zip(others, OTHERS, strict=False)}
    styles |= {
        ours: {"color": ACCENT, "linewidth": 2.6},
        best: {"color": INK, "linewidth": 1.2, "linestyle": "--"},
        none: {"color": INK, "linewidth": 1.2, "linestyle": ":"},
    }
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11.2, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        for axes, lines in ((left, gains), (right, churned)):
            for name, values in lines.items():
                axes.plot(np.arange(1, len(values) + 1), values, label=name, **styles[name])
            axes.set(xlabel="week of policy", xticks=np.arange(1, len(values) + 1))
        left.set(title="earned more than nobody, account currency")
        left.yaxis.set_major_formatter("{x:,.0f}")
        right.set(title="share of the members who left", ylim=(0, None))
        ranked = sorted(gains, key=lambda name: -float(gains[name][-1]))
        handles = dict(zip(*reversed(left.get_legend_handles_labels()), strict=True))
        figure.legend([handles[name] for name in ranked], ranked, loc="outside right center", frameon=False, fontsize=9)
        return png(figure)


def _interval(axes: Axes, lift: Lift, place: int) -> None:
    if lift.cuped is None:
        return
    effect, colour = lift.cuped.absolute, MUTED if lift.shortage else ACCENT
    axes.plot([effect.low, effect.high], [place, place], color=colour)
    axes.plot(effect.value, place, color=colour, marker="o", markerfacecolor=colour if lift.is_significant else "white")


def _against_truth(label: Floats, score: Floats, predicted: str, observed: str) -> bytes:
    table = calibration_table(label, score)
    top = float(max(table["predicted"].max(), table["observed"].max())) * 1.08
    with panel() as (figure, axes):
        axes.plot([0, top], [0, top], color=MUTED, linewidth=1, linestyle="--", label="perfect")
        axes.plot(table["predicted"], table["observed"], color=ACCENT, marker="o", label="model, tenths of the test")
        axes.set(xlabel=predicted, ylabel=observed, xlim=(0, top), ylim=(0, top))
        axes.legend(frameon=False)
        return png(figure)
