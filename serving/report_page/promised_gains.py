"""The promised gains of a day's offers, corrected by measured promise ratios."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

from features.storage.lake import Lake
from models.metrics.metric import Metric
from serving.decide.promise_ratios import KeptRatios, newest_ratios, plan_promise
from serving.report_page.summary import Summary, summarise


@dataclass(frozen=True)
class Promised:
    """A day's summary with its gains multiplied by the `kept` ratios, and their `total` with its interval.

    There is no total before any promise was measured: gains are then as the models say them.
    """

    summary: Summary
    total: Metric | None
    kept: KeptRatios


def promised_summary(lake: Lake, as_of: date) -> Promised:
    """Add a day up, and multiply what its offers promise by what came of earlier promises."""
    kept = newest_ratios(lake, as_of)
    return Promised(by_ratios(summarise(lake, as_of), kept), plan_promise(lake, as_of, kept), kept)


def by_ratios(summary: Summary, kept_ratios: KeptRatios) -> Summary:
    """Multiply what each offer promises by how much of its play's promises came true."""
    if kept_ratios.whole is None:
        return summary
    ratios = summary.offers["play"].map(kept_ratios.multiplier)
    offers = summary.offers.assign(expected_value=summary.offers["expected_value"] * ratios)
    return replace(summary, offers=offers, expected_value=float(offers["expected_value"].sum()))
