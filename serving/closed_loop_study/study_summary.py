"""The results of a study: every policy beside "nobody" and the oracle, as figures, sentences and a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from features.storage.lake import Lake
from features.storage.whole_writes import write_bytes, write_text
from models.measurement.personalisation import common_pairs, personalisation_index
from models.metrics.metric import Metric
from models.model_cards.pictures import loop_picture
from serving.closed_loop_study.policy_weeks import NOBODY, ORACLE, OURS, Career, WeekPromise
from serving.closed_loop_study.winback_policy import RETRAIN_EVERY

PROMISED = ("modelled", "promised", "true")


def loop_metrics(careers: list[Career], users: int) -> dict[str, Metric]:
    """Compare every policy with nobody and with the oracle."""
    by_name = {career.policy: career for career in careers}
    nobody, best = by_name[NOBODY], by_name[ORACLE]
    most = best.values[-1] - nobody.values[-1]
    metrics: dict[str, Metric] = {}
    for career in careers:
        gain = float(career.values[-1] - nobody.values[-1])
        figures = {
            "gain": gain,
            "share_of_oracle": gain / most if most > 0 else float("nan"),
            "discounts": sum(week.discounts for week in career.weeks),
            "contacts": sum(week.contacts for week in career.weeks),
            "personalisation": personalisation_index(career.given),
            "common_pairs": common_pairs(career.given),
            "churn": career.churn,
            "churn_change": career.churn / nobody.churn - 1 if nobody.churn else float("nan"),
        }
        subject = career.policy.replace(" ", "_")
        metrics |= {f"{subject}.{name}": Metric.exact(figure, users) for name, figure in figures.items()}
    return metrics | promise_metrics(by_name[OURS].promises, users)


def promise_metrics(promises: Sequence[WeekPromise], users: int) -> dict[str, Metric]:
    """Add up what plans promised and what their offers bring in truth, in all weeks and since promises are measured."""
    found: dict[str, Metric] = {}
    for name, weeks in (("promise", promises), ("promise_since_measured", promises[RETRAIN_EVERY:])):
        modelled, promised, true = (sum(getattr(week, each) for week in weeks) for each in PROMISED)
        figures = {"modelled": modelled, "promised": promised, "true": true}
        figures |= {"promised_over_true": promised / true, "modelled_over_true": modelled / true} if true > 0 else {}
        found |= {f"{OURS}.{name}.{each}": Metric.exact(figure, users) for each, figure in figures.items() if weeks}
    return found


def loop_notes(careers: list[Career]) -> list[str]:
    """Say what a person should know about a loop."""
    ours = next(career for career in careers if career.policy == OURS)
    changes = [f"week {place + 1}: {name}" for place, name in enumerate(ours.deployed) if place % RETRAIN_EVERY == 0]
    spread = " · ".join(
        f"{career.policy} {personalisation_index(career.given):.2f} ({common_pairs(career.given)} pairs)"
        for career in careers
        if career.policy in (OURS, ORACLE)
    )
    return [
        f"the gate deployed {'; '.join(changes)}",
        f"index of personalisation (pairs of offer and level that 5% or more of the treated got): {spread}",
        "one world is one sample: compare several seeds",
    ]


def write_loop(lake: Lake, careers: list[Career]) -> dict[str, str]:
    """Keep every week of every policy, and their picture."""
    with lake.whole_folder("closed_loop") as folder:
        weeks = {career.policy: [asdict(week) for week in career.weeks] for career in careers}
        write_text(folder / "weeks.json", json.dumps(weeks, indent=1) + "\n")
        promises = [asdict(week) for career in careers for week in career.promises]
        write_text(folder / "promises.json", json.dumps(promises, indent=1) + "\n")
        nobody = next(career for career in careers if career.policy == NOBODY)
        gains = {career.policy: career.values - nobody.values for career in careers}
        churned = {career.policy: 1 - np.array([week.here for week in career.weeks]) for career in careers}
        write_bytes(folder / "closed_loop.png", loop_picture(gains, churned, ours=OURS, best=ORACLE, none=NOBODY))
    place = lake.path("closed_loop")
    return {"weeks": str(place / "weeks.json"), "picture": str(place / "closed_loop.png")}
